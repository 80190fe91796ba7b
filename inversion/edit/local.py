"""Local edits: only what is inside of a mask may change."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator
from inversion.errors import SettingsError, SpaceMismatch
from inversion.faces.regions import MASK_PX, regions_in
from inversion.latent import Latent, Part, preview

LARGEST_MASK = 4096  # px


def local(
    generator: Generator, base: Latent, edited: Latent, mask: Float[Tensor, "..."], *, layers: Iterable[int] = ()
) -> Latent:
    """base outside of the mask, edited inside of it, as one latent that is rendered and stored like any other.

    mask: (batch or 1, 1, size, size) or (size, size), from 0 to 1, of any size; where it is 0, pictures are the base's
    bit for bit, and from there to a half they fade. Between the two the features of both meet at every resolution, so
    that there is no seam. layers: only these styles of edited are taken; none named: all. The noise is the base's.
    Raises SpaceMismatch if the two do not fit, SettingsError for a mask that is none.
    """
    styles, changed = base.to_ws(generator), edited.to_ws(generator)
    if styles.shape != changed.shape:
        raise SpaceMismatch(f"latents are {tuple(styles.shape)} and {tuple(changed.shape)}; use one batch of each")
    offset = changed - styles
    if chosen := list(layers):
        if wrong := [i for i in chosen if not 0 <= i < generator.num_ws]:
            raise SettingsError(f"no layer {wrong[0]}: {generator.name} has layers 0 to {generator.num_ws - 1}")
        kept = torch.zeros(generator.num_ws, 1).to(offset)
        kept[chosen] = 1
        offset = offset * kept
    part = Part(checked_mask(mask, len(styles)).to(styles), offset)
    return replace(base, parts=(*base.parts, part))


def checked_mask(mask: Tensor, batch: int) -> Float[Tensor, "batch 1 size size"]:
    """The mask for a batch; SettingsError unless it is square and goes from 0 to 1."""
    whole = mask[None, None] if mask.ndim == 2 else mask
    square = whole.ndim == 4 and whole.shape[1] == 1 and whole.shape[2] == whole.shape[3] <= LARGEST_MASK
    if not square or whole.shape[0] not in (1, batch) or not whole.numel():
        raise SettingsError(f"the mask is {tuple(mask.shape)}; give (size, size), or ({batch}, 1, size, size)")
    whole = whole.float()
    if not ((whole >= 0) & (whole <= 1)).all():
        raise SettingsError("the mask holds numbers outside of 0 to 1; scale it")
    return whole.expand(batch, -1, -1, -1)


def face_regions(generator: Generator, latent: Latent, names: Iterable[str]) -> Mapping[str, Float[Tensor, "1 1 s s"]]:
    """Masks of regions of the face that a latent renders to; FaceError where there is none."""
    (picture,) = preview(generator, replace(latent, parts=()), MASK_PX)
    return regions_in(picture, picture.width, names)
