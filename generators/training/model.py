"""What a run trains, and with which settings: an untrained model, and the components that it may start from."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from generators.discriminator import Discriminator, DiscriminatorConfig
from generators.encoder import Encoder, EncoderConfig
from generators.ops import EqualLinear, assign
from generators.stylegan2 import StyleGAN2, StyleGAN2Config, StyleMap
from generators.training.data import Pictures


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    resolution: int = 64  # pixels
    channels: tuple[int, ...] = (256, 256, 192, 96, 48)  # at 4, 8, ... px, for all three networks
    subpixel: int = 1  # 2: the networks' features end at half the resolution, and each draws 2 x 2 pixels
    w_dim: int = 512
    mapping_layers: int = 3
    mapping_lr: float = 0.3  # relative to lr
    mapping_rounds: int = 4  # steps of the mapping network and its critic for each step of the rest
    linear: int = 32  # px of the pictures whose principal components the codes start from; 0: start from nothing
    batch: int = 16
    images: int = 200_000  # photographs to see in all
    warmup: int = 12_000  # of them by reconstruction alone
    lr: float = 0.002  # of generator and encoder
    d_lr: float = 0.004  # of the discriminators
    rampdown: float = 0.3  # share of the run over which lr falls to a tenth
    adversarial: float = 0.8  # length of the adversarial gradient on the image, relative to reconstruction's
    imagined: float = 2.0  # weight of that gradient on mixtures and samples
    matching: float = 2.0  # weight of feature matching within it
    r1: float = 0.02  # every 16th step
    augment: float = 0.2  # strength of DiffAugment
    w_noise: float = 0.1  # standard deviation, added to codes so that their neighbours render too
    w_penalty: float = 0.0005  # of the mean square of codes, and twenty times that of the offsets between layers
    ema: float = 0.998  # decay a step, at a batch of 16
    clip: float = 5.0  # gradient norm
    bf16: bool = True  # autocast
    seed: int = 0


@torch.no_grad()
def start_from_pca(model: StyleGAN2, pictures: Pictures, size: int) -> None:
    """Let codes be the whitened principal components of small pictures, and the style map draw their picture.

    Learning then starts from the best linear code, with all components equally large, and need not find it first. The
    map has half of the picture's size, with 2 x 2 pixels in the channels: what is drawn linearly is low enough down in
    the network for the layers above to make a face of it.
    """
    assert isinstance(model.encoder, Encoder) and model.encoder.linear is not None
    x = F.adaptive_avg_pool2d(pictures.images[:20_000].float() / 127.5 - 1, size)
    x = torch.cat([x, x.flip(3)]).flatten(1)
    mean = x.mean(dim=0)
    values, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    count = min(model.w_dim, len(values))
    spare = model.w_dim - count  # numbers of w that have no component of their own
    scale = F.pad(values.flip(0)[:count].clamp(min=0).sqrt(), (0, spare))
    axes = F.pad(axes.flip(1)[:, :count], (0, spare))
    scale = scale.clamp(min=float(scale[0]) / 1000)
    assign(model.encoder.linear, (axes / scale).T, -(axes / scale).T @ mean)
    nn.init.zeros_(model.encoder.shared.weight)
    maps = next(m for m in model.modules() if isinstance(m, StyleMap))
    assign(maps.draw, fold(axes * scale, size), fold(mean[:, None], size)[:, 0])


def fold(columns: Float[Tensor, "pixels count"], size: int) -> Float[Tensor, "pixels count"]:
    """Columns that hold pictures (3, size, size), as pictures of half the size with 2 x 2 pixels in the channels."""
    return F.pixel_unshuffle(columns.T.reshape(-1, 3, size, size), 2).flatten(1).T


class WCritic(nn.Module):
    """Tells samples of the mapping network from codes of photographs."""

    def __init__(self, w_dim: int, hidden: int = 512) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            EqualLinear(w_dim, hidden, activate=True),
            EqualLinear(hidden, hidden, activate=True),
            EqualLinear(hidden, 1),
        )

    def forward(self, w: Float[Tensor, "batch w_dim"]) -> Float[Tensor, "batch 1"]:
        return self.layers(w)


def build_model(config: TrainConfig) -> StyleGAN2:
    """An untrained generator with its encoder and discriminator."""
    linear = min(config.linear, config.resolution)
    spatial = tuple(12 if 8 * 2**i == linear else 0 for i in range(len(config.channels)))  # 2 x 2 pixels in RGB
    generator = StyleGAN2(
        StyleGAN2Config(
            img_resolution=config.resolution,
            z_dim=config.w_dim,
            w_dim=config.w_dim,
            mapping_layers=config.mapping_layers,
            mapping_lr=config.mapping_lr,
            mapping_linear=True,
            channels=config.channels,
            subpixel=config.subpixel,
            spatial=spatial,
        )
    )
    for name, parameter in generator.named_parameters():  # nearly alike for every w at first, and of low contrast
        if name.endswith("affine.weight"):
            parameter.data.mul_(0.1)
        elif name.endswith("torgb.weight"):
            parameter.data.mul_(0.2)
    generator.encoder = Encoder(
        EncoderConfig(
            img_resolution=config.resolution,
            num_ws=generator.num_ws,
            w_dim=config.w_dim,
            channels=config.channels,
            subpixel=config.subpixel,
            linear=linear,
        )
    )
    generator.discriminator = Discriminator(
        DiscriminatorConfig(
            img_resolution=config.resolution, channels=config.channels, subpixel=config.subpixel
        )
    )
    return generator
