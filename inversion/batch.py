"""Many photographs into a folder: STEM.latent.safetensors, STEM.png, STEM.target.png, and report.json."""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image

from generators.base import Generator
from generators.checkpoints.delta import name_of
from generators.device import peak_memory_mb
from generators.pictures.exif import kept_exif
from generators.pictures.image import to_pil, write_image
from generators.pictures.sources import Picture
from generators.storage import alone_in, check_folder
from inversion.errors import ImageError, InversionError, WriteError
from inversion.faces.align import Alignment
from inversion.faces.paste import paste_back
from inversion.files.latent_file import save
from inversion.files.outputs import Record, Report, Stems
from inversion.files.outputs import stems as stems
from inversion.inverter import Inversion, Inverter, Result
from inversion.latent import at_a_time
from inversion.target import Target
from inversion.tuning.config import TuneConfig
from inversion.tuning.results import tuned_results
from inversion.watch import SILENT, Watch

HOLE_FEATHER = 0.04  # of the crop's side, about what was filled in
OF_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # refusals that the next photograph would meet too


@dataclass(frozen=True)
class Also:
    """Further pictures of an inversion: STEM.pasted.png, the photograph with the face put back; STEM.compared.png, the
    crop beside the reconstruction; and, of a masked one always, STEM.filled.png, the crop with what was filled in."""

    paste: bool = False
    compare: bool = False

    def write(self, photo: Picture, found: Inversion, stem: Path) -> Record:
        """Write them, and tell their paths."""
        wrote: Record = {}
        if self.compare:
            path = stem.with_name(f"{stem.name}.compared.png")
            write_image(torch.cat([found.target.image, found.image], dim=3), path)
            wrote["compared"] = str(path)
        if found.target.kept is not None:
            path = stem.with_name(f"{stem.name}.filled.png")
            write_image(filled(found), path)
            wrote["filled"] = str(path)
        if self.paste:
            path = stem.with_name(f"{stem.name}.pasted.png")
            content = photo.content()
            picture = pasted(found, content.image())
            write_image(picture, path, exif=kept_exif(content.data, picture.size))
            wrote["pasted"] = str(path)
        return wrote


def pasted(found: Inversion, photo: Image.Image) -> Image.Image:
    """The photograph with its reconstructed face; of a masked one only what was filled in is put there."""
    alignment = found.target.alignment
    if alignment is None:
        raise ImageError("no face was cut out of the photograph, so that none can be put back; align it")
    if found.target.kept is None:
        return paste_back(photo, to_pil(found.image), alignment)
    return paste_back(photo, to_pil(found.image), alignment, HOLE_FEATHER, inside=hole(found.target))


def filled(found: Inversion) -> Image.Image:
    """The crop with what was filled in, and else as it was."""
    crop, side = to_pil(found.target.image), float(found.image.shape[-1])
    whole = Alignment(quad=((0.0, 0.0), (0.0, side), (side, side), (side, 0.0)), photo_size=crop.size, face=1, faces=1)
    return paste_back(crop, to_pil(found.image), whole, HOLE_FEATHER, inside=hole(found.target))


def hole(target: Target) -> Bool[np.ndarray, "height width"] | None:
    """The pixels of a target that were filled in; None where none were."""
    return None if target.kept is None else ~target.kept[0, 0].cpu().numpy()


def invert_files(
    inverter: Inverter,
    photos: Sequence[Picture],
    out: Path,
    watch: Watch = SILENT,
    *,
    spare: Sequence[Path] = (),
    also: Also | None = None,
    tuning: TuneConfig | None = None,
) -> Iterator[Record]:
    """Invert photographs, a record each in their order; a bad one does not stop the others.

    tuning: a generator is tuned for all of them together, once all are found; its delta is written into out, too.

    Writes STEM.latent.safetensors, STEM.png (reconstruction) and STEM.target.png into out, and report.json, the records
    of earlier calls and all so far, after every batch. STEM is the photograph's own, numbered where it would replace
    another one's files, or a file that is read: the photographs, and what spare names. also: further pictures.

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
            record = keep(inverter.generator, photo, found, names, also)
            report.add(record)
            if len(report.new) % size == 0:
                told = len(report.new)
                report.write()
            yield record
    finally:
        if len(report.new) > told:
            report.write()


def keep(generator: Generator, photo: Picture, found: Result, names: Stems, also: Also | None = None) -> Record:
    """Write what was found to STEM.*, and tell it as a record; what cannot be written is this photograph's error."""
    if isinstance(found, InversionError):
        return {"file": photo.place, "error": str(found)}
    alignment = found.target.alignment
    try:
        with alone_in(names.out):
            stem = names.give(photo.name, found.target.sha256, None if alignment is None else alignment.face)
            path = names.out / f"{stem}.latent.safetensors"
            save(found.latent, path, found.tuned or generator, found.history)
            write_image(found.image, names.out / f"{stem}.png")
            write_image(found.target.image, names.out / f"{stem}.target.png")
            more = (also or Also()).write(photo, found, names.out / stem)
    except (WriteError, InversionError) as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in OF_ALL:
            raise
        return {"file": photo.place, "error": str(error)}
    about = {"file": photo.place, "photograph_sha256": found.target.sha256, "latent": str(path)}
    if found.target.kept is not None:
        about["left_out"] = found.target.left_out
    if found.tuned is not None and found.tuned.delta is not None:
        about["delta"] = str(names.out / name_of(found.tuned.delta.sha256))
    return about | more | {"generator": generator.name, "licence": generator.card.get("licence")} | figures(found)


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
