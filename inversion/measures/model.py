"""How good a generator is: what `latent evaluate-model` measures, a record for each line of its table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator
from generators.pictures.image import to_pil, write_image
from generators.pictures.sheet import sheet
from generators.pictures.sources import Picture, pictures_of
from inversion.config import InvertConfig, LatentSpace, config_of
from inversion.errors import InversionError, SettingsError, result_or_error
from inversion.inverter import Inversion, Inverter
from inversion.latent import Latent, sample_latent, synthesize
from inversion.measures.config import MODEL_CONVENTIONS, QualityConfig
from inversion.measures.diversity import FEWEST, Seen, frechet_distance, look, mean_pairwise, ratio
from inversion.measures.memorised import MEMORISED, find_neighbours, memorised_figures, write_memorised
from inversion.measures.reconstruction import first_of, record, summarize
from inversion.measures.smoothness import EPSILON, draw_pairs, look_between, perceptual_path_length, write_midpoints
from inversion.target import load_target
from inversion.watch import SILENT, Watch

SHEET_TILES = 100
Record = dict[str, Any]


@dataclass(frozen=True)
class Portraits:
    """Real pictures, and what was seen in them at the generator's size."""

    files: tuple[Picture, ...]  # those that could be read
    seen: Seen
    failed: int


@dataclass(frozen=True)
class Study:
    """What every measure is taken on."""

    generator: Generator
    config: QualityConfig
    photos: Sequence[Picture]  # held out
    held_out: Portraits
    training: Portraits | None
    blind: str | None  # why faces are not looked for; None: they are
    watch: Watch


def measure_model(
    generator: Generator,
    sources: Sequence[str | Path],
    config: QualityConfig,
    *,
    data: Sequence[Path] = (),
    out: Path | None = None,
    memorised: Path | None = None,
    watch: Watch = SILENT,
) -> Iterator[Record]:
    """Measure a generator on held-out pictures (sources) and what it was trained on (data), a record a line.

    A record holds measure, setting, its figures, and missing, which says why a figure is None. Sheets of samples and
    midpoints go into the folder out, the picture of nearest training faces to memorised, which wants data. watch may
    draw bars. All but the times is the same again for one seed. Raises ImageError where
    sources or data hold no picture, SettingsError for settings that fit no picture.
    """
    if memorised is not None and not data:
        raise SettingsError("memorised faces are looked for among training pictures; give them, as --data")
    searches = searches_of(generator, config)  # settings are refused before the work starts
    study = prepare(generator, sources, data, config, watch)
    yield from real_records(study)
    if generator.encoder is None:
        missing = {"encoder": f"{generator.name} has none"}
        yield {"measure": "reconstruction", "setting": "encoder alone", "missing": missing}
    found: dict[str, dict[str, Inversion]] = {}
    for setting, recipe, search in searches:
        people, line = reconstruct(study, setting, recipe, search)
        yield line
        if recipe == "encode" or search.steps == max(config.steps):
            found[setting] = people
    yield from chain.from_iterable(midpoint_records(study, setting, people) for setting, people in found.items())
    if out is not None:
        people = [*found.values()][-1]
        pairs = draw_pairs(people, config.pairs, config.seed)
        write_midpoints(generator, people, pairs, out / "midpoints.png")
    yield path_length_record(study)
    yield from sample_records(study, out, memorised)


def searches_of(generator: Generator, config: QualityConfig) -> list[tuple[str, str, InvertConfig]]:
    """Name, recipe and settings of each search, the encoder alone first, where there is one."""
    asked = [(f"{config.recipe}, {n} steps", config.recipe, n) for n in sorted(set(config.steps))]
    found = [(name, recipe, config_of(generator, recipe, **{**config.search, "steps": n})) for name, recipe, n in asked]
    return [("encoder alone", "encode", config_of(generator, "encode"))] * (generator.encoder is not None) + found


def prepare(
    generator: Generator, sources: Sequence[str | Path], data: Sequence[Path], config: QualityConfig, watch: Watch
) -> Study:
    """Look at the real pictures."""
    blind = None if generator.subject == "face" else f"the model's subject is {generator.subject}"
    photos = first_of(pictures_of(sources), config.limit)
    held = read_all(generator, photos, "held-out pictures", config.align, not blind, watch)
    if not blind and not held.seen.face_rate:
        blind = f"no picture of {named(sources)} has a face"
    files = pictures_of(data)
    if config.data_limit is not None:
        drawn = np.random.default_rng(config.seed).permutation(len(files))[: config.data_limit]
        files = [files[i] for i in sorted(drawn)]
    training = read_all(generator, files, "training pictures", False, not blind, watch) if files else None
    return Study(generator, config, photos, held, training, blind, watch)


def read_all(
    generator: Generator, files: Sequence[Picture], what: str, align: bool, faces: bool, watch: Watch
) -> Portraits:
    """Read pictures, one at a time, and measure them; what cannot be read is counted."""
    good: list[Picture] = []

    def images() -> Iterator[Tensor]:
        for file in watch.counted(files, what, len(files)):
            found = result_or_error(partial(load_target, align=align), file, generator)
            if not isinstance(found, InversionError):
                good.append(file)
                yield found.image

    seen = look(images(), faces=faces)
    return Portraits(tuple(good), seen, len(files) - len(good))


def real_records(study: Study) -> Iterator[Record]:
    """The real pictures, to compare with; the training pictures' Fréchet distance is of two parts of their own."""
    held, training = study.held_out, study.training
    wanted = "training pictures to compare with; give them as --data" if training is None else None
    rest = np.zeros((0, 128)) if training is None else training.seen.faces
    yield real_record(study, "held out", held, held.seen.faces, rest, wanted)
    if training is not None:
        shuffled = np.random.default_rng(study.config.seed).permutation(training.seen.faces)
        part = min(study.config.samples, len(shuffled) // 2)
        yield real_record(study, "training", training, shuffled[:part], shuffled[part:], None)


def real_record(
    study: Study, setting: str, real: Portraits, a: np.ndarray, b: np.ndarray, wanted: str | None
) -> Record:
    missing: dict[str, str] = {}
    figures = {"pictures": len(real.seen), "failed": real.failed, **face_figures(study, real.seen, missing)}
    figures["frechet"] = None if study.blind else frechet(a, b, missing, wanted)
    figures["laplacian_ratio"] = ratio(real.seen.energy, study.held_out.seen.energy)
    return {"measure": "real", "setting": setting, **figures, "laplacian_energy": real.seen.energy, "missing": missing}


def face_figures(study: Study, seen: Seen, missing: dict[str, str]) -> Record:
    """Share with a face, and how different the faces are."""
    if study.blind:
        missing["faces"] = study.blind
        return {"face_rate": None, "identity_between": None}
    return {"face_rate": seen.face_rate, "identity_between": mean_pairwise(seen.faces, seed=study.config.seed)}


def frechet(a: np.ndarray, b: np.ndarray, missing: dict[str, str], wanted: str | None = None) -> float | None:
    """The distance, or a word in missing why there is none."""
    if wanted is None and min(len(a), len(b)) < FEWEST:
        wanted = f"{FEWEST} descriptors on each side; there are {len(a)} and {len(b)}"
    if wanted is not None:
        missing["frechet"] = f"needs {wanted}"
        return None
    return frechet_distance(a, b)


def reconstruct(study: Study, setting: str, recipe: str, search: InvertConfig) -> tuple[dict[str, Inversion], Record]:
    """Invert the held-out pictures: what was found, by name, and the line."""
    config = study.config
    inverter = Inverter(study.generator, search, recipe, align=config.align, batch=config.batch, budget=config.budget)
    photos = study.photos
    walk = zip([photo.name for photo in photos], inverter.run(photos), strict=True)
    found = dict(study.watch.counted(walk, setting, len(photos)))
    people = {name: one for name, one in found.items() if isinstance(one, Inversion)}
    figures = summarize(record(name, one, faces=not study.blind) for name, one in people.items())
    middle, missing = figures["median"], {"faces": study.blind} if study.blind else {}
    return people, {
        "measure": "reconstruction",
        "setting": setting,
        "steps": search.steps,
        "psnr_db": middle["psnr_db"],
        "identity": middle["identity"],
        "same_person": figures["same_person"],
        "ms": None if middle["seconds"] is None else 1000 * middle["seconds"],
        "pictures": len(people),
        "failed": len(found) - len(people),
        "missing": missing,
    }


def sample_records(study: Study, out: Path | None, memorised: Path | None) -> Iterator[Record]:
    """Samples at each truncation, and how near those of the last are to training faces."""
    generator, config = study.generator, study.config
    ws, seen = generator.w_avg[None, None], Seen((), ())
    for psi in config.truncations:
        line: Record = {"measure": "samples", "setting": f"truncation {psi:g}", "truncation": psi}
        if generator.c_dim:
            yield {**line, "missing": {"samples": f"{generator.name} is conditional, and draws none without labels"}}
            continue
        ws = sample_latent(generator, batch=config.samples, seed=config.seed, truncation_psi=psi).code
        images = study.watch.counted(rendered(generator, ws, config.batch), f"samples, {line['setting']}", len(ws))
        seen = look(images, faces=not study.blind)
        yield {**line, **sample_figures(study, seen)}
        if out is not None:
            write_samples(study, ws[:SHEET_TILES], seen, out / f"samples-{psi:g}.png")
    yield memorised_record(study, ws, seen, memorised)


def sample_figures(study: Study, seen: Seen) -> Record:
    """Faces, variety and sharpness of samples, and how they are distributed."""
    missing: dict[str, str] = {}
    against = study.training or study.held_out
    return {
        "samples": len(seen),
        **face_figures(study, seen, missing),
        "laplacian_ratio": ratio(seen.energy, study.held_out.seen.energy),
        "laplacian_to_training": None if study.training is None else ratio(seen.energy, study.training.seen.energy),
        "frechet": None if study.blind else frechet(seen.faces, against.seen.faces, missing),
        "frechet_to": "held out" if study.training is None else "training",
        "missing": missing,
    }


def rendered(
    generator: Generator, ws: Float[Tensor, "count num_ws w_dim"], batch: int
) -> Iterator[Float[Tensor, "1 channels height width"]]:
    """The images of styles one by one, rendered batch by batch, with the fixed noise."""
    for part in ws.split(batch):
        yield from synthesize(generator, Latent(part, LatentSpace.W_PLUS, generator.fixed_noise(len(part)))).split(1)


def write_samples(study: Study, ws: Float[Tensor, "count num_ws w_dim"], seen: Seen, path: Path) -> None:
    """A sheet of samples; those without a face are marked, where faces are looked for."""
    images = [to_pil(image) for image in rendered(study.generator, ws, study.config.batch)]
    labels = ["no face" if face is None and not study.blind else "" for face in seen.descriptors]
    write_image(sheet(images, labels[: len(images)], columns=10, tile=96), path)


def memorised_record(study: Study, ws: Float[Tensor, "count num_ws w_dim"], seen: Seen, path: Path | None) -> Record:
    """How near the samples are to the training faces; the picture of it, where a path is given."""
    line: Record = {"measure": "memorised", "setting": "nearest training face", "missing": {}}
    training, held = study.training, study.held_out.seen.faces
    faces = [i for i, d in enumerate(seen.descriptors[:MEMORISED]) if d is not None]
    if training is None or study.blind or not (faces and len(training.seen.faces)):
        why = study.blind or ("no face to compare" if training else "needs training pictures; give them as --data")
        return {**line, "missing": {"memorised": why}}
    found = find_neighbours(seen.faces[: len(faces)], training.seen.faces, held, seed=study.config.seed)
    if path is not None:
        files = [file for file, d in zip(training.files, training.seen.descriptors, strict=True) if d is not None]
        write_memorised(
            found,
            path,
            sample=lambda i: to_pil(next(rendered(study.generator, ws[faces[i], None], 1))),
            training=lambda i: to_pil(load_target(files[i], study.generator, align=False).image),
        )
    return {**line, **memorised_figures(found)}


def midpoint_records(study: Study, setting: str, people: Mapping[str, Inversion]) -> Iterator[Record]:
    """Midpoints of pairs of people: spherical, linear, and the plain average of their pixels."""
    pairs = draw_pairs(people, study.config.pairs, study.config.seed)
    counted = study.watch.counted(pairs, f"midpoints, {setting}", len(pairs))
    seen = look_between(study.generator, people, counted, faces=not study.blind)
    for kind, figures in seen.items():
        line: Record = {"measure": "midpoints", "setting": f"{setting}: {kind}", "of": setting, "kind": kind}
        if not pairs:
            yield {**line, "missing": {"midpoints": "needs two pictures that could be inverted"}}
            continue
        missing = {"faces": study.blind} if study.blind else {}
        yield {**line, "pairs": len(pairs), **figures, "missing": missing}


def path_length_record(study: Study) -> Record:
    """Perceptual path length of samples, or why there is none."""
    generator, config = study.generator, study.config
    line: Record = {"measure": "path_length", "setting": "w, full paths", "path_length": None, "missing": {}}
    if generator.c_dim or generator.discriminator is None:
        why = "is conditional, and draws none without labels" if generator.c_dim else "has no discriminator features"
        return {**line, "missing": {"path_length": f"{generator.name} {why}"}}
    value = perceptual_path_length(generator, pairs=config.samples, batch=config.batch, seed=config.seed)
    return {**line, "pairs": config.samples, "epsilon": EPSILON, "path_length": value}


def named(sources: Sequence[str | Path]) -> str:
    """What sources are called, without their folders."""
    return ", ".join(Path(source).name for source in sources)


def quality_summary(
    generator: Generator,
    sources: Sequence[str | Path],
    config: QualityConfig,
    records: Iterable[Mapping[str, Any]],
    *,
    data: Sequence[Path] = (),
) -> dict[str, Any]:
    """All that `measure_model` told as one object: on what it was taken, a list for each measure, the conventions."""
    summary: dict[str, Any] = {
        "generator": generator.name,
        "sha256": generator.sha256(),
        "resolution": generator.img_resolution,
        "source": named(sources),
        "data": [folder.name for folder in data],
        "settings": asdict(config),
        **{measure: [] for measure in MODEL_CONVENTIONS},
    }
    for line in records:
        summary[line["measure"]].append({k: v for k, v in line.items() if k != "measure"})
    return {**summary, "conventions": MODEL_CONVENTIONS}
