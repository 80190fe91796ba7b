"""Photographs, inverted."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inversion.commands.options import BATCH, BUDGET, CROP, FILE, INVERSION, MASK, with_generator
from inversion.commands.process import stop_status, stoppable
from inversion.commands.settings import Grouped, options
from inversion.commands.tables import objective_line, record_line
from inversion.commands.terminal import bars, fail, say, tell

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.latent import Latent


@click.command(cls=Grouped, epilog="Example: latent invert me.jpg -o me/")
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, type=FILE, metavar="DIR", help="Folder for the results.")
@click.option("--init", type=FILE, metavar="LATENT", help="Start from a saved latent.")
@options(CROP, MASK, BATCH, BUDGET, INVERSION)
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
    mask: str | None,
    **settings: Any,
) -> None:
    """Find the latent of each photograph.

    PHOTO is a file, a folder or a zip for all pictures in it, or - for standard input.

    Writes STEM.latent.safetensors, STEM.png (the reconstruction), STEM.target.png and report.json. Ctrl-C keeps the
    best so far. What was found is kept in $LATENT_CACHE, for the other commands and for the next time.
    """
    from generators.pictures.sources import pictures_of
    from generators.storage import cache_folder
    from inversion.batch import invert_files
    from inversion.config import config_of
    from inversion.files.outputs import without_results
    from inversion.inverter import Inverter

    all_of_them = pictures_of(photos)
    found = without_results(all_of_them, photos, out)
    if left := len(all_of_them) - len(found):
        say(f"left out: {left} pictures that earlier calls wrote")
    start = start_of(init, generator, settings)
    config = config_of(generator, recipe, **settings)
    kept = {"init": start, "budget": budget, "batch": batch, "cache": cache_folder("inversions"), "mask": mask}
    inverter = Inverter(generator, config, recipe, align=align, face=face, **kept)
    say(objective_line(config.loss))
    failed: list[bool] = []  # of each that is done
    try:
        with stoppable() as stopped, bars(config.steps, stopped) as watch:
            for record in invert_files(inverter, found, out, watch, spare=[] if init is None else [init]):
                failed.append("error" in record)
                tell(record, record_line(record), err=failed[-1])
    except KeyboardInterrupt:
        done = f"{len(failed)} of {len(found)} photographs"
        fail(f"stopped early: {done} are in {out}, the last at their best so far", stop_status())
    if any(failed):
        fail(f"error: {sum(failed)} of {len(found)} photographs failed")


def start_of(init: Path | None, generator: "Generator", settings: dict[str, Any]) -> "Latent | None":
    """The saved latent to start from; settings take its space where none is given."""
    from inversion.files.latent_file import load_latent

    if init is None:
        return None
    start = load_latent(init, generator)
    if settings["space"] is None:
        settings["space"] = start.space
    return start
