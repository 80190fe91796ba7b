"""StyleGAN3 (Karras et al. 2021, "Alias-Free Generative Adversarial Networks"), T and R, in plain PyTorch.

Each layer works on a picture of the plane that is band-limited and wider than the image by a margin.
"""

from dataclasses import dataclass
from math import ceil, cos, floor, log2, radians, sin, tau

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.base import Codes, Drawing, Gaussian, Generator, Images, Labels, Noise, Stage, Styles, averaged, drawn
from generators.errors import GeneratorError
from generators.parts.filters import low_pass, shrink, widen
from generators.parts.mapping import Mapping
from generators.parts.ops import EqualLinear, modulated_conv2d
from generators.parts.recompute import part
from generators.shapes import Float


@dataclass(frozen=True, kw_only=True)
class StyleGAN3Config:
    """The defaults are StyleGAN3-T; R has conv_kernel 1, use_radial_filters and twice the channels."""

    img_resolution: int = 1024
    img_channels: int = 3
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0  # class labels, one-hot; 0 for none
    mapping_layers: int = 2
    mapping_lr: float = 0.01  # learning rate of the mapping network, relative to the rest
    channel_base: int = 32768  # channels of a layer are min(channel_base / 2 / its cutoff, channel_max)
    channel_max: int = 512
    num_layers: int = 14  # without the Fourier features before them and the RGB output after them
    num_critical: int = 2  # last layers that keep all frequencies up to half the sampling rate
    first_cutoff: float = 2.0  # of the first layer, in cycles across the image
    first_stopband: float = 2**2.1  # where the first layer's filter has faded, in cycles across the image
    last_stopband_rel: float = 2**0.3  # the last stopband in terms of its cutoff
    margin_size: int = 10  # samples beyond each border of the image
    output_scale: float = 0.25  # what the last layer's output is multiplied by
    conv_kernel: int = 3
    filter_size: int = 6  # taps of a filter for each sample that it brings together
    lrelu_upsampling: int = 2  # how much finer leaky ReLU is sampled; even
    use_radial_filters: bool = False  # so that rotation commutes with the layers too
    conv_clamp: float | None = 256.0  # bound on activations, for half precision

    def __post_init__(self) -> None:
        ranges = {
            "img_resolution": 8 <= self.img_resolution <= 2**14,
            "num_layers": 1 <= self.num_layers <= 64,
            "num_critical": 0 <= self.num_critical < self.num_layers,
            "margin_size": 0 <= self.margin_size <= 256,
            "first_cutoff": 0 < self.first_cutoff < self.img_resolution / 2,
            "first_stopband": self.first_cutoff < self.first_stopband,
            "last_stopband_rel": self.last_stopband_rel > 1,
            "conv_kernel": self.conv_kernel in (1, 3, 5, 7),
            "filter_size": 2 <= self.filter_size <= 64,
            "lrelu_upsampling": self.lrelu_upsampling in (2, 4, 8),
        }
        for name, fits in ranges.items():
            if not fits:
                raise GeneratorError(f"{name} is {getattr(self, name)!r}; no StyleGAN3 can be built so, see its paper")


@dataclass(frozen=True, kw_only=True)
class Signal:
    """The picture between two layers, frequencies in cycles across the image (Karras et al. 2021, section 3.2)."""

    cutoff: float  # highest frequency that a filter leaves as it is
    half_width: float  # of the filter's transition
    rate: int  # samples across the image
    size: int  # samples across image and margins
    channels: int

    @property
    def resolution(self) -> int:
        """The size of a picture with these frequencies, as the nearest of 4, 8, 16, ... pixels."""
        return 2 ** floor(log2(2 * self.cutoff) + 0.5 + 1e-9)  # half an octave goes up, on any machine


def signals(config: StyleGAN3Config) -> tuple[Signal, ...]:
    """After each layer, the RGB output last: cutoffs and stopbands rise evenly in octaves up to the critical layers."""
    resolution, count = config.img_resolution, config.num_layers
    last_cutoff = resolution / 2
    last_stopband, found = last_cutoff * config.last_stopband_rel, []
    for i in range(count + 1):
        share = min(i / (count - config.num_critical), 1.0)
        cutoff = config.first_cutoff * (last_cutoff / config.first_cutoff) ** share
        stopband = config.first_stopband * (last_stopband / config.first_stopband) ** share
        rate = 2 ** ceil(log2(min(2 * stopband, resolution)))
        channels = round(min(config.channel_base / 2 / cutoff, config.channel_max))
        found.append(
            Signal(
                cutoff=cutoff,
                half_width=max(stopband, rate / 2) - cutoff,
                rate=rate,
                size=resolution if i >= count - 1 else rate + 2 * config.margin_size,
                channels=config.img_channels if i == count else channels,
            )
        )
    return tuple(found)


class FourierFeatures(nn.Module):
    """The first picture: waves of random direction and length, which the style and the user may shift and turn."""

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, signal: Signal, config: StyleGAN3Config) -> None:
        super().__init__()
        self.signal = signal
        direction = torch.randn(signal.channels, 2)
        radius = direction.norm(dim=1, keepdim=True)
        evenly = (1 - (-radius.square() / 2).exp()).sqrt()  # of the radius, so that the disc is filled
        self.register_buffer("freqs", direction / radius * evenly * signal.cutoff)
        self.register_buffer("phases", torch.rand(signal.channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))
        self.weight = nn.Parameter(torch.randn(signal.channels, signal.channels))
        self.affine = EqualLinear(config.w_dim, 4)
        with torch.no_grad():  # at first no style turns or shifts anything
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(
        self, w: Float[Tensor, "batch w_dim"], transform: Float[Tensor, "*_ 3 3"] | None
    ) -> Float[Tensor, "batch c h w"]:
        with torch.autocast(w.device.type, enabled=False):  # coordinates want float32
            place = self.placed_by_style(w.float()) @ (self.transform if transform is None else transform)
            freqs = self.freqs @ place[:, :2, :2]
            phases = self.phases + (self.freqs @ place[:, :2, 2:]).squeeze(2)
            fade = self.signal.rate / 2 - self.signal.cutoff  # a frequency that turning or zooming raises fades out
            loud = (1 - (freqs.norm(dim=2) - self.signal.cutoff) / fade).clamp(0, 1)
            line = self.coordinates()
            x, y = (line[:, None] * freqs[:, None, :, axis] for axis in (0, 1))  # (batch, size, channels)
            waves = (tau * (x[:, None] + y[:, :, None] + phases[:, None, None])).sin() * loud[:, None, None]
            waves = waves @ (self.weight / self.weight.shape[1] ** 0.5).T
        return waves.permute(0, 3, 1, 2)  # and so channels_last in memory

    def placed_by_style(self, w: Float[Tensor, "batch w_dim"]) -> Float[Tensor, "batch 3 3"]:
        """Turn and shift that the style asks for, as it acts on coordinates: shifted back, then turned back."""
        t = self.affine(w)
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        c, s, x, y = t.unbind(1)
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        rows = [c, -s, s * y - c * x, s, c, -s * x - c * y, zero, zero, one]
        return torch.stack(rows, dim=1).reshape(-1, 3, 3)

    def coordinates(self) -> Float[Tensor, " size"]:
        """The places of a row's samples; the image reaches from -0.5 to 0.5."""
        size = self.signal.size
        return (torch.arange(size, device=self.freqs.device) - (size - 1) / 2) / self.signal.rate


class Layer(nn.Module):
    """Modulated convolution, bias, and a leaky ReLU that is sampled finely enough to make no aliases."""

    magnitude_ema: Tensor
    up_taps: Tensor
    down_taps: Tensor

    def __init__(self, before: Signal, after: Signal, config: StyleGAN3Config, *, radial: bool) -> None:
        super().__init__()
        kernel = config.conv_kernel
        self.affine = EqualLinear(config.w_dim, before.channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after.channels, before.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude_ema", torch.ones(()))  # mean square of what comes in, over the training
        rate = config.lrelu_upsampling * max(before.rate, after.rate)
        self.up, self.down = rate // before.rate, rate // after.rate
        self.clamp = config.conv_clamp
        up, down = config.filter_size * self.up, config.filter_size * self.down
        self.register_buffer("up_taps", low_pass(up, before.cutoff, before.half_width, rate), persistent=False)
        taps = low_pass(down, after.cutoff, after.half_width, rate, radial=radial)
        self.register_buffer("down_taps", taps, persistent=False)
        have = (before.size + kernel - 2) * self.up + up
        self.cut = (have - (after.size - 1) * self.down - down) // 2  # so that just `after.size` samples come out

    def forward(
        self, x: Float[Tensor, "batch c h w"], w: Float[Tensor, "batch w_dim"]
    ) -> Float[Tensor, "batch c2 h2 w2"]:
        gain, padding = self.magnitude_ema.rsqrt(), self.weight.shape[-1] - 1
        x = modulated_conv2d(x, self.weight, self.affine(w), gain=gain, padding=padding)
        x = x + self.bias.to(x.dtype)[:, None, None]
        x = widen(x, self.up_taps * 2**0.25, self.up, self.cut)  # on both axes, so sqrt(2): the gain of leaky ReLU
        x = F.leaky_relu_(x, 0.2)
        x = x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
        return shrink(x, self.down_taps, self.down)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to image channels, without demodulation."""

    magnitude_ema: Tensor

    def __init__(self, before: Signal, after: Signal, config: StyleGAN3Config) -> None:
        super().__init__()
        self.affine = EqualLinear(config.w_dim, before.channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after.channels, before.channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude_ema", torch.ones(()))
        self.clamp = config.conv_clamp

    def forward(
        self, x: Float[Tensor, "batch c h w"], w: Float[Tensor, "batch w_dim"]
    ) -> Float[Tensor, "batch rgb h w"]:
        styles = self.affine(w) * (self.magnitude_ema.rsqrt() / x.shape[1] ** 0.5)
        x = modulated_conv2d(x, self.weight, styles, demodulate=False).float()
        x = x + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class StyleGAN3(Generator):
    """StyleGAN3 generator: no noise inputs, num_ws is num_layers + 2; layers are named by the detail they may draw.

    ws[:, 0] turns and shifts the whole image; the last is the RGB output's. At 1024 px the fourteen layers between act
    at 4, 8, 8, 16, 32, 32, 64, 128, 128, 256, 512, 512, 1024 and 1024 px: twice their cutoff, as a power of two.
    """

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.config, after = config, signals(config)
        self.z_dim, self.w_dim = config.z_dim, config.w_dim
        self.c_dim = config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.ws_resolutions = (after[0].resolution, *(signal.resolution for signal in after))
        self.num_ws, self.w_slope = config.num_layers + 2, 0.2
        sizes = (config.z_dim, config.w_dim, config.c_dim)
        self.map = Mapping(*sizes, layers=config.mapping_layers, lr=config.mapping_lr)
        self.input = FourierFeatures(after[0], config)
        before = (after[0], *after)
        smooth = config.num_layers - config.num_critical  # the critical layers' filters are sharp, and never radial
        self.layers = nn.ModuleList(
            Layer(before[i], after[i], config, radial=config.use_radial_filters and i < smooth)
            for i in range(config.num_layers)
        )
        self.layers.append(ToRGB(before[-2], after[-1], config))
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def map_z(self, z: Gaussian, c: Labels) -> Codes:
        return self.map(z, c)

    def style_maps(self) -> tuple[tuple[int, nn.Module], ...]:
        maps = [self.input.affine]
        for layer in self.layers:
            assert isinstance(layer, Layer | ToRGB)
            maps.append(layer.affine)
        return tuple(enumerate(maps))

    def synthesis(
        self,
        ws: Styles,
        noise: Noise = (),
        transform: Float[Tensor, "*_ 3 3"] | None = None,
        *,
        resolution: int | None = None,
    ) -> Images:
        """Render styles to images; transform (see `placement`), one or one an image, goes before input.transform."""
        size = self.check_inputs(ws, noise, resolution)
        return averaged(drawn(self.draw_in_stages(ws, noise, size, transform)), size)

    def draw_in_stages(
        self, ws: Styles, noise: Noise, size: int, transform: Float[Tensor, "*_ 3 3"] | None = None
    ) -> Drawing:
        x = self.input(ws[:, 0], transform)
        for i, (layer, after) in enumerate(zip(self.layers, signals(self.config), strict=True), 1):
            (x,) = yield Stage((part(layer, x, ws[:, i]),), i + 1, after.size / after.rate)
        return x * self.config.output_scale


def placement(right: float = 0.0, down: float = 0.0, degrees: float = 0.0) -> Float[Tensor, "3 3"]:
    """The transform that turns the image clockwise about its centre, and then moves it; 1 is the image's side."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    moved = [[c, -s, right], [s, c, down], [0.0, 0.0, 1.0]]  # y points down
    return torch.linalg.inv(torch.tensor(moved, dtype=torch.float64)).float()  # what acts on coordinates
