"""THE LOOP of training: draw photographs, take a step, move the average; to the end, or until the caller stops.

How a step moves the networks is a method's: `joint.Joint`, `plain.Plain` or `encode.Encode`.
"""

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch

from generators.base import Generator
from generators.errors import TrainingError
from generators.mobilestylegan import MobileStyleGAN
from generators.parts.encoder import Encoder
from generators.stylegan2 import StyleGAN2
from generators.training.config import EncodeConfig, LoopConfig, TrainConfig
from generators.training.data import Pictures
from generators.training.distributed import average, world
from generators.training.methods.encode import Encode, samples_of, with_encoder
from generators.training.methods.feature_encode import FeatureEncode, with_feature_encoder
from generators.training.methods.joint import Joint
from generators.training.methods.method import Method
from generators.training.methods.plain import Plain
from generators.training.start.build import build_model, start_from_pca
from generators.training.start.grow import sizes_from, start_from
from generators.training.terms.augment import KINDS

Placed = TypeVar("Placed", bound=Generator)
BAD_STEPS = 50  # in a row, after which a run has gone astray


@dataclass(frozen=True)
class TrainStep:
    """What one step reports; losses by name."""

    images_seen: int
    losses: dict[str, float]


class Trainer:
    """Holds all that a run moves. `state` and `restore` make a resumed run equal to an unbroken one."""

    def __init__(
        self, config: LoopConfig, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None
    ) -> None:
        """init: the model to start from; an encoder run needs one. config gets the sizes that it fixes."""
        self.pictures, self.device = pictures, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.config, self.method = make_method(config, pictures, self.device, init)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.step = self.images_seen = self.bad_steps = 0
        part = self.method.averaged
        trained = self.model.get_submodule(part).state_dict().values()
        self.moving = list(self.ema.get_submodule(part).state_dict().values()), list(trained)

    @property
    def model(self) -> Generator:
        return self.method.model

    def run(self) -> Iterator[TrainStep]:
        """Steps to the end of the run; the caller saves, shows and stops. TrainingError after 50 bad steps in a row."""
        while self.images_seen < self.config.images:
            skipped = self.method.skipped
            losses = self.one_step()
            self.step, self.images_seen = self.step + 1, self.images_seen + self.config.batch
            finite = self.method.skipped == skipped
            self.bad_steps = 0 if finite else self.bad_steps + 1
            self.method.adapt_scale(finite)
            if self.bad_steps >= BAD_STEPS:
                raise TrainingError(
                    f"the gradients were not finite {BAD_STEPS} times in a row; "
                    "lower lr, and resume from the last checkpoint"
                )
            yield TrainStep(self.images_seen, losses)

    def one_step(self) -> dict[str, float]:
        """One update of everything; losses, averaged over the processes, and how many updates were skipped so far."""
        c, method = self.config, self.method
        rng = torch.Generator().manual_seed(c.seed * 1_000_003 + self.step)  # so that resuming needs no state
        for name, optimizer in method.optimizers.items():
            optimizer.param_groups[0]["lr"] = method.rates[name] * self.lr_factor()
        losses = method.step(self.pictures.draw(c.batch, rng, mirror=c.mirror), rng, self.images_seen)
        if losses:
            self.update_average()
        values = average(torch.stack([v.float() for v in losses.values()])).tolist() if losses else []
        return dict(zip(losses, values, strict=True)) | {"skipped": float(method.skipped)}

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged model towards the trained one; early on it follows closely."""
        decay = min(self.config.ema ** (self.config.batch / 16), (1 + self.step) / (10 + self.step))
        average, trained = self.moving
        torch._foreach_lerp_(average, trained, 1 - decay)  # type: ignore[attr-defined]

    def lr_factor(self) -> float:
        left = 1 - self.images_seen / self.config.images
        return min(1.0, 0.1 + 0.9 * left / self.config.rampdown) * min(1.0, (self.step + 1) / 100)

    def state(self) -> dict[str, object]:
        """Plain tensors, numbers and containers; enough to go on as if never stopped."""
        return {
            "config": asdict(self.config),
            "step": self.step,
            "images_seen": self.images_seen,
            "bad_steps": self.bad_steps,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": {k: o.state_dict() for k, o in self.method.optimizers.items()},
            "method": self.method.state(),
        }

    def restore(self, state: dict) -> None:
        self.step, self.images_seen, self.bad_steps = state["step"], state["images_seen"], state["bad_steps"]
        for part in ("model", "ema"):
            getattr(self, part).load_state_dict(state[part])
        for key, optimizer in self.method.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][key])
        self.method.restore(state["method"])


def make_method(
    config: LoopConfig, pictures: Pictures, device: torch.device, init: Generator | None
) -> tuple[LoopConfig, Method]:
    """The method of a config, with its networks on device; and the config, with the sizes that init fixes."""
    check(config)
    if isinstance(config, EncodeConfig) and isinstance(init, MobileStyleGAN):
        return config, FeatureEncode(placed(with_feature_encoder(init, config), device), config, device)
    if isinstance(config, EncodeConfig):
        model, started = with_encoder(init, config), init is not None and isinstance(init.encoder, Encoder)
        return config, Encode(placed(model, device), config, device, started=started)
    assert isinstance(config, TrainConfig)
    like = None
    if init is not None:
        config = sizes_from(config, init)
        assert isinstance(init, StyleGAN2)
        like = init
    model = build_model(config, like)
    if like is not None:
        start_from(model, like)
    elif config.joint and config.linear:
        start_from_pca(model, pictures, min(config.linear, config.resolution), config.mirror)
    return config, (Joint if config.joint else Plain)(placed(model, device), config, device)


def placed(model: Placed, device: torch.device) -> Placed:
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def check(config: LoopConfig) -> None:
    """TrainingError if a setting is unknown, or if the batch cannot be shared by the processes of the run."""
    if isinstance(config, TrainConfig) and config.augment_kind not in KINDS:
        raise TrainingError(f"no augmentation named {config.augment_kind!r}; choose one of {', '.join(KINDS)}")
    if config.batch < 2:
        raise TrainingError(f"batch is {config.batch}; give 2 or more")
    group = 4  # images per minibatch deviation, which must lie within a process
    if isinstance(config, EncodeConfig):
        parts, fits = world(), samples_of(config) % world() == 0
    else:
        joint = isinstance(config, TrainConfig) and config.joint
        parts, fits = world() * group * (2 if joint else 1), True
    if world() > 1 and (config.batch % parts or not fits):
        raise TrainingError(
            f"a batch of {config.batch} has no equal parts for {world()} processes; give a multiple of {parts}"
        )
