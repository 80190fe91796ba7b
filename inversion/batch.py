"""Many photographs into a folder: STEM.latent.safetensors, STEM.png, STEM.target.png, and report.json."""

import os
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from generators.base import Generator
from generators.device import peak_memory_mb
from generators.pictures.image import write_image
from generators.pictures.sources import Picture
from generators.storage import as_json, check_folder, write_bytes
from inversion.errors import InversionError
from inversion.files.latent_file import save
from inversion.inverter import Inversion, Inverter, Result
from inversion.latent import at_a_time
from inversion.watch import SILENT, Watch

Record = dict[str, object]
ENDS = (".png", ".target.png", ".latent.safetensors")  # of the files of one photograph


def invert_files(inverter: Inverter, photos: Sequence[Picture], out: Path, watch: Watch = SILENT) -> Iterator[Record]:
    """Invert photographs, a record each in their order; a bad one does not stop the others.

    Writes STEM.latent.safetensors, STEM.png (reconstruction) and STEM.target.png into out, and report.json, all
    records so far, after every batch. A record holds file and either error, or latent (its path), seconds, steps,
    step_given (the one that it is of; 0 is the start), psnr_db, ssim, identity (None without a face), losses and
    peak_memory_mb, the process's so far. Ctrl-C ends a batch at its best step, which is kept and yielded before
    KeyboardInterrupt goes on. Raises what concerns all of them.
    """
    check_folder(out)
    size = inverter.batch or at_a_time(inverter.generator)
    records: list[Record] = []
    told = 0
    results = zip(photos, stems(photos, out), inverter.run(photos, watch, keep_best=True), strict=True)
    try:
        for photo, stem, found in results:
            records.append(keep(inverter.generator, photo.place, found, out / stem))
            if len(records) % size == 0:
                told = report(records, out)
            yield records[-1]
    finally:
        if len(records) > told:
            report(records, out)


def report(records: Sequence[Record], out: Path) -> int:
    """Write report.json; gives how many records it has."""
    write_bytes((as_json(records, indent=1) + "\n").encode(), out / "report.json")
    return len(records)


def keep(generator: Generator, name: str, found: Result, stem: Path) -> Record:
    """Write what was found to STEM.*, and tell it as a record."""
    if isinstance(found, InversionError):
        return {"file": name, "error": str(found)}
    path = stem.with_name(f"{stem.name}.latent.safetensors")
    save(found.latent, path, generator, found.history)
    write_image(found.image, stem.with_name(f"{stem.name}.png"))
    write_image(found.target.image, stem.with_name(f"{stem.name}.target.png"))
    about = {"file": name, "latent": str(path), "generator": generator.name, "licence": generator.card.get("licence")}
    return about | figures(found)


def figures(found: Inversion) -> Record:
    """The numbers of an inversion, as records hold them."""
    return {
        "seconds": found.seconds,
        "steps": found.steps,
        "step_given": found.history.get("step_given"),
        **found.metrics,
        "losses": found.losses,
        "peak_memory_mb": peak_memory_mb(),
    }


def stems(photos: Sequence[Picture], out: Path) -> list[str]:
    """A stem in out for each photograph: its own, numbered where two share it or a photograph would be replaced."""
    names: list[str] = []
    taken = {os.path.realpath(photo.place).lower() for photo in photos}  # some disks ignore case
    for photo in photos:
        stem = Path(photo.name).stem
        numbered = (stem if n == 1 else f"{stem}-{n}" for n in count(1))
        names.append(next(name for name in numbered if taken.isdisjoint(files_of(name, out))))
        taken |= files_of(names[-1], out)
    return names


def files_of(stem: str, out: Path) -> set[str]:
    """The files that a photograph of this stem gets."""
    return {os.path.realpath(out / f"{stem}{end}").lower() for end in ENDS}
