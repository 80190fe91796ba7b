"""Reconstruction measured over a folder or a zip of portraits, by the conventions of `metrics`."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from generators.pictures.image import to_pil
from generators.pictures.sources import Picture
from generators.storage import check_folder
from inversion.batch import figures
from inversion.batch import keep as save_result
from inversion.errors import InversionError, SettingsError
from inversion.faces.detect import describe
from inversion.files.outputs import Stems
from inversion.inverter import Inversion, Inverter
from inversion.metrics import SAME_PERSON, summary
from inversion.watch import SILENT, Watch

MEASURES = ("seconds", "psnr_db", "ssim", "identity", "perceptual", "landmarks")


def evaluate(
    inverter: Inverter, photos: Sequence[Picture], watch: Watch = SILENT, *, keep: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Invert pictures, a record each in their order; a bad file does not stop the others.

    A record holds file and either error, or seconds (its part of its batch's), steps, psnr_db, ssim, identity
    (None where picture or reconstruction has no face), perceptual, landmarks, target_face (whether the picture has
    one), losses and peak_memory_mb, the process's so far. keep: a folder for latents and pictures, as `latent invert`
    writes them.
    """
    faces = inverter.generator.subject == "face"
    if keep is not None:
        check_folder(keep)
    names = None if keep is None else Stems(keep, [photo.place for photo in photos])
    for photo, result in zip(photos, inverter.run(photos, watch), strict=True):
        if names is not None:
            written = save_result(inverter.generator, photo, result, names)
            if "error" in written and not isinstance(result, InversionError):
                yield {"file": photo.name, "error": written["error"]}
                continue
        if isinstance(result, InversionError):
            yield {"file": photo.name, "error": str(result)}
        else:
            yield record(photo.name, result, faces=faces)


def first_of(photos: Sequence[Picture], limit: int | None) -> list[Picture]:
    """The first so many pictures, None for all; SettingsError unless that is a count."""
    if limit is not None and limit < 1:
        raise SettingsError(f"limit is {limit}; give a count of pictures from 1 on")
    return list(photos[:limit])


def record(name: str, result: Inversion, *, faces: bool = True) -> dict[str, Any]:
    """A picture's line of the table; faces=False where there are none to look for."""
    seen = result.metrics["identity"] is not None or (faces and describe(to_pil(result.target.image)) is not None)
    return {"file": name, "target_face": seen, **figures(result)}


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
