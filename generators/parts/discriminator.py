"""The discriminator: adversary in training, and afterwards a perceptual loss through its features.

It sees the picture beside its own fine detail. On plain RGB it stays at chance against reconstructions, whose low
frequencies are right. It judges patches of several sizes at once (Isola et al. 2017, PatchGAN).
"""

from dataclasses import dataclass, replace
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.parts.ops import EqualConv, EqualLinear, downsample2d, fir_kernel, upsample2d
from generators.shapes import Float


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    img_resolution: int
    img_channels: int = 3
    channels: tuple[int, ...]  # at 4, 8, ... img_resolution / subpixel px
    subpixel: int = 1  # side of the patch of pixels that each first feature sees
    patches: tuple[int, ...] = (16, 8)  # resolutions with a patch output of their own, beside the whole image's
    group: int = 4  # images per minibatch standard deviation; never across kinds of images
    judges: bool = True  # False: features alone, all that a use beside training needs


class Discriminator(nn.Module):
    kernel: Tensor

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        top = int(log2(config.img_resolution // config.subpixel))
        self.from_rgb = EqualConv(
            config.img_channels * 3 * config.subpixel**2, config.channels[top - 2], 3, activate=True
        )
        self.convs, self.downs = nn.ModuleList(), nn.ModuleList()
        self.heads = nn.ModuleDict()
        for level in range(top, 2, -1):
            here, below = config.channels[level - 2], config.channels[level - 3]
            self.convs.append(EqualConv(here, here, 3, activate=True))
            self.downs.append(EqualConv(here, below, 3, activate=True))
            if config.judges and 2 ** (level - 1) in config.patches:
                self.heads[str(2 ** (level - 1))] = EqualConv(below, 1, 1)
        if config.judges:
            last = config.channels[0]
            self.last_conv = EqualConv(last + 1, last, 3, activate=True)
            self.last_hidden = EqualLinear(last * 16, last, activate=True)
            self.last = EqualLinear(last, 1)
        self.register_buffer("kernel", fir_kernel(), persistent=False)

    def features(self, image: Float[Tensor, "batch c h w"]) -> tuple[Tensor, ...]:
        """Maps (batch, channels, size, size) from half the first features' size down to 4 px, for a learned similarity.

        Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric".
        """
        soft = upsample2d(downsample2d(image, self.kernel), self.kernel)
        detail = 5 * (image - soft)
        x = torch.cat([image, detail, detail.abs()], dim=1)
        x = self.from_rgb(F.pixel_unshuffle(x, self.config.subpixel).contiguous(memory_format=torch.channels_last))
        maps = []
        for conv, down in zip(self.convs, self.downs, strict=True):
            x = (x + conv(x)) * 0.5**0.5
            x = down(F.avg_pool2d(x, 2))
            maps.append(x)
        return tuple(maps)

    def logits(self, features: tuple[Tensor, ...]) -> tuple[Float[Tensor, "batch scores"], ...]:
        """Realness from the features: one score a patch for each patch size, then one for the whole image."""
        scores = [self.heads[str(x.shape[-1])](x).flatten(1) for x in features if str(x.shape[-1]) in self.heads]
        x = features[-1]
        x = self.last_conv(torch.cat([x, group_deviation(x, self.config.group)], dim=1))
        return (*scores, self.last(self.last_hidden(x.flatten(1))))

    def forward(self, image: Float[Tensor, "batch c h w"]) -> tuple[Float[Tensor, "batch scores"], ...]:
        return self.logits(self.features(image))


def features_alone(discriminator: Discriminator) -> Discriminator:
    """A copy that cannot judge, with the same features; less to store."""
    with torch.random.fork_rng(devices=[]):
        slim = Discriminator(replace(discriminator.config, judges=False))
    slim.load_state_dict({key: value for key, value in discriminator.state_dict().items() if key in slim.state_dict()})
    return slim.eval().requires_grad_(False)


def group_deviation(x: Float[Tensor, "batch c h w"], group: int) -> Float[Tensor, "batch 1 h w"]:
    """Minibatch standard deviation (Karras et al. 2018, section 3), over neighbours in the batch."""
    batch, _, height, width = x.shape
    size = max(g for g in range(1, min(group, batch) + 1) if batch % g == 0)
    y = x.float().reshape(batch // size, size, -1)
    deviation = (y.var(dim=1, correction=0) + 1e-8).sqrt().mean(dim=1)
    return deviation.repeat_interleave(size).reshape(batch, 1, 1, 1).expand(-1, 1, height, width).to(x.dtype)
