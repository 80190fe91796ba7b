"""Images that are searched for together: how many memory holds, which still move, and what each has so far."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, nan
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from generators.base import Generator
from generators.device import free_memory, out_of_memory
from generators.parts.recompute import bytes_kept
from inversion.config import InvertConfig, LatentSpace
from inversion.errors import InversionError
from inversion.latent import Latent, mean_latent

CROWDED = 0.75  # once no more than this share of a batch still moves, the others leave it
SHARE = 0.8  # of the free memory, which a search may take
BESIDE = 2.0  # bytes that a step needs for each one that the picture's layers keep: losses, and what comes and goes
AGAIN = 0.3  # of them where the layers are drawn again
MOST_KEPT = 1 << 18  # bytes a pixel that no generator's layers keep: nothing is measured where so many would fit
Rows = Int[Tensor, " rows"]
T = TypeVar("T")


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


def fitted(generator: Generator, config: InvertConfig, most: int) -> tuple[int, InvertConfig]:
    """How many pictures memory holds the search of, up to most, and settings that say whether to draw them again."""
    free, way = free_memory(generator.w_avg.device), bool(config.checkpoint)
    bound = MOST_KEPT * generator.img_resolution**2 * most
    if not config.steps or free is None or bound < SHARE * free:
        return most, replace(config, checkpoint=way)
    need, room = search_bytes(generator), SHARE * free
    if config.checkpoint is None:
        way = need > room
    return max(1, min(most, int(room / (need * AGAIN if way else need)))), replace(config, checkpoint=way)


def search_bytes(generator: Generator) -> float:
    """About how many bytes a step of the search of one picture needs."""
    latent = mean_latent(generator, LatentSpace.W_PLUS)
    ws = latent.code.detach().clone().requires_grad_()
    beside = [*generator.state_dict().values(), *latent.noise]
    return max(1.0, BESIDE * bytes_kept(lambda: generator.synthesis(ws, latent.noise), beside))


class MemoryShort(InversionError):
    """Memory does not hold the search of a single picture."""


class Room:
    """How many images are searched for together, and by which settings; nothing is measured before the first search."""

    def __init__(self, generator: Generator, config: InvertConfig, most: int) -> None:
        self.generator, self.config = generator, config
        self.most, self.measured = most, False

    def tried(self, count: int, search: Callable[[InvertConfig], T]) -> T | None:
        """Give the result of a search for so many images; None where there is room for fewer, as most then tells.

        MemoryShort where there is none for one alone.
        """
        if count and not self.measured:
            self.most, self.config = fitted(self.generator, self.config, self.most)
            self.measured = True
        if count > self.most:
            return None
        try:
            return search(self.config)
        except Exception as error:
            if not out_of_memory(error):
                raise
        self.shrink(count)  # after the error is gone, and with it all that the search held
        return None

    def shrink(self, count: int) -> None:
        """Make do with less, as memory ran out for so many images."""
        if self.generator.w_avg.is_cuda:
            torch.cuda.empty_cache()
        if count == 1 and self.config.checkpoint:
            px = self.generator.img_resolution
            advice = "close other programs, or name a smaller generator"
            raise MemoryShort(f"memory does not hold the search of one picture of {px} px; {advice}")
        self.most = max(1, count // 2)
        self.config = replace(self.config, checkpoint=count == 1 or bool(self.config.checkpoint))
