"""A photograph changed: older, smiling, turned; by so much, or as far as it takes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from inversion.commands.destination import Destination, Rendering, destination, write
from inversion.commands.edits import name_of, opened
from inversion.commands.options import DIRECTIONS, OUT, PHOTO, SAVE, SHEET, with_generator
from inversion.commands.settings import Band, Grouped, Settings, options
from inversion.commands.terminal import say

if TYPE_CHECKING:
    from pathlib import Path

    from generators.base import Generator
    from inversion.directions.direction import Direction
    from inversion.latent import Latent


@click.command(cls=Grouped, epilog="Example: latent edit me.jpg --set age=+1.5,smile=-1 -o older.png")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@options(OUT, PHOTO)
@click.option(
    "--set", "strengths", type=Settings(), default="", metavar="NAME=X,...", help="Standard deviations along each."
)
@click.option("--to", "targets", type=Settings(), default="", metavar="NAME=X,...", help="As far as it takes.")
@click.option("--within", type=click.FloatRange(0, 2), default=0.6, help="Largest identity distance for --to.  [0.6]")
@click.option("--layers", "band", type=Band(), metavar="LOW-HIGH", help="Resolutions, in px, that may change.  [all]")
@click.option("--strip", type=Settings(), metavar="NAME=X", help="A strip instead, from -X to +X.")
@click.option("--frames", type=click.IntRange(2, 99), default=7, show_default=True, help="Pictures of a strip.")
@options(DIRECTIONS, SHEET, SAVE)
@with_generator
def edit(
    generator: "Generator",
    sources: Sequence[str],
    out: str,
    strengths: Mapping[str, float],
    targets: Mapping[str, float],
    within: float,
    band: tuple[int, int] | None,
    strip: Mapping[str, float] | None,
    frames: int,
    files: "Sequence[Path]",
    sheet: bool | None,
    save_latents: bool,
    **photo: Any,
) -> None:
    """Change what sources show along named directions, as `latent directions list` has them.

    --set age=1.5 goes so many standard deviations; --to age=8 goes as far as it takes until the picture is measured so,
    and stops before it shows another person. Both may be given: first --set, then --to.
    """
    from generators.base import layers_between
    from inversion.directions.apply import check_known
    from inversion.directions.apply import edit as moved
    from inversion.directions.store import directions_for
    from inversion.files.named import named

    if not strengths and not targets and not strip:
        raise click.UsageError("say what to change: --set NAME=X, --to NAME=X or --strip NAME=X")
    known = directions_for(generator, files)
    check_known(known, [*strengths, *targets, *(strip or ())], generator)
    layers = None if band is None else layers_between(generator, *band)
    things = named(sources)
    to = destination(out, 1 if strip else len(things), sheet, save_latents, kind="edit", reads=[*sources, *things])
    latents = opened(generator, things, **photo)
    starts = [moved(generator, latent, strengths, known, layers=layers) for latent in latents]
    names = [name_of(thing) for thing in things]
    if strip:
        return write_strip(generator, starts, known, strip, to, frames=frames, layers=layers)
    made = []
    for name, latent in zip(names, starts, strict=True):
        aimed, told = to_targets(generator, latent, known, targets, name=name, within=within, layers=layers)
        made.append(Rendering(name, aimed, {"set": dict(strengths), **told}))
    write(generator, made, to)


def to_targets(
    generator: "Generator",
    latent: "Latent",
    known: "Mapping[str, Direction]",
    targets: Mapping[str, float],
    *,
    name: str,
    within: float,
    layers: Sequence[int] | None,
) -> "tuple[Latent, dict[str, Any]]":
    """A latent moved until its attributes are measured as wanted, one after the other, and what was reached."""
    if not targets:
        return latent, {}
    from inversion.attributes.table import attribute
    from inversion.directions.apply import Aim, reach

    told: dict[str, Any] = {}
    for what, target in targets.items():
        found = reach(generator, latent, known[what], attribute(what), Aim(target=target, within=within), layers=layers)
        latent = found.latent
        told[what] = {"strength": found.strength, "value": found.value, "identity": found.identity, "why": found.why}
        if found.why != "reached":
            bound = "it would be another person" if found.why == "identity" else "it is far enough from faces"
            say(f"{name}: {what} comes to {found.value:.3g}, not {target:g}: further, {bound}; see --within")
    return latent, {"to": told}


def write_strip(
    generator: "Generator",
    latents: "Sequence[Latent]",
    known: "Mapping[str, Direction]",
    strip: Mapping[str, float],
    to: Destination,
    *,
    frames: int,
    layers: Sequence[int] | None,
) -> None:
    """A row of pictures for each latent and direction, as one picture."""
    from generators.pictures.image import write_image
    from inversion.commands.terminal import tell
    from inversion.directions.strips import strips

    if to.folder or to.save_latents:
        raise click.UsageError("a strip is one picture; name a file, and leave the latents out")
    if len(set(strip.values())) != 1:
        raise click.UsageError("the directions of a strip go equally far; give them the same number")
    far = abs(next(iter(strip.values())))
    found = [known[name] for name in strip]
    write_image(strips(generator, latents, found, ends=(-far, far), count=frames, layers=layers), to.out)
    tell({"file": to.out, "directions": [*strip], "ends": [-far, far]}, to.out)
