"""What the commands share: options, progress, words and exit codes. Nothing heavy is imported at the top."""

import errno
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from generators.errors import GeneratorError
from inversion.errors import InversionError, SettingsError
from inversion.report import as_json, one_line

if TYPE_CHECKING:
    from generators.base import Generator
    from generators.training.run import Progress
    from inversion.loop import Step
    from inversion.output import Destination, Made


class Group(click.Group):
    """Shows what its user can cause as one line on standard error: exit 1, and 130 after Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("stopped", 130)
        except (InversionError, GeneratorError, OSError) as error:
            if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
                raise BrokenPipeError(errno.EPIPE, "the reader has gone") from error  # click ends quietly
            fail(f"error: {error}")
        except (MemoryError, RuntimeError) as error:  # torch has no kinds of its own for these
            if isinstance(error, MemoryError) or "memory" in str(error):
                fail("error: not enough memory; give a smaller --batch, or --device cpu")
            if "inline_container" in str(error):
                fail("error: a checkpoint could not be written; make room on the disk")
            raise


class Commands(Group):
    """A group whose commands stand in modules that are imported when they are called or listed: name -> module."""

    def __init__(self, *args: Any, modules: dict[str, str], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.modules]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        found = vars(import_module(self.modules[cmd_name])).values()
        return next(c for c in found if isinstance(c, click.Command) and c.name == cmd_name)


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
            return tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers; write them as in 2,1", param, ctx)


def options(*all_of_them: Callable) -> Callable:
    """Several options as one decorator."""

    def add(command: Callable) -> Callable:
        for option in reversed(all_of_them):
            command = option(command)
        return command

    return add


def with_generator(command: Callable) -> Callable:
    """The options that name a generator, for a command that takes it loaded; the last of its decorators."""

    @wraps(command)
    def run(*, model: str, device: str, **rest: Any) -> None:
        import generators

        command(generator=generators.load(model, device=device_of(device)), **rest)

    return options(GENERATOR, DEVICE, JSON)(run)


FILE = click.Path(path_type=Path)
GENERATOR = click.option("-g", "--generator", "model", default="portraits", show_default=True, metavar="NAME|FILE",
                         envvar="LATENT_GENERATOR", help="`latent generators` lists the names.")
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
JSON = click.option("--json", is_flag=True, expose_value=False, help="One JSON object a line on standard output.",
                    callback=lambda ctx, _, on: ctx.meta.update(json=on))
SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
OUT = click.option("-o", "--out", required=True, metavar="OUT", help="A picture, a folder/, or - for standard output.")
SHEET = click.option("--sheet/--no-sheet", default=None, help="A labelled sheet.  [default: for several in one file]")
SAVE = click.option("--save-latents", is_flag=True, help="Write the latents beside the pictures.")
BATCH = click.option("--batch", type=int, default=8, show_default=True, help="Pictures at a time.")
RECIPE = click.option("--recipe", default="default", show_default=True,
                      help="default, encode (first guess alone), projector or image2stylegan.")
STEPS = click.option("--steps", type=int, metavar="N", help="Updates; 0 gives the first guess.")
CROP = options(
    click.option("--align/--no-align", default=True, help="Cut the face out, or take the centre square as it is."),
    click.option("--face", type=int, metavar="N", help="Which face, from the left, from 1.  [default: the largest]"),
)
PHOTO = options(RECIPE, STEPS, CROP)
SEARCH = options(
    RECIPE, STEPS, SEED,
    click.option("--budget", type=Seconds(), help="Time a photograph, such as 20s or 2m."),
    click.option("--lr", type=float, help="Peak learning rate."),
    click.option("--space", type=click.Choice(["z", "w", "w_plus"]), help="What moves."),
    click.option("--loss", metavar="NAME=WEIGHT,...", help="Terms of the objective, such as lpips=0.8,pixel=1."),
    click.option("--start", type=click.Choice(["encoder", "mean", "random"]), help="First guess."),
    click.option("--restarts", type=int, metavar="N", help="Random starts, of which the best goes on."),
    click.option("--optimizer", type=click.Choice(["adam", "adamw", "sgd", "rmsprop"])),
    click.option("--patience", type=int, metavar="N", help="Stop after N steps without gain."),
    click.option("--noise/--no-noise", "optimize_noise", default=None, help="Whether the noise moves too."),
)


def show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version and leave, where it is wanted."""
    from importlib import metadata

    if wanted:
        try:
            click.echo(f"latent {metadata.version('latent-inversion')}")
        except metadata.PackageNotFoundError:  # a checkout that was never installed
            click.echo("latent, version unknown: it is not installed")
        ctx.exit()


def say(message: str) -> None:
    """One line on standard error."""
    click.echo(one_line(message), err=True)


def fail(message: str, status: int = 1) -> NoReturn:
    """Say why, and leave with the status."""
    say(message)
    sys.exit(status)


def wants_json() -> bool:
    """Whether the present command has --json."""
    return click.get_current_context().meta["json"]


def tell(record: dict[str, Any], text: str, *, err: bool = False) -> None:
    """A record on standard output, as JSON or as its text; err: the text on standard error."""
    from tqdm import tqdm

    with tqdm.external_write_mode():
        click.echo(as_json(record) if wants_json() else text, err=err and not wants_json())


def device_of(name: str) -> str:
    """auto takes the first there is of cuda, mps and cpu."""
    import torch

    there = [d for d, has in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if has]
    there.append("cpu")
    if name not in ("auto", *there):
        raise SettingsError(f"no {name} device is to be had here; choose --device {' or '.join(there)}")
    return there[0] if name == "auto" else name


def destination(out: str, count: int = 1, sheet: bool | None = None, save_latents: bool = False) -> "Destination":
    """Where pictures go, checked before the work starts."""
    from inversion.output import Destination

    if out == "-" and wants_json():
        raise click.UsageError("with -o - the picture goes to standard output; leave --json out")
    to = Destination(out, count, sheet, save_latents)
    to.check()
    return to


def write(generator: "Generator", made: Sequence["Made"], to: "Destination", kind: str,
          parents: Sequence["Made"] = ()) -> None:
    """Write the pictures, and tell where they are."""
    from inversion.output import deliver

    told = {"-"}
    for record in deliver(generator, made, to, kind, parents=parents):
        if wants_json() or record["file"] not in told:
            tell(record, record["file"])
        told.add(record["file"])


def counted(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
    """The items, with a bar on standard error where that is a terminal."""
    from tqdm import tqdm

    yield from tqdm(items, what, total, disable=None, leave=False)


@contextmanager
def progress(steps: int) -> Iterator[Callable[[int, int, "Step"], None]]:
    """A bar with the loss and the time left, to be fed with pictures done, pictures in all, and a step."""
    from tqdm import tqdm

    with tqdm(disable=None, leave=False, dynamic_ncols=True, unit="step") as bar:

        def show(done: int, total: int, step: "Step") -> None:
            if not bar.disable:
                bar.total = steps * total
                bar.set_description(f"{done + len(step.latent)} of {total}", refresh=False)
                bar.set_postfix(loss=f"{float(step.total.mean()):.4f}", refresh=False)
                bar.update(steps * done + step.index * len(step.latent) - bar.n)

        yield show


def follow(steps: Iterable["Progress"]) -> None:
    """Run a training to its end, with a bar where somebody looks, and a line at each measure."""
    from dataclasses import asdict

    from tqdm import tqdm

    with tqdm(disable=None, leave=False, dynamic_ncols=True, unit="img") as bar:
        for step in steps:
            if bar.total is None:
                bar.total, bar.initial, bar.n = step.images, step.images_seen, step.images_seen
            losses = {name: f"{value:.3f}" for name, value in step.losses.items()}
            bar.set_postfix(losses, refresh=False)
            bar.update(step.images_seen - bar.n)
            if step.psnr is not None:
                left = (step.images - step.images_seen) / max(step.images_per_second, 1e-9) / 60
                text = f"{step.images_seen} of {step.images} images, {step.images_per_second:.1f}/s, {step.psnr:.2f} dB"
                each = " ".join(f"{name} {value}" for name, value in losses.items())
                tell(asdict(step), f"{text}, {each}, {left:.0f} min left")
