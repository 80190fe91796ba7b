"""Start a run from a model: what fits is copied, what has grown is filled so that the picture stays what it was.

Networks may become wider at any resolution, and may end in patches of 2 x 2 pixels where the model's ended in pixels
(progressive growing, Karras et al. 2018, in one step and without fading in). Where the model has no encoder or no
discriminator, those of the run start from nothing.
"""

from dataclasses import replace

import torch
from torch import Tensor

from generators.base import Generator
from generators.errors import TrainingError
from generators.parts.discriminator import Discriminator
from generators.parts.encoder import Encoder
from generators.stylegan2 import StyleGAN2
from generators.training.config import TrainConfig
from generators.training.start.build import start_at_mean


def check_source(source: Generator, img_channels: int) -> StyleGAN2:
    """source as what a run of so many channels can start from; TrainingError if it is of another kind."""
    if not isinstance(source, StyleGAN2):
        raise TrainingError(
            f"{source.name} is of the class {type(source).__name__}; a run can start from a StyleGAN2 alone"
        )
    if source.c_dim:
        what = f"takes {source.c_dim} class labels"
        raise TrainingError(f"{source.name} {what}; a run can start from an unconditional model alone")
    if source.img_channels != img_channels:
        have = f"{source.img_channels} channel{'s' if source.img_channels > 1 else ''}"
        raise TrainingError(f"{source.name} renders {have}, the run {img_channels}; give --img-channels {have[0]}")
    return source


def sizes_from(config: TrainConfig, source: Generator) -> TrainConfig:
    """config with what a model to start from fixes: the mapping network, and no fewer channels than it has.

    TrainingError unless the features of both end at the same size.
    """
    source = check_source(source, config.img_channels)
    have, want = source.config.resolutions()[-1], config.resolution // config.subpixel
    if have != want or config.subpixel < source.config.subpixel:
        raise TrainingError(
            f"{source.name} renders {source.img_resolution} px from features of {have} px; a run at "
            f"{config.resolution} px has features of {want} px; give --resolution {source.img_resolution}, "
            f"or {2 * have} with --subpixel 2"
        )
    resolutions = source.config.resolutions()
    if len(config.channels) != len(resolutions):
        raise TrainingError(
            f"channels has {len(config.channels)} numbers; a run from {source.name} needs {len(resolutions)}, "
            f"for {', '.join(map(str, resolutions))} px"
        )
    channels = tuple(max(n, source.config.channels_at(r)) for n, r in zip(config.channels, resolutions, strict=True))
    like = source.config
    return replace(
        config,
        channels=channels,
        w_dim=like.w_dim,
        mapping_layers=like.mapping_layers,
        mapping_lr=like.mapping_lr,
        flow_steps=like.flow_steps,
    )


@torch.no_grad()
def start_from(model: StyleGAN2, source: Generator) -> None:
    """Copy source's weights, and those of its encoder and discriminator, into model, which `build_model` made like it.

    model then renders the same pictures as source, enlarged where it has twice its resolution by subpixel 2.
    TrainingError if a part of source has no place in model, or is larger than that.
    """
    source = check_source(source, model.img_channels)
    old, new = source.state_dict(), model.state_dict()
    parts = {"encoder": Encoder, "discriminator": Discriminator}
    for part, kind in parts.items():
        if not (isinstance(getattr(source, part), kind) and isinstance(getattr(model, part), kind)):
            old = {k: v for k, v in old.items() if not k.startswith(f"{part}.")}
    for key in old.keys() - new.keys():
        raise TrainingError(f"{source.name} has {key}, which this run's networks have not; give settings like its own")
    for key, place in new.items():
        if ".patch." in key and key not in old:
            place.zero_() if not key.endswith("affine.bias") else place  # draws nothing at first
        elif key.startswith("encoder.linear.") and key not in old:
            place.zero_()  # says nothing at first
        elif key == "discriminator.last_conv.weight" and key in old:
            fill_last_conv(place, old[key])
        elif key in old:
            fill(place, patched(old[key], place) if key.endswith("from_rgb.weight") else old[key], key)
    if isinstance(model.encoder, Encoder) and not isinstance(source.encoder, Encoder):
        start_at_mean(model.encoder, model.w_avg)


def patched(weight: Tensor, place: Tensor) -> Tensor:
    """A first layer's weights for pixels, for patches: each pixel has an equal part (the other root is the gain)."""
    times = place.shape[1] // weight.shape[1]
    return weight.repeat_interleave(times, dim=1) / times**0.5


def fill_last_conv(place: Tensor, value: Tensor) -> None:
    """As `fill`, where the last input is no feature but the deviation within the minibatch, and stays the last."""
    between = value.new_zeros(value.shape[0], place.shape[1] - value.shape[1], *value.shape[2:])
    wide = torch.cat([value[:, :-1], between, value[:, -1:]], dim=1)
    fill(place, wide * (place.shape[1] / value.shape[1]) ** 0.5, "discriminator.last_conv.weight")


def fill(place: Tensor, value: Tensor, key: str) -> None:
    """Put value in the low corner of place; new inputs of old outputs count nothing, new outputs stay as drawn."""
    if place.dim() != value.dim() or any(p < v for p, v in zip(place.shape, value.shape, strict=True)):
        raise TrainingError(
            f"{key} is {tuple(value.shape)} in the model to start from, and {tuple(place.shape)} in this run; "
            "give sizes that are no smaller"
        )
    corner = tuple(slice(0, n) for n in value.shape)
    if value.dim() > 1 and not key.endswith("start"):
        place[: value.shape[0]] = 0
        value = value * (place[0].numel() / value[0].numel()) ** 0.5  # equalised: run time divides by its root
    place[corner] = value
