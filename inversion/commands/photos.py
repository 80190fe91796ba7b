"""Photographs: inverted, and how well."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from generators.storage import as_json, check_folder, write_bytes
from inversion.commands.options import (
    BATCH,
    CROP,
    DEVICE,
    FILE,
    GENERATOR,
    JSON,
    SEARCH,
    SEARCH_IN,
    SPACES,
    with_generator,
)
from inversion.commands.settings import Numbers, options
from inversion.commands.tables import objective_line, record_line, summary_table
from inversion.commands.terminal import Bars, bars, device_of, fail, loaded, say, tell, wants_json

if TYPE_CHECKING:
    from generators.base import Generator


@click.command(epilog="Example: latent invert me.jpg -o me/")
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, type=FILE, metavar="DIR", help="Folder for the results.")
@options(SEARCH, CROP, BATCH)
@click.option("--init", type=FILE, metavar="LATENT", help="Start from a saved latent.")
@with_generator
def invert(
    generator: "Generator",
    photos: Sequence[str],
    out: Path,
    recipe: str,
    init: Path | None,
    batch: int | None,
    budget: float | None,
    align: bool,
    face: int | None,
    **settings: Any,
) -> None:
    """Find the latent of each photograph.

    PHOTO is a file, a folder for all pictures in it, or - for standard input.

    Writes STEM.latent.safetensors, STEM.png (the reconstruction), STEM.target.png and report.json. Ctrl-C keeps the
    best so far.
    """
    from generators.pictures.sources import pictures_of
    from generators.storage import cache_folder
    from inversion.batch import invert_files
    from inversion.config import config_of
    from inversion.files.latent_file import load_latent
    from inversion.inverter import Inverter

    found, done, failed = pictures_of(photos), 0, 0
    start = None if init is None else load_latent(init, generator)
    if start is not None and settings["space"] is None:
        settings["space"] = start.space
    config = config_of(generator, recipe, **settings)
    kept = {"init": start, "budget": budget, "batch": batch, "cache": cache_folder("inversions")}
    inverter = Inverter(generator, config, recipe, align=align, face=face, **kept)
    say(objective_line(config.loss))
    try:
        with bars(config.steps) as watch:
            for record in invert_files(inverter, found, out, watch):
                done, failed = done + 1, failed + ("error" in record)
                tell(record, record_line(record), err="error" in record)
    except KeyboardInterrupt:
        fail(f"stopped early: {done} of {len(found)} photographs are in {out}, the last at their best so far", 130)
    if failed:
        fail(f"error: {failed} of {len(found)} photographs failed")


MODEL_QUALITY = options(
    click.option("--model", "whole", is_flag=True, help="Measure the generator: also samples and midpoints."),
    click.option(
        "--data",
        multiple=True,
        type=FILE,
        metavar="FOLDER|ZIP",
        help="With --model: training pictures, to compare with. Several times for several.",
    ),
    click.option("--data-limit", type=int, metavar="N", help="With --model: N of them, drawn at random."),
    click.option("--samples", type=int, metavar="N", help="With --model: samples at each truncation.  [500]"),
    click.option("--pairs", type=int, metavar="N", help="With --model: pairs whose midpoint is looked at.  [100]"),
    click.option(
        "--steps-list",
        type=Numbers(int),
        metavar="N,N,...",
        help="With --model: a search of each length.  [20,100,500; or --steps]",
    ),
    click.option("-o", "--out", type=FILE, metavar="DIR", help="With --model: folder for sheets and quality.json."),
    click.option(
        "--memorised",
        type=FILE,
        metavar="FILE.png",
        help="With --model and --data: the samples nearest to a training face.",
    ),
)


@click.command(epilog="Example: latent evaluate portraits.zip --json")
@click.argument("source", type=FILE)
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@options(SEARCH_IN)
@click.option(
    "--space",
    multiple=True,
    metavar="z|w|w_plus|MODEL",
    help="What moves in a search; or models whose latent spaces are measured instead.",
)
@click.option("--align/--no-align", default=False, help="Cut faces out first.  [default: they are portraits already]")
@click.option("--limit", type=int, metavar="N", help="The first N pictures alone.")
@click.option("--keep", type=FILE, metavar="DIR", help="Folder for the latents and pictures, as `invert` writes them.")
@options(BATCH, MODEL_QUALITY, GENERATOR, DEVICE, JSON)
def evaluate(
    model: str | None,
    device: str,
    source: Path,
    models: tuple[str, ...],
    space: tuple[str, ...],
    recipe: str,
    align: bool,
    limit: int | None,
    batch: int | None,
    budget: float | None,
    whole: bool,
    data: tuple[Path, ...],
    data_limit: int | None,
    samples: int | None,
    pairs: int | None,
    steps_list: tuple[int, ...] | None,
    out: Path | None,
    memorised: Path | None,
    keep: Path | None,
    **settings: Any,
) -> None:
    """Measure reconstruction over portraits, or the whole model.

    SOURCE is a folder or a zip of pictures that are aligned already. A line for each, then a summary.

    PSNR in dB at the generator's size; SSIM over RGB; identity: distance of dlib's descriptors at 256 px, under 0.6 is
    the same person, - without a face; seconds of search on this machine.

    With --model a table of what the generator can do, each part under its convention: SOURCE, which it was not trained
    on, reconstructed; samples; midpoints; and whether it has memorised its training faces.

    With --space MODEL... a table of latent spaces: are they continuous and complete, and does like lie beside like?
    Labels are SOURCE's folders; a fifth of it is held out, unless --data names what the models were trained on. The
    word digits stands for scikit-learn's, of which the test part is held out.
    """
    from generators.pictures.sources import pictures
    from inversion.config import config_of
    from inversion.inverter import Inverter
    from inversion.latent import at_a_time
    from inversion.measures.reconstruction import evaluate as measure
    from inversion.measures.reconstruction import first_of, summarize

    asked = {"data_limit": data_limit, "samples": samples, "pairs": pairs, "steps": steps_list}
    places = {"data": data, "out": out, "memorised": memorised}
    spaces = [*(name for name in space if name not in SPACES), *models]
    if spaces and (whole or len(spaces) == len(models)):
        raise click.UsageError(f"{spaces[0]} came after SOURCE; models follow --space, without --model")
    if spaces:
        given = {"align": align, "limit": limit, "samples": samples}
        return evaluate_spaces(source, spaces, data, device=device, **given, **settings)
    generator = loaded(model, device)
    batch = at_a_time(generator) if batch is None else batch
    settings["space"] = next(iter(space), None)
    if whole:
        common = {"recipe": recipe, "align": align, "limit": limit, "batch": batch, "budget": budget}
        return evaluate_model(generator, source, settings, {**asked, **common}, **places)
    if given := [name for name, value in {**asked, **places}.items() if value]:
        raise click.UsageError(f"{', '.join(given)}: for the whole model; add --model")
    config, records = config_of(generator, recipe, **settings), []
    inverter = Inverter(generator, config, recipe, align=align, budget=budget, batch=batch)
    photos = first_of(pictures(source), limit)
    say(objective_line(config.loss))
    with bars(config.steps) as watch:
        for record in measure(inverter, photos, watch, keep=keep):
            records.append(record)
            tell(record, record_line(record), err="error" in record)
    summary = summarize(records)
    tell(summary, summary_table(summary))
    if summary["failed"]:
        fail(f"error: {summary['failed']} of {summary['n']} pictures failed")


def evaluate_model(
    generator: "Generator",
    source: Path,
    search: dict[str, Any],
    asked: dict[str, Any],
    *,
    data: tuple[Path, ...],
    out: Path | None,
    memorised: Path | None,
) -> None:
    """Tell `measure_model`'s records and their summary; settings that are None are left at their defaults."""
    from inversion.commands.destination import check_place
    from inversion.commands.tables import quality_line
    from inversion.measures.model import QualityConfig, measure_model, quality_summary

    if memorised is not None and not data:
        raise click.UsageError("--memorised looks among training pictures; give them as --data")
    steps, seed = search.pop("steps"), search.pop("seed")
    asked["steps"] = asked["steps"] or (None if steps is None else (steps,))
    given, search = ({k: v for k, v in some.items() if v is not None} for some in (asked, search))
    config = QualityConfig(search={**search, "seed": seed}, seed=seed, **given)
    if out is not None:
        check_folder(out)
    if memorised is not None:
        check_place(str(memorised), ("png",))
    records, previous = [], None
    watch = Bars()
    for record in measure_model(generator, source, config, data=data, out=out, memorised=memorised, watch=watch):
        tell(record, quality_line(record, previous))
        previous = record["measure"]
        records.append(record)
    summary = quality_summary(generator, source, config, records, data=data)
    if out is not None:
        write_bytes((as_json(summary, indent=1) + "\n").encode(), out / "quality.json")
    if wants_json():
        tell(summary, "")
    if any(record.get("failed") for record in records):
        fail("error: some pictures could not be used; the table says how many")


def evaluate_spaces(
    source: Path,
    models: Sequence[str],
    data: tuple[Path, ...],
    *,
    device: str,
    align: bool,
    limit: int | None,
    samples: int | None,
    seed: int,
    steps: int | None,
    **_: Any,
) -> None:
    """Tell what `measure_space` finds in each model; UsageError for options that have no part in it."""
    import generators
    from inversion.commands.tables import space_table
    from inversion.config import settings_for
    from inversion.inverter import Inverter
    from inversion.measures.space import SpaceConfig, conventions, measure_space, parts

    taken = {"source", "models", "space", "device", "json", "data", "align", "limit", "samples", "seed", "steps"}
    context = click.get_current_context()
    if idle := [
        param.opts[-1]
        for param in context.command.params
        if param.name not in taken and context.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    ]:
        raise click.UsageError(f"{', '.join(idle)}: not used where --space names models; leave it out")
    given = {} if samples is None else {"samples": samples}
    config, records = SpaceConfig(seed=seed, **given), []
    for name in models:
        model = generators.load(name, device=device_of(device))
        codes = settings_for(model, steps=steps)
        held, known = parts(source, Inverter(model, codes, align=align), config, data=data, watch=Bars(), limit=limit)
        records.append(measure_space(model, held, known, config))
        if wants_json():
            tell(records[-1], "")
    if not wants_json():
        click.echo(f"{space_table(records)}\n{conventions(records, config)}")
