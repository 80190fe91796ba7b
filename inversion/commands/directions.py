"""Directions: listed, discovered, imported."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inversion.commands.destination import check_place, check_reads
from inversion.commands.learned import learn_directions, list_attributes, report
from inversion.commands.options import DIRECTIONS, FILE, SEED, with_generator
from inversion.commands.settings import Band, options
from inversion.commands.terminal import Group, tell

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.directions.direction import Direction

OUT = click.option("-o", "--out", type=FILE, required=True, metavar="FILE", help="A file.directions.safetensors.")
BAND = click.option(
    "--layers", "band", type=Band(), metavar="LOW-HIGH", help="Resolutions, in px, at which they act.  [all]"
)


@click.group("directions", cls=Group)
def directions() -> None:
    """Ways through a generator's latent space: older, smiling, turned.

    Some come with ffhq and portraits; others are discovered without labels, learned, or imported from other people's
    files. `latent edit` moves photographs along them.
    """


for command in (learn_directions, report, list_attributes):
    directions.add_command(command)


@directions.command("list", epilog="Example: latent directions list -g ffhq")
@options(DIRECTIONS)
@with_generator
def list_directions(generator: "Generator", files: Sequence[Path]) -> None:
    """List the directions of a generator: how far is safe, and what a standard deviation changes."""
    from inversion.directions.store import directions_for, told

    found = directions_for(generator, files)
    for name, direction in sorted(found.items()):
        record = {"name": name, **told(direction)}
        low, high = direction.safe
        effects = ", ".join(f"{key} {value:+.2g}" for key, value in strongest(direction))
        tell(record, f"{name:<16} {low:+.1f} to {high:+.1f}   {effects or 'effects not measured'}")
    if not found:
        tell({}, f"{generator.name} comes without directions; see `latent directions --help`")


def strongest(direction: "Direction", most: int = 4) -> list[tuple[str, float]]:
    """The effects of a direction, largest first."""
    return sorted(direction.effects.items(), key=lambda item: -abs(item[1]))[:most]


@directions.command("discover", epilog="Example: latent directions discover -n 12 -o sefa.directions.safetensors")
@click.option("--method", type=click.Choice(["sefa", "ganspace"]), default="sefa", show_default=True)
@click.option("-n", "count", type=click.IntRange(1), default=10, show_default=True, help="How many, strongest first.")
@options(BAND, OUT)
@click.option("--sheet", metavar="FILE", help="A picture of each from -3 to +3 standard deviations.")
@options(SEED)
@with_generator
def discover_directions(
    generator: "Generator",
    method: str,
    count: int,
    band: tuple[int, int] | None,
    out: Path,
    sheet: str | None,
    seed: int,
) -> None:
    """Find directions without labels.

    sefa: what the weights magnify most (Shen and Zhou 2021); ganspace: where samples spread most (Härkönen and others
    2020).
    """
    from inversion.directions.discover import discover
    from inversion.directions.store import save_directions

    check_outputs(out, sheet)
    found = discover(generator, method, count=count, band=band)
    save_directions(found, out)
    if sheet is not None:
        write_strips(generator, found, sheet, seed)
    tell({"file": str(out), "directions": [one.name for one in found], "sheet": sheet}, str(sheet or out))


@directions.command("import", epilog="Example: latent directions import age.pt -g ffhq -o age.directions.safetensors")
@click.argument("file", type=FILE)
@click.option("--name", help="What to call it.  [the file's stem]")
@click.option("--key", help="Which, where the file holds several.")
@click.option("--anyway", is_flag=True, help="Also where it seems to be of another generator.")
@options(OUT)
@click.option("--sheet", metavar="FILE", help="A picture of it from -3 to +3 standard deviations.")
@options(SEED)
@with_generator
def import_file(
    generator: "Generator",
    file: Path,
    name: str | None,
    key: str | None,
    anyway: bool,
    out: Path,
    sheet: str | None,
    seed: int,
) -> None:
    """Take over somebody's direction: .npy, .npz or .pt, in w or w_plus.

    Such files do not say whose they are: one that is of another generator's W is told by its numbers, and refused.
    """
    from inversion.directions.published import import_direction
    from inversion.directions.store import save_directions

    check_outputs(out, sheet)
    check_reads([out], [file])
    found = import_direction(generator, file, name or file.stem, key=key, anyway=anyway)
    save_directions([found], out)
    if sheet is not None:
        write_strips(generator, [found], sheet, seed)
    tell({"file": str(out), "directions": [found.name], "sheet": sheet}, str(out))


def check_outputs(out: Path, sheet: str | None) -> None:
    """Refuse, before the work starts, what could not be written."""
    from generators.storage import check_file
    from inversion.directions.store import SUFFIX

    if not out.name.endswith(SUFFIX):
        raise click.UsageError(f"name the file FILE{SUFFIX}")
    check_file(out)
    if sheet is not None:
        check_place(sheet)


def write_strips(generator: "Generator", found: "Sequence[Direction]", sheet: str, seed: int) -> None:
    """A row for each direction: a sample moved along it, from -3 to +3 standard deviations."""
    from generators.pictures.image import write_image
    from inversion.directions.strips import strips
    from inversion.latent import sample_latent

    start = sample_latent(generator, seed=seed, truncation_psi=0.7)
    write_image(strips(generator, [start], found), sheet)
