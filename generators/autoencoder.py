"""Autoencoders: a picture is squeezed into a few numbers and drawn again from them. The decoder is the generator.

Hinton and Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks". What tells their kinds apart
(sparse, contractive, denoising, variational) is in how they are trained: `generators/training/methods/autoencode.py`.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from generators.base import Codes, Gaussian, Generator, Images, Labels, Noise, Styles
from generators.errors import GeneratorError


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    img_resolution: int
    img_channels: int = 1
    dim: int = 16  # numbers in the code
    layers: Literal["dense", "conv"] = "dense"
    widths: tuple[int, ...] = (256, 128)  # of hidden layers from the picture to the code; () with dense: linear
    code: Literal["linear", "sigmoid"] = "linear"  # what the code's own layer ends in
    variational: bool = False  # the encoder gives a Gaussian for each picture, of which the mean is its code
    output: Literal["linear", "bernoulli"] = "linear"  # bernoulli: pixels from black to white by a sigmoid

    def __post_init__(self) -> None:
        if self.dim < 1 or (self.layers == "conv" and not self.widths):
            raise GeneratorError(f"dim is {self.dim}, widths {self.widths}; give dim 1 or more, and conv a width")

    def sizes(self) -> tuple[int, ...]:
        """The sizes of the feature maps, in px: the picture's, then each half of the one before, rounded up."""
        return tuple(-(-self.img_resolution // 2**i) for i in range(len(self.widths)))


class CodeEncoder(nn.Module):
    """Picture -> code."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        features, last = features_of(config)
        self.features = nn.Sequential(*features)
        self.last = nn.Linear(last, config.dim * (1 + config.variational))
        self.sigmoid, self.variational = config.code == "sigmoid", config.variational

    def forward(self, image: Images) -> Styles:
        """The code of each picture, RGB or grey in [-1, 1]; the mean where there is a Gaussian."""
        return self.moments(image)[0][:, None]

    def moments(self, image: Images) -> tuple[Codes, Codes | None]:
        """The code's mean and the logarithm of its variance, which is None where the code is no Gaussian."""
        x = self.last(self.features(image))
        mean, log_variance = x.chunk(2, dim=1) if self.variational else (x, None)
        return mean.sigmoid() if self.sigmoid else mean, log_variance


def features_of(config: AutoencoderConfig) -> tuple[list[nn.Module], int]:
    """The encoder's layers before the code, and how many numbers they end in."""
    if config.layers == "dense":
        widths = (config.img_channels * config.img_resolution**2, *config.widths)
        dense = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.SiLU())]
        return [nn.Flatten(), *dense], widths[-1]
    layers: list[nn.Module] = [nn.Conv2d(config.img_channels, config.widths[0], 3, padding=1), nn.SiLU()]
    for a, b in pairwise(config.widths):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(b, b, 3, padding=1), nn.SiLU()]
    return [*layers, nn.Flatten()], config.widths[-1] * config.sizes()[-1] ** 2


def decoder_of(config: AutoencoderConfig) -> nn.Sequential:
    """The encoder's mirror image: code -> pixels, before the output's sigmoid."""
    shape = (config.img_channels, config.img_resolution, config.img_resolution)
    if config.layers == "dense":
        widths = (config.dim, *reversed(config.widths))
        dense = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.SiLU())]
        return nn.Sequential(*dense, nn.Linear(widths[-1], shape[0] * shape[1] ** 2), nn.Unflatten(1, shape))
    sizes, widths = config.sizes(), config.widths
    start = (widths[-1], sizes[-1], sizes[-1])
    layers: list[nn.Module] = [nn.Linear(config.dim, start[0] * start[1] ** 2), nn.SiLU(), nn.Unflatten(1, start)]
    for (a, b), size in zip(pairwise(reversed(widths)), reversed(sizes[:-1]), strict=True):
        layers += [nn.Conv2d(a, a, 3, padding=1), nn.SiLU()]
        layers += [nn.Upsample((size, size)), nn.Conv2d(a, b, 3, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[0], shape[0], 3, padding=1))


class Autoencoder(Generator):
    """One style, the code. Where codes have no prior of their own, z is brought to their mean and covariance.

    A variational autoencoder is trained so that codes are about N(0, I): there the mapping is the identity. Codes that
    end in a sigmoid lie between 0 and 1, and samples of them may lie a little outside.
    """

    spread: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.z_dim = self.w_dim = config.dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.num_ws, self.ws_resolutions = 1, (config.img_resolution,)
        self.decoder = decoder_of(config)
        self.register_buffer("w_avg", torch.zeros(config.dim))
        identity = torch.zeros(config.dim, config.dim).fill_diagonal_(1)  # as meta tensor, eye would load torch._dynamo
        self.register_buffer("spread", identity)  # root of the codes' covariance
        self.encoder = CodeEncoder(config)

    def map_z(self, z: Gaussian, c: Labels) -> Codes:
        return self.w_avg + z @ self.spread

    def style_maps(self) -> tuple[tuple[int, nn.Module], ...]:
        return ((0, self.decoder[0]),)

    def draw(self, ws: Styles, noise: Noise, size: int) -> Images:
        x = self.logits(ws[:, 0])
        return torch.tanh(x / 2) if self.config.output == "bernoulli" else x  # tanh(x / 2) is 2 sigmoid(x) - 1

    def logits(self, code: Codes) -> Images:
        """The pictures, before the output's sigmoid where it has one."""
        return self.decoder(code)
