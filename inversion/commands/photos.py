"""Photographs: inverted, and how well."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inversion.report import objective_line, record_line, summary_table
from inversion.terminal import (
    BATCH,
    CROP,
    FILE,
    SEARCH,
    fail,
    options,
    progress,
    say,
    tell,
    with_generator,
)

if TYPE_CHECKING:
    from generators.base import Generator


@click.command(epilog="Example: latent invert me.jpg -o me/")
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, type=FILE, metavar="DIR", help="Folder for the results.")
@options(SEARCH, CROP, BATCH)
@click.option("--init", type=FILE, metavar="LATENT", help="Start from a saved latent.")
@with_generator
def invert(generator: "Generator", photos: Sequence[str], out: Path, recipe: str, init: Path | None, batch: int,
           budget: float | None, align: bool, face: int | None, **settings: Any) -> None:
    """Find the latent of each photograph.

    PHOTO is a file, a folder for all pictures in it, or - for standard input.

    Writes STEM.latent.safetensors, STEM.png (the reconstruction), STEM.target.png and report.json. Ctrl-C keeps the
    best so far.
    """
    from inversion.batch import invert_files, pictures_in
    from inversion.bundle import load_latent
    from inversion.recipes import config_of

    photos, done, failed = pictures_in(photos), 0, 0
    start = None if init is None else load_latent(init, generator)
    if start is not None and settings["space"] is None:
        settings["space"] = start.space
    config = config_of(generator, recipe, **settings)
    say(objective_line(config.loss))
    try:
        with progress(config.steps) as bar:
            for record in invert_files(generator, photos, out, config, recipe=recipe, batch=batch, init=start,
                                       budget=budget, align=align, face=face, progress=bar):
                done, failed = done + 1, failed + ("error" in record)
                tell(record, record_line(record), err="error" in record)
    except KeyboardInterrupt:
        fail(f"stopped early: {done} of {len(photos)} photographs are in {out}, the last at their best so far", 130)
    if failed:
        fail(f"error: {failed} of {len(photos)} photographs failed")


@click.command(epilog="Example: latent evaluate portraits.zip --json")
@click.argument("source", type=FILE)
@options(SEARCH)
@click.option("--align/--no-align", default=False, help="Cut faces out first.  [default: they are portraits already]")
@click.option("--limit", type=int, metavar="N", help="The first N pictures alone.")
@options(BATCH)
@with_generator
def evaluate(generator: "Generator", source: Path, recipe: str, align: bool, limit: int | None, batch: int,
             budget: float | None, **settings: Any) -> None:
    """Measure reconstruction over portraits.

    SOURCE is a folder or a zip of pictures that are aligned already. A line for each, then a summary.

    PSNR in dB at the generator's size; SSIM over RGB; identity: distance of dlib's descriptors at 256 px, under 0.6 is
    the same person, - without a face; seconds of search on this machine.
    """
    from inversion.evaluate import evaluate as measure
    from inversion.evaluate import summarize
    from inversion.recipes import config_of

    config, records = config_of(generator, recipe, **settings), []
    say(objective_line(config.loss))
    with progress(config.steps) as bar:
        for record in measure(generator, source, config, recipe=recipe, batch=batch, align=align, limit=limit,
                              budget=budget, progress=bar):
            records.append(record)
            tell(record, record_line(record), err="error" in record)
    summary = summarize(records)
    tell(summary, summary_table(summary))
    if summary["failed"]:
        fail(f"error: {summary['failed']} of {summary['n']} pictures failed")
