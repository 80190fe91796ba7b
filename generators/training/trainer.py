"""THE LOOP of training: take a step, tell of it; to the end, or until the caller stops. A kind says what a step is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from generators.base import Generator
from generators.errors import TrainingError
from generators.training.data import Pictures

BAD_STEPS = 50  # in a row, after which a run has gone astray


@dataclass(frozen=True)
class Step:
    """A step's report; losses by name."""

    images_seen: int
    losses: dict[str, float]


class Trainer(ABC):
    """Holds all that a run of one kind moves; `state` and `restore` make a resumed run equal to an unbroken one.

    To add a kind: a subclass with `one_step`, `weights` and `load_weights`, its settings, and a line in
    `settings.KINDS`.
    """

    keep_latest = False  # the model that the run ends in is what it is for, and not the one with the best pictures
    config: Any  # the kind's subclass of RunConfig
    ema: Generator  # the model as it would be used

    def __init__(self, config: Any, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None) -> None:
        """init: the model to start from; TrainingError if this kind cannot. config gets the sizes that it fixes."""
        self.config, self.pictures = config, pictures
        self.device = torch.device(device)
        self.step = self.images_seen = self.bad_steps = 0

    def run(self) -> Iterator[Step]:
        """Steps to the end of the run; the caller saves, shows and stops. TrainingError after 50 bad steps in a row."""
        while self.images_seen < self.config.images:
            losses, finite = self.one_step()
            self.step, self.images_seen = self.step + 1, self.images_seen + self.config.batch
            self.bad_steps = 0 if finite else self.bad_steps + 1
            if self.bad_steps >= BAD_STEPS:
                raise TrainingError(
                    f"the gradients were not finite {BAD_STEPS} times in a row; "
                    "lower lr, and resume from the last checkpoint"
                )
            yield Step(self.images_seen, losses)

    @abstractmethod
    def one_step(self) -> tuple[dict[str, float], bool]:
        """One update of everything: losses, and False where a gradient was not finite and an update was left out."""

    @abstractmethod
    def weights(self) -> dict[str, Any]:
        """All that moves, as plain tensors, numbers and containers."""

    @abstractmethod
    def load_weights(self, state: dict[str, Any]) -> None:
        """Take back what `weights` gave."""

    def rng(self) -> torch.Generator:
        """The step's random numbers, which follow from seed and step, so that resuming needs no state."""
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of models on disk."""
        return torch.float16

    @property
    def finishes(self) -> bool:
        """True where the kept model wants `finish` after the last step."""
        return False

    def warm(self) -> bool:
        """Tell whether the model is past its warm-up, and may be the best."""
        return True

    def finished(self) -> Generator:
        """The model as it would be saved now."""
        return self.ema

    def finish(self, model: Generator) -> Iterator[dict[str, float]]:
        """Do to the kept model what is to do at the end; ten parts, of which each gives its losses."""
        yield from ()

    @classmethod
    def card(cls, about: dict[str, Any], init: Generator | None) -> dict[str, Any]:
        """The card of a model that was trained on pictures with this about them, from init."""
        return about if init is None else about | {"init": init.name}

    def state(self) -> dict[str, Any]:
        """Plain tensors, numbers and containers; enough to go on as if never stopped."""
        numbers = {"step": self.step, "images_seen": self.images_seen, "bad_steps": self.bad_steps}
        return {"config": asdict(self.config)} | numbers | self.weights()

    def restore(self, state: dict[str, Any]) -> None:
        self.images_seen = state["images_seen"]
        self.step, self.bad_steps = state.get("step", 0), state.get("bad_steps", 0)
        self.load_weights(state)
