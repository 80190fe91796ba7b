"""What a run trains: an untrained model, and the components that it may start from."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.base import Generator
from generators.parts.discriminator import Discriminator, DiscriminatorConfig
from generators.parts.encoder import Encoder, EncoderConfig
from generators.parts.ops import assign
from generators.shapes import Float, Int
from generators.stylegan2 import StyleGAN2, StyleGAN2Config, StyleMap
from generators.training.config import TrainConfig
from generators.training.data import Pictures


@torch.no_grad()
def start_from_pca(model: StyleGAN2, pictures: Pictures, size: int, mirror: bool = True) -> None:
    """Let codes be the whitened principal components of small pictures, and the style map draw their picture.

    Learning then starts from the best linear code, with all components equally large, and need not find it first. The
    map has half of the picture's size, with 2 x 2 pixels in the channels: what is drawn linearly is low enough down in
    the network for the layers above to make a face of it.
    """
    assert isinstance(model.encoder, Encoder) and model.encoder.linear is not None
    x = F.adaptive_avg_pool2d(pictures.images[:20_000].float() / 127.5 - 1, size)
    x = (torch.cat([x, x.flip(3)]) if mirror else x).flatten(1)
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
    pictured = (model.img_channels, size, size)
    assign(maps.draw, fold(axes * scale, pictured), fold(mean[:, None], pictured)[:, 0])


def fold(columns: Float[Tensor, "pixels count"], shape: tuple[int, int, int]) -> Float[Tensor, "pixels count"]:
    """Columns that hold pictures of shape, as pictures of half the size with 2 x 2 pixels in the channels."""
    return F.pixel_unshuffle(columns.T.reshape(-1, *shape), 2).flatten(1).T


def mix_styles(
    ws: Float[Tensor, "batch num_ws w_dim"], other: Float[Tensor, "batch w_dim"], first: Int[Tensor, " batch"]
) -> Float[Tensor, "batch num_ws w_dim"]:
    """ws with other from layer first on (style mixing, Karras et al. 2019, section 3.1)."""
    layer = torch.arange(ws.shape[1], device=ws.device)
    return torch.where((layer >= first[:, None])[:, :, None], other[:, None], ws)


def draw_partner(
    model: StyleGAN2, batch: int, share: float, rng: torch.Generator
) -> tuple[Float[Tensor, "batch z_dim"], Int[Tensor, " batch"]]:
    """A second z for each sample, and the first layer that has it; beyond the last but for a share of them."""
    other = torch.randn(batch, model.z_dim, generator=rng)
    first = torch.randint(1, model.num_ws, (batch,), generator=rng)
    return other, torch.where(torch.rand(batch, generator=rng) < share, first, model.num_ws)


def build_model(config: TrainConfig, like: StyleGAN2 | None = None) -> StyleGAN2:
    """An untrained generator with its discriminator, and with its encoder for a joint run.

    What config does not say, and what a model to start from fixes, is taken from like.
    """
    linear = min(config.linear, config.resolution) if config.joint else 0
    count = len(config.channels)
    maps = 4 * config.img_channels  # 2 x 2 pixels
    spatial = tuple(maps if 8 * 2**i == linear else 0 for i in range(count)) if linear else ()
    sizes: dict[str, Any] = {"img_resolution": config.resolution, "img_channels": config.img_channels}
    sizes |= {"channels": config.channels, "subpixel": config.subpixel}
    if like is not None:
        settings = replace(like.config, **sizes, spatial=like.config.spatial or spatial)
    else:
        settings = StyleGAN2Config(
            **sizes,
            z_dim=config.w_dim,
            w_dim=config.w_dim,
            mapping_layers=config.mapping_layers,
            mapping_lr=config.mapping_lr,
            mapping_linear=config.joint,
            spatial=spatial,
            flow_steps=config.flow_steps if config.joint else 0,
            flow_gaussian=config.joint and config.flow_steps > 0,
        )
    generator = StyleGAN2(settings)
    if config.joint:
        for name, parameter in generator.named_parameters():  # nearly alike for every w at first, and of low contrast
            if name.endswith("affine.weight"):
                parameter.data.mul_(0.1)
            elif name.endswith("torgb.weight"):
                parameter.data.mul_(0.2)
        generator.encoder = build_encoder(generator, config.channels, linear, like)
    judge = DiscriminatorConfig(**sizes)
    if like is not None and isinstance(like.discriminator, Discriminator):
        judge = replace(judge, patches=like.discriminator.config.patches, group=like.discriminator.config.group)
    elif not config.joint:
        judge = replace(judge, patches=())
    generator.discriminator = Discriminator(judge)
    return generator


def build_encoder(
    generator: StyleGAN2, channels: tuple[int, ...], linear: int = 0, like: Generator | None = None
) -> Encoder:
    """An untrained encoder for generator; hidden width and linear part are like's, where that has an encoder."""
    kept = {}
    if like is not None and isinstance(like.encoder, Encoder):
        kept = {"hidden": like.encoder.config.hidden}
        linear = like.encoder.config.linear or linear
    return Encoder(
        EncoderConfig(
            img_resolution=generator.img_resolution,
            img_channels=generator.img_channels,
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            channels=channels,
            subpixel=generator.config.subpixel,
            linear=linear,
            **kept,
        )
    )


@torch.no_grad()
def start_at_mean(encoder: Encoder, w_avg: Float[Tensor, " w_dim"]) -> None:
    """Let every code be w_avg at first, with nothing of the picture in it."""
    nn.init.zeros_(encoder.shared.weight)
    encoder.shared.bias.copy_(w_avg)
    if encoder.linear is not None:
        assign(encoder.linear, torch.zeros_like(encoder.linear.weight), torch.zeros_like(encoder.linear.bias))
