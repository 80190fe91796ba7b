"""What the commands share: options, progress, words and exit codes. Nothing heavy is imported at the top."""

import errno
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Generator as Steps
from contextlib import closing, contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from generators.errors import GeneratorError, LatentError
from generators.storage import as_json
from inversion.commands.tables import one_line
from inversion.errors import SettingsError

if TYPE_CHECKING:
    from generators.base import Generator
    from generators.training.run import Progress
    from inversion.commands.destination import Destination, Made
    from inversion.loop import Step


class Group(click.Group):
    """Shows what its user can cause as one line on standard error: exit 1, and 130 after Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("stopped", 130)
        except (LatentError, OSError) as error:
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


def with_generator(command: Callable) -> Callable:
    """The options that name a generator, for a command that takes it loaded; the last of its decorators."""

    @wraps(command)
    def run(*, model: str | None, device: str, **rest: Any) -> None:
        command(generator=loaded(model, device, named_in(rest)), **rest)

    return options(GENERATOR, DEVICE, JSON)(run)


def named_in(arguments: Mapping[str, Any]) -> list[str]:
    """The files that a command was given to read."""
    found = []
    for name in ("sources", "files", "photos", "query", "init"):
        value = arguments.get(name)
        found += [str(one) for one in (value if isinstance(value, tuple | list) else [value]) if one is not None]
    return found


def loaded(model: str | None, device: str, sources: Sequence[str] = ()) -> "Generator":
    """The generator that is named; else that of saved latents among the sources; else the default.

    Says which it is where nobody named it, and the terms of one that is somebody else's.
    """
    import generators
    from generators.hub.names import default_generator
    from inversion.files.latent_file import maker_of

    makers = {} if model else {maker_of(source): source for source in sources}
    makers.pop(None, None)
    if len(makers) > 1:
        told = ", ".join(f"{source} with {name}" for name, source in makers.items())
        raise SettingsError(f"the latents were made with several generators ({told}); give those of one")
    name = model or next(iter(makers), None) or default_generator()
    try:
        found = generators.load(name, device=device_of(device))
    except GeneratorError as error:
        if name not in makers:
            raise
        raise SettingsError(f"{makers[name]} was made with {name}, give that with -g ({error})") from error
    if "source" in found.card and not (model or "").endswith(".safetensors"):  # not told by `convert`
        licence = found.card.get("licence")
        say(f"{found.name}: {type(found).__name__}, {found.img_resolution} px, licence: {licence}")
    elif not model and not makers:
        more = "`latent generators --fetch ffhq` gets one of 1024 px, for non-commercial use"
        say(f"generator: {found.name}, {found.img_resolution} px; {more}")
    return found


FILE = click.Path(path_type=Path)
GENERATOR = click.option("-g", "--generator", "model", metavar="NAME|FILE", envvar="LATENT_GENERATOR",
                         help="`latent generators` lists the names.  [a latent's own; ffhq if it is here; portraits]")
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
JSON = click.option("--json", is_flag=True, expose_value=False, help="One JSON object a line on standard output.",
                    callback=lambda ctx, _, on: ctx.meta.update(json=on))
SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
OUT = click.option("-o", "--out", required=True, metavar="OUT", help="A picture, a folder/, or - for standard output.")
SHEET = click.option("--sheet/--no-sheet", default=None, help="A labelled sheet.  [default: for several in one file]")
SAVE = click.option("--save-latents", is_flag=True, help="Write the latents beside the pictures.")
BATCH = click.option("--batch", type=int, metavar="N", help="Pictures at a time.  [8 up to 256 px, then fewer]")
RECIPE = click.option("--recipe", default="default", show_default=True,
                      help="default, encode (first guess alone), projector or image2stylegan.")
STEPS = click.option("--steps", type=int, metavar="N", help="Updates; 0 gives the first guess.")
CROP = options(
    click.option("--align/--no-align", default=True, help="Cut the face out, or take the centre square as it is."),
    click.option("--face", type=int, metavar="N", help="Which face, from the left, from 1.  [default: the largest]"),
)
PHOTO = options(RECIPE, STEPS, CROP)
SPACES = ["z", "w", "w_plus"]
SEARCH_IN = options(
    RECIPE, STEPS, SEED,
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
    from inversion.commands.destination import Destination

    if out == "-" and wants_json():
        raise click.UsageError("with -o - the picture goes to standard output; leave --json out")
    to = Destination(out, count, sheet, save_latents)
    to.check()
    return to


def write(generator: "Generator", made: Sequence["Made"], to: "Destination", kind: str,
          parents: Sequence["Made"] = ()) -> None:
    """Write the pictures, and tell where they are."""
    from inversion.commands.destination import deliver

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


def follow(steps: "Steps[Progress]", *, quiet: bool = False) -> int | None:
    """Run a training to its end, with a bar where somebody looks, and else a line at each report.

    Ctrl-C, or being told to terminate, ends it after the step at hand, with a checkpoint; gives that signal's number.
    quiet: tell nothing, and let another process decide when to end.
    """
    from tqdm import tqdm

    with stoppable() as stopped, closing(steps), tqdm(disable=quiet or None, dynamic_ncols=True, unit="img") as bar:
        for step in steps:
            if bar.total is None:
                bar.total, bar.initial, bar.n = step.images, step.images_seen, step.images_seen
            bar.set_postfix_str(loss_line(step.losses), refresh=False)
            bar.update(step.images_seen - bar.n)
            if step.due and not quiet:
                report(step, bar.disable or step.psnr is not None)
            if (number := stopped()) and not quiet:
                return number
    return None


def report(step: "Progress", aloud: bool) -> None:
    """A step as JSON where it is wanted, else as a line on standard error if it is to be said aloud."""
    from dataclasses import asdict

    from tqdm import tqdm

    if wants_json():
        tell({name: value for name, value in asdict(step).items() if name != "due"}, "")
    elif aloud:
        parts = [f"{step.images_seen} of {step.images} images", f"{step.images_per_second:.1f}/s"]
        parts += [] if step.psnr is None else [f"{step.psnr:.2f} dB"]
        parts.append(loss_line(step.losses))
        with tqdm.external_write_mode(sys.stderr):
            say(", ".join([*parts, f"{tqdm.format_interval(step.seconds_left)} left"]))


def loss_line(losses: dict[str, float]) -> str:
    """Losses in one line, without counts of nothing."""
    return " ".join(f"{name} {value:.3g}" for name, value in losses.items() if value or name != "skipped")


@contextmanager
def stoppable() -> Iterator[Callable[[], int]]:
    """A function that gives the signal of Ctrl-C, or to terminate, once it came, else 0; the second ends at once."""
    came: list[int] = []

    def ask(number: int, frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
