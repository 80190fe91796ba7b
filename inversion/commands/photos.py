"""Photographs, inverted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generators.settings import settings_of
from inversion.commands.destination import check_place, check_reads
from inversion.commands.options import BATCH, BUDGET, CROP, FILE, INVERSION, MASK, with_generator
from inversion.commands.process import stop_status, stoppable
from inversion.commands.settings import Grouped, grouped, option_of, options
from inversion.commands.tables import objective_line, record_line
from inversion.commands.terminal import bars, fail, say, tell
from inversion.errors import SettingsError
from inversion.tuning.config import TUNINGS, TuneConfig

if TYPE_CHECKING:
    from generators.base import Generator
    from generators.pictures.sources import Picture
    from inversion.inverter import Inverter
    from inversion.latent import Latent

FILMS = ("mp4", "gif", "webp", "png")
TUNED = "How the generator is tuned"  # group of the help
TUNING = options(
    grouped(TUNED, "--tune", is_flag=True, help="Tune the generator until it draws the photographs that are named."),
    *(option_of(name, {"": TuneConfig}, group=TUNED, parameter=f"tune_{name}") for name in settings_of(TuneConfig)),
)


@click.command(cls=Grouped, epilog="Example: latent invert me.jpg -o me/")
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, type=FILE, metavar="DIR", help="Folder for the results.")
@click.option("--init", type=FILE, metavar="LATENT", help="Start from a saved latent.")
@click.option("--paste", is_flag=True, help="Put the face back: STEM.pasted.png; of a masked one what was filled in.")
@click.option("--cmp", "compare", is_flag=True, help="The crop beside the result: STEM.compared.png.")
@click.option("--film", metavar="FILE", help="A film of the search, of one photograph: .mp4, .gif, .webp or .png.")
@options(CROP, MASK, BATCH, BUDGET, INVERSION, TUNING)
@with_generator
def invert(
    generator: "Generator",
    photos: Sequence[str],
    out: Path,
    recipe: str,
    init: Path | None,
    film: str | None,
    batch: int | None,
    budget: float | None,
    align: bool,
    face: int | None,
    mask: str | None,
    tune: bool,
    **settings: Any,
) -> None:
    """Find the latent of each photograph.

    PHOTO is a file, a folder or a zip for all pictures in it, or - for standard input.

    Writes STEM.latent.safetensors, STEM.png (the reconstruction), STEM.target.png and report.json; with --mask also
    STEM.filled.png. Ctrl-C keeps the best so far. What was found is kept in $LATENT_CACHE, for the other commands and
    for the next time.

    With --tune one generator is tuned for all that are named, and *.delta.safetensors keeps its change beside the
    latents: all commands draw them by it. People that are to be blended are tuned together.
    """
    from generators.storage import cache_folder
    from inversion.batch import Also
    from inversion.config import config_of
    from inversion.inverter import Inverter

    found, also = wanted(photos, out), Also(settings.pop("paste"), settings.pop("compare"))
    check_pictures(generator, [*photos, *found], film=film, paste=also.paste, align=align)
    start, tuning = start_of(init, generator, settings), tuning_of(generator, recipe, tune, settings)
    config = config_of(generator, recipe, **settings)
    cache = None if film else cache_folder("inversions")  # what is to be seen has to be done
    cut = {"align": align, "face": face, "mask": mask}
    inverter = Inverter(generator, config, recipe, init=start, budget=budget, batch=batch, cache=cache, **cut)
    say(objective_line(config.loss))
    more = {"spare": [] if init is None else [init], "also": also, "tuning": tuning}
    do(inverter, found, out, film, more)


def wanted(photos: Sequence[str], out: Path) -> "list[Picture]":
    """The photographs that are named, without what earlier calls wrote."""
    from generators.pictures.sources import pictures_of
    from inversion.files.outputs import without_results

    all_of_them = pictures_of(photos)
    found = without_results(all_of_them, photos, out)
    if left := len(all_of_them) - len(found):
        say(f"left out: {left} pictures that earlier calls wrote")
    return found


def check_pictures(
    generator: "Generator", photos: "Sequence[str | Picture]", *, film: str | None, paste: bool, align: bool
) -> None:
    """Refuse a film, or a face put back, that could not be made, before the search."""
    from inversion.views.video import check_film

    if paste and not (align and generator.subject == "face"):
        raise click.UsageError("--paste puts faces back where they were cut out; leave --no-align out")
    if film is None:
        return
    if sum(not isinstance(photo, str) for photo in photos) != 1:
        raise click.UsageError("--film shows the search of one photograph; give one")
    check_place(film, FILMS)
    check_reads([film], photos)
    check_film(generator.img_resolution, film, fps=1, scale=None)


def do(inverter: "Inverter", found: "list[Picture]", out: Path, film: str | None, more: dict[str, Any]) -> None:
    """Invert the photographs, tell of each, and write the film."""
    from inversion.batch import invert_files
    from inversion.views.film import Film

    failed: list[bool] = []  # of each that is done
    try:
        with stoppable() as stopped, bars(inverter.config.steps, stopped) as bar:
            watch = bar if film is None else Film(inverter.generator, film, bar, inverter.config.steps)
            for record in invert_files(inverter, found, out, watch, **more):
                failed.append("error" in record)
                tell(record, record_line(record), err=failed[-1])
            if isinstance(watch, Film) and not any(failed):
                watch.write()
    except KeyboardInterrupt:
        done = f"{len(failed)} of {len(found)} photographs"
        fail(f"stopped early: {done} are in {out}, the last at their best so far", stop_status())
    if any(failed):
        fail(f"error: {sum(failed)} of {len(found)} photographs failed")


def tuning_of(generator: "Generator", recipe: str, wanted: bool, settings: dict[str, Any]) -> TuneConfig | None:
    """The settings of the tuning, taken out of all settings; None where none is wanted, nor part of the recipe."""
    from inversion.config import parse_weights

    given = {name: settings.pop(f"tune_{name}") for name in settings_of(TuneConfig)}
    given = {name: value for name, value in given.items() if value is not None}
    wanted = wanted or recipe in TUNINGS
    if not wanted and given:
        names = ", ".join(f"--tune-{name}" for name in given)
        raise click.UsageError(f"{names} came without --tune; add it, or leave them out")
    if not wanted:
        return None
    if generator.delta is not None:
        raise SettingsError("the latent of --init is tuned already; start from one of the generator as it came")
    if "loss" in given:
        given["loss"] = parse_weights(given["loss"])
    return replace(TUNINGS.get(recipe, TuneConfig()), **given)


def start_of(init: Path | None, generator: "Generator", settings: dict[str, Any]) -> "Latent | None":
    """The saved latent to start from; settings take its space, and the class of z, where none is given."""
    from inversion.files.latent_file import load_one

    if init is None:
        return None
    start = load_one(init, generator)
    for name in ("space", "label"):
        if settings[name] is None:
            settings[name] = getattr(start, name)
    return start
