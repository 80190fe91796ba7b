"""What a descent has of its images so far: the steps that are given, and which images still move."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, nan

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inversion.config import InvertConfig
from inversion.latent import Latent

CROWDED = 0.75  # once no more than this share of a batch still moves, the others leave it
Rows = Int[Tensor, " rows"]


@dataclass(frozen=True)
class Step:
    """One step of the loop: a latent and the weighted terms that latent scored, per image."""

    index: int
    latent: Latent
    losses: dict[str, Float[Tensor, " batch"]]
    size: int = 0  # pixels of the picture that they are of; totals of different sizes do not compare
    found: Int[Tensor, " batch"] | None = None  # the index that each image's latent is of; None: that of the step

    @cached_property
    def total(self) -> Float[Tensor, " batch"]:
        return torch.stack(list(self.losses.values())).sum(dim=0)


class Found:
    """All that a descent has of its images so far, and which of them still move.

    leaving: those whose patience has run out may leave the batch, so that the others go faster.
    """

    def __init__(self, config: InvertConfig, count: int, device: torch.device, *, leaving: bool) -> None:
        self.config, self.leaving = config, leaving
        self.left = count  # of the images, so many still move
        self.step: Step | None = None
        self.live = torch.ones(count, dtype=torch.bool, device=device)
        self.rows = torch.arange(count, device=device)  # the images that the next step is of
        self.lowest = torch.full((count,), nan, device=device)  # total of each image at this size
        self.mark, self.since = torch.full_like(self.lowest, inf), torch.zeros_like(self.rows)

    def after(self, step: Step) -> Step:
        """The step that is given after this one, for all images."""
        step = self.whole(replace(step, found=torch.full_like(self.rows, step.index)))
        if self.step is None or step.size != self.step.size:  # totals of different sizes do not compare
            self.lowest, self.mark = torch.full_like(self.lowest, nan), torch.full_like(self.lowest, inf)
        finite = step.total.isfinite() & self.live
        wins = finite & ~(step.total >= self.lowest)  # against NaN any number wins
        self.lowest = torch.where(wins, step.total, self.lowest)
        best = self.config.returns == "best"
        self.step = step if self.step is None else picked(self.step, step, wins if best else finite)
        if self.config.patience is not None:
            gained = self.lowest < 0.999 * self.mark
            self.mark, self.since = torch.where(gained, self.lowest, self.mark), torch.where(gained, 0, self.since + 1)
            self.live = self.live & (self.since < self.config.patience)
            self.left = int(self.live.sum())
        return replace(self.step, index=step.index)

    def whole(self, step: Step) -> Step:
        """The step, with what is given so far for the images that have left."""
        if self.step is None or len(self.rows) == len(self.live):
            return step
        return joined(self.step, step, lambda given, new: given.index_copy(0, self.rows, new))

    def leave(self) -> Rows | None:
        """The rows of the last step that go on, once there are far fewer of them; None: all."""
        if not self.leaving or self.left > CROWDED * len(self.rows):
            return None
        rows = self.live[self.rows].nonzero()[:, 0]
        self.rows = self.rows[rows]
        return rows


def better(a: Step, b: Step, live: Bool[Tensor, " batch"] | None = None) -> Step:
    """The step of smaller total, image by image; a number that is not finite never wins, nor b where not live."""
    wins = b.total.isfinite() & ~(b.total >= a.total)  # against NaN any number wins
    return picked(a, b, wins if live is None else wins & live)


def picked(a: Step, b: Step, wins: Bool[Tensor, " batch"]) -> Step:
    """The step b for the images where it wins, and a for the others."""
    if wins.device.type == "cpu" and wins.all():  # to look costs nothing there, and a copy is saved
        return b
    if wins.device.type == "cpu" and not wins.any():
        return replace(a, index=b.index, size=b.size)
    return joined(a, b, lambda x, y: torch.where(wins.reshape(-1, *[1] * (x.dim() - 1)), y, x))


def joined(a: Step, b: Step, how: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """The step b, but for its tensors, which how makes of those of both; noise that both share stays."""
    noise = tuple(x if x is y else how(x, y) for x, y in zip(a.latent.noise, b.latent.noise, strict=True))
    latent = replace(a.latent, code=how(a.latent.code, b.latent.code), noise=noise)
    found = None if a.found is None or b.found is None else how(a.found, b.found)
    return Step(b.index, latent, {name: how(a.losses[name], b.losses[name]) for name in a.losses}, b.size, found)
