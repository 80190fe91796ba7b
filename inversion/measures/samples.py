"""Samples measured, a record for each truncation, and whether they repeat training faces."""

from collections.abc import Iterator
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from generators.base import Generator
from generators.pictures.image import to_pil, write_image
from generators.pictures.sheet import sheet
from inversion.config import LatentSpace
from inversion.latent import Latent, sample_latent, synthesize
from inversion.measures.diversity import FaceStats, measure_pictures, ratio
from inversion.measures.memorised import MEMORISED, find_neighbours, memorised_figures, write_memorised
from inversion.measures.study import Record, Study, face_figures, frechet
from inversion.target import load_target

SHEET_TILES = 100


def sample_records(study: Study, out: Path | None, memorised: Path | None) -> Iterator[Record]:
    """Samples at each truncation, and how near those of the last are to training faces; sheets of them go into out."""
    generator, config = study.generator, study.config
    ws, stats = generator.w_avg[None, None], FaceStats((), ())
    for psi in config.truncations:
        line: Record = {"measure": "samples", "setting": f"truncation {psi:g}", "truncation": psi}
        if generator.c_dim and config.label is None:
            yield {**line, "missing": {"samples": f"{generator.name} is conditional, and draws none without a label"}}
            continue
        how = {"seed": config.seed, "truncation_psi": psi, "label": config.label}
        ws = sample_latent(generator, batch=config.samples, **how).code
        images = study.watch.counted(rendered(generator, ws, config.batch), f"samples, {line['setting']}", len(ws))
        stats = measure_pictures(images, faces=study.faces)
        yield {**line, **sample_figures(study, stats)}
        if out is not None:
            write_samples(study, ws[:SHEET_TILES], stats, out / samples_name(psi))
    yield memorised_record(study, ws, stats, memorised)


def samples_name(psi: float) -> str:
    """The name of the sheet of samples at a truncation."""
    return f"samples-{psi:g}.png"


def sample_figures(study: Study, stats: FaceStats) -> Record:
    """Faces, variety and sharpness of samples, and how they are distributed."""
    missing: dict[str, str] = {}
    against = study.training or study.held_out
    return {
        "samples": len(stats),
        **face_figures(study, stats, missing),
        "laplacian_ratio": ratio(stats.energy, study.held_out.stats.energy),
        "laplacian_to_training": None if study.training is None else ratio(stats.energy, study.training.stats.energy),
        "frechet": frechet(stats.faces, against.stats.faces, missing) if study.faces else None,
        "frechet_to": "held out" if study.training is None else "training",
        "missing": missing,
    }


def rendered(
    generator: Generator, ws: Float[Tensor, "count num_ws w_dim"], batch: int
) -> Iterator[Float[Tensor, "1 channels height width"]]:
    """The images of styles one by one, rendered batch by batch, with the fixed noise."""
    for part in ws.split(batch):
        yield from synthesize(generator, Latent(part, LatentSpace.W_PLUS, generator.fixed_noise(len(part)))).split(1)


def write_samples(study: Study, ws: Float[Tensor, "count num_ws w_dim"], stats: FaceStats, path: Path) -> None:
    """Write a sheet of samples; those without a face are marked, where faces are looked for."""
    images = [to_pil(image) for image in rendered(study.generator, ws, study.config.batch)]
    labels = ["no face" if face is None and study.faces else "" for face in stats.descriptors]
    write_image(sheet(images, labels[: len(images)], columns=10, tile=96), path)


def memorised_record(
    study: Study, ws: Float[Tensor, "count num_ws w_dim"], stats: FaceStats, path: Path | None
) -> Record:
    """How near the samples are to the training faces; the picture of it, where a path is given."""
    line: Record = {"measure": "memorised", "setting": "nearest training face", "missing": {}}
    training, held = study.training, study.held_out.stats.faces
    faces = [i for i, d in enumerate(stats.descriptors[:MEMORISED]) if d is not None]
    if training is None or not study.faces or not (faces and len(training.stats.faces)):
        why = study.no_faces_because or (
            "no face to compare" if training else "needs training pictures; give them as --data"
        )
        return {**line, "missing": {"memorised": why}}
    found = find_neighbours(stats.faces[: len(faces)], training.stats.faces, held, seed=study.config.seed)
    if path is not None:
        files = [file for file, d in zip(training.files, training.stats.descriptors, strict=True) if d is not None]
        write_memorised(
            found,
            path,
            sample=lambda i: to_pil(next(rendered(study.generator, ws[faces[i], None], 1))),
            training=lambda i: to_pil(load_target(study.generator, files[i], align=False).image),
        )
    return {**line, **memorised_figures(found)}
