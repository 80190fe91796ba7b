"""Directions learned, and measured: of `latent directions`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inversion.commands.destination import check_place, check_reads
from inversion.commands.edits import opened
from inversion.commands.options import DIRECTIONS, FILE, JSON, PHOTO, SEED, with_generator
from inversion.commands.settings import Grouped, Names, grouped, options, options_of
from inversion.commands.tables import effect_record, effects_table
from inversion.commands.terminal import Bars, tell, wants_json
from inversion.directions.config import LearnConfig

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.directions.direction import Direction
    from inversion.directions.effects import Effect
    from inversion.latent import Latent

TRUNCATION = 0.8  # of the samples that effects are measured on
FUNCTIONS, EXAMPLES = "From what a function says of samples", "From examples"


@click.command(
    "learn",
    cls=Grouped,
    epilog="Example: latent directions learn -g ffhq --of age --not gender,yaw -o age.directions.safetensors",
)
@grouped(FUNCTIONS, "--of", "names", type=Names(), metavar="NAME,...", help="Attributes, a direction for each.")
@grouped(FUNCTIONS, "--not", "apart", type=Names(), metavar="NAME,...", help="Attributes that shall not move.")
@options(options_of({"": LearnConfig}, group=FUNCTIONS, skip=("seed",)))
@grouped(
    FUNCTIONS,
    "--between",
    nargs=2,
    type=float,
    metavar="A B",
    help="Values: from samples beyond A to those beyond B, as in 20 12; for svm and means.  [the median]",
)
@grouped(EXAMPLES, "--with", "having", multiple=True, metavar="SOURCE", help="Pictures that have it.")
@grouped(EXAMPLES, "--without", "lacking", multiple=True, metavar="SOURCE", help="Pictures that have it not.")
@grouped(EXAMPLES, "--table", type=FILE, metavar="FILE.csv", help="Or rows of FILE,NUMBER.")
@click.option("--name", metavar="NAME", help="What to call it.  [after the attribute, the folder or the table]")
@click.option("-o", "--out", type=FILE, required=True, metavar="FILE", help="A file.directions.safetensors.")
@options(SEED, PHOTO)
@with_generator
def learn_directions(
    generator: "Generator",
    names: tuple[str, ...] | None,
    apart: tuple[str, ...] | None,
    having: tuple[str, ...],
    lacking: tuple[str, ...],
    table: Path | None,
    name: str | None,
    out: Path,
    seed: int,
    samples: int | None,
    truncation: float | None,
    method: str | None,
    between: tuple[float, float] | None,
    **photo: Any,
) -> None:
    """Learn directions, from a function or from examples.

    A function labels samples of the generator: age and gender presentation (of the extra `attributes`), smile, yaw and
    others that `latent directions attributes` lists. With --not the direction leaves other attributes where they are.

    Examples are pictures, or saved latents, with and without something, ten of each or more; or a table of numbers.
    How well it can be told from codes is printed: the share told right among those left out, or R².
    """
    from inversion.directions.store import check_out, save_directions

    check_out(out)
    if bool(names) == bool(having or lacking or table):
        raise click.UsageError("say what to learn from: --of NAME,... or --with and --without, or --table")
    if names:
        given = {"samples": samples, "truncation": truncation, "method": method, "between": between, "seed": seed}
        found = from_functions(generator, names, apart or (), name, given)
    elif apart or between:
        raise click.UsageError("--not and --between go with --of")
    else:
        found = [from_examples(generator, having, lacking, table, name=name, out=out, seed=seed, **photo)]
    save_directions(found, out)
    for one in found:
        tell({"file": str(out), "name": one.name, **one.made}, learned_line(one))


def learned_line(direction: "Direction") -> str:
    """How well a direction was learned."""
    made = direction.made
    what = "R²" if made["method"] == "ridge" else "told right"
    own = f", {made['own']:.0%} its own" if made.get("not") else ""
    return f"{direction.name:<16} {what} {made['score']:.3f} of {made['samples']}{own}"


def from_functions(
    generator: "Generator", names: Sequence[str], apart: Sequence[str], title: str | None, given: dict[str, Any]
) -> "list[Direction]":
    """Directions of attributes, from samples of the generator; title: what to call one."""
    from inversion.attributes.table import attribute
    from inversion.directions.learn import label, learn

    if title is not None and len(names) > 1:
        raise click.UsageError("--name is for one direction; name one attribute")
    config = LearnConfig(**{key: value for key, value in given.items() if value is not None})
    functions = {name: attribute(name) for name in dict.fromkeys([*names, *apart])}
    labels = label(generator, functions, config, Bars())
    found = learn(generator, labels, names, apart=apart, config=config)
    return found if title is None else [replace(found[0], name=title)]


def from_examples(
    generator: "Generator",
    having: Sequence[str],
    lacking: Sequence[str],
    table: Path | None,
    *,
    name: str | None,
    out: Path,
    seed: int,
    **photo: Any,
) -> "Direction":
    """A direction of pictures with and without something, or with numbers."""
    from inversion.directions.examples import check_examples, read_table
    from inversion.directions.learn import learn_from_examples
    from inversion.files.named import named
    from inversion.latent import stack

    if table and (having or lacking):
        raise click.UsageError("give --table, or --with and --without")
    if table:
        check_reads([out], [table])
        files, values = read_table(table)
        things = named(files)
        if len(things) != len(values):
            raise click.UsageError(f"{len(values)} rows name {len(things)} pictures; name one in each row")
    else:
        yes, no = named(having), named(lacking)
        check_reads([out], [*having, *lacking, *yes, *no])
        things, values = [*yes, *no], [1.0] * len(yes) + [0.0] * len(no)
    check_examples(values)
    latents = [latent.to_w_plus(generator) for latent in opened(generator, things, **photo)]
    title = name or Path(table or having[0]).stem
    return learn_from_examples(generator, title, stack(latents).code, values, seed=seed)


@click.command("attributes", epilog="Example: latent directions attributes")
@options(JSON)
def list_attributes() -> None:
    """List what directions are learned from and measured by."""
    from inversion.attributes.table import ATTRIBUTES

    for one in ATTRIBUTES.values():
        record = {"name": one.name, "unit": one.unit, "meaning": one.meaning}
        tell(record, f"{one.name:<12} {one.meaning}  [{one.unit}]")


@click.command(
    "report",
    cls=Grouped,
    epilog="Example: latent directions report age -g ffhq --undo glasses -o clean.directions.safetensors",
)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@options(DIRECTIONS)
@click.option("--on", "sources", multiple=True, metavar="SOURCE", help="Faces to measure on.  [samples]")
@click.option(
    "-n", "count", type=click.IntRange(3), default=8, show_default=True, help="How many samples, without --on."
)
@click.option("--attributes", type=Names(), metavar="NAME,...", help="What is measured.  [all]")
@click.option("--undo", "away", type=Names(), metavar="NAME,...", help="Directions to subtract until theirs stay.")
@click.option("-o", "--out", type=FILE, metavar="FILE", help="Keep what was measured in a file.directions.safetensors.")
@click.option("--sheet", metavar="FILE", help="A picture of each from -3 to +3 standard deviations.")
@options(SEED, PHOTO)
@with_generator
def report(
    generator: "Generator",
    names: Sequence[str],
    files: Sequence[Path],
    sources: Sequence[str],
    count: int,
    attributes: tuple[str, ...] | None,
    away: tuple[str, ...] | None,
    out: Path | None,
    sheet: str | None,
    seed: int,
    **photo: Any,
) -> None:
    """Measure what directions do: a row for each.

    The change of every attribute a standard deviation of w; the identity distance at 1 and 2 of them (dlib, under 0.6
    is one person); and how far faces stay faces. With --undo, NAMEs are measured after those are subtracted.
    """
    from inversion.attributes.table import ATTRIBUTES
    from inversion.directions.effects import measure_effects, with_effect
    from inversion.directions.store import check_out, chosen, directions_for, save_directions

    if out is not None:
        check_out(out)
        check_reads([out], files)
    if sheet is not None:
        check_place(sheet)
    known = directions_for(generator, files)
    wanted = [chosen(known, name, generator) for name in names or sorted(known)]
    others = [chosen(known, name, generator) for name in away or ()]
    latents = faces(generator, sources, count, seed, **photo)
    wanted = undone(generator, latents, wanted, others) if others else wanted
    effects = measure_effects(generator, latents, wanted, list(attributes or ATTRIBUTES), watch=Bars())
    found = [with_effect(one, effect) for one, effect in zip(wanted, effects, strict=True)]
    tell_effects(found, effects)
    if out is not None:
        save_directions(found, out)
    if sheet is not None:
        write_sheet(generator, latents, found, sheet)


def tell_effects(found: "Sequence[Direction]", effects: "Sequence[Effect]") -> None:
    """A table of what was measured, or a record for each direction."""
    if not wants_json():
        return click.echo(effects_table(effects))
    for one, effect in zip(found, effects, strict=True):
        tell(effect_record(one, effect), "")


def faces(generator: "Generator", sources: Sequence[str], count: int, seed: int, **photo: Any) -> "list[Latent]":
    """The latents of sources, or where there is none samples not far from the average face."""
    from inversion.files.named import named
    from inversion.latent import sample_latent

    if sources:
        return [one for latent in opened(generator, named(sources), **photo) for one in latent.split()]
    return sample_latent(generator, batch=count, seed=seed, truncation_psi=TRUNCATION).split()


def undone(
    generator: "Generator", latents: "Sequence[Latent]", wanted: "Sequence[Direction]", others: "Sequence[Direction]"
) -> "list[Direction]":
    """Directions less the others, by the effects that are known of them, or else are measured now."""
    from inversion.directions.effects import measure_effects, with_effect
    from inversion.directions.undo import moves, undo

    attributes = [moves(one) for one in others]
    known = {one.name: one for one in (*wanted, *others)}
    new = [one for one in known.values() if any(name not in one.effects for name in attributes)]
    measured = measure_effects(generator, latents, new, attributes, far=(), watch=Bars()) if new else []
    known |= {one.name: with_effect(one, effect) for one, effect in zip(new, measured, strict=True)}
    away = {name: known[one.name] for name, one in zip(attributes, others, strict=True)}
    return [undo(generator, known[one.name], away) for one in wanted]


def write_sheet(generator: "Generator", latents: "Sequence[Latent]", found: "Sequence[Direction]", sheet: str) -> None:
    """A row for each direction: one face moved along it, from -3 to +3 standard deviations."""
    from generators.pictures.image import write_image
    from inversion.directions.strips import strips

    write_image(strips(generator, latents[:1], found), sheet)
