"""The encoder a model file may carry: image -> w_plus in one pass.

One style for all layers plus a small offset per layer, as e4e does it (Tov et al. 2021, "Designing an Encoder for
StyleGAN Image Manipulation"): the nearer the layers stay to each other, the better the latent edits.
"""

from dataclasses import dataclass
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.parts.ops import EqualConv, EqualLinear
from generators.shapes import Float


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    img_resolution: int
    img_channels: int = 3
    num_ws: int
    w_dim: int
    channels: tuple[int, ...]  # at 4, 8, ... img_resolution / subpixel px
    hidden: int = 512
    subpixel: int = 1  # side of the patch of pixels that each first feature sees
    linear: int = 0  # side in px of the small picture that w is a linear function of as well; 0: none


class Encoder(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        top = int(log2(config.img_resolution // config.subpixel))
        self.from_rgb = EqualConv(config.img_channels * config.subpixel**2, config.channels[top - 2], 3, activate=True)
        self.convs, self.downs = nn.ModuleList(), nn.ModuleList()
        for level in range(top, 2, -1):
            here, below = config.channels[level - 2], config.channels[level - 3]
            self.convs.append(EqualConv(here, here, 3, activate=True))
            self.downs.append(EqualConv(here, below, 3, activate=True))
        self.hidden = EqualLinear(config.channels[0] * 16, config.hidden, activate=True)
        self.shared = EqualLinear(config.hidden, config.w_dim)
        self.offsets = EqualLinear(config.hidden, config.num_ws * config.w_dim)
        nn.init.zeros_(self.offsets.weight)  # offsets grow only where they pay
        pixels = config.img_channels * config.linear**2
        self.linear = EqualLinear(pixels, config.w_dim, lr=0.1) if pixels else None

    def forward(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch num_ws w_dim"]:
        """Image, RGB in [-1, 1] at the generator's resolution, to styles."""
        shared, offsets = self.parts(image)
        return shared[:, None] + offsets

    def parts(
        self, image: Float[Tensor, "batch c h w"]
    ) -> tuple[Float[Tensor, "batch w_dim"], Float[Tensor, "batch num_ws w_dim"]]:
        """The shared style w, and what each layer adds to it."""
        x = self.from_rgb(F.pixel_unshuffle(image, self.config.subpixel).contiguous(memory_format=torch.channels_last))
        for conv, down in zip(self.convs, self.downs, strict=True):
            x = (x + conv(x)) * 0.5**0.5
            x = down(F.avg_pool2d(x, 2))
        x = self.hidden(x.flatten(1)).float()
        offsets = self.offsets(x).float().reshape(len(x), self.config.num_ws, self.config.w_dim)
        shared = self.shared(x).float()
        if self.linear is not None:
            small = F.adaptive_avg_pool2d(image.float(), self.config.linear)
            with torch.autocast(image.device.type, enabled=False):
                shared = shared + self.linear(small.flatten(1))
        return shared, offsets
