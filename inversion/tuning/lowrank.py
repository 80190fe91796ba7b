"""Changes of weights that are few numbers: products of two thin matrices, or small tensors as they are."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from generators.base import Generator, weights_of
from generators.checkpoints.delta import LEFT, RIGHT
from inversion.errors import SettingsError
from inversion.tuning.config import LARGEST_SHARE

Changes = dict[str, Tensor]


class LowRank:
    """Changes of some weights of a generator, in units of each weight's own size, so that one rate suits all.

    The weight as a matrix (outputs, all else) changes by left @ right of a rank (Hu et al. 2022, "LoRA"), or freely
    where that has no more numbers. left begins at 0, so that nothing changes at first.
    """

    def __init__(self, weights: Mapping[str, Tensor], rank: int, seed: int = 0) -> None:
        self.base = {key: value.detach().clone() for key, value in weights.items()}
        self.scale = {key: scale_of(value) for key, value in weights.items()}
        self.factors: Changes = {}
        rng = torch.Generator().manual_seed(seed)
        for key, value in weights.items():
            outputs, inputs = as_matrix(value).shape
            if is_whole(value, rank):
                self.factors[key] = torch.zeros_like(value)
                continue
            self.factors[key + LEFT] = value.new_zeros(outputs, rank)
            self.factors[key + RIGHT] = torch.randn(rank, inputs, generator=rng).to(value) / rank**0.5

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Give weights the values that they have with the change."""
        with torch.no_grad():
            for key, value in weights.items():
                value.copy_(self.base[key] + self.scale[key] * self.change(key))

    def change(self, key: str) -> Tensor:
        """The change of a weight, in its units."""
        if key in self.factors:
            return self.factors[key]
        return (self.factors[key + LEFT] @ self.factors[key + RIGHT]).view_as(self.base[key])

    def take(self, gradients: Mapping[str, Tensor | None]) -> None:
        """Give the factors their gradients, by those of the weights; none where a weight has none."""
        for key, gradient in gradients.items():
            slope = None if gradient is None else self.scale[key] * gradient
            if key in self.factors:
                self.factors[key].grad = slope
                continue
            left, right = self.factors[key + LEFT], self.factors[key + RIGHT]
            matrix = None if slope is None else as_matrix(slope)
            left.grad = None if matrix is None else matrix @ right.T
            right.grad = None if matrix is None else left.T @ matrix

    def slope(self) -> float:
        """How fast the loss falls where all factors move at the same speed, as Adam first moves them."""
        slopes = [float(f.grad.abs().sum()) for f in self.factors.values() if f.grad is not None]
        return max(sum(slopes), 1e-12)

    def restore(self, changes: Mapping[str, Tensor]) -> None:
        """Go back to what `changes` gave."""
        for key, value in self.factors.items():
            value.copy_(changes[key] / self.unit(key))

    def unit(self, key: str) -> float:
        """The size of a factor's numbers in the change."""
        return 1.0 if key.endswith(RIGHT) else self.scale[key.removesuffix(LEFT)]

    def changes(self) -> Changes:
        """The change as `delta_of` takes it, in the weights' own units."""
        return {key: value.detach() * self.unit(key) for key, value in self.factors.items()}


def as_matrix(weight: Tensor) -> Tensor:
    """A weight as a matrix: outputs, and all else."""
    return weight.reshape(len(weight), -1) if weight.ndim > 1 else weight.reshape(1, -1)


def is_whole(weight: Tensor, rank: int) -> bool:
    """Tell a weight whose change has no more numbers as it is than as two matrices of that rank."""
    outputs, inputs = as_matrix(weight).shape
    return weight.ndim < 2 or rank * (outputs + inputs) >= weight.numel()


def scale_of(weight: Tensor) -> float:
    """The size of a weight's numbers, to which steps are in proportion; biases near 0 count as a hundredth."""
    return max(float(weight.detach().float().square().mean().sqrt()), 0.01)


def count(weights: Iterable[Tensor], rank: int) -> int:
    """The numbers that a change of that rank has."""
    return sum(w.numel() if is_whole(w, rank) else rank * sum(as_matrix(w).shape) for w in weights)


def fitting_rank(generator: Generator, weights: Sequence[Tensor], rank: int) -> int:
    """The rank, lowered until the change in half precision is within its share of the generator in float32.

    SettingsError where there is nothing to change.
    """
    if not weights:
        raise SettingsError(f"{generator.name} has no weights that its pictures depend on; it cannot be tuned")
    most = LARGEST_SHARE * 2 * sum(value.numel() for value in weights_of(generator).values())
    while rank > 1 and count(weights, rank) > most:
        rank -= 1
    return rank
