"""A photograph changed: older, smiling, turned; by so much, or as far as it takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inversion.commands.change import CHANGE, Change, change_of
from inversion.commands.destination import Destination, Rendering, destination, write
from inversion.commands.edits import name_of, opened
from inversion.commands.options import OUT, PASTE, PHOTO, SAVE, SHEET, with_generator
from inversion.commands.pasting import Pasting, pastings
from inversion.commands.settings import Grouped, Settings, options
from inversion.commands.terminal import tell

if TYPE_CHECKING:
    from generators.base import Generator
    from generators.pictures.sources import Picture
    from inversion.latent import Latent

CMP = click.option("--cmp", "compare", is_flag=True, help="A sheet of each before and after, into one file.")
STRIP = options(
    click.option("--strip", type=Settings(), metavar="NAME=X,...", help="A strip instead: each from -X to +X."),
    click.option("--frames", type=click.IntRange(2, 99), default=7, show_default=True, help="Pictures of a strip."),
)


@click.command(cls=Grouped, epilog="Example: latent edit me.jpg --set age=+1.5,smile=-1 -o older.png")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@options(OUT, PHOTO, CHANGE, STRIP, PASTE, CMP, SHEET, SAVE)
@with_generator
def edit(
    generator: "Generator",
    sources: Sequence[str],
    out: str,
    strip: Mapping[str, float] | None,
    frames: int,
    paste: bool,
    into: Path | None,
    compare: bool,
    sheet: bool | None,
    save_latents: bool,
    **more: Any,
) -> None:
    """Change what sources show along named directions, as `latent directions list` has them.

    --set age=1.5 goes so many standard deviations; --to age=8 goes as far as it takes until the picture is measured so,
    and stops before it shows another person. Both may be given: first --set, then --to.
    """
    from inversion.files.named import named

    asked = {name: more.pop(name) for name in ("within", "undo", "band", "regions", "mask", "files")}
    wanted = {name: more.pop(name) for name in ("strengths", "targets")}
    if not any(wanted.values()) and not strip:
        raise click.UsageError("say what to change: --set NAME=X, --to NAME=X or --strip NAME=X")
    change = change_of(generator, **wanted, **asked, also=[*(strip or {})])
    things = named(sources)
    count = 1 if strip else len(things) * (1 + compare)
    reads = [*sources, *things, *([] if into is None else [into])]
    to = destination(out, count, sheet, save_latents, kind="edit", reads=reads)
    check_plain(to, strip=strip, compare=compare)
    latents = opened(generator, things, **more)
    if strip:
        return write_strip(change, latents, strip, to, frames)
    places = [None] * len(things)
    if paste or into is not None:
        places = pastings(generator, things, latents, into, more["face"])
    write(generator, [*renderings(change, things, latents, places, compare)], to)


def renderings(
    change: Change,
    things: "Sequence[Path | Picture]",
    latents: "Sequence[Latent]",
    places: Sequence[Pasting | None],
    compare: bool,
) -> list[Rendering]:
    """Each latent changed; with compare, after itself as it was."""
    made = []
    for thing, latent, place in zip(things, latents, places, strict=True):
        name = name_of(thing)
        changed, about = change.made(latent, name)
        made += [Rendering(f"{name} before", latent, {})] if compare else []
        made.append(Rendering(name, changed, about, place))
    return made


def check_plain(to: Destination, *, strip: Mapping[str, float] | None, compare: bool) -> None:
    """Refuse what a strip or a sheet of before and after cannot be."""
    if compare and (to.folder or to.save_latents or not to.has_sheet):
        raise click.UsageError("--cmp makes one picture; name a file, and leave --no-sheet and --save-latents out")
    if strip and (to.folder or to.save_latents):
        raise click.UsageError("a strip is one picture; name a file, and leave the latents out")
    if strip and len({abs(x) for x in strip.values()}) != 1:
        raise click.UsageError("the directions of a strip go equally far; give them the same number")


def write_strip(
    change: Change, latents: "Sequence[Latent]", strip: Mapping[str, float], to: Destination, frames: int
) -> None:
    """A row of pictures for each latent and direction, as one picture."""
    from generators.pictures.image import write_image
    from inversion.directions.strips import strips

    far, found = abs(next(iter(strip.values()))), [change.known[name] for name in strip]
    starts = [change.made(latent, "strip")[0] for latent in latents]
    page = strips(change.generator, starts, found, ends=(-far, far), count=frames, layers=change.layers)
    write_image(page, to.out)
    tell({"file": to.out, "directions": [*strip], "ends": [-far, far]}, to.out)
