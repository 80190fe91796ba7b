"""Measures: of reconstructions, of a generator as a whole, of its latent space."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generators.storage import as_json, check_folder, write_bytes
from inversion.commands.destination import check_place, check_reads
from inversion.commands.options import (
    ALIGNED,
    BATCH,
    BUDGET,
    DEVICE,
    FILE,
    GENERATOR_HELP,
    INVERSION,
    JSON,
    LIMIT,
    PHOTOS,
    STEPS,
    with_generator,
)
from inversion.commands.settings import Grouped, grouped, option_of, options, options_of
from inversion.commands.tables import objective_line, quality_line, record_line, space_table, summary_table
from inversion.commands.terminal import Bars, bars, device_of, fail, say, tell, wants_json
from inversion.measures.config import QualityConfig, SpaceConfig

if TYPE_CHECKING:
    from generators.base import Generator

SOURCES = click.argument("photos", metavar="SOURCE...", nargs=-1, required=True)
DATA = click.option(
    "--data",
    multiple=True,
    type=FILE,
    metavar="FOLDER|ZIP",
    help="What the generator was trained on; several times for several.",
)

QUALITY = "quality.json"
DRAWN = grouped(PHOTOS, "--limit", type=click.IntRange(1), metavar="N", help="Take N pictures, drawn at random.  [all]")


@click.command(cls=Grouped, epilog="Example: latent evaluate portraits.zip --json")
@SOURCES
@click.option("--keep", type=FILE, metavar="DIR", help="Folder for the latents and pictures, as `invert` writes them.")
@options(ALIGNED, LIMIT, BATCH, BUDGET, INVERSION)
@with_generator
def evaluate(
    generator: "Generator",
    photos: Sequence[str],
    keep: Path | None,
    align: bool,
    limit: int | None,
    batch: int | None,
    budget: float | None,
    recipe: str,
    **settings: Any,
) -> None:
    """Measure how well portraits are reconstructed.

    SOURCEs are folders or zips of pictures, or pictures, that are aligned already. A line for each, then a summary.

    PSNR in dB at the generator's size; SSIM over RGB; identity: distance of dlib's descriptors at 256 px, under 0.6 is
    the same person, - without a face; seconds of inversion on this machine. Nothing is taken from the cache.
    """
    from generators.pictures.sources import pictures_of
    from inversion.config import config_of
    from inversion.inverter import Inverter
    from inversion.measures.reconstruction import evaluate as measure
    from inversion.measures.reconstruction import first_of, summarize

    config = config_of(generator, recipe, **settings)
    inverter = Inverter(generator, config, recipe, align=align, budget=budget, batch=batch)
    found = first_of(pictures_of(photos), limit)
    records: list[dict[str, Any]] = []
    say(objective_line(config.loss))
    with bars(config.steps) as watch:
        for record in measure(inverter, found, watch, keep=keep):
            records.append(record)
            tell(record, record_line(record), err="error" in record)
    summary = summarize(records)
    tell(summary, summary_table(summary))
    if summary["failed"]:
        fail(f"error: {summary['failed']} of {summary['n']} pictures failed")


@click.command(
    "evaluate-model", cls=Grouped, epilog="Example: latent evaluate-model held-out.zip --data faces.zip -o q/"
)
@SOURCES
@DATA
@click.option("-o", "--out", type=FILE, metavar="DIR", help="Folder for sheets and quality.json.")
@click.option("--memorised", type=FILE, metavar="FILE.png", help="With --data: the samples nearest to a training face.")
@options(options_of({"": QualityConfig}, skip=("steps", "seed", "limit")))
@option_of("steps", {"": QualityConfig}, parameter="steps_list")
@options(ALIGNED, LIMIT, BATCH, BUDGET, INVERSION)
@with_generator
def evaluate_model(
    generator: "Generator",
    photos: Sequence[str],
    data: tuple[Path, ...],
    out: Path | None,
    memorised: Path | None,
    **given: Any,
) -> None:
    """Measure what a generator can do.

    A table, each part under its convention: SOURCEs, which it was not trained on, reconstructed in several numbers
    of steps; samples; midpoints; and whether it has memorised its training faces.
    """
    from generators.pictures.sources import pictures_of
    from inversion.measures.model import measure_model, pictures_in, quality_summary

    if memorised is not None and not data:
        raise click.UsageError("--memorised looks among training pictures; give them as --data")
    config = quality_config(given)
    if out is not None:
        check_folder(out)
    if memorised is not None:
        check_place(str(memorised), ("png",))
    writes = [] if out is None else [out / name for name in (QUALITY, *pictures_in(config))]
    writes += [] if memorised is None else [memorised]
    check_reads(writes, [*photos, *data, *pictures_of([*photos, *data])])
    records: list[dict[str, Any]] = []
    for record in measure_model(generator, photos, config, data=data, out=out, memorised=memorised, watch=Bars()):
        tell(record, quality_line(record, records[-1]["measure"] if records else None))
        records.append(record)
    summary = quality_summary(generator, photos, config, records, data=data)
    if out is not None:
        write_bytes((as_json(summary, indent=1) + "\n").encode(), out / QUALITY)
    if wants_json():
        tell(summary, "")
    if any(record.get("failed") for record in records):
        fail("error: some pictures could not be used; the table says how many")


def quality_config(given: dict[str, Any]) -> QualityConfig:
    """The measures that are asked for; all else that was given are settings of their inversions, but for the steps."""
    given = {name: value for name, value in given.items() if value is not None}
    own = {"recipe", "samples", "truncations", "pairs", "data_limit", "align", "limit", "batch", "budget"}
    steps, seed = given.pop("steps", None), given.pop("seed", 0)
    lengths = given.pop("steps_list", None) or (None if steps is None else (steps,))
    asked: dict[str, Any] = {name: given.pop(name) for name in own & given.keys()}
    asked |= {"steps": lengths} if lengths else {}
    return QualityConfig(search={**given, "seed": seed}, seed=seed, **asked)


@click.command("evaluate-space", cls=Grouped, epilog="Example: latent evaluate-space digits -g digits -g digits-gan")
@SOURCES
@click.option("-g", "--generator", "models", multiple=True, required=True, metavar="NAME|FILE", help=GENERATOR_HELP)
@DATA
@options(options_of({"": SpaceConfig}), ALIGNED, DRAWN, STEPS, DEVICE, JSON)
def evaluate_space(
    photos: Sequence[str],
    models: Sequence[str],
    data: tuple[Path, ...],
    device: str,
    align: bool,
    limit: int | None,
    steps: int | None,
    **given: Any,
) -> None:
    """Measure latent spaces: are they continuous and complete, and does like lie beside like?

    A row for each generator. Labels are SOURCE's folders; a fifth of it is held out, unless --data names what the
    models were trained on. The word digits stands for scikit-learn's, of which the test part is held out.
    """
    import generators
    from inversion.config import settings_for
    from inversion.inverter import Inverter
    from inversion.measures.space import conventions, measure_space, parts

    config = SpaceConfig(**{name: value for name, value in given.items() if value is not None})
    records: list[dict[str, Any]] = []
    for name in models:
        model = generators.load(name, device=device_of(device))
        inverter = Inverter(model, settings_for(model, steps=steps), align=align)
        held, known = parts(photos, inverter, config, data=data, watch=Bars(), limit=limit)
        records.append(measure_space(model, held, known, config))
        if wants_json():
            tell(records[-1], "")
    if not wants_json():
        click.echo(f"{space_table(records)}\n{conventions(records, config)}")
