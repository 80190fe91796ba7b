"""Many photographs into a folder: STEM.latent.safetensors, STEM.png, STEM.target.png, and report.json."""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

from generators.base import Generator
from generators.checkpoints.delta import name_of
from generators.device import peak_memory_mb
from generators.pictures.image import write_image
from generators.pictures.sources import Picture
from generators.storage import check_folder
from inversion.errors import InversionError, WriteError
from inversion.files.latent_file import save
from inversion.files.outputs import Record, Report, Stems
from inversion.files.outputs import stems as stems
from inversion.inverter import Inversion, Inverter, Result
from inversion.latent import at_a_time
from inversion.tuning.config import TuneConfig
from inversion.tuning.results import tuned_results
from inversion.watch import SILENT, Watch

OF_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # refusals that the next photograph would meet too


def invert_files(
    inverter: Inverter,
    photos: Sequence[Picture],
    out: Path,
    watch: Watch = SILENT,
    *,
    spare: Sequence[Path] = (),
    tuning: TuneConfig | None = None,
) -> Iterator[Record]:
    """Invert photographs, a record each in their order; a bad one does not stop the others.

    tuning: a generator is tuned for all of them together, once all are found; its delta is written into out, too.

    Writes STEM.latent.safetensors, STEM.png (reconstruction) and STEM.target.png into out, and report.json, the records
    of earlier calls and all so far, after every batch. STEM is the photograph's own, numbered where it would replace
    another one's files, or a file that is read: the photographs, and what spare names.

    A record holds file and either error, or latent (its path), seconds, steps, step_given (the one that it is of; 0 is
    the start), psnr_db, ssim, identity (None without a face), losses and peak_memory_mb, the process's so far. Ctrl-C
    ends a batch at its best step, which is kept and yielded before KeyboardInterrupt goes on. Raises what concerns all
    of them.
    """
    check_folder(out)
    size = inverter.batch or at_a_time(inverter.generator)
    report, names = Report(out), Stems(out, [*(photo.place for photo in photos), *spare])
    told, results = 0, inverter.run(photos, watch, keep_best=True)
    try:
        if tuning is not None:
            results = tuned_results(inverter.generator, results, tuning, watch)
        for photo, found in zip(photos, results, strict=True):
            record = keep(inverter.generator, photo, found, names)
            report.add(record)
            if len(report.new) % size == 0:
                told = len(report.new)
                report.write()
            yield record
    finally:
        if len(report.new) > told:
            report.write()


def keep(generator: Generator, photo: Picture, found: Result, names: Stems) -> Record:
    """Write what was found to STEM.*, and tell it as a record; what cannot be written is this photograph's error."""
    if isinstance(found, InversionError):
        return {"file": photo.place, "error": str(found)}
    alignment = found.target.alignment
    stem = names.give(photo.name, found.target.sha256, None if alignment is None else alignment.face)
    path = names.out / f"{stem}.latent.safetensors"
    try:
        save(found.latent, path, found.tuned or generator, found.history)
        write_image(found.image, names.out / f"{stem}.png")
        write_image(found.target.image, names.out / f"{stem}.target.png")
    except (WriteError, InversionError) as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in OF_ALL:
            raise
        return {"file": photo.place, "error": str(error)}
    about = {"file": photo.place, "photograph_sha256": found.target.sha256, "latent": str(path)}
    if found.tuned is not None and found.tuned.delta is not None:
        about["delta"] = str(names.out / name_of(found.tuned.delta.sha256))
    return about | {"generator": generator.name, "licence": generator.card.get("licence")} | figures(found)


def figures(found: Inversion) -> Record:
    """The numbers of an inversion, as records hold them."""
    return {
        "seconds": found.seconds,
        "steps": found.steps,
        "step_given": found.history.get("step_given"),
        **found.metrics,
        "losses": found.losses,
        **({} if found.tuned is None else {"tuning": found.history["tuning"]}),
        "peak_memory_mb": peak_memory_mb(),
    }
