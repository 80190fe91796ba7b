"""Principal components as a generator: the linear bottleneck, whose inversion is a projection.

Sirovich and Kirby 1987; Turk and Pentland 1991, "Eigenfaces for Recognition".
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generators.base import Codes, Gaussian, Generator, Images, Labels, Noise, Styles
from generators.shapes import Float


@dataclass(frozen=True, kw_only=True)
class PCAConfig:
    img_resolution: int
    img_channels: int = 1
    dim: int  # how many components


class Projection(nn.Module):
    """Picture -> w: its projection on the components, in standard deviations. The best there is in squared error."""

    weight: Tensor
    bias: Tensor

    def __init__(self, config: PCAConfig) -> None:
        super().__init__()
        pixels = config.img_channels * config.img_resolution**2
        self.register_buffer("weight", torch.zeros(config.dim, pixels))
        self.register_buffer("bias", torch.zeros(config.dim))

    def forward(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch 1 dim"]:
        with torch.autocast(image.device.type, enabled=False):
            return nn.functional.linear(image.float().flatten(1), self.weight, self.bias)[:, None]


class PCA(Generator):
    """w counts standard deviations along the components, largest first, so that z ~ N(0, I) is w itself.

    w is scikit-learn's `PCA(whiten=True).transform` of the pictures in [-1, 1], pixel after pixel; w times `scale` is
    that of PCA() as it comes.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor
    closed_form = True

    def __init__(self, config: PCAConfig) -> None:
        super().__init__()
        self.config = config
        self.z_dim = self.w_dim = config.dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.num_ws, self.ws_resolutions = 1, (config.img_resolution,)
        pixels = config.img_channels * config.img_resolution**2
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("components", torch.zeros(config.dim, pixels))  # orthonormal rows
        self.register_buffer("scale", torch.ones(config.dim))  # standard deviation along each
        self.register_buffer("w_avg", torch.zeros(config.dim))
        self.encoder = Projection(config)

    def map_z(self, z: Gaussian, c: Labels) -> Codes:
        return z

    def draw(self, ws: Styles, noise: Noise, size: int) -> Images:
        with torch.autocast(ws.device.type, enabled=False):
            pixels = self.mean + (ws[:, 0].float() * self.scale) @ self.components
        return pixels.reshape(-1, self.img_channels, self.img_resolution, self.img_resolution)

    @torch.no_grad()
    def place(
        self, mean: Float[Tensor, " pixels"], components: Float[Tensor, "dim pixels"], scale: Float[Tensor, " dim"]
    ) -> None:
        """Take these for mean, components and standard deviations, and project accordingly."""
        self.mean.copy_(mean)
        self.components.copy_(components)
        self.scale.copy_(scale)
        assert isinstance(self.encoder, Projection)
        weight = components / scale[:, None]
        self.encoder.weight.copy_(weight)
        self.encoder.bias.copy_(-weight @ mean)
