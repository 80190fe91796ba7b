"""Layers on maps whose pixels lie in memory with all of their channels together: no copies, and gradients in pieces.

Each is the plain formula, to float rounding, with derivatives of every order, backward and forward.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from generators.shapes import Float

PIXELS = 1024  # that are worked on at once, so that what is computed of them is still in the cache when it is needed


def scale(x: Float[Tensor, "batch c h w"], factors: Float[Tensor, "batch c"]) -> Float[Tensor, "batch c h w"]:
    """Modulation: each feature channel times a number of its own."""
    return Scale.apply(x, factors.to(x.dtype))


class Scale(Function):
    """`scale`; torch's own gradient to the factors would write a map as large as x, and read it again to sum it up."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factors: Tensor) -> Tensor:
        return x * factors[:, :, None, None]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (x, factors), (gradient,) = ctx.saved_tensors, gradients
        to_x, to_factors = ctx.needs_input_grad
        return scale(gradient, factors) if to_x else None, products(x, gradient) if to_factors else None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (x, factors), (dx, dfactors) = ctx.saved_tensors, tangents
        return x * dfactors[:, :, None, None] + dx * factors[:, :, None, None]


def products(a: Float[Tensor, "batch c h w"], b: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c"]:
    """The sum over pixels of a * b, for each channel."""
    if a.device.type != "cpu" or not a.is_contiguous(memory_format=torch.channels_last):
        return (a * b).sum(dim=(2, 3))
    rows = [t.permute(0, 2, 3, 1).flatten(1, 2).split(max(1, PIXELS // len(t)), dim=1) for t in (a, b)]
    return torch.stack([(x * y).sum(dim=1) for x, y in zip(*rows, strict=True)]).sum(dim=0)


def pointwise(
    x: Float[Tensor, "batch c h w"],
    weight: Float[Tensor, "c2 c 1 1"],
    bias: Float[Tensor, " c2"],
    *,
    noise: Float[Tensor, "batch 1 h w"] | None = None,
    activate: bool = False,
) -> Float[Tensor, "batch c2 h w"]:
    """A convolution of 1x1 px, as one product of matrices; then noise, and leaky ReLU."""
    pixels = x.permute(0, 2, 3, 1)
    y = F.linear(pixels.flatten(0, 2), weight.flatten(1), bias)
    if noise is not None:
        y = y.add_(noise.to(y.dtype).reshape(-1, 1))
    if activate:
        y = F.leaky_relu_(y, 0.2)  # here, as autograd would copy all of a view that changes in place
    return y.unflatten(0, pixels.shape[:3]).permute(0, 3, 1, 2)


def inverse_haar(x: Float[Tensor, "batch c4 h w"]) -> Float[Tensor, "batch c h2 w2"]:
    """Twice the size from a quarter of the channels: first the averages of all, then their details of three kinds."""
    return Haar.apply(x, True)


class Haar(Function):
    """Haar's transform, or its inverse; each is the other's gradient, and both are the same sums of four."""

    @staticmethod
    def forward(x: Tensor, inverse: bool) -> Tensor:
        batch, c, h, w = x.shape
        shape = (batch, 2 * h, 2 * w, c // 4) if inverse else (batch, h // 2, w // 2, 4 * c)
        out = x.new_empty(shape).permute(0, 3, 1, 2)
        seen, made = (bands(x), corners(out)) if inverse else (corners(x), bands(out))
        up, down = (seen[0] + seen[1]).mul_(0.5), (seen[0] - seen[1]).mul_(0.5)
        rise, fall = (seen[2] + seen[3]).mul_(0.5), (seen[2] - seen[3]).mul_(0.5)
        for first, second, (both, change) in ((up, rise, made[:2]), (down, fall, made[2:])):
            torch.add(first, second, out=both)
            torch.sub(first, second, out=change)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        ctx.inverse = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return Haar.apply(gradients[0], not ctx.inverse), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        return Haar.apply(tangents[0], ctx.inverse)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], *args: Any) -> tuple[Tensor, int]:
        x, inverse = args[0].movedim(in_dims[0], 0), args[1]
        return Haar.apply(x.flatten(0, 1), inverse).unflatten(0, x.shape[:2]), 0


def bands(x: Float[Tensor, "batch c4 h w"]) -> tuple[Float[Tensor, "batch h w c"], ...]:
    return x.permute(0, 2, 3, 1).chunk(4, dim=3)


def corners(x: Float[Tensor, "batch c h2 w2"]) -> tuple[Float[Tensor, "batch h w c"], ...]:
    """The upper left pixels of all squares of four, the upper right ones, the lower left ones, the lower right ones."""
    rows = x.permute(0, 2, 3, 1)
    return tuple(rows[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
