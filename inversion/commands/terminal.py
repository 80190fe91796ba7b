"""Words, progress and exit codes, which all commands share. Nothing heavy is imported at the top."""

import errno
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from generators.errors import GeneratorError, LatentError, Note
from inversion.commands.process import interruptible, printable, ready_streams, stop_status
from inversion.errors import SettingsError
from inversion.watch import Item, StepView, Watch

if TYPE_CHECKING:
    from generators.base import Generator


PLACES = {"FILE", "DIR", "FOLDER", "ZIP", "OUT", "NAME", "MODEL", "LATENT", "SOURCE"}  # words for values that are names


class Group(click.Group):
    """Shows what its user can cause as one line on standard error: exit 1, and 128 + N where signal N stopped it."""

    def main(self, *args: Any, **more: Any) -> Any:
        with ready_streams():
            return super().main(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with interruptible(ctx.meta), notes():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("stopped", stop_status())
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
    """A group whose commands stand in modules (name -> module) that are imported when they are called, not listed."""

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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        limit = formatter.width - 6 - max(map(len, self.modules))  # as click has it
        texts = {name: docstring_in(module, name) for name, module in self.modules.items()}
        with formatter.section("Commands"):
            formatter.write_dl([(n, click.Command(n, help=t).get_short_help_str(limit)) for n, t in texts.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            check_named(command, click.Context(command, parent=ctx, info_name=name), rest)
        return name, command, rest


def docstring_in(module: str, command: str) -> str:
    """The first lines of a command's docstring, out of its module's text: importing all modules takes longer."""
    source = find_spec(module)
    text = Path(source.origin).read_text("utf-8") if source and source.origin else ""
    opening = rf'^(?:@click\.command\("{command}"|def {command.replace("-", "_")}\()'
    found = re.search(rf'{opening}.*?\n    """(.*?)(?:"""|\n\n)', text, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def check_named(command: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
    """SettingsError for an empty path or name, as an unset shell variable leaves it: it would mean this folder."""
    try:
        given, _, _ = command.make_parser(ctx).parse_args(list(args))
    except click.ClickException:
        return  # the command tells it itself
    for param in command.params:
        value = given.get(param.name or "")
        if names_a_place(param) and "" in (value if isinstance(value, tuple | list) else [value]):
            words = (param.metavar or param.name or "").split("...")[0].upper()
            label = words if isinstance(param, click.Argument) else max(param.opts, key=len)
            raise SettingsError(f"{label} is empty; is a variable of the shell unset? give a name")


def names_a_place(param: click.Parameter) -> bool:
    """Tell whether a parameter is the name of a file, folder or model."""
    words = set(re.findall(r"[A-Z]+", param.metavar or ""))
    return isinstance(param, click.Argument) or isinstance(param.type, click.Path) or bool(words & PLACES)


def named_in(arguments: Mapping[str, Any]) -> list[str]:
    """The files that a command was given to read; of folders those whose latents it reads, not those of photographs."""
    found = []
    for name in ("sources", "files", "photos", "query", "init"):
        value = arguments.get(name)
        some = [str(one) for one in (value if isinstance(value, tuple | list) else [value]) if one is not None]
        found += [one for one in some if name != "photos" or not os.path.isdir(one)]
    return found


def loaded(model: str | None, device: str, sources: Sequence[str] = ()) -> "Generator":
    """The generator that is named; else that of saved latents among the sources; else the default.

    Tuned where those latents are. Says which it is where nobody named it, and the terms of one that is somebody else's.
    """
    import generators
    from generators.hub.names import default_generator
    from inversion.files.deltas import tuned_for
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
    return tuned_for(found, sources)


def show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version and leave, where it is wanted."""
    from importlib import metadata

    if wanted:
        try:
            click.echo(f"latent {metadata.version('latent-inversion')}")
        except metadata.PackageNotFoundError:  # a checkout that was never installed
            click.echo("latent, version unknown: it is not installed")
        ctx.exit()


def one_line(text: str) -> str:
    """The text without line breaks, and what else would break a line."""
    return printable(" ".join(text.split()))


def say(message: str) -> None:
    """Write one line on standard error."""
    click.echo(one_line(message), err=True)


@contextmanager
def notes() -> Iterator[None]:
    """Notes of the library are said, each once."""
    told: set[str] = set()
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **rest: Any) -> None:
        if not issubclass(category, Note):
            usual(message, category, *where, **rest)
        elif str(message) not in told:
            told.add(str(message))
            say(f"note: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        warnings.showwarning = show
        yield


def fail(message: str, status: int = 1) -> NoReturn:
    """Say why, and leave with the status."""
    say(message)
    sys.exit(status)


def wants_json() -> bool:
    """Tell whether the present command has --json."""
    return click.get_current_context().meta["json"]


def tell(record: dict[str, Any], text: str, *, err: bool = False) -> None:
    """Write a record on standard output, as JSON or as its text; err: the text on standard error."""
    from tqdm import tqdm

    from generators.storage import as_json

    with tqdm.external_write_mode():
        click.echo(as_json(record) if wants_json() else text, err=err and not wants_json())


def device_of(name: str) -> str:
    """The device of that name; auto is the first there is of cuda, mps and cpu. SettingsError for one there is not."""
    import torch

    there = [d for d, has in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if has]
    there.append("cpu")
    if name not in ("auto", *there):
        raise SettingsError(f"no {name} device is to be had here; choose --device {' or '.join(there)}")
    return there[0] if name == "auto" else name


class Bars(Watch):
    """Shows a bar with the loss and the time left on standard error, where that is a terminal; to be closed."""

    def __init__(self, steps: int = 0, stopped: Callable[[], int] = lambda: 0) -> None:
        """steps: those of one inversion; stopped: tells if the user has asked to stop."""
        self.steps = steps
        self.stopped = stopped
        self.bar: Any = None

    def begins(self, steps: int) -> None:
        self.close()
        self.steps, self.bar = steps, None

    def step(self, done: int, total: int, step: StepView) -> None:
        from tqdm import tqdm

        if self.stopped():
            raise KeyboardInterrupt
        if self.bar is None:
            self.bar = tqdm(disable=None, leave=False, dynamic_ncols=True, unit="step")
        if not self.bar.disable:
            self.bar.total = self.steps * total
            self.bar.set_description(f"{done + len(step.latent)} of {total}", refresh=False)
            self.bar.set_postfix(loss=f"{float(step.total.mean()):.4f}", refresh=False)
            self.bar.update(self.steps * done + step.index * len(step.latent) - self.bar.n)

    def counted(self, items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        return counted(items, what, total)

    def skipped(self, name: str, why: str) -> None:
        say(f"skipped {name}: {why}")

    def say(self, message: str) -> None:
        say(message)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def counted(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
    """The items, with a bar on standard error where that is a terminal."""
    from tqdm import tqdm

    yield from tqdm(items, what, total, disable=None, leave=False)


@contextmanager
def bars(steps: int = 0, stopped: Callable[[], int] = lambda: 0) -> Iterator[Bars]:
    """`Bars` that are closed at the end, with their arguments."""
    with closing(Bars(steps, stopped)) as shown:
        yield shown
