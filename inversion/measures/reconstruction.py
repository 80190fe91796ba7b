"""Reconstruction measured over a folder or a zip of portraits, by the conventions of `metrics`."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from generators.base import Generator
from generators.device import peak_memory_mb
from generators.pictures.image import to_pil
from generators.pictures.sources import pictures
from inversion.batch import Progress, invert_batches
from inversion.batch import keep as save_result
from inversion.config import InvertConfig
from inversion.errors import InversionError, SettingsError
from inversion.faces.detect import describe
from inversion.inverter import Inversion
from inversion.metrics import SAME_PERSON, summary
from inversion.target import load_target

MEASURES = ("seconds", "psnr_db", "ssim", "identity", "perceptual", "landmarks")


def evaluate(
    generator: Generator,
    source: Path,
    config: InvertConfig,
    *,
    recipe: str,
    batch: int = 8,
    align: bool = False,
    limit: int | None = None,
    budget: float | None = None,
    progress: Progress | None = None,
    keep: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Invert all pictures of a folder or a zip, a record each, in order of name; a bad file does not stop the others.

    The pictures are taken as aligned portraits and only resized; align=True is for photographs. limit: only so many.
    budget: seconds a picture. recipe is the name that goes with config. A record holds file and either error, or
    seconds (its part of its batch's search), steps, psnr_db, ssim, identity (None where picture or reconstruction has
    no face), perceptual, landmarks, target_face (whether the picture has one), losses and peak_memory_mb, the
    process's so far. keep: a folder for latents and pictures, as `latent invert` writes them. Raises ImageError if
    source holds no pictures, SettingsError for settings that fit no picture.
    """
    options = {"batch": batch, "align": align, "limit": limit, "budget": budget, "progress": progress}
    for name, result in invert_all(generator, source, config, recipe=recipe, **options):  # type: ignore[arg-type]
        if keep is not None:
            save_result(name, result, keep / Path(name).stem, generator)
        yield (
            {"file": name, "error": str(result)}
            if isinstance(result, InversionError)
            else record(name, result, faces=generator.subject == "face")
        )


def invert_all(
    generator: Generator,
    source: Path,
    config: InvertConfig,
    *,
    recipe: str,
    batch: int = 8,
    align: bool = False,
    limit: int | None = None,
    budget: float | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[str, Inversion | InversionError]]:
    """What `evaluate` measures: each picture's name, and its inversion or what was wrong with it."""
    for name, value in (("batch", batch), ("limit", limit)):
        if value is not None and value < 1:
            raise SettingsError(f"{name} is {value}; give a count of pictures from 1 on")
    files = pictures(source)[:limit]
    batches = invert_batches(
        generator,
        files,
        lambda file: load_target(file, generator, align=align),
        config,
        recipe=recipe,
        batch=batch,
        budget=budget,
        progress=progress,
    )
    for file, result in zip(files, chain.from_iterable(batches), strict=True):
        yield file.name, result


def record(name: str, result: Inversion, *, faces: bool = True) -> dict[str, Any]:
    """A picture's line of the table; faces=False where there are none to look for."""
    seen = result.metrics["identity"] is not None or (faces and describe(to_pil(result.target.image)) is not None)
    return {
        "file": name,
        "seconds": result.seconds,
        "steps": result.steps,
        **result.metrics,
        "target_face": seen,
        "losses": result.losses,
        "peak_memory_mb": peak_memory_mb(),
    }


def summarize(records: Iterable[dict]) -> dict[str, Any]:
    """median, p10 and p90 of each of MEASURES; the share that stays the same person; counts.

    same_person is the share of pictures with a face whose reconstruction's identity is under 0.6; a reconstruction
    without a face counts as another person; None without any face. faces is how many pictures that was, n counts all
    pictures, failed those with an error.
    """
    records = list(records)
    good = [r for r in records if "error" not in r]
    faces = [r["identity"] for r in good if r["target_face"]]
    same = sum(distance is not None and distance < SAME_PERSON for distance in faces)
    spread = {measure: summary(r[measure] for r in good) for measure in MEASURES}
    return {
        **{statistic: {m: spread[m][statistic] for m in MEASURES} for statistic in ("median", "p10", "p90")},
        "same_person": same / len(faces) if faces else None,
        "faces": len(faces),
        "peak_memory_mb": max((r["peak_memory_mb"] or 0.0 for r in good), default=None),
        "n": len(records),
        "failed": len(records) - len(good),
    }
