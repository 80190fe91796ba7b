"""Parents, children and partners."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import click

from inversion.commands.change import aged
from inversion.commands.destination import Destination, Rendering, destination, write
from inversion.commands.edits import name_of, opened
from inversion.commands.options import OUT, PHOTO, SAVE, SEED, SHEET, with_generator
from inversion.commands.process import printable
from inversion.commands.settings import Grouped, Numbers, grouped, options
from inversion.commands.terminal import tell, wants_json
from inversion.errors import SettingsError

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.latent import Latent

DIALS = ("eyes", "brows", "nose", "mouth", "jaw", "hair")  # regions that may come from one person
CHILDREN = "Children"
FACE = "Regions of the face, of one PERSON: mother, father, a name, or a number among the sources"
WEIGHTS = click.option(
    "--weights", type=Numbers(), metavar="W,W,...", help="What each parent counts.  [default: the same]"
)
DRAWN = options(
    grouped(CHILDREN, "--children", type=click.IntRange(1), metavar="N", help="N siblings, each drawn anew."),
    grouped(
        CHILDREN, "--grandparents", is_flag=True, help="Sources are grandparents: each two have a child, a parent."
    ),
    grouped(CHILDREN, "--by-region", is_flag=True, help="Eyes, nose, mouth, jaw and hair have shares of their own."),
    grouped(
        CHILDREN,
        "--mutation",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        help="How far each moves towards a random person, 0 to 1.  [0.2]",
    ),
)
AGED = options(
    grouped(CHILDREN, "--age", type=click.FloatRange(0, 100), metavar="YEARS", help="How old they are, as measured."),
    grouped(CHILDREN, "--sex", type=click.Choice(["female", "male"]), help="How they present.  [as it comes]"),
)
DIAL = options(*(grouped(FACE, f"--{name}", metavar="PERSON[=SHARE]", help=f"Whose {name}.") for name in DIALS))
SHOWN = options(
    click.option("--resemblance", is_flag=True, help="Tell whom each is like, against unrelated people."),
    click.option("--tree", metavar="FILE", help="Draw the family as a tree, with the resemblance."),
)


@dataclass(frozen=True)
class Plan:
    """How people come from other people."""

    children: int | None = None  # None: their mean
    weights: tuple[float, ...] | None = None  # of each parent
    grandparents: bool = False  # those who are given are the parents' parents
    by_region: bool = False
    mutation: float | None = None  # as ChildConfig has it
    dials: dict[str, str] = field(default_factory=dict)  # region -> whose, as it was written
    seed: int = 0
    change: "Callable[[Latent], Latent]" = lambda child: child  # moves the whole of every child, as a direction would

    def check(self, names: Sequence[str]) -> None:
        """Refuse what could not be done with sources of these names, before any is inverted."""
        from inversion.edit.mix import normalized

        if len(names) < 2:
            raise click.UsageError("give two sources or more")
        if self.grandparents and (len(names) < 4 or len(names) % 2):
            raise SettingsError(f"{len(names)} sources came; grandparents are four, or two more for each more parent")
        if not self.children and (self.by_region or self.mutation is not None):
            raise SettingsError("--by-region and --mutation draw children; say how many with --children")
        parents, before = self.names(names)
        normalized(self.weights or [1.0] * len(parents), len(parents))
        self.traits(parents, before)

    def names(self, sources: Sequence[str]) -> tuple[list[str], list[str]]:
        """The names of the parents, and of those before them."""
        if not self.grandparents:
            return list(sources), []
        count = len(sources) // 2
        return (["mother", "father"] if count == 2 else [f"parent {i + 1}" for i in range(count)]), list(sources)

    def traits(self, parents: Sequence[str], before: Sequence[str]) -> dict[str, tuple[float, ...]]:
        """The shares of all people, parents first, in each region that was asked for."""
        people = [*parents, *before]
        known = {"mother": 0, "father": 1} if len(parents) == 2 else {}
        known |= {str(i): i + (len(parents) if before else 0) - 1 for i in range(1, len(before or parents) + 1)}
        known |= {name: i for i, name in reversed([*enumerate(people)])}  # a file's own name goes before
        found = {}
        for region, text in self.dials.items():
            name, share = dial(region, text)
            if name not in known:
                raise SettingsError(f"--{region}: nobody is called {name!r}; name one of {', '.join(known)}")
            found[region] = tuple(share if i == known[name] else 0.0 for i in range(len(people)))
        return found

    def parents(self, generator: "Generator", given: Sequence[Rendering]) -> list[Rendering]:
        """The parents' generation: those who are given, or children of each two of them."""
        from inversion.edit.family import next_generation

        if not self.grandparents:
            return list(given)
        names, _ = self.names([one.label for one in given])
        drawn = next_generation(generator, [one.latent.to_w_plus(generator) for one in given], seed=self.seed)
        return [
            Rendering(name, child.latent, {"weights": child.weights}) for name, child in zip(names, drawn, strict=True)
        ]

    def made(
        self, generator: "Generator", parents: Sequence[Rendering], before: Sequence[Rendering]
    ) -> list[Rendering]:
        """The children, or the mean, and what they have from whom."""
        from inversion.edit.family import ChildConfig, family
        from inversion.edit.mix import blend, normalized
        from inversion.edit.traits import inherit

        traits = self.traits([one.label for one in parents], [one.label for one in before])
        latents = [one.latent for one in parents]
        if self.children:
            config = ChildConfig(dominance=self.weights, by_region=self.by_region)
            config = config if self.mutation is None else replace(config, mutation=self.mutation)
            more = {"traits": traits, "ancestors": [one.latent for one in before], "change": self.change}
            drawn = family(generator, latents, count=self.children, seed=self.seed, config=config, **more)
            return [Rendering(f"child {i}", one.latent, told(one, i)) for i, one in enumerate(drawn, 1)]
        shares = normalized(self.weights or [1.0] * len(latents), len(latents))
        mean = self.change(blend(latents, shares))
        if traits:
            everyone = [one.latent.to_w_plus(generator) for one in (*parents, *before)]
            mean = inherit(generator, mean.to_w_plus(generator), everyone, traits)
        return [Rendering("blend", mean, {"weights": shares} | ({"traits": traits} if traits else {}))]


def dial(region: str, text: str) -> tuple[str, float]:
    """The person and the share of a dial such as mother=0.8; SettingsError for another share than 0 to 1."""
    name, equals, number = text.rpartition("=") if "=" in text else (text, "", "1")
    try:
        share = float(number)
    except ValueError:
        name, share = text, 1.0  # a name with an equals sign in it
    if not 0 <= share <= 1:
        raise SettingsError(f"--{region} is {text}; give a share from 0 to 1, as in {name or 'mother'}=0.8")
    return name, share


def told(child: Any, number: int) -> dict[str, Any]:
    """Where a child has its shares from."""
    return {"child": number, "weights": child.weights} | ({"traits": child.traits} if child.traits else {})


@click.command(
    cls=Grouped, epilog="Example: latent blend mother.jpg father.jpg -o child.png --children 4 --eyes mother"
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@options(OUT, PHOTO, WEIGHTS, DRAWN, AGED, DIAL, SEED, SHOWN, SHEET, SAVE)
@with_generator
def blend(
    generator: "Generator",
    sources: Sequence[str],
    out: str,
    sheet: bool | None,
    save_latents: bool,
    resemblance: bool,
    tree: str | None,
    seed: int,
    age: float | None,
    sex: str | None,
    **more: Any,
) -> None:
    """Blend sources: their mean, or children.

    The mean is weighted. Children draw how much of each parent they take at each resolution, so that siblings differ;
    weights say who counts more. Of two sources the first is the mother, the second the father.

    Several children in one file come as a sheet after their parents, in a folder/ as files; --json tells the shares.
    """
    from inversion.files.named import named

    dials = {name: text for name in DIALS if (text := more.pop(name)) is not None}
    drawn = {name: more.pop(name) for name in ("children", "weights", "grandparents", "by_region", "mutation")}
    plan = Plan(**drawn, dials=dials, seed=seed, change=aged(generator, age, sex))
    things = named(sources)
    to = destination(out, plan.children or 1, sheet, save_latents, kind="child", reads=[*sources, *things])
    plan.check([name_of(thing) for thing in things])
    shown = tree and tree_file(tree, to, [*sources, *things])
    latents = opened(generator, things, **more)
    given = [Rendering(name, latent) for name, latent in zip(map(name_of, things), latents, strict=True)]
    parents, before = plan.parents(generator, given), given if plan.grandparents else []
    made = plan.made(generator, parents, before)
    if resemblance or shown is not None:
        made = compared(generator, made, [*parents, *before])
    write(generator, made, to, [*before, *parents])
    if resemblance and not wants_json():
        tell({}, resemblance_table(made))
    if shown is not None:
        write_tree(generator, [before, parents, made] if before else [parents, made], shown)


def tree_file(out: str, to: Destination, reads: Sequence[Any]) -> str:
    """The file for the tree, checked: a picture that is neither read nor written already."""
    if out == "-":
        raise SettingsError("the tree needs a file of its own; name it")
    return destination(out, kind="tree", reads=[*reads, *to.all_files()]).files[0]


def compared(generator: "Generator", made: Sequence[Rendering], people: Sequence[Rendering]) -> list[Rendering]:
    """The same, each told with its likeness to all people, by their names."""
    from inversion.measures.resemblance import resemblance

    rows = resemblance(generator, [one.latent for one in made], [one.latent for one in people])
    names = [one.label for one in people]
    likenesses = [{name: asdict(one) for name, one in zip(names, row, strict=True)} for row in rows]
    return [replace(one, about={**one.about, "resemblance": row}) for one, row in zip(made, likenesses, strict=True)]


def likeness_text(likeness: dict[str, float | None]) -> str:
    """The distance of two people, and how many are further apart."""
    distance, share = likeness["distance"], likeness["nearer_than"]
    if distance is None:
        return "no face"
    return f"{distance:.2f}" + ("" if share is None else f" ({share:.0%})")


def resemblance_table(made: Sequence[Rendering]) -> str:
    """A line for each of them, a column for each of their people."""
    names = list(made[0].about["resemblance"])
    rows = [["", *names]]
    rows += [[one.label, *(likeness_text(like) for like in one.about["resemblance"].values())] for one in made]
    widths = [max(len(row[i]) for row in rows) for i in range(len(names) + 1)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    what = "identity distance, and the share of unrelated people who are further away"
    return "\n".join([what, *(printable(line) for line in lines)])


def write_tree(generator: "Generator", rows: Sequence[Sequence[Rendering]], file: str) -> None:
    """Draw generations as a tree, and tell where it is; with grandparents each two have the next parent."""
    from generators.pictures.image import to_pil, write_image
    from inversion.latent import synthesize
    from inversion.views.tree import Node, tree

    size, nodes = min(generator.img_resolution, 512), []
    for depth, row in enumerate(rows):
        nodes.append([])
        for i, one in enumerate(row):
            above = tuple(range(len(rows[depth - 1]))) if depth == len(rows) - 1 else (2 * i, 2 * i + 1)
            likenesses = one.about.get("resemblance", {})
            notes = tuple(f"{name} {likeness_text(like)}" for name, like in likenesses.items())
            picture = to_pil(synthesize(generator, one.latent, resolution=size))
            nodes[-1].append(Node(picture, one.label, above if depth else (), notes))
    write_image(tree(nodes, tile=max(160, min(256, size))), file)
    tell({"tree": file}, printable(file))


@click.command(cls=Grouped, epilog="Example: latent partner mother.jpg child.jpg -o father.png")
@click.argument("sources", metavar="PARENT CHILD", nargs=-1, required=True)
@options(OUT, PHOTO)
@click.option(
    "--reach",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    help="Largest distance from the average, in that of parent or child.",
)
@options(SAVE)
@with_generator
def partner(
    generator: "Generator", sources: Sequence[str], out: str, reach: float, save_latents: bool, **photo: Any
) -> None:
    """Find the likely other parent of a child.

    It is the face with which the parent has the child as its mean, kept near the average. --json tells how far, in
    identity, the child of both is from the given one.
    """
    from inversion.edit.family import partner as other_parent
    from inversion.edit.mix import blend as mean_of
    from inversion.files.named import named
    from inversion.measures.resemblance import identity, likeness

    things = named(sources)
    to = destination(out, save_latents=save_latents, kind="partner", reads=[*sources, *things])
    if len(things) != 2:
        raise SettingsError(f"{len(things)} sources came; give a parent, and a child")
    parent, child = (one.to_w_plus(generator) for one in opened(generator, things, **photo))
    found = other_parent(generator, parent, child, reach=reach)
    again = likeness(identity(generator, mean_of([parent, found])), identity(generator, child), [])
    write(generator, [Rendering("partner", found, {"reach": reach, "child_again": again.distance})], to)
