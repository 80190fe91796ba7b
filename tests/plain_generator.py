"""Generators whose latent spaces are known, to measure measures with."""

import torch
from torch import Tensor, nn

from generators.base import Generator


class Flat(Generator):
    """Images of 4 x 4 px in grey that are a linear function of w; its encoder is the way back, and counts its work."""

    name = "flat"

    def __init__(self, numbers: int = 3, jump: float = 0.0) -> None:
        super().__init__()
        self.z_dim = self.w_dim = numbers
        self.num_ws, self.ws_resolutions, self.img_resolution, self.img_channels = 1, (4,), 4, 1
        self.jump = jump  # how far images spring where the first number changes its sign
        axes = torch.linalg.qr(torch.randn(16, numbers, generator=torch.Generator().manual_seed(0)))[0].T
        self.register_buffer("axes", axes)
        self.register_buffer("w_avg", torch.zeros(numbers))
        self.encoder = Back(axes)

    def mapping(self, z: Tensor, c: Tensor | None = None, truncation_psi: float = 1.0) -> Tensor:
        return (truncation_psi * z)[:, None]

    def synthesis(self, ws: Tensor, noise: tuple) -> Tensor:
        w = ws[:, 0]
        return (w @ self.axes + self.jump * (w[:, :1] > 0)).reshape(-1, 1, 4, 4)


class Back(nn.Module):
    def __init__(self, axes: Tensor) -> None:
        super().__init__()
        self.register_buffer("axes", axes.clone())
        self.seen = 0  # images so far

    def forward(self, image: Tensor) -> Tensor:
        self.seen += len(image)
        return (image.flatten(1) @ self.axes.T)[:, None]
