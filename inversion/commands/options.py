"""Options that commands share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from inversion.commands.settings import Seconds, options
from inversion.commands.terminal import loaded, named_in

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
