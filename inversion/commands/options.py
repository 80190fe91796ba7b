"""Options that commands share."""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from inversion.commands.terminal import loaded, named_in


class Grouped(click.Command):
    """A command whose help shows its options in groups, as `grouped` names them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (shown := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(shown)
        for name, rows in groups.items():
            with formatter.section(name):
                formatter.write_dl(rows)


class InGroup(click.Option):
    """An option that `Grouped` shows in a group of its help; the help text tells its default."""

    def __init__(self, *args: Any, group: str, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.group = group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return None if record is None else (record[0], self.help or "")


def grouped(group: str, *names: str, **settings: Any) -> Callable:
    """An option in a group of the help of a `Grouped` command."""
    return click.option(*names, cls=InGroup, group=group, **settings)


class Seconds(click.ParamType):
    """A time such as 20s, 2m or 1.5."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([smh]?)", str(value).strip())
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is no time; write 20s, 2m, or a number of seconds above 0", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


class Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "numbers"

    def __init__(self, kind: type[int] | type[float] = float) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | float, ...]:
        try:
            return tuple(self.kind(part) for part in value.split(",") if value)
        except ValueError:
            self.fail(f"{value!r} is no list of numbers; write them as in 2,1", param, ctx)


def options(*all_of_them: Callable) -> Callable:
    """Several options as one decorator."""

    def add(command: Callable) -> Callable:
        for option in reversed(all_of_them):
            command = option(command)
        return command

    return add


FILE = click.Path(path_type=Path)
GENERATOR = click.option(
    "-g",
    "--generator",
    "model",
    metavar="NAME|FILE",
    envvar="LATENT_GENERATOR",
    help="`latent generators` lists the names.  [a latent's own; ffhq if it is here; portraits]",
)
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
JSON = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    help="One JSON object a line on standard output.",
    callback=lambda ctx, _, on: ctx.meta.update(json=on),
)
SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
OUT = click.option("-o", "--out", required=True, metavar="OUT", help="A picture, a folder/, or - for standard output.")
SHEET = click.option("--sheet/--no-sheet", default=None, help="A labelled sheet.  [default: for several in one file]")
SAVE = click.option("--save-latents", is_flag=True, help="Write the latents beside the pictures.")
BATCH = click.option("--batch", type=int, metavar="N", help="Pictures at a time.  [8 up to 256 px, then fewer]")
RECIPE = click.option(
    "--recipe",
    default="default",
    show_default=True,
    help="default, encode (first guess alone), projector or image2stylegan.",
)
STEPS = click.option("--steps", type=int, metavar="N", help="Updates; 0 gives the first guess.")
CROP = options(
    click.option("--align/--no-align", default=True, help="Cut the face out, or take the centre square as it is."),
    click.option("--face", type=int, metavar="N", help="Which face, from the left, from 1.  [default: the largest]"),
)
PHOTO = options(RECIPE, STEPS, CROP)
SPACES = ["z", "w", "w_plus"]
SEARCH_IN = options(
    RECIPE,
    STEPS,
    SEED,
    click.option("--budget", type=Seconds(), help="Time a photograph, such as 20s or 2m."),
    click.option("--lr", type=float, help="Peak learning rate."),
    click.option("--loss", metavar="NAME=WEIGHT,...", help="Terms of the objective, such as lpips=0.8,pixel=1."),
    click.option("--start", type=click.Choice(["encoder", "mean", "random"]), help="First guess."),
    click.option("--restarts", type=int, metavar="N", help="Random starts, of which the best goes on."),
    click.option("--optimizer", type=click.Choice(["adam", "adamw", "sgd", "rmsprop"])),
    click.option("--patience", type=int, metavar="N", help="Stop after N steps without gain."),
    click.option("--noise/--no-noise", "optimize_noise", default=None, help="Whether the noise moves too."),
    click.option("--detail", type=float, metavar="X", help="Share of the steps that move the noise alone, at the end."),
)  # but for the space, which `evaluate` asks for in its own way
SEARCH = options(click.option("--space", type=click.Choice(SPACES), help="What moves."), SEARCH_IN)


def with_generator(command: Callable) -> Callable:
    """The options that name a generator, for a command that takes it loaded; the last of its decorators."""

    @wraps(command)
    def run(*, model: str | None, device: str, **rest: Any) -> None:
        command(generator=loaded(model, device, named_in(rest)), **rest)

    return options(GENERATOR, DEVICE, JSON)(run)
