"""The encoders of pSp, e4e and ReStyle: a face of 256 px -> a style for each layer, as an offset from the mean.

Richardson et al. 2021, "Encoding in Style"; Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation";
Alaluf et al. 2021, "ReStyle"; and the encoders that they are compared with, which see the last map alone. The backbone
is ArcFace's residual network with squeeze-and-excitation (Deng et al. 2019; Hu et al. 2018). Weights keep the names
under which those projects publish them.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.parts.ops import EqualLinear
from generators.shapes import Float

GRID = 7  # pixels a side of the map that the styles of `whole` see


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    num_ws: int
    w_dim: int
    widths: tuple[int, ...] = (64, 128, 256, 512)  # channels of the backbone's stages, each half the size of the last
    units: tuple[int, ...] = (3, 4, 14, 3)  # residual units of each stage
    stem: int = 64  # channels before the first stage
    squeeze: int = 16  # channels are divided by it between squeeze and excitation
    halvings: tuple[int, ...] = ()  # for each style: 4, 5 or 6 halvings, from a map of 16, 32 or 64 px to one pixel
    whole: Literal["", "w", "w_plus"] = ""  # or all from the last map: one style for all layers, or one for each
    shared: bool = False  # the first style goes to all layers and the others are added, as in e4e
    feedback: bool = False  # a second image is seen too, ReStyle's last rendering; at first the generator's mean image
    img_resolution: int = 256


class Unit(nn.Module):
    """A residual unit: two convolutions between normalisations, then the channels weighed against each other."""

    def __init__(self, inputs: int, outputs: int, stride: int, squeeze: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            shorter = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(shorter, nn.BatchNorm2d(outputs))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            Excitation(outputs, squeeze),
        )

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c2 h2 w2"]:
        return self.res_layer(x) + self.shortcut_layer(x)


class Excitation(nn.Module):
    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // squeeze, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // squeeze, channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class StyleHead(nn.Module):
    """A feature map down to one pixel, which is a style."""

    def __init__(self, inputs: int, w_dim: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(halvings):
            layers += [nn.Conv2d(w_dim if i else inputs, w_dim, 3, 2, 1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(w_dim, w_dim)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch w_dim"]:
        return self.linear(self.convs(x).flatten(1))


class Pyramid(nn.Module):
    """Styles from three resolutions of one backbone, the coarse ones from its end."""

    offset: Tensor
    other: Tensor

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.config, seen = config, 6 if config.feedback else 3
        self.input_layer = nn.Sequential(
            nn.Conv2d(seen, config.stem, 3, 1, 1, bias=False), nn.BatchNorm2d(config.stem), nn.PReLU(config.stem)
        )
        units, inputs = [], config.stem
        for width, count in zip(config.widths, config.units, strict=True):
            for i in range(count):
                units.append(Unit(inputs, width, 1 if i else 2, config.squeeze))
                inputs = width
        self.body = nn.Sequential(*units)
        if config.whole:
            self.add_whole(config)
        else:
            self.styles = nn.ModuleList(StyleHead(config.widths[-1], config.w_dim, n) for n in config.halvings)
        if self.fine:
            self.latlayer1 = nn.Conv2d(config.widths[2], config.widths[3], 1)
            self.latlayer2 = nn.Conv2d(config.widths[1], config.widths[3], 1)
        self.register_buffer("offset", torch.zeros(config.num_ws, config.w_dim))
        if config.feedback:
            self.register_buffer("other", torch.zeros(3, config.img_resolution, config.img_resolution))

    def add_whole(self, config: PyramidConfig) -> None:
        """The layers that make styles of the last map alone."""
        last = config.widths[-1]
        if config.whole == "w":
            self.linear = EqualLinear(last, config.w_dim)
            return
        flat = nn.Linear(last * GRID**2, config.w_dim)
        self.output_layer_2 = nn.Sequential(nn.BatchNorm2d(last), nn.AdaptiveAvgPool2d(GRID), nn.Flatten(), flat)
        self.linear = EqualLinear(config.w_dim, config.w_dim * config.num_ws)

    @property
    def fine(self) -> bool:
        """Tells whether there are styles of the finer maps."""
        return max(self.config.halvings, default=0) > 4

    def forward(
        self,
        image: Float[Tensor, "batch 3 h w"],
        rendered: Float[Tensor, "batch 3 h w"] | None = None,
        ws: Float[Tensor, "batch num_ws w_dim"] | None = None,
    ) -> Float[Tensor, "batch num_ws w_dim"]:
        """Image, RGB in [-1, 1] at the generator's resolution, to styles.

        With feedback, rendered is what the generator makes of ws, which the styles found are added to; None: its mean.
        """
        size = (self.config.img_resolution, self.config.img_resolution)
        if image.shape[2:] != size:
            image = F.interpolate(image, size, mode="bilinear", antialias=True)
        if self.config.feedback:
            other = self.other[None] if rendered is None else shrunk(rendered, self.config.img_resolution)
            image = torch.cat([image, other.expand(len(image), -1, -1, -1)], dim=1)
        return self.found(image).float() + (self.offset if ws is None else ws)

    def found(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch num_ws w_dim"]:
        """Styles as the network gives them, before the mean is added."""
        maps, config = self.maps(image), self.config
        if config.whole == "w":
            return self.linear(maps[4].mean((2, 3)))[:, None].expand(-1, config.num_ws, -1)
        if config.whole == "w_plus":
            return self.linear(self.output_layer_2(maps[4])).unflatten(1, (config.num_ws, config.w_dim))
        heads = zip(self.styles, config.halvings, strict=True)
        found = torch.stack([head(maps[n]) for head, n in heads], dim=1)
        return torch.cat([found[:, :1], found[:, :1] + found[:, 1:]], dim=1) if config.shared else found

    def maps(self, image: Float[Tensor, "batch c h w"]) -> dict[int, Tensor]:
        """Feature maps by the halvings that a style takes from them: 4 at 16 px, 5 at 32 px, 6 at 64 px."""
        x, stages = self.input_layer(image), iter(self.body)
        ends = []
        for count in self.config.units:
            for _ in range(count):
                x = next(stages)(x)
            ends.append(x)
        maps = {4: x}
        if self.fine:
            maps[5] = larger(maps[4], self.latlayer1(ends[2]))
            maps[6] = larger(maps[5], self.latlayer2(ends[1]))
        return maps


def shrunk(x: Float[Tensor, "batch c h w"], size: int) -> Float[Tensor, "batch c size size"]:
    """A rendering at the size that ReStyle's encoders were trained to see it at: averaged, where that divides."""
    return F.adaptive_avg_pool2d(x, size)


def larger(x: Float[Tensor, "batch c h w"], onto: Float[Tensor, "batch c h2 w2"]) -> Float[Tensor, "batch c h2 w2"]:
    """x enlarged and added onto a finer map (Lin et al. 2017, feature pyramids)."""
    return onto + F.interpolate(x, onto.shape[2:], mode="bilinear", align_corners=True)
