"""Many photographs, batch by batch: `invert_batches` walks over them, `invert_files` writes a folder of results."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TypeVar

from generators.base import Generator
from generators.device import peak_memory_mb
from generators.pictures.image import WRITES, write_image
from generators.storage import as_json, check_folder, write_bytes
from inversion.config import InvertConfig
from inversion.errors import ImageError, InversionError, SettingsError
from inversion.files.latent_file import save
from inversion.inverter import Inversion, measure_one, search
from inversion.latent import Latent, stack
from inversion.loop import Step, check_budget
from inversion.losses import check_weights
from inversion.target import Target, load_target, stacked

Record = dict[str, object]
Progress = Callable[[int, int, Step], object]  # photographs done, photographs in all, the present batch's step
Source = TypeVar("Source")
Thing = TypeVar("Thing")


def invert_batches(
    generator: Generator,
    sources: Sequence[Source],
    load: Callable[[Source], Target],
    config: InvertConfig,
    *,
    recipe: str,
    batch: int = 8,
    init: Latent | None = None,
    budget: float | None = None,
    progress: Progress | None = None,
    keep_best: bool = False,
) -> Iterator[Iterator[Inversion | ImageError]]:
    """Invert what load makes of the sources, batch by batch; a batch's results are measured as they are asked for.

    They come in the order of the sources, an ImageError in the place of what could not be loaded, or diverged and
    renders to NaN. init: one latent that all start from; budget: seconds a source; recipe is the name that goes with
    config. keep_best: Ctrl-C ends a search at its best step, which is yielded before KeyboardInterrupt goes on.
    """
    for first in range(0, len(sources), batch):
        loaded = [attempt(load, source) for source in sources[first : first + batch]]
        targets = [one for one in loaded if isinstance(one, Target)]
        began = monotonic()
        steps = search_all(generator, targets, config, init, budget)
        step, stopped = last_of(steps, progress, first, len(sources))
        if stopped and not keep_best:
            raise KeyboardInterrupt
        share = (monotonic() - began) / max(1, len(targets))
        yield results(generator, loaded, step, config, recipe=recipe, seconds=share)
        if stopped:
            raise KeyboardInterrupt


def attempt(make: Callable[..., Thing], *args: object, **more: object) -> Thing | ImageError:
    """What make gives, or the ImageError that it raises."""
    try:
        return make(*args, **more)
    except ImageError as error:
        return error


def search_all(
    generator: Generator, targets: Sequence[Target], config: InvertConfig, init: Latent | None, budget: float | None
) -> Iterator[Step]:
    """`search` for a batch, each from init; nothing where there is no target. budget: seconds a photograph."""
    if targets:
        start = None if init is None else stack([init] * len(targets))
        limit = None if budget is None else budget * len(targets)
        yield from search(generator, stacked(targets), config, init=start, budget=limit)


def last_of(steps: Iterable[Step], progress: Progress | None, done: int, total: int) -> tuple[Step | None, bool]:
    """The last step of a search, and whether Ctrl-C ended it; before the first step Ctrl-C passes."""
    step = None
    try:
        for step in steps:
            if progress is not None:
                progress(done, total, step)
    except KeyboardInterrupt:
        if step is None:
            raise
        return step, True
    return step, False


def results(
    generator: Generator,
    loaded: Sequence[Target | ImageError],
    step: Step | None,
    config: InvertConfig,
    *,
    recipe: str,
    seconds: float,
) -> Iterator[Inversion | ImageError]:
    """A batch's results, one by one; step is of the search over its targets, None where there are none."""
    index = count()
    for found in loaded:
        if isinstance(found, Target):
            assert step is not None  # a search yields its first guess at least
            yield attempt(measure_one, generator, found, step, next(index), config, recipe=recipe, seconds=seconds)
        else:
            yield found


def invert_files(
    generator: Generator,
    photos: Sequence[str],
    out: Path,
    config: InvertConfig,
    *,
    recipe: str,
    batch: int = 8,
    init: Latent | None = None,
    budget: float | None = None,
    align: bool = True,
    face: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Record]:
    """Invert photographs, a record each in their order; a bad one does not stop the others.

    Writes STEM.latent.safetensors, STEM.png (reconstruction) and STEM.target.png into out, and report.json, all
    records so far, after every batch. init: one latent that all start from; budget: seconds a photograph. A record
    holds file and either error, or latent (its path), seconds, steps, psnr_db, ssim, identity (None without a face),
    losses and peak_memory_mb, the process's so far. Ctrl-C ends a search at its best step, which is kept and yielded
    before KeyboardInterrupt goes on. Raises what concerns all of them: settings, or a folder that cannot be written.
    """
    if batch < 1:
        raise SettingsError(f"batch is {batch}; give a count of photographs from 1 on")
    check_budget(budget)
    check_weights(config.loss)
    check_folder(out)
    records, names = [], zip(photos, stems(photos, out), strict=True)
    load = partial(load_target, generator=generator, align=align, face=face)
    batches = invert_batches(
        generator,
        photos,
        load,
        config,
        recipe=recipe,
        batch=batch,
        init=init,
        budget=budget,
        progress=progress,
        keep_best=True,
    )
    for found in batches:  # each takes as many names as it has results
        new = [keep(photo, one, out / stem, generator) for one, (photo, stem) in zip(found, names, strict=False)]
        records += new
        write_bytes((as_json(records, indent=1) + "\n").encode(), out / "report.json")
        yield from new


def keep(photo: str, found: Inversion | InversionError, stem: Path, generator: Generator) -> Record:
    """Write what was found to STEM.*, and tell it as a record."""
    if isinstance(found, InversionError):
        return {"file": photo, "error": str(found)}
    path = stem.with_name(f"{stem.name}.latent.safetensors")
    save(found.latent, path, generator, found.history)
    write_image(found.image, stem.with_name(f"{stem.name}.png"))
    write_image(found.target.image, stem.with_name(f"{stem.name}.target.png"))
    return {
        "file": photo,
        "latent": str(path),
        "generator": generator.name,
        "licence": generator.card.get("licence"),
        "seconds": found.seconds,
        "steps": found.steps,
        **found.metrics,
        "losses": found.losses,
        "peak_memory_mb": peak_memory_mb(),
    }


def stems(photos: Sequence[str], out: Path) -> list[str]:
    """A stem in out for each photograph: its own, numbered where two share it or a photograph would be replaced."""
    names, taken = [], {os.path.realpath(photo).lower() for photo in photos}  # some disks ignore case
    for photo in photos:
        stem = "stdin" if photo == "-" else Path(photo).stem
        numbered = (stem if n == 1 else f"{stem}-{n}" for n in count(1))
        free = (name for name in numbered if taken.isdisjoint(_files(name, out)))
        names.append(next(free))
        taken |= _files(names[-1], out)
    return names


def _files(stem: str, out: Path) -> set[str]:
    return {os.path.realpath(out / f"{stem}{end}").lower() for end in (".png", ".target.png", ".latent.safetensors")}


def pictures_in(sources: Sequence[str]) -> list[str]:
    """Photographs as they are named, and for a folder all pictures in it, by name; ImageError where it has none."""
    found = []
    for source in sources:
        if source == "-" or not Path(source).is_dir():
            found.append(source)
            continue
        files = sorted(path for path in Path(source).iterdir() if path.suffix.lower().lstrip(".") in WRITES)
        inside = [str(path) for path in files if path.is_file() and not path.name.startswith(".")]
        if not inside:
            raise ImageError(f"{source} holds no picture; name a folder of .{', .'.join(WRITES)} files")
        found += inside
    return found
