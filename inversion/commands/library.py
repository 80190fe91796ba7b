"""Latent spaces, seen and searched."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inversion.commands.destination import check_place, check_reads
from inversion.commands.options import ALIGN, FILE, INVERTING, LABEL, SEED, STEPS, with_generator
from inversion.commands.process import printable, stop_status
from inversion.commands.settings import Grouped, grouped, options
from inversion.commands.terminal import bars, fail, say, tell
from inversion.config import RECIPES

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.inverter import Inverter

CODES = options(
    grouped(
        INVERTING,
        "--recipe",
        metavar="NAME",
        help=f"Settings by name: {', '.join(RECIPES)}.  [encode, by the encoder; without one, default]",
    ),
    STEPS,
    LABEL,
    ALIGN,
)


@click.command(
    cls=Grouped, epilog="Example: latent plot digits -g digits --method tsne -o digits.png --html digits.html"
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("-o", "--out", type=FILE, metavar="FILE", help="A picture: .png, .svg or .pdf.")
@click.option("--html", type=FILE, metavar="FILE", help="A page to turn, zoom and point at, that needs no network.")
@click.option("--dims", type=click.Choice(["2", "3"]), default="2", show_default=True)
@click.option(
    "--method",
    type=click.Choice(["raw", "pca", "tsne", "umap"]),
    help="From codes to places.  [default: raw if codes have so few numbers, else pca]",
)
@click.option("--thumbnails", is_flag=True, help="Draw pictures where they have room.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="N of the pictures, drawn at random.")
@click.option("--grid", is_flag=True, help="Instead, the images between four sources.")
@click.option("--tiles", type=click.IntRange(2), default=7, show_default=True, help="Of the grid, a side.")
@click.option(
    "--kind",
    type=click.Choice(["spherical", "linear"]),
    default="spherical",
    show_default=True,
    help="Of the grid's walks.",
)
@options(CODES, SEED)
@with_generator
def plot(
    generator: "Generator",
    sources: Sequence[str],
    out: Path | None,
    html: Path | None,
    grid: bool,
    tiles: int,
    kind: str,
    recipe: str | None,
    steps: int | None,
    label: int | None,
    align: bool,
    **drawn: Any,
) -> None:
    """Draw codes in the plane or in space.

    SOURCEs are folders or zips of pictures, pictures, saved latents, folders of those, or the word digits. A picture's
    label is the folder that it stands in; else, with several SOURCEs, its SOURCE.

    With --grid, four SOURCEs are the corners: upper left and right, lower left and right.
    """
    codes = {"recipe": recipe, "steps": steps, "label": label, "align": align}
    if not grid:
        return draw_codes(generator, sources, out, html, **codes, **drawn)
    if out is None or html is not None:
        raise click.UsageError("a grid takes four sources and -o FILE")
    draw_grid(generator, sources, out, tiles=tiles, kind=kind, **codes)


def draw_codes(
    generator: "Generator",
    sources: Sequence[str],
    out: Path | None,
    html: Path | None,
    *,
    dims: str,
    method: str | None,
    thumbnails: bool,
    limit: int | None,
    seed: int,
    **codes: Any,
) -> None:
    """Draw the codes of sources as a picture, as a page, or both."""
    from inversion.files.named import named
    from inversion.library.collection import collect, most_codes
    from inversion.views.page import write_page
    from inversion.views.plot import KINDS, check_codes, draw, points_of

    if out is None and html is None:
        raise click.UsageError("name a file: -o FILE or --html FILE")
    for file, kinds in ((out, KINDS), (html, ("html", "htm"))):
        if file is not None:
            check_place(str(file), kinds)
            check_reads([file], [*sources, *named(sources)])
    numbers = generator.num_ws * generator.w_dim
    check_codes(most_codes(sources, generator, limit), numbers, int(dims), method)
    inverter = encoding(generator, seed=seed, **codes)
    with bars(inverter.config.steps) as watch:
        found = collect(sources, inverter, watch, limit=limit)
    points = points_of(generator, found, dims=int(dims), method=method, seed=seed)
    if out is not None:
        draw(points, out, thumbnails=thumbnails)
    if html is not None:
        write_page(points, html)
    for file in (out, html):
        if file is not None:
            tell({"file": str(file), "codes": len(found), "axes": points.axes}, str(file))


def draw_grid(
    generator: "Generator",
    sources: Sequence[str],
    out: Path,
    *,
    tiles: int,
    kind: str,
    recipe: str | None,
    **codes: Any,
) -> None:
    """Draw the manifold between four sources, photographs inverted on the way."""
    from generators.pictures.image import write_image
    from inversion.commands.edits import opened
    from inversion.files.named import named
    from inversion.views.plot import manifold

    check_place(str(out), ("png", "jpg", "webp"))
    things = named(sources)
    check_reads([out], [*sources, *things])
    if len(things) != 4:
        raise click.UsageError(f"{len(things)} sources came; a grid takes four")
    corners = opened(generator, things, recipe=recipe or "default", face=None, **codes)
    write_image(manifold(generator, corners, tiles=tiles, kind=kind), out)
    tell({"file": str(out), "tiles": tiles, "kind": kind, "sources": sources}, str(out))


@click.command(cls=Grouped, epilog="Example: latent search me.jpg photos/ -o nearest.png")
@click.argument("query")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True)
@click.option("-o", "--out", metavar="FILE", help="A contact sheet: the query first, then the nearest with distances.")
@click.option("-n", "count", type=click.IntRange(1), default=11, show_default=True, help="How many.")
@click.option(
    "--metric",
    type=click.Choice(["raw", "whitened", "identity"]),
    default="raw",
    show_default=True,
    help="Distance of codes; in units of their spread; or of faces.",
)
@options(CODES)
@with_generator
def search(
    generator: "Generator",
    query: str,
    folders: Sequence[str],
    out: str | None,
    count: int,
    metric: str,
    **codes: Any,
) -> None:
    """Find the nearest pictures of a folder.

    QUERY is a photograph or a saved latent, FOLDER a folder or a zip of pictures, a picture, or the word digits.

    What pictures are encoded to is kept in FOLDER/.latent-index.safetensors, or where that cannot be written to in
    $LATENT_CACHE, so that next time only new and changed ones are encoded. Pictures without a face are skipped where
    faces are aligned.
    """
    from generators.pictures.image import write_image
    from generators.pictures.sources import pictures
    from inversion.library.nearest import contact_sheet, nearest_to

    if out is not None:
        check_place(out)
        check_reads([out], [query, *folders, *(picture for folder in folders for picture in pictures(folder))])
    inverter = encoding(generator, **codes)
    try:
        with bars(inverter.config.steps) as watch:
            found = nearest_to(query, folders, inverter, watch, metric=metric, count=count)
    except KeyboardInterrupt:
        fail("stopped; what was encoded is kept, and the same command goes on from there", stop_status())
    for name, why in found.skipped.items():
        tell({"file": name, "error": why}, printable(f"skipped {name}: {why}"), err=True)
    for rank, (name, distance) in enumerate(found.nearest, 1):
        tell({"rank": rank, "file": name, "distance": distance}, f"{rank:>3}  {distance:8.4f}  {printable(name)}")
    if out is not None:
        write_image(contact_sheet(found), out)
        say(f"the contact sheet of {len(found.nearest)} out of {found.searched} pictures is {out}")


def encoding(
    generator: "Generator",
    *,
    recipe: str | None,
    steps: int | None,
    label: int | None,
    align: bool,
    seed: int = 0,
) -> "Inverter":
    """An inverter that gives codes: by the encoder alone, unless steps are asked for or there is no encoder."""
    from generators.storage import cache_folder
    from inversion.config import settings_for
    from inversion.inverter import Inverter

    config = settings_for(generator, recipe, steps=steps, seed=seed, label=label)
    return Inverter(generator, config, recipe or "default", align=align, cache=cache_folder("inversions"))
