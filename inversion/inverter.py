"""The road from photographs to latents: read, aligned, found before or now, measured, kept.

`Inverter` is built once and asked often; `invert` asks it for one photograph.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from generators.base import Generator
from generators.pictures.sources import Picture
from generators.settings import plain
from inversion.config import InvertConfig
from inversion.config import recipe as recipe_named
from inversion.errors import InversionError, SettingsError, result_or_error
from inversion.faces.mask import Mask, MaskLike, read_mask
from inversion.files.cache import entry_of, kept, settings_told, write_entry
from inversion.files.latent_file import load_one
from inversion.files.named import named
from inversion.guess import encode
from inversion.latent import Latent, at_a_time, check_label, stack, synthesize
from inversion.loop import Step, check_budget, steps_of
from inversion.losses import check_weights
from inversion.metrics import compare
from inversion.target import Photo, Target, load_target, stacked, stacked_kept
from inversion.together import MemoryShort, Room
from inversion.watch import SILENT, Watch, last_of

Images = Float[Tensor, "batch channels height width"]
Counted = Bool[Tensor, "batch 1 height width"]  # the pixels that count
Styles = Float[Tensor, "batch num_ws w_dim"]
Coded = tuple[Target, Styles]


@dataclass(frozen=True)
class Inversion:
    """The result of an inversion: what was found, and how well."""

    latent: Latent
    target: Target
    image: Float[Tensor, "1 channels height width"]  # the latent rendered
    losses: dict[str, float]  # weighted terms of the objective
    metrics: dict[str, float | None]  # as `metrics.compare` gives them
    steps: int
    seconds: float
    history: dict[str, object]  # all that a latent file tells about its making
    tuned: Generator | None = None  # the generator that draws it, where one was tuned for it


Result = Inversion | InversionError  # what was found, or what was wrong with the photograph


@dataclass(frozen=True)
class Job:
    """A photograph that is to be inverted, and what is known of it already."""

    target: Target
    entry: Path | None  # its file in the cache; None where it is not kept
    found: Inversion | None  # None: it has to be inverted


@dataclass(frozen=True)
class Inverter:
    """Finds the latents of photographs in a generator, by one choice of settings.

    config None is that of recipe, by its name; beside one, recipe is but the name that is told of it. label: the class
    that config asks for, which it replaces. align, face: as `load_target` takes them.
    batch: photographs that are inverted together; None: as many as the generator's size allows. budget: seconds a
    photograph. init: one latent that all start from. cache: a folder that keeps what was found; results that depend on
    budget or init are not kept. mask: what of each photograph is left out and filled in, as `read_mask` takes it.
    SettingsError for settings that no photograph could be inverted by.
    """

    generator: Generator
    config: InvertConfig = cast(InvertConfig, None)
    recipe: str = ""
    align: bool = True
    face: int | None = None
    batch: int | None = None
    budget: float | None = None
    init: Latent | None = None
    cache: Path | None = None
    label: InitVar[int | None] = None
    mask: MaskLike | Mask | None = None

    def __post_init__(self, label: int | None) -> None:
        config = self.config or recipe_named(self.generator, self.recipe or "default")
        config = config if label is None else replace(config, label=label)
        vars(self).update(config=config, recipe=self.recipe or ("custom" if self.config else "default"))
        check_budget(self.budget)
        check_weights(config.loss)
        check_label(self.generator, config.label, config.space)
        if self.init is not None and len(self.init) != 1:
            raise SettingsError(f"init{self.init.told} holds {len(self.init)} latents; pass one, as init.split()[0]")
        vars(self).update(mask=None if self.mask is None else read_mask(self.mask))
        vars(self).update({name: plain(vars(self)[name]) for name in ("face", "batch", "budget")})  # as JSON takes them
        if self.batch is not None and self.batch < 1:
            raise SettingsError(f"batch is {self.batch}; give a count of photographs from 1 on")

    def steps(self, images: Images, kept: Counted | None = None, config: InvertConfig | None = None) -> Iterator[Step]:
        """Yields the best step so far of every image, from the first guess on. Leave the loop to stop."""
        init = None if self.init is None else stack([self.init] * len(images))
        limit = None if self.budget is None else self.budget * len(images)
        yield from steps_of(self.generator, images, config or self.config, init=init, budget=limit, kept=kept)

    @torch.inference_mode(False)  # whatever mode the caller is in; gradients are needed
    @torch.enable_grad()
    def run(self, photos: Iterable[Photo | Job], watch: Watch = SILENT, *, keep_best: bool = False) -> Iterator[Result]:
        """A result for each photograph in its order, measured as it is asked for; a bad one does not stop the others.

        As many are searched for together as batch says, or fewer, if memory holds no more. Each ends as it would alone.
        keep_best: Ctrl-C ends a batch at its best step, whose results come before KeyboardInterrupt goes on.
        """
        queue: deque[Photo | Job | InversionError] = deque(photos)
        total, told = len(queue), False
        room = Room(self.generator, self.config, self.batch or at_a_time(self.generator))
        while queue:
            if watch.stopped():
                raise KeyboardInterrupt
            some = [queue.popleft() for _ in range(min(room.most, len(queue)))]
            jobs = [one if isinstance(one, Job | InversionError) else result_or_error(self.job, one) for one in some]
            targets = [job.target for job in jobs if isinstance(job, Job) and job.found is None]
            began, done = monotonic(), total - len(queue) - len(jobs)
            try:
                sought = room.tried(len(targets), partial(self.last, targets, watch, done, total))
            except MemoryShort as error:
                jobs = [error if isinstance(job, Job) and job.found is None else job for job in jobs]
                sought = None, False
            if sought is None:
                queue.extendleft(reversed(jobs))
                continue
            step, stopped = sought
            if stopped and not keep_best:
                raise KeyboardInterrupt
            seconds = (monotonic() - began) / max(1, len(targets))
            index = count()
            told = told or self.tell_stuck(step, watch)
            for job in jobs:
                yield self.result(job, step, index, seconds, whole=not stopped)
            if stopped:
                raise KeyboardInterrupt

    def last(
        self, targets: Sequence[Target], watch: Watch, done: int, total: int, config: InvertConfig
    ) -> tuple[Step | None, bool]:
        """The last step of the search for targets, and whether Ctrl-C ended it."""
        steps = self.steps(stacked(targets), stacked_kept(targets), config) if targets else iter(())
        return last_of(steps, watch, done, total)

    def tell_stuck(self, step: Step | None, watch: Watch) -> bool:
        """Say where no step was better than the start, which is then what is given; tell whether it was so."""
        if step is None or step.found is None or not step.index or self.config.returns != "best" or step.found.all():
            return False
        watch.say(f"{step.index} steps found nothing better than the start, which is given; try another --lr or --loss")
        return True

    def job(self, photo: Photo) -> Job:
        """The job that a photograph makes: its target, and what the cache holds of it."""
        target = load_target(self.generator, photo, align=self.align, face=self.face, mask=self.mask)
        if self.cache is None or target.sha256 is None or self.budget is not None or self.init is not None:
            return Job(target, None, None)
        mask = {"mask": self.mask.key} if isinstance(self.mask, Mask) else {}
        cut = {"align": self.align, "face": self.face, **mask}
        entry = entry_of(self.cache, target.sha256, self.generator, self.config, cut)
        return Job(target, entry, self.recall(entry, target))

    def recall(self, entry: Path, target: Target) -> Inversion | None:
        """The inversion of a photograph that the cache holds; None where it holds none, or a damaged one."""
        bundle = kept(entry, self.generator)
        if bundle is None:
            return None
        latent = replace(bundle.latent.to(self.generator.w_avg.device), source=target.source)
        told = {**bundle.history, "photograph": target.name, "recipe": self.recipe}
        losses, metrics, steps, seconds = (told[name] for name in ("losses", "metrics", "steps", "seconds"))
        return Inversion(latent, target, synthesize(self.generator, latent), losses, metrics, steps, seconds, told)

    def result(
        self, job: Job | InversionError, step: Step | None, index: Iterator[int], seconds: float, *, whole: bool
    ) -> Result:
        """The result of a job, which is the next index of its batch's last step; whole ones are kept."""
        if isinstance(job, InversionError):
            return job
        if job.found is not None:
            return job.found
        assert step is not None  # there is a first guess at least
        found = result_or_error(self.measured, job.target, step, next(index), seconds)
        if job.entry is not None and whole and isinstance(found, Inversion):
            write_entry(job.entry, found.latent, self.generator, found.history)
        return found

    def measured(self, target: Target, step: Step, index: int, seconds: float) -> Inversion:
        """The inversion of image `index` of a batch out of its last step; seconds is this image's part."""
        latent = replace(step.latent.split()[index], source=target.source)
        image = synthesize(self.generator, latent)
        losses = {name: float(loss[index]) for name, loss in step.losses.items()}
        metrics = compare(image, target.image, faces=self.generator.subject == "face", kept=target.kept)
        history = {
            "recipe": self.recipe,
            "settings": settings_told(self.config),
            "steps": step.index,
            "step_given": step.index if step.found is None else int(step.found[index]),  # 0: the start
            "seconds": seconds,
            "losses": losses,
            "metrics": metrics,
            "photograph": target.name,
            "photograph_sha256": target.sha256,
            "alignment": None if target.alignment is None else target.alignment.to_json(),
            **({} if target.kept is None else {"left_out": target.left_out}),
        }
        return Inversion(latent, target, image, losses, metrics, step.index, seconds, history)

    def latents(self, sources: Iterable[str | Path | Picture], watch: Watch = SILENT) -> list[Latent]:
        """The latent of each thing that sources name (`named`): saved, kept in the cache, or found now, in batches.

        In w_plus where they do not share a space. Raises what the first bad one is wrong with, before any is searched.
        """
        opened = [
            self.job(one) if isinstance(one, Picture) else load_one(one, self.generator) for one in named(sources)
        ]
        found = self.run([one for one in opened if isinstance(one, Job)], watch)
        latents = [raised(next(found)).latent if isinstance(one, Job) else one for one in opened]
        same = len({(latent.space, latent.label) for latent in latents}) == 1
        return [latent if same else latent.to_w_plus(self.generator) for latent in latents]

    def codes(self, images: Images) -> Styles:
        """Styles of images: what the encoder sees, where the settings take no steps, or else what they find."""
        seen = None if self.config.steps else encode(self.generator, images)
        if seen is not None:
            return seen.code
        *_, last = self.steps(images)
        return last.latent.to_ws(self.generator).detach()

    def coded(self, photos: Sequence[Photo], watch: Watch = SILENT) -> Iterator[Coded | InversionError]:
        """The target of each photograph with its styles; where steps are taken, as `run` finds them."""
        if self.config.steps or self.generator.encoder is None:
            for one in self.run(photos, watch):
                yield one if isinstance(one, InversionError) else (one.target, one.latent.to_ws(self.generator))
            return
        loaded = [result_or_error(self.job, photo) for photo in photos]
        targets = [job.target for job in loaded if isinstance(job, Job)]
        codes = iter(self.codes(stacked(targets)).split(1)) if targets else iter(())
        for job in loaded:
            yield job if isinstance(job, InversionError) else (job.target, next(codes))


@torch.inference_mode(False)
@torch.enable_grad()
def invert(
    generator: Generator,
    photo: Photo,
    *,
    recipe: str = "default",
    config: InvertConfig | None = None,
    loss: Mapping[str, float] | None = None,
    init: Latent | None = None,
    budget: float | None = None,
    seed: int = 0,
    label: int | None = None,
    align: bool = True,
    face: int | None = None,
    mask: MaskLike | Mask | None = None,
) -> Inversion:
    """Find the latent of one photograph: a path, a PIL image, an array (h, w, 3), the bytes of a file, an open one, or
    a tensor (1, 3, h, w) in [-1, 1] of the right size.

    config replaces the recipe's settings, and its seed; loss replaces its terms, name -> weight; budget is in seconds;
    label is the class, from 0, where the generator knows classes.
    mask: what is left out and filled in, as `faces.mask.read_mask` takes it.
    Raises InversionError's kinds: no face, an unreadable file, an unknown recipe.
    """
    recipe = recipe if config is None else "custom"
    config = config or replace(recipe_named(generator, recipe), seed=seed)
    config = config if loss is None else replace(config, loss=loss)
    how = {"align": align, "face": face, "budget": budget, "init": init, "label": label, "mask": mask}
    inverter = Inverter(generator, config, recipe, **how)
    return raised(next(inverter.run([photo])))


def raised(result: Result) -> Inversion:
    """The result, unless it is an error, which is raised."""
    if isinstance(result, InversionError):
        raise result
    return result
