"""StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN") in plain PyTorch."""

from dataclasses import dataclass
from math import log2
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.base import Codes, Drawing, Gaussian, Generator, Images, Labels, Noise, Stage, Styles, drawn
from generators.errors import GeneratorError
from generators.parts.flow import Flow
from generators.parts.mapping import Mapping
from generators.parts.ops import (
    SQRT2,
    EqualConv,
    EqualLinear,
    fir_kernel,
    modulated_conv2d,
    upsample2d,
)
from generators.parts.recompute import part
from generators.shapes import Float


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Config:
    img_resolution: int = 1024  # 4 * 2^k pixels
    img_channels: int = 3
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0  # class labels, one-hot; 0 for none
    mapping_layers: int = 8
    mapping_lr: float = 0.01  # learning rate of the mapping network, relative to the rest
    mapping_width: int | None = None  # of the mapping network's inner layers; None: w_dim
    embed_dim: int | None = None  # numbers that a class label becomes; None: w_dim
    embed_joint: bool = False  # z and the label are normalised together, as in StyleGAN2's first code
    mapping_linear: bool = False  # a last layer without leaky ReLU, so that w is free to be symmetric
    flow_steps: int = 0  # w by so many steps of a learned flow in place of the mapping network; mapping_layers blocks
    flow_gaussian: bool = False  # which starts as the Gaussian that has w's mean and covariance
    channel_base: int = 32768  # channels at resolution r are min(channel_base / r, channel_max)
    channel_max: int = 512
    channels: tuple[int, ...] | None = None  # or given outright: at 4, 8, 16, ... px
    architecture: Literal["skip", "resnet", "orig"] = "skip"
    spatial: tuple[int, ...] = ()  # feature maps drawn linearly from the style, at 4, 8, ... px; () is StyleGAN2 itself
    subpixel: int = 1  # side of the patch of pixels that each last feature draws; 1 is StyleGAN2 itself
    resample: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)  # taps of the low-pass filter at each doubling, an even number
    resample_conv: tuple[tuple[float, ...], ...] = ()  # those of each doubling of features, where they are others
    resample_rgb: tuple[tuple[float, ...], ...] = ()  # and of each doubling of the picture so far
    conv_clamp: float | None = None  # bound on activations, for half precision; the published models use 256

    def channels_at(self, resolution: int) -> int:
        if self.channels is not None:
            return self.channels[int(log2(resolution)) - 2]
        return min(self.channel_base // resolution, self.channel_max)

    def taps_at(self, resolution: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The low-pass filters by which features and picture come to this size."""
        index, each = int(log2(resolution)) - 3, (self.resample_conv, self.resample_rgb)
        conv, rgb = (lines[index] if 0 <= index < len(lines) else self.resample for lines in each)
        return conv, rgb

    def resolutions(self) -> tuple[int, ...]:
        """The sizes of the feature maps: 4, 8, ... img_resolution / subpixel; GeneratorError if that is not 4 * 2^k."""
        if self.subpixel not in (1, 2):
            raise GeneratorError(f"subpixel is {self.subpixel}; 1 and 2 can be had")
        top = self.img_resolution // self.subpixel
        k = int(log2(max(top, 1)))
        if top * self.subpixel != self.img_resolution or top != 2**k or k < 2:
            first = 4 * self.subpixel
            wanted = f"{first}, {2 * first}, {4 * first}, ... pixels"
            raise GeneratorError(f"img_resolution is {self.img_resolution}; StyleGAN2 needs {wanted}")
        if self.channels is not None and len(self.channels) != k - 1:
            features = "" if self.subpixel == 1 else f" of which features see {self.subpixel} x {self.subpixel}"
            raise GeneratorError(
                f"channels has {len(self.channels)} numbers; {self.img_resolution} px{features} needs {k - 1}"
            )
        return tuple(2**i for i in range(2, k + 1))


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU; `up` doubles the size."""

    up_kernel: Tensor
    noise_const: Tensor

    def __init__(
        self, inputs: int, outputs: int, resolution: int, config: StyleGAN2Config, *, up: bool = False
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("up_kernel", fir_kernel(config.taps_at(resolution)[0]), persistent=False)
        self.up, self.clamp = up, config.conv_clamp

    def forward(
        self,
        x: Float[Tensor, "batch c h w"],
        w: Float[Tensor, "batch w_dim"],
        noise: Float[Tensor, "batch 1 h2 w2"],
        gain: float = 1.0,
    ) -> Float[Tensor, "batch c2 h2 w2"]:
        gain = gain * SQRT2  # leaky ReLU is homogeneous: its gain folds into all that it sees
        x = modulated_conv2d(x, self.weight, self.affine(w), up_kernel=self.up_kernel if self.up else None, gain=gain)
        x = x.add_((noise * (self.noise_strength * gain)).to(x.dtype))
        x = F.leaky_relu_(x.add_((self.bias * gain).to(x.dtype)[:, None, None]), 0.2)
        return x if self.clamp is None else x.clamp(-self.clamp * gain / SQRT2, self.clamp * gain / SQRT2)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to image channels, without demodulation."""

    def __init__(self, inputs: int, outputs: int, config: StyleGAN2Config) -> None:
        super().__init__()
        self.affine = EqualLinear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain, self.clamp = 1 / inputs**0.5, config.conv_clamp

    def forward(
        self, x: Float[Tensor, "batch c h w"], w: Float[Tensor, "batch w_dim"]
    ) -> Float[Tensor, "batch rgb h w"]:
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.gain, demodulate=False)
        x = x + self.bias.to(x.dtype)[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class StyleMap(nn.Module):
    """Features with a place of their own, linear in the style, so that layout need not be made of modulation alone.

    After Kim et al. 2021, "Exploiting Spatial Dimensions of Latent in GAN for Real-time Image Editing".
    """

    def __init__(self, maps: int, outputs: int, resolution: int, config: StyleGAN2Config) -> None:
        super().__init__()
        self.draw = EqualLinear(config.w_dim, maps * resolution**2, lr=0.1)
        self.mix = EqualConv(maps, outputs, 3, bias=False)
        self.shape = (maps, resolution, resolution)
        nn.init.zeros_(self.draw.weight)

    def forward(self, w: Float[Tensor, "batch w_dim"]) -> Float[Tensor, "batch outputs h w"]:
        x = self.draw(w).reshape(-1, *self.shape)
        return self.mix(x.contiguous(memory_format=torch.channels_last))


class Block(nn.Module):
    """All layers of one resolution."""

    up_kernel: Tensor

    def __init__(self, resolution: int, config: StyleGAN2Config) -> None:
        super().__init__()
        outputs, first = config.channels_at(resolution), resolution == 4
        inputs = outputs if first else config.channels_at(resolution // 2)
        self.conv0 = None if first else StyledConv(inputs, outputs, resolution, config, up=True)
        self.conv1 = StyledConv(outputs, outputs, resolution, config)
        last = resolution * config.subpixel == config.img_resolution
        pixels = config.img_channels
        self.torgb = ToRGB(outputs, pixels, config) if last or config.architecture == "skip" else None
        self.patch = ToRGB(outputs, pixels * config.subpixel**2, config) if last and config.subpixel > 1 else None
        residual = config.architecture == "resnet" and not first
        self.skip = EqualConv(inputs, outputs, 1, bias=False) if residual else None
        maps = (dict(zip(config.resolutions(), config.spatial, strict=False))).get(resolution, 0)
        self.spatial = StyleMap(maps, outputs, resolution, config) if maps else None
        self.register_buffer("up_kernel", fir_kernel(config.taps_at(resolution)[1]), persistent=False)
        self.num_conv = 1 if first else 2

    def forward(
        self, x: Tensor, image: Tensor | None, ws: Float[Tensor, "batch block_ws w_dim"], noise: Noise
    ) -> tuple[Tensor, Tensor | None]:
        gain = 0.5**0.5 if self.skip is not None else 1.0
        short = None if self.skip is None else upsample2d(self.skip(x, gain), self.up_kernel)
        if self.conv0 is not None:
            x = self.conv0(x, ws[:, 0], noise[0])
        if self.spatial is not None:
            x = x + self.spatial(ws[:, 0]).to(x.dtype)
        x = self.conv1(x, ws[:, self.num_conv - 1], noise[-1], gain)
        if short is not None:
            x = x + short
        if self.torgb is not None:
            rgb = self.torgb(x, ws[:, self.num_conv]).float()
            if image is not None:
                rgb = upsample2d(image, self.up_kernel) + rgb
            if self.patch is not None:  # the last doubling is drawn in place (Shi et al. 2016, sub-pixel convolution)
                patches = self.patch(x, ws[:, self.num_conv]).float()
                rgb = upsample2d(rgb, self.up_kernel) + F.pixel_shuffle(patches, 2)
            image = rgb
        return x, image


class StyleGAN2(Generator):
    """StyleGAN2 generator. num_ws is 2 log2(img_resolution) - 2; each layer but the RGB outputs takes noise."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config, resolutions = config, config.resolutions()
        self.z_dim, self.w_dim = config.z_dim, config.w_dim
        self.c_dim = config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        layers = [4] + [r for r in resolutions[1:] for _ in range(2)]  # one entry a convolution
        self.ws_resolutions = (*layers, config.img_resolution)  # the last RGB output has a style of its own
        self.num_ws, self.noise_shapes = len(layers) + 1, tuple((r, r) for r in layers)
        self.map: nn.Module = Mapping(
            config.z_dim,
            config.w_dim,
            config.c_dim,
            layers=config.mapping_layers,
            lr=config.mapping_lr,
            width=config.mapping_width,
            embed_dim=config.embed_dim,
            linear=config.mapping_linear,
            joint=config.embed_joint,
        )
        if config.flow_steps:
            if config.z_dim != config.w_dim or config.c_dim:
                raise GeneratorError("a flow maps z to a w of as many numbers, without labels; set z_dim, c_dim so")
            sizes = {"hidden": config.w_dim, "blocks": config.mapping_layers, "steps": config.flow_steps}
            self.map = Flow(config.w_dim, **sizes, gaussian=config.flow_gaussian)
        self.linear_layout = any(config.spatial)
        self.w_slope = 1.0 if config.mapping_linear or config.flow_steps else 0.2
        width = config.channels_at(4)
        self.start = nn.Parameter(torch.randn(1, width, 4, 4))
        self.blocks = nn.ModuleList(Block(r, config) for r in resolutions)
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def map_z(self, z: Gaussian, c: Labels) -> Codes:
        return self.map(z, c)

    def draw(self, ws: Styles, noise: Noise, size: int) -> Images:
        return drawn(self.draw_in_stages(ws, noise, size))

    def draw_in_stages(self, ws: Styles, noise: Noise, size: int) -> Drawing:
        x = self.start.expand(ws.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image, layer = None, 0
        for block in self.blocks:
            assert isinstance(block, Block)
            n = block.num_conv
            x, image = part(block, x, image, ws[:, layer : layer + n + 1], noise[layer : layer + n])
            layer += n
            if image is None:
                (x,) = yield Stage((x,), layer)
                continue
            x, image = yield Stage((x, image), layer)
            if image.shape[-1] == size:
                return image
        assert image is not None  # the last block always has an RGB output
        return image

    def style_maps(self) -> tuple[tuple[int, nn.Module], ...]:
        maps: list[tuple[int, nn.Module]] = []
        layer = 0
        for block in self.blocks:
            assert isinstance(block, Block)
            convs = [conv for conv in (block.conv0, block.conv1) if conv is not None]
            maps += [(layer + i, conv.affine) for i, conv in enumerate(convs)]
            maps += [] if block.spatial is None else [(layer, block.spatial.draw)]
            maps += [] if block.torgb is None else [(layer + len(convs), block.torgb.affine)]
            layer += len(convs)
        return tuple(maps)

    def rendering(self, resolution: int) -> str:
        early = self.config.architecture == "skip" and resolution in self.config.resolutions()[:-1]
        return "skip" if early else super().rendering(resolution)
