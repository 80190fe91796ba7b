"""What a run can train: a trainer for each kind, all with one interface."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from generators.base import Generator
from generators.training.data import Pictures
from generators.training.methods.moments import match_moments
from generators.training.settings import of_kind

FOR_MEAN, FOR_COVARIANCE = 1000, 4000  # pictures whose codes tell these; a flow needs the mean alone


@runtime_checkable
class Step(Protocol):
    """What one step of a training reports; losses by name."""

    @property
    def images_seen(self) -> int: ...
    @property
    def losses(self) -> dict[str, float]: ...


@runtime_checkable
class Training(Protocol):
    """What a run needs of a trainer; `state` and `restore` make a resumed run equal to an unbroken one.

    It may also have `keep_latest`: the latest model is the best; and `finished()`: the model as it is to be saved.
    """

    config: Any  # a dataclass with `images`, the length of the run, and `batch`
    images_seen: int
    ema: Generator  # the model as it would be used

    def run(self) -> Iterator[Step]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict) -> None: ...


def build_trainer(
    kind: str, config: Any, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None
) -> Training:
    return of_kind(kind, 0)(config, pictures, device=device, init=init)


def finished(trainer: Training, kind: str, pictures: Pictures) -> Generator:
    """The model as it is to be saved now; in joint runs, its samples get the moments of the codes."""
    if hasattr(trainer, "finished"):
        return trainer.finished()  # type: ignore[attr-defined]
    if kind == "stylegan2" and trainer.config.joint:
        count = min(FOR_MEAN if trainer.config.flow_steps else FOR_COVARIANCE, 4 * len(pictures.images))
        return match_moments(trainer.ema, pictures.some(count, trainer.config.seed))  # type: ignore[arg-type]
    return trainer.ema
