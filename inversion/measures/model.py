"""The measures of a generator that `latent evaluate-model` takes, a record for each line of its table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from generators.base import Generator
from inversion.config import InvertConfig, config_of
from inversion.errors import SettingsError
from inversion.inverter import Inversion, Inverter
from inversion.latent import check_label
from inversion.measures.config import MODEL_CONVENTIONS, QualityConfig
from inversion.measures.diversity import ratio
from inversion.measures.reconstruction import record, summarize
from inversion.measures.samples import sample_records, samples_name
from inversion.measures.smoothness import (
    EPSILON,
    draw_pairs,
    measure_midpoints,
    perceptual_path_length,
    write_midpoints,
)
from inversion.measures.study import Portraits, Record, Study, face_figures, frechet, names_of, prepare
from inversion.watch import SILENT, Watch

MIDPOINTS = "midpoints.png"


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
    draw bars. All but the times is the same again for one seed. Raises ImageError where sources or data hold no
    picture, SettingsError for settings that fit no picture.
    """
    if memorised is not None and not data:
        raise SettingsError("memorised faces are looked for among training pictures; give them, as --data")
    runs = runs_of(generator, config)  # settings are refused before the work starts
    for _, _, how in runs:
        check_label(generator, how.label, how.space)
    study = prepare(generator, sources, data, config, watch)
    yield from real_records(study)
    if generator.encoder is None:
        missing = {"encoder": f"{generator.name} has none"}
        yield {"measure": "reconstruction", "setting": "encoder alone", "missing": missing}
    found: dict[str, dict[str, Inversion]] = {}
    for setting, recipe, how in runs:
        people, line = reconstruct(study, setting, recipe, how)
        yield line
        if recipe == "encode" or how.steps == max(config.steps):
            found[setting] = people
    yield from chain.from_iterable(midpoint_records(study, setting, people) for setting, people in found.items())
    if out is not None:
        people = [*found.values()][-1]
        pairs = draw_pairs(people, config.pairs, config.seed)
        write_midpoints(generator, people, pairs, out / MIDPOINTS)
    yield path_length_record(study)
    yield from sample_records(study, out, memorised)


def pictures_in(config: QualityConfig) -> list[str]:
    """The names of the pictures that `measure_model` writes into its folder."""
    return [MIDPOINTS, *map(samples_name, config.truncations)]


def runs_of(generator: Generator, config: QualityConfig) -> list[tuple[str, str, InvertConfig]]:
    """Name, recipe and settings of each run over the pictures, the encoder alone first, where there is one."""
    asked = [(f"{config.recipe}, {n} steps", config.recipe, n) for n in sorted(set(config.steps))]
    found = [(name, recipe, config_of(generator, recipe, **{**config.search, "steps": n})) for name, recipe, n in asked]
    return [("encoder alone", "encode", config_of(generator, "encode"))] * (generator.encoder is not None) + found


def real_records(study: Study) -> Iterator[Record]:
    """The real pictures, to compare with; the training pictures' Fréchet distance is of two parts of their own."""
    held, training = study.held_out, study.training
    wanted = "training pictures to compare with; give them as --data" if training is None else None
    rest = np.zeros((0, 128)) if training is None else training.stats.faces
    yield real_record(study, "held out", held, held.stats.faces, rest, wanted)
    if training is not None:
        shuffled = np.random.default_rng(study.config.seed).permutation(training.stats.faces)
        part = min(study.config.samples, len(shuffled) // 2)
        yield real_record(study, "training", training, shuffled[:part], shuffled[part:], None)


def real_record(
    study: Study, setting: str, real: Portraits, a: np.ndarray, b: np.ndarray, wanted: str | None
) -> Record:
    missing: dict[str, str] = {}
    figures = {"pictures": len(real.stats), "failed": real.failed, **face_figures(study, real.stats, missing)}
    figures["frechet"] = frechet(a, b, missing, wanted) if study.faces else None
    figures["laplacian_ratio"] = ratio(real.stats.energy, study.held_out.stats.energy)
    return {"measure": "real", "setting": setting, **figures, "laplacian_energy": real.stats.energy, "missing": missing}


def reconstruct(study: Study, setting: str, recipe: str, how: InvertConfig) -> tuple[dict[str, Inversion], Record]:
    """Invert the held-out pictures: what was found, by name, and the line."""
    config, photos = study.config, study.photos
    inverter = Inverter(study.generator, how, recipe, align=config.align, batch=config.batch, budget=config.budget)
    walk = zip([photo.name for photo in photos], inverter.run(photos), strict=True)
    found = dict(study.watch.counted(walk, setting, len(photos)))
    people = {name: one for name, one in found.items() if isinstance(one, Inversion)}
    figures = summarize(record(name, one, faces=study.faces) for name, one in people.items())
    middle = figures["median"]
    return people, {
        "measure": "reconstruction",
        "setting": setting,
        "steps": how.steps,
        "psnr_db": middle["psnr_db"],
        "identity": middle["identity"],
        "same_person": figures["same_person"],
        "ms": None if middle["seconds"] is None else 1000 * middle["seconds"],
        "pictures": len(people),
        "failed": len(found) - len(people),
        "missing": study.missing,
    }


def midpoint_records(study: Study, setting: str, people: Mapping[str, Inversion]) -> Iterator[Record]:
    """Midpoints of pairs of people: spherical, linear, and the plain average of their pixels."""
    pairs = draw_pairs(people, study.config.pairs, study.config.seed)
    counted = study.watch.counted(pairs, f"midpoints, {setting}", len(pairs))
    between = measure_midpoints(study.generator, people, counted, faces=study.faces)
    for kind, figures in between.items():
        line: Record = {"measure": "midpoints", "setting": f"{setting}: {kind}", "of": setting, "kind": kind}
        if not pairs:
            yield {**line, "missing": {"midpoints": "needs two pictures that could be inverted"}}
            continue
        yield {**line, "pairs": len(pairs), **figures, "missing": study.missing}


def path_length_record(study: Study) -> Record:
    """Perceptual path length of samples, or why there is none."""
    generator, config = study.generator, study.config
    line: Record = {"measure": "path_length", "setting": "w, full paths", "path_length": None, "missing": {}}
    unlabelled = generator.c_dim and config.label is None
    if unlabelled or generator.discriminator is None:
        why = "is conditional, and draws none without a label" if unlabelled else "has no discriminator features"
        return {**line, "missing": {"path_length": f"{generator.name} {why}"}}
    how = {"batch": config.batch, "seed": config.seed, "label": config.label}
    value = perceptual_path_length(generator, pairs=config.samples, **how)
    return {**line, "pairs": config.samples, "epsilon": EPSILON, "path_length": value}


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
        "source": names_of(sources),
        "data": [folder.name for folder in data],
        "settings": asdict(config),
        **{measure: [] for measure in MODEL_CONVENTIONS},
    }
    for line in records:
        summary[line["measure"]].append({k: v for k, v in line.items() if k != "measure"})
    return {**summary, "conventions": MODEL_CONVENTIONS}
