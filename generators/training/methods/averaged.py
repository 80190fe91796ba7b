"""Training of networks by a `Method`, with a copy that is their average over the last steps: this one is used."""

import copy
from typing import Any, TypeVar

import torch

from generators.base import Generator
from generators.errors import TrainingError
from generators.training.checkpoint import restore_optimizer
from generators.training.config import LoopConfig
from generators.training.data import Pictures
from generators.training.distributed import average, world
from generators.training.methods.method import Method
from generators.training.trainer import Trainer

Placed = TypeVar("Placed", bound=Generator)


class AveragedTrainer(Trainer):
    """Draws photographs, lets the method step, and moves the average. A kind says which method, in `method_for`."""

    def __init__(
        self, config: LoopConfig, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None
    ) -> None:
        super().__init__(config, pictures, device=device, init=init)
        self.check(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.config, self.method = self.method_for(config, init)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        part = self.method.averaged
        trained = self.model.get_submodule(part).state_dict().values()
        self.moving = list(self.ema.get_submodule(part).state_dict().values()), list(trained)

    def method_for(self, config: Any, init: Generator | None) -> tuple[LoopConfig, Method]:
        """The method of a config, its networks on the device; and the config, with the sizes that init fixes."""
        raise NotImplementedError

    @staticmethod
    def check(config: Any) -> None:
        """Raise TrainingError if a batch is too small, or cannot be shared by the processes of the run."""
        raise NotImplementedError

    @property
    def model(self) -> Generator:
        return self.method.model

    def one_step(self) -> tuple[dict[str, float], bool]:
        """As `Trainer.one_step`; losses are averaged over the processes, and tell how many updates were left out."""
        c, method = self.config, self.method
        skipped, rng = method.skipped, self.rng()
        for name, optimizer in method.optimizers.items():
            optimizer.param_groups[0]["lr"] = method.rates[name] * self.lr_factor()
        losses = method.step(self.pictures.draw(c.batch, rng, mirror=c.mirror), rng, self.images_seen)
        if losses:
            self.update_average()
        finite = method.skipped == skipped
        method.adapt_scale(finite)
        values = average(torch.stack([v.float() for v in losses.values()])).tolist() if losses else []
        return dict(zip(losses, values, strict=True)) | {"skipped": float(method.skipped)}, finite

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged model towards the trained one; early on it follows closely."""
        decay = min(self.config.ema ** (self.config.batch / 16), (1 + self.step) / (10 + self.step))
        average, trained = self.moving
        torch._foreach_lerp_(average, trained, 1 - decay)  # type: ignore[attr-defined]

    def lr_factor(self) -> float:
        left = 1 - self.images_seen / self.config.images
        return min(1.0, 0.1 + 0.9 * left / self.config.rampdown) * min(1.0, (self.step + 1) / 100)

    def warm(self) -> bool:
        return self.images_seen > self.config.warmup

    def weights(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": {k: o.state_dict() for k, o in self.method.optimizers.items()},
            "method": self.method.state(),
        }

    def load_weights(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for key, optimizer in self.method.optimizers.items():
            restore_optimizer(optimizer, state["optimizers"][key])
        self.method.restore(state["method"])


def placed(model: Placed, device: torch.device) -> Placed:
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def check_batch(batch: int, *, group: int = 1, samples: int = 0) -> None:
    """Raise TrainingError if a batch is too small, or cannot be shared by the processes of the run.

    group: pictures that must stay together in one process; samples: pictures that come beside the batch.
    """
    if batch < 2:
        raise TrainingError(f"batch is {batch}; give 2 or more")
    parts = world() * group
    if world() > 1 and (batch % parts or samples % world()):
        raise TrainingError(
            f"a batch of {batch} has no equal parts for {world()} processes; give a multiple of {parts}"
        )
