"""A photograph from file to latent: align, guess, descend, measure. What `latent invert` and most programs call."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, averaged
from generators.pictures.image import to_pil
from inversion.config import InvertConfig
from inversion.config import recipe as recipe_named
from inversion.errors import LatentFileError, SettingsError, WriteError
from inversion.files.cache import cache_key
from inversion.files.latent_file import LATENTS, load_one, save
from inversion.guess import first_guess
from inversion.latent import Latent, synthesize
from inversion.loop import Step, better, check_budget, descend
from inversion.losses import TermContext, objectives
from inversion.metrics import MEASURE_PX, identity_distance, landmark_distance, perceptual, psnr, ssim
from inversion.target import Photo, Target, load_target


@dataclass(frozen=True)
class Inversion:
    """What an inversion found, and how well."""

    latent: Latent
    target: Target
    image: Float[Tensor, "1 channels height width"]  # the latent rendered
    losses: dict[str, float]  # weighted terms of the objective
    metrics: dict[str, float | None]  # as `compare` gives them
    steps: int
    seconds: float
    history: dict[str, object]  # all that a latent file tells about its making


def search(
    generator: Generator,
    images: Float[Tensor, "batch channels height width"],
    config: InvertConfig,
    *,
    init: Latent | None = None,
    budget: float | None = None,
) -> Iterator[Step]:
    """Invert a batch: yields the best step so far of every image, from the first guess on. Leave the loop to stop.

    init replaces config.start. budget is in seconds, of which the first guess and the features, made before the first
    step, take their part; the first guess is always yielded.
    """
    check_budget(budget)
    began = monotonic()
    if init is None:
        init = best_start(generator, images, config, budget=budget)
    elif init.space is not config.space:
        raise SettingsError(f"the start is in {init.space}, the search in {config.space}; convert it or set space")
    elif len(init) != len(images):
        raise SettingsError(f"{len(init)} starts came for {len(images)} images; give one each")
    terms = objectives(config.loss, context_of(generator, images, init, config))
    left = None if budget is None else max(0.0, budget - (monotonic() - began))
    yield from descend(generator, init, terms, config, budget=left)


def best_start(generator: Generator, images: Tensor, config: InvertConfig, *, budget: float | None = None) -> Latent:
    """The first guess; of several random ones, the best of each image after a tenth of the steps.

    Those have half of the budget (seconds) between them.
    """
    if config.start != "random" or config.restarts == 1:
        return first_guess(generator, images, config.start, config.space, seed=config.seed, looks=config.looks)
    best, short = None, replace(config, steps=config.steps // 10, patience=None, detail=0.0)
    share = None if budget is None else budget / (2 * config.restarts)
    for k in range(config.restarts):
        start = first_guess(generator, images, "random", config.space, seed=config.seed + k)
        terms = objectives(config.loss, context_of(generator, images, start, config))
        *_, last = descend(generator, start, terms, short, budget=share)
        best = last if best is None else better(best, last)
    assert best is not None
    return best.latent


def context_of(generator: Generator, images: Tensor, init: Latent, config: InvertConfig) -> TermContext:
    with torch.no_grad():
        start = init.to_ws(generator)
    return TermContext(generator=generator, target=images, init_ws=start, init_noise=init.noise, seed=config.seed)


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
    align: bool = True,
    face: int | None = None,
) -> Inversion:
    """Find the latent of one photograph: a path, a PIL image, or a tensor (1, 3, h, w) in [-1, 1] of the right size.

    config replaces the recipe's settings, and its seed; loss replaces its terms, name -> weight; budget is in seconds.
    Raises InversionError's kinds: no face, an unreadable file, an unknown recipe.
    """
    recipe = recipe if config is None else "custom"
    config = config or replace(recipe_named(recipe, generator), seed=seed)
    config = config if loss is None else replace(config, loss=loss)
    target = load_target(photo, generator, align=align, face=face)
    began = monotonic()
    step = deque(search(generator, target.image, config, init=init, budget=budget), maxlen=1).pop()
    return measure(generator, [target], step, config, recipe=recipe, seconds=monotonic() - began)[0]


def plain(config: InvertConfig) -> dict[str, object]:
    """The settings as JSON has them."""
    return {**asdict(config), "coarse": [list(pair) for pair in config.coarse]}


def measure(
    generator: Generator, targets: Sequence[Target], step: Step, config: InvertConfig, *, recipe: str, seconds: float
) -> list[Inversion]:
    """What a search found, one result per target, rendered and measured; seconds is for the whole batch."""
    share = seconds / len(targets)
    return [measure_one(generator, t, step, i, config, recipe=recipe, seconds=share) for i, t in enumerate(targets)]


def measure_one(
    generator: Generator, target: Target, step: Step, index: int, config: InvertConfig, *, recipe: str, seconds: float
) -> Inversion:
    """What a search found for image `index` of its batch, rendered and measured; seconds is this image's part."""
    latent = step.latent.split()[index]
    image = synthesize(generator, latent)
    losses = {name: float(loss[index]) for name, loss in step.losses.items()}
    metrics = compare(image, target.image, faces=generator.subject == "face")
    history = {
        "recipe": recipe,
        "settings": plain(config),
        "steps": step.index,
        "seconds": seconds,
        "losses": losses,
        "metrics": metrics,
        "photograph": target.source,
        "photograph_sha256": target.sha256,
        "alignment": None if target.alignment is None else target.alignment.to_json(),
    }
    return Inversion(latent, target, image, losses, metrics, step.index, seconds, history)


def compare(
    image: Float[Tensor, "1 channels height width"], target: Float[Tensor, "1 channels height width"], *, faces: bool
) -> dict[str, float | None]:
    """psnr_db and ssim; perceptual, None under 32 px; identity and landmarks, None without faces. See `metrics`."""
    size = image.shape[-1]
    while size > MEASURE_PX:
        size //= 2
    a, b = averaged(image, size), averaged(target, size)
    first, second = to_pil(a), to_pil(b)
    return {
        "psnr_db": float(psnr(a, b)[0]),
        "ssim": float(ssim(a, b)[0]),
        "perceptual": float(perceptual(a, b)[0]) if size >= 32 else None,
        "identity": identity_distance(first, second) if faces else None,
        "landmarks": landmark_distance(first, second) if faces else None,
    }


def latent_of(
    source: str | Path,
    generator: Generator,
    config: InvertConfig,
    *,
    recipe: str = "default",
    align: bool = True,
    face: int | None = None,
    cache: Path | None = None,
    watch: Callable[[Step], object] | None = None,
) -> Latent:
    """The latent in a file, or of a photograph, which is inverted unless cache holds its latent already.

    A file is a latent where its suffix says so, and must hold one image's. cache None keeps nothing; standard input
    is never kept. watch sees every step of a search. Raises what `load_latent` and `invert` raise.
    """
    if Path(source).suffix.lower() in LATENTS:
        return load_one(Path(source), generator)
    key = cache_key(source, generator, config, align=align, face=face)
    kept = None if cache is None or key is None else cache / f"{key}.latent.safetensors"
    if kept is not None and kept.is_file():
        with suppress(LatentFileError):  # a damaged entry is made again
            return load_one(kept, generator)
    target, began, step = load_target(source, generator, align=align, face=face), monotonic(), None
    for step in search(generator, target.image, config):
        if watch is not None:
            watch(step)
    assert step is not None
    found = measure(generator, [target], step, config, recipe=recipe, seconds=monotonic() - began)[0]
    if kept is not None:
        with suppress(WriteError):  # a cache that cannot be written costs time, not the result
            save(found.latent, kept, generator, found.history)
    return found.latent


def latents_of(
    sources: Sequence[str | Path],
    generator: Generator,
    config: InvertConfig,
    *,
    recipe: str = "default",
    align: bool = True,
    face: int | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int, Step], object] | None = None,
) -> list[Latent]:
    """`latent_of` each source; in w_plus where they do not share a space. progress: sources done, in all, a step."""
    latents = []
    for done, source in enumerate(sources):
        watch = None if progress is None else partial(progress, done, len(sources))
        latents.append(
            latent_of(source, generator, config, recipe=recipe, align=align, face=face, cache=cache, watch=watch)
        )
    same = len({latent.space for latent in latents}) == 1
    return [latent if same else latent.to_w_plus(generator) for latent in latents]
