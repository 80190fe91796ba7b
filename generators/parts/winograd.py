"""Convolutions of 3x3 px by Winograd's F(4x4, 3x3) (Lavin & Gray 2016): a quarter of the products, to float rounding.

Squares of 6x6 px become 36 numbers in which the convolution is a product of channels, one matrix each; 4x4 px come
back. Its gradient is a convolution of the same kind, so that all orders of derivatives are; weights are taken as fixed.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from generators.shapes import Float

ENTER = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
         (0, 4, 0, -5, 0, 1))  # fmt: skip
WEIGH = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))  # 24 times
LEAVE = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
AT_ONCE = 1 << 20  # numbers of the squares that are worked on together, so that they stay in the cache


def pays(x: Float[Tensor, "batch c h w"], weight: Float[Tensor, "c2 c k k"]) -> bool:
    """Tell whether this convolution is one that `convolve` can do, and does faster: wide, and fixed, on a processor."""
    can = weight.shape[2:] == (3, 3) and not weight.requires_grad and x.shape[2] % 4 == x.shape[3] % 4 == 0
    floats = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    wide = min(weight.shape[:2]) >= 128 and x.shape[2] * x.shape[3] >= max(4 * weight.shape[1], 1024)  # in any batch
    return can and floats and wide and x.device.type == "cpu"


def convolve(x: Float[Tensor, "batch c h w"], weight: Float[Tensor, "c2 c 3 3"]) -> Float[Tensor, "batch c2 h w"]:
    """`F.conv2d(x, weight, padding=1)` of maps whose sides are multiples of 4."""
    return Winograd.apply(x, weight)


class Winograd(Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        (batch, inputs, h, w), outputs = x.shape, len(weight)
        enter, weigh, leave = (twice(x.new_tensor(line)) for line in (ENTER, WEIGH, LEAVE))
        weights = (weigh / 24**2 @ weight.reshape(-1, 9).T).view(36, outputs, inputs).transpose(1, 2)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        squares = padded.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)
        out = x.new_empty(batch, h // 4, 4, w // 4, 4, outputs)
        rows = max(1, AT_ONCE // (36 * batch * inputs * w // 4))
        for seen, made in zip(squares.split(rows, dim=3), out.split(rows, dim=1), strict=True):
            products = (enter @ seen.reshape(36, -1)).view(36, -1, inputs) @ weights
            made.copy_((leave @ products.view(36, -1)).view(4, 4, batch, -1, w // 4, outputs).permute(2, 3, 0, 4, 1, 5))
        return out.view(batch, h, w, outputs).permute(0, 3, 1, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return convolve(gradients[0], weight.transpose(0, 1).flip(2, 3)), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        (weight,), (tangent, _) = ctx.saved_tensors, tangents
        assert tangent is not None
        return convolve(tangent, weight)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], *args: Tensor) -> tuple[Tensor, int]:
        x, weight = args[0].movedim(in_dims[0], 0), args[1]
        return convolve(x.flatten(0, 1), weight).unflatten(0, x.shape[:2]), 0


def twice(line: Float[Tensor, "a b"]) -> Float[Tensor, "a2 b2"]:
    """The transform of squares by that of their rows and columns."""
    return torch.kron(line, line)
