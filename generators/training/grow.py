"""Start a run from a model: what fits is copied, what has grown is filled so that the picture stays what it was.

Networks may become wider at any resolution, and may end in patches of 2 x 2 pixels where the model's ended in pixels
(progressive growing, Karras et al. 2018, in one step and without fading in).
"""

import torch
from torch import Tensor

from generators.base import Generator
from generators.errors import TrainingError
from generators.stylegan2 import StyleGAN2


@torch.no_grad()
def start_from(model: StyleGAN2, source: Generator) -> None:
    """Copy source's weights, and those of its encoder and discriminator, into model.

    Renders the same pictures as source, enlarged where model has twice its resolution by subpixel 2. TrainingError if a
    part of source is larger than its place in model, or if source is of another kind.
    """
    if not isinstance(source, StyleGAN2):
        raise TrainingError(f"{source.name} is a {type(source).__name__}; a run can start from a StyleGAN2 alone")
    check_resolution(model, source)
    old, new = source.state_dict(), model.state_dict()
    for key, place in new.items():
        if ".patch." in key and key not in old:
            place.zero_() if not key.endswith("affine.bias") else place  # draws nothing at first
        elif key in old:
            fill(place, patched(old[key], place) if key.endswith("from_rgb.weight") else old[key], key)


def check_resolution(model: StyleGAN2, source: StyleGAN2) -> None:
    """TrainingError unless the features of both end at the same size."""
    sizes = [m.img_resolution // m.config.subpixel for m in (model, source)]
    if sizes[0] != sizes[1] or model.config.subpixel < source.config.subpixel:
        raise TrainingError(
            f"{source.name} renders {source.img_resolution} px from features of {sizes[1]} px; a run at "
            f"{model.img_resolution} px has features of {sizes[0]} px; give --resolution {source.img_resolution}, "
            f"or {2 * sizes[1]} with --subpixel 2"
        )


def patched(weight: Tensor, place: Tensor) -> Tensor:
    """A first layer's weights for pixels, for patches: each pixel has an equal part (the other root is the gain)."""
    times = place.shape[1] // weight.shape[1]
    return weight.repeat_interleave(times, dim=1) / times**0.5


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
