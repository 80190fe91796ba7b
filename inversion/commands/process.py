"""The process of a command: its standard streams, and the signals that ask it to stop. Nothing heavy is imported."""

import os
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper

import click

ASKS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
STOPPED = "inversion.stopped"  # key of a context's meta: the signal that came


@contextmanager
def ready_streams() -> Iterator[None]:
    """Standard streams that take every name; those that are closed or missing take, and give, nothing.

    What the console's encoding has no sign for is written as an escape. A descriptor that is closed is held open, so
    that no file that is written gets its number, and with it what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (None if one is None or one.closed else one for one in before)
    with open(os.devnull, "w") as nowhere:
        sys.stderr = sys.stderr or nowhere  # bars need one
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextmanager
def signals(act: Callable[[int], None]) -> Iterator[None]:
    """Calls act with each signal that asks to stop: Ctrl-C, to terminate, a terminal that is closed.

    What is ignored, as by nohup, stays so. Threads other than the main one get no signals.
    """
    before = {}
    try:
        for number in ASKS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, lambda came, _: act(came))
    except ValueError:  # not in the main thread
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(meta: dict[str, object]) -> Iterator[None]:
    """Raises KeyboardInterrupt at every signal that asks to stop, and notes it in meta for `stop_status`."""

    def interrupt(number: int) -> None:
        meta[STOPPED] = number
        raise KeyboardInterrupt

    with signals(interrupt):
        yield


@contextmanager
def stoppable() -> Iterator[Callable[[], int]]:
    """A function that gives the signal that asked to stop, once it came, else 0; the second ends at once."""
    came: list[int] = []

    context = click.get_current_context(silent=True)

    def ask(number: int) -> None:
        if context is not None:
            context.meta[STOPPED] = number
        if came:
            raise KeyboardInterrupt
        came.append(number)

    with signals(ask):
        yield lambda: came[0] if came else 0


def stop_status() -> int:
    """The exit status of a command that was stopped: 128 and the signal's number."""
    return 128 + int(click.get_current_context().meta.get(STOPPED, signal.SIGINT))


def printable(text: str) -> str:
    """The text with escapes for what would break or colour a line."""
    bad = {char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")}
    return "".join(char.encode("unicode_escape").decode() if char in bad else char for char in text) if bad else text
