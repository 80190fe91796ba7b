"""Options that commands share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from inversion.commands.settings import Seconds, grouped, option_of, options, options_of
from inversion.commands.terminal import loaded, named_in
from inversion.config import RECIPES, InvertConfig

FILE = click.Path(path_type=Path)
GENERATOR_HELP = "A name that `latent generators` lists, or a model file."
GENERATOR = click.option(
    "-g",
    "--generator",
    "model",
    metavar="NAME|FILE",
    envvar="LATENT_GENERATOR",
    help=f"{GENERATOR_HELP}  [that of a saved latent; else ffhq if it is here; else portraits]",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes the first there is of cuda, mps and cpu.",
)
JSON = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    help="One JSON object a line on standard output.",
    callback=lambda ctx, _, on: ctx.meta.update(json=on),
)
SEED = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="The same gives the same result."
)
OUT = click.option("-o", "--out", required=True, metavar="OUT", help="A picture, a folder/, or - for standard output.")
SHEET = click.option("--sheet/--no-sheet", default=None, help="A labelled sheet.  [default: for several in one file]")
SAVE = click.option("--save-latents", is_flag=True, help="Write the latents beside the pictures.")
DIRECTIONS = click.option(
    "--directions", "files", type=FILE, multiple=True, metavar="FILE", help="More directions; may be given again."
)

PASTE = options(
    click.option("--paste", is_flag=True, help="Put the face back into its photograph, which is else as it was."),
    click.option("--into", type=FILE, metavar="PHOTO", help="The photograph of a saved latent; it means --paste."),
)

PHOTOS = "Photographs"  # groups of the help
INVERTING = "How latents are found; what is not given the recipe tells"
BATCH = grouped(
    PHOTOS,
    "--batch",
    type=int,
    metavar="N",
    help="Photographs that are worked on together.  [8 up to 256 px, then fewer]",
)
BUDGET = grouped(PHOTOS, "--budget", type=Seconds(), help="Time for each photograph, such as 20s or 2m.  [no limit]")
ALIGN = grouped(
    PHOTOS, "--align/--no-align", default=True, help="Cut the face out, or take the centre square as it is.  [align]"
)
ALIGNED = grouped(
    PHOTOS, "--align/--no-align", default=False, help="Cut faces out first.  [no-align: they are portraits already]"
)
CROP = options(
    ALIGN,
    grouped(PHOTOS, "--face", type=int, metavar="N", help="Which face, counted from the left, from 1.  [the largest]"),
)
MASK = grouped(
    PHOTOS,
    "--mask",
    metavar="FILE|BOX|face",
    help="Leave out, and fill in, what is white in a picture of the photograph's size, or a box x0,y0,x1,y1 in its "
    "pixels; face leaves out all but the face.",
)
LIMIT = grouped(PHOTOS, "--limit", type=click.IntRange(1), metavar="N", help="Take the first N pictures alone.  [all]")
RECIPE = grouped(
    INVERTING, "--recipe", default="default", metavar="NAME", help=f"Settings by name: {', '.join(RECIPES)}.  [default]"
)
STEPS = option_of("steps", {"": InvertConfig}, group=INVERTING, defaults=False)
LABEL = option_of("label", {"": InvertConfig}, group=INVERTING, defaults=False)
PHOTO = options(RECIPE, STEPS, LABEL, CROP)
INVERSION = options(RECIPE, options_of({"": InvertConfig}, group=INVERTING, defaults=False))


def with_generator(command: Callable) -> Callable:
    """The options that name a generator, for a command that takes it loaded; the last of its decorators."""

    @wraps(command)
    def run(*, model: str | None, device: str, **rest: Any) -> None:
        command(generator=loaded(model, device, named_in(rest)), **rest)

    return options(GENERATOR, DEVICE, JSON)(run)
