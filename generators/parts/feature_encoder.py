"""An encoder that looks through EfficientNet-Lite0: a small head on maps that ImageNet taught, image -> w_plus.

One style for all layers plus a small offset a layer, as e4e has it (Tov et al. 2021), in whitened coordinates of W: so
the head gives numbers of about unit variance, and what it does not see stays at the mean. Lite0's own weights are no
part of it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.parts.lite import lite_network
from generators.shapes import Float

SEEN_PX = 256  # images are averaged down, or enlarged, to this
WIDTHS = (40, 112, 320)  # of Lite0's maps at 32, 16 and 8 px


@dataclass(frozen=True, kw_only=True)
class FeatureEncoderConfig:
    num_ws: int
    w_dim: int = 512
    channels: tuple[int, int, int] = (64, 192, 256)  # at 16, 8 and 4 px
    hidden: int = 512
    offset_axes: int = 96  # of W, the longest, along which each layer may differ from the others


class FeatureEncoder(nn.Module):
    mean: Tensor
    axes: Tensor

    def __init__(self, config: FeatureEncoderConfig) -> None:
        super().__init__()
        self.config = config
        first, second, third = config.channels
        self.down0 = nn.Conv2d(WIDTHS[0], first, 3, 2, padding=1)
        self.down1 = nn.Conv2d(first + WIDTHS[1], second, 3, 2, padding=1)
        self.mix = nn.Conv2d(second + WIDTHS[2], third, 1)
        self.conv = nn.Conv2d(third, third, 3, padding=1)
        self.down2 = nn.Conv2d(third, third, 3, 2, padding=1)
        self.hidden = nn.Linear(third * 16, config.hidden)
        self.shared = nn.Linear(config.hidden, config.w_dim)
        self.offsets = nn.Linear(config.hidden, config.num_ws * config.offset_axes)
        self.register_buffer("mean", torch.zeros(config.w_dim))
        self.register_buffer("axes", torch.eye(config.w_dim))  # rows, longest first, each of its standard deviation

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch num_ws w_dim"]:
        """Image, RGB in [-1, 1] of any size, to styles."""
        return self.styles(*self.parts(self.look(image)))

    @staticmethod
    def look(image: Float[Tensor, "batch 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Lite0's maps at 32, 16 and 8 px."""
        size = image.shape[-1]
        if size != SEEN_PX:
            mode = {"mode": "area"} if size > SEEN_PX else {"mode": "bilinear", "align_corners": False}
            image = F.interpolate(image, (SEEN_PX, SEEN_PX), **mode)  # type: ignore[arg-type]
        maps = lite_network(str(image.device)).maps(image)
        return maps[2], maps[3], maps[4]

    def parts(
        self, maps: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Float[Tensor, "batch w_dim"], Float[Tensor, "batch num_ws offset_axes"]]:
        """Whitened coordinates of the style of all layers, and of each layer's offset."""
        x = F.leaky_relu(self.down0(maps[0]), 0.2)
        x = F.leaky_relu(self.down1(torch.cat([x, maps[1]], dim=1)), 0.2)
        x = F.leaky_relu(self.mix(torch.cat([x, maps[2]], dim=1)), 0.2)
        x = x + F.leaky_relu(self.conv(x), 0.2)
        x = F.leaky_relu(self.down2(x), 0.2)
        x = F.leaky_relu(self.hidden(x.flatten(1)), 0.2)
        offsets = self.offsets(x).float().reshape(len(x), self.config.num_ws, self.config.offset_axes)
        return self.shared(x).float(), offsets

    def styles(
        self, shared: Float[Tensor, "batch w_dim"], offsets: Float[Tensor, "batch num_ws offset_axes"]
    ) -> Float[Tensor, "batch num_ws w_dim"]:
        """The styles with these coordinates."""
        with torch.autocast(shared.device.type, enabled=False):
            return self.mean + (shared @ self.axes)[:, None] + offsets @ self.axes[: self.config.offset_axes]
