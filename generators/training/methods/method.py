"""What all ways of training have in common: a model, optimisers, guarded steps, and numbers of one precision."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from generators.device import has_bf16
from generators.errors import TrainingError
from generators.parts.discriminator import Discriminator
from generators.shapes import Float
from generators.training.config import LoopConfig

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Method:
    """Holds what one way of training moves; a subclass says in `step` how."""

    model: Any  # the generator that is saved; a subclass says of which kind
    averaged = ""  # the name of the part of it that is averaged over time; "" is all

    def __init__(self, config: LoopConfig, device: torch.device) -> None:
        self.device, self.precision = device, precision_on(device, config.precision)
        self.clip = config.clip
        self.optimizers: dict[str, torch.optim.Adam] = {}
        self.rates: dict[str, float] = {}  # of learning, before warm-up and ramp-down
        self.scale = 2.0**16 if self.precision == "fp16" else 1.0  # of losses, so that small gradients survive fp16
        self.good_steps = self.skipped = 0  # since the scale was last changed; updates left out in all

    def step(
        self, real: Float[Tensor, "batch channels h w"], rng: torch.Generator, images_seen: int
    ) -> dict[str, Float[Tensor, ""]]:
        """One update of everything; losses by name, none where the model's own gradient was not finite."""
        raise NotImplementedError

    def state(self) -> dict[str, object]:
        """All that a resumed run needs beside the model and the optimisers."""
        return {"scale": self.scale, "good_steps": self.good_steps, "skipped": self.skipped}

    def restore(self, state: dict) -> None:
        self.scale = state["scale"]
        self.good_steps, self.skipped = state["good_steps"], state["skipped"]

    def optimize(self, name: str, parameters: list[nn.Parameter], lr: float, beta1: float, lazy: float = 1.0) -> None:
        """Adam for parameters; lazy is the share of its steps that are not for a regulariser alone.

        Rate and betas are set by it so that they count per minibatch (Karras et al. 2020, appendix B).
        """
        self.rates[name] = lr * lazy
        betas = (beta1**lazy, 0.99**lazy)
        self.optimizers[name] = torch.optim.Adam(parameters, lr=lr * lazy, betas=betas, fused=True)

    def autocast(self) -> AbstractContextManager:
        enabled = self.precision != "fp32"
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.precision], enabled=enabled)

    def parameters(self, name: str) -> list[nn.Parameter]:
        return self.optimizers[name].param_groups[0]["params"]

    def push(self, loss: Tensor, leaf: Tensor) -> Tensor:
        """Gradient of loss on leaf; what both hang on is kept."""
        (gradient,) = torch.autograd.grad(loss * self.scale, leaf, retain_graph=True)
        return gradient / self.scale

    def backward(self, name: str, loss: Tensor) -> None:
        """Gradient of loss on the parameters of one optimiser alone."""
        self.optimizers[name].zero_grad(set_to_none=True)
        (loss * self.scale).backward(inputs=self.parameters(name))

    def descend(self, name: str) -> bool:
        """Clip and step; False, and no step, if a gradient is not finite."""
        parameters = self.parameters(name)
        if self.scale != 1:
            for p in parameters:
                if p.grad is not None:
                    p.grad /= self.scale
        norm = nn.utils.clip_grad_norm_(parameters, self.clip)
        finite = bool(norm.isfinite())
        if finite:
            self.optimizers[name].step()
        else:
            self.skipped += 1
        return finite

    def adapt_scale(self, finite: bool) -> None:
        """Halve the scale of losses after a step that was too large for fp16, double it after 2000 that were not."""
        if self.precision == "fp16":
            self.good_steps = self.good_steps + 1 if finite else 0
            if not finite or self.good_steps % 2000 == 0:
                self.scale *= 2.0 if finite else 0.5


def precision_on(device: torch.device, wanted: str) -> str:
    """One of PRECISIONS; for auto bf16 where it is clearly faster on device, and fp32 elsewhere.

    TrainingError for another name, and for fp16 on the cpu.
    """
    if wanted == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if wanted not in PRECISIONS:
        raise TrainingError(f"no precision named {wanted!r}; choose one of auto, {', '.join(PRECISIONS)}")
    if wanted == "fp16" and device.type == "cpu":
        raise TrainingError("precision fp16 needs a GPU, and this run is on the cpu; leave --precision out")
    return wanted


class Judge(nn.Module):
    """The discriminator on several batches in one call, as DistributedDataParallel follows it."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, *batches: Float[Tensor, "_ c h w"]) -> tuple[tuple[tuple[Tensor, ...], tuple[Tensor, ...]], ...]:
        """Features and scores of each; minibatch deviations stay within a batch."""
        found = [self.discriminator.features(images) for images in batches]
        return tuple((maps, self.discriminator.logits(maps)) for maps in found)
