"""MobileStyleGAN (Belousov 2021, arXiv 2104.04767) in plain PyTorch: wavelets for pixels, separable convolutions.

Features grow by an inverse Haar transform, which costs no weights, and the picture is the transform of twelve channels
at half its size. Its mapping network is that of the StyleGAN2 it was distilled from, and so is its W.
"""

from dataclasses import dataclass
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.base import Codes, Drawing, Gaussian, Generator, Images, Labels, Noise, Stage, Styles, drawn
from generators.errors import GeneratorError
from generators.parts.channels_last import inverse_haar, pointwise, scale
from generators.parts.ops import SQRT2, normalize_2nd_moment
from generators.parts.recompute import part
from generators.shapes import Float


@dataclass(frozen=True, kw_only=True)
class MobileStyleGANConfig:
    img_resolution: int = 1024  # 8 * 2^k pixels
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)  # at 4, 8, ... img_resolution / 2 px
    preview: bool = False  # a small head that draws the picture at a quarter of its size

    def resolutions(self) -> tuple[int, ...]:
        """The sizes of the feature maps: 4, 8, ... img_resolution / 2; GeneratorError where the settings do not fit."""
        k = int(log2(max(self.img_resolution, 1)))
        if self.img_resolution != 2**k or k < 3 or len(self.channels) != k - 2:
            have = f"{self.img_resolution} px with {len(self.channels)} channels"
            raise GeneratorError(f"{have}; MobileStyleGAN needs 8, 16, 32, ... px, and channels at 4 px to half of it")
        if wrong := [c for c in self.channels[:-1] if c % 4]:
            raise GeneratorError(f"{wrong[0]} channels; MobileStyleGAN needs multiples of 4 below its last size")
        return tuple(2**i for i in range(2, k))


class Mapping(nn.Module):
    """z -> w, with every gain folded into the weights."""

    def __init__(self, config: MobileStyleGANConfig) -> None:
        super().__init__()
        widths = [config.z_dim] + [config.w_dim] * config.mapping_layers
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, z: Gaussian) -> Float[Tensor, "batch w_dim"]:
        x = normalize_2nd_moment(z.float())
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2) * SQRT2
        return x


class StyledConv(nn.Module):
    """Modulation, a convolution of 3x3 px, noise, bias, leaky ReLU; separable but for the first."""

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, resolution: int, w_dim: int, *, dense: bool = False) -> None:
        super().__init__()
        self.affine = nn.Linear(w_dim, inputs)
        self.depthwise = None if dense else nn.Parameter(torch.randn(inputs, 1, 3, 3) / 3)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *((3, 3) if dense else (1, 1))) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(
        self, x: Float[Tensor, "batch c h w"], w: Float[Tensor, "batch w_dim"], noise: Float[Tensor, "batch 1 h w"]
    ) -> Float[Tensor, "batch c2 h w"]:
        x, noise = scale(x, self.affine(w)), noise * self.noise_strength
        if self.depthwise is None:
            x = F.conv2d(x, self.weight, self.bias, padding=1)
            return F.leaky_relu_(x + noise.to(x.dtype), 0.2)
        x = F.conv2d(x, self.depthwise, padding=1, groups=x.shape[1])
        return pointwise(x, self.weight, self.bias, noise=noise, activate=True)


class Block(nn.Module):
    """All layers of one resolution: twice the size, then two convolutions."""

    def __init__(self, inputs: int, outputs: int, resolution: int, w_dim: int) -> None:
        super().__init__()
        self.up = nn.Linear(w_dim, inputs)
        self.conv0 = StyledConv(inputs // 4, outputs, resolution, w_dim)
        self.conv1 = StyledConv(outputs, outputs, resolution, w_dim)

    def forward(self, x: Tensor, ws: Float[Tensor, "batch 3 w_dim"], noise: Noise) -> Float[Tensor, "batch c h w"]:
        x = inverse_haar(scale(x, self.up(ws[:, 0])))
        return self.conv1(self.conv0(x, ws[:, 1], noise[0]), ws[:, 2], noise[1])


class ToBands(nn.Module):
    """Features to the four bands of the picture, three channels each: averages first, then details."""

    def __init__(self, inputs: int, w_dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(w_dim, inputs)
        self.weight = nn.Parameter(torch.randn(12, inputs, 1, 1) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(12))

    def forward(
        self, x: Float[Tensor, "batch c h w"], w: Float[Tensor, "batch w_dim"]
    ) -> Float[Tensor, "batch bands h w"]:
        return pointwise(scale(x, self.affine(w)), self.weight, self.bias)


class Preview(nn.Module):
    """The picture at a quarter of its size: the last block computed there, fitted, so near the true one but not equal.

    Each of its layers takes the style of the layer of the block that it stands for, through that one's affine map.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.depthwise0 = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise0 = nn.Conv2d(inputs, width, 1)
        self.depthwise1 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise1 = nn.Conv2d(width, width, 1)
        self.rgb = nn.Conv2d(width, 3, 1)

    def forward(
        self, x: Float[Tensor, "batch c h w"], styles: tuple[Float[Tensor, "batch _"], ...]
    ) -> Float[Tensor, "batch 3 h w"]:
        """Features, and the styles of the block's enlargement, of its two convolutions and of the bands."""
        up, first, second, last = styles
        x = self.depthwise0(scale(x, up * first.repeat(1, 4)))
        x = self.depthwise1(scale(pointwise(x, *self.pointwise0.parameters(), activate=True), second))
        x = pointwise(x, *self.pointwise1.parameters(), activate=True)
        return pointwise(scale(x, last), *self.rgb.parameters())


class MobileStyleGAN(Generator):
    """MobileStyleGAN generator. Each block but the first has three styles and two noise maps; the picture one style."""

    w_slope = 0.2

    def __init__(self, config: MobileStyleGANConfig) -> None:
        super().__init__()
        self.config, resolutions = config, config.resolutions()
        self.z_dim, self.w_dim = config.z_dim, config.w_dim
        self.img_resolution, self.img_channels = config.img_resolution, 3
        self.ws_resolutions = (4, *(r for r in resolutions[1:] for _ in range(3)), config.img_resolution)
        self.num_ws = len(self.ws_resolutions)
        self.noise_shapes = ((4, 4), *((r, r) for r in resolutions[1:] for _ in range(2)))
        self.map = Mapping(config)
        self.start = nn.Parameter(torch.randn(1, config.channels[0], 4, 4))
        self.first = StyledConv(config.channels[0], config.channels[0], 4, config.w_dim, dense=True)
        pairs = zip(config.channels[:-1], config.channels[1:], resolutions[1:], strict=True)
        self.blocks = nn.ModuleList(Block(a, b, r, config.w_dim) for a, b, r in pairs)
        self.bands = ToBands(config.channels[-1], config.w_dim)
        self.preview = Preview(*config.channels[-2:]) if config.preview else None
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def map_z(self, z: Gaussian, c: Labels) -> Codes:
        return self.map(z)

    def draw(self, ws: Styles, noise: Noise, size: int) -> Images:
        return drawn(self.draw_in_stages(ws, noise, size))

    def draw_in_stages(self, ws: Styles, noise: Noise, size: int) -> Drawing:
        small = self.preview is not None and size <= self.img_resolution // 4
        x = self.start.expand(ws.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        (x,) = yield Stage((part(self.first, x, ws[:, 0], noise[0]),), 1)
        for i, block in enumerate(self.blocks[: len(self.blocks) - small]):
            x = part(block, x, ws[:, 3 * i + 1 : 3 * i + 4], noise[2 * i + 1 : 2 * i + 3])
            (x,) = yield Stage((x,), 3 * i + 4)
        if small:
            assert self.preview is not None
            return self.preview(x, self.last_styles(ws)).float()
        bands = self.bands(x, ws[:, -1]).float()
        return inverse_haar(bands) if size == self.img_resolution else bands[:, :3] / 2

    def style_maps(self) -> tuple[tuple[int, nn.Module], ...]:
        maps = [self.first.affine]
        for block in self.blocks:
            assert isinstance(block, Block)
            maps += [block.up, block.conv0.affine, block.conv1.affine]
        return tuple(enumerate([*maps, self.bands.affine]))

    def last_styles(self, ws: Styles) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The factors of the features in the last block and in the picture."""
        block = self.blocks[-1]
        assert isinstance(block, Block)
        maps = (block.up, block.conv0.affine, block.conv1.affine, self.bands.affine)
        first, second, third, last = (affine(w) for affine, w in zip(maps, ws[:, -4:].unbind(1), strict=True))
        return first, second, third, last

    def rendering(self, resolution: int) -> str:
        if resolution >= self.img_resolution // 2:
            return "full" if resolution == self.img_resolution else "averaged"  # the average band, to the last bit
        return "averaged" if self.preview is None else "fitted"
