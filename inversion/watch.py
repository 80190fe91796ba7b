"""Watchers of long works. They see nothing by default: override what is wanted."""

from collections.abc import Iterable, Sized
from typing import Any, Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")


@runtime_checkable
class StepView(Protocol):
    """The part of a `loop.Step` that is told."""

    @property
    def index(self) -> int: ...
    @property
    def latent(self) -> Sized: ...
    @property
    def total(self) -> Any: ...


Step = TypeVar("Step", bound=StepView)


class Watch:
    """Is told how far a work has come; each method may also raise, as Ctrl-C does, to end it."""

    def begins(self, steps: int) -> None:
        """Another search begins, of so many steps."""

    def step(self, done: int, total: int, step: StepView) -> None:
        """A step of the inversion of the next photographs, after so many of them in all."""

    def stopped(self) -> object:
        """Something true once the work is to end, before it goes on with the next photographs."""
        return False

    def counted(self, items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """The items, of which there are so many, as they are worked on."""
        return items

    def skipped(self, name: str, why: str) -> None:
        """A file that cannot be used, and why."""

    def say(self, message: str) -> None:
        """Anything else that is worth a line."""


SILENT = Watch()


def last_of(steps: Iterable[Step], watch: Watch, done: int, total: int) -> tuple[Step | None, bool]:
    """The last of the steps, and whether Ctrl-C ended it; before the first step Ctrl-C passes."""
    step = None
    try:
        for step in steps:
            watch.step(done, total, step)
    except KeyboardInterrupt:
        if step is None:
            raise
        return step, True
    return step, False
