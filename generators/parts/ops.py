"""The building blocks of style-based generators, in plain PyTorch: no compiled operator anywhere.

Equalised learning rate: weights are stored ~ N(0, 1) and scaled at run time (Karras et al. 2018, section 4.1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.parts.channels_last import scale
from generators.parts.winograd import convolve, pays
from generators.shapes import Float

SQRT2 = 2.0**0.5


def normalize_2nd_moment(x: Float[Tensor, "batch dim"], eps: float = 1e-8) -> Float[Tensor, "batch dim"]:
    """Scale each row to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


class EqualLinear(nn.Module):
    """Fully connected layer with equalised learning rate; `activate` adds leaky ReLU with gain sqrt(2)."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: float = 0.0, lr: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs).div_(lr))
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr))
        self.gain = lr / inputs**0.5
        self.lr, self.activate = lr, activate

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        x = F.linear(x, self.weight * self.gain, self.bias * self.lr)
        return F.leaky_relu(x, 0.2) * SQRT2 if self.activate else x


@torch.no_grad()
def assign(layer: EqualLinear, weight: Tensor, bias: Tensor) -> None:
    """Make layer compute weight @ x + bias."""
    layer.weight.copy_(weight / layer.gain)
    layer.bias.copy_(bias / layer.lr)


class EqualConv(nn.Module):
    """Convolution with equalised learning rate, same padding; `activate` adds leaky ReLU with gain sqrt(2)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, activate: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain = 1 / (inputs * kernel**2) ** 0.5
        self.padding, self.activate = kernel // 2, activate

    def forward(self, x: Float[Tensor, "batch inputs h w"], gain: float = 1.0) -> Float[Tensor, "batch outputs h w"]:
        gain = gain * SQRT2 if self.activate else gain  # leaky ReLU is homogeneous: its gain folds into the weights
        bias = None if self.bias is None else self.bias * gain
        x = F.conv2d(x, self.weight * (self.gain * gain), bias, padding=self.padding)
        return F.leaky_relu_(x, 0.2) if self.activate else x


def fir_kernel(taps: tuple[float, ...] = (1, 3, 3, 1)) -> Float[Tensor, "size size"]:
    """Separable low-pass filter as a 2-D kernel that sums to one."""
    total = sum(taps) ** 2
    return torch.tensor([[a * b / total for b in taps] for a in taps], dtype=torch.float32)


def fir(
    x: Float[Tensor, "batch c h w"], kernel: Float[Tensor, "k k"], pad: tuple[int, int]
) -> Float[Tensor, "batch c h2 w2"]:
    """Filter each channel with kernel, after padding (before, after) with zeros on both axes."""
    channels = x.shape[1]
    weight = kernel.to(x.dtype).flip(0, 1).expand(channels, 1, *kernel.shape)
    if pad[0] == pad[1]:
        return F.conv2d(x, weight, padding=pad[0], groups=channels)
    return F.conv2d(F.pad(x, (*pad, *pad)), weight, groups=channels)


def upsample2d(x: Float[Tensor, "batch c h w"], kernel: Float[Tensor, "k k"]) -> Float[Tensor, "batch c h2 w2"]:
    """Twice the size: zeros between the pixels, then the low-pass filter with gain 4."""
    channels, size = x.shape[1], kernel.shape[0]
    # A transposed convolution of stride 2 is "insert zeros, then filter" in one step.
    weight = (4 * kernel).to(x.dtype).expand(channels, 1, size, size)
    return F.conv_transpose2d(x, weight, stride=2, padding=(size - 2 + 1) // 2, groups=channels)


def downsample2d(x: Float[Tensor, "batch c h w"], kernel: Float[Tensor, "k k"]) -> Float[Tensor, "batch c h2 w2"]:
    """Half the size: low-pass filter, then every second pixel."""
    channels, size = x.shape[1], kernel.shape[0]
    weight = kernel.to(x.dtype).flip(0, 1).expand(channels, 1, size, size)
    return F.conv2d(x, weight, stride=2, padding=(size - 1) // 2, groups=channels)


def modulated_conv2d(
    x: Float[Tensor, "batch inputs h w"],
    weight: Float[Tensor, "outputs inputs k k"],
    styles: Float[Tensor, "batch inputs"],
    *,
    demodulate: bool = True,
    up_kernel: Float[Tensor, "f f"] | None = None,
    gain: float | Float[Tensor, ""] = 1.0,
    padding: int | None = None,
) -> Float[Tensor, "batch outputs h2 w2"]:
    """Convolve with weights scaled per image by styles (Karras et al. 2020, section 2.2).

    Scaling the activations before, and by the demodulation after, equals scaling the weights, and needs no
    grouped convolution. With up_kernel the output is twice as large: transposed convolution, then the filter.
    Without it, padding is what is added at each border; None keeps the size.
    """
    k = weight.shape[-1]
    if k == 1 and up_kernel is None and not demodulate and not padding:  # to pixels, say: few weights, many features
        weights = styles[:, None] * (weight.flatten(1) * gain)
        return (weights.to(x.dtype) @ x.flatten(2)).unflatten(2, x.shape[2:])
    x = scale(x, styles)
    if up_kernel is not None:
        x = F.conv_transpose2d(x, weight.to(x.dtype).transpose(0, 1), stride=2)
        size = up_kernel.shape[0]
        before = (size + 2 - k) // 2  # so that input pixel i sits between output pixels 2i and 2i + 1
        x = fir(x, 4 * up_kernel, (before, (size + 1 - k) // 2))
    elif padding in (None, 1) and pays(x, weight):
        x = convolve(x, weight)
    else:
        x = F.conv2d(x, weight.to(x.dtype), padding=k // 2 if padding is None else padding)
    if demodulate:
        with torch.autocast(x.device.type, enabled=False):  # squares and their sum want float32
            energy = weight.float().square().sum(dim=(2, 3))
            gain = gain * (styles.float().square() @ energy.T + 1e-8).rsqrt()
        return scale(x, gain)
    return x * torch.as_tensor(gain, device=x.device).to(x.dtype)


def smooth(
    x: Float[Tensor, "batch c h w"], taps: Float[Tensor, " k"], stride: int = 1
) -> Float[Tensor, "batch c h2 w2"]:
    """Filter the columns and rows of each channel with taps, without padding."""
    channels = x.shape[1]
    column = taps.to(x).reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    with torch.autocast(x.device.type, enabled=False):  # small differences want float32
        x = F.conv2d(x, column, stride=(stride, 1), groups=channels)
        return F.conv2d(x, column.transpose(2, 3), stride=(1, stride), groups=channels)


def laplacian_pyramid(x: Float[Tensor, "batch c h w"], levels: int) -> tuple[Tensor, ...]:
    """x as levels bands, finest first, each half the size of the one before; the last is the low-pass rest.

    Burt & Adelson 1983, with the taps 1 3 3 1, whose transpose is the bilinear enlargement that undoes each step.
    """
    bands: list[Tensor] = []
    for _ in range(levels - 1):
        small = smooth(F.pad(x, (1, 1, 1, 1), mode="reflect"), torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8, stride=2)
        bands.append(x - enlarge(small, x))
        x = small
    return (*bands, x)


def enlarge(x: Float[Tensor, "batch c h w"], like: Float[Tensor, "batch c h2 w2"]) -> Float[Tensor, "batch c h2 w2"]:
    """Bilinear, to the size of like; summing a pyramid's bands so gives back its image."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear")
