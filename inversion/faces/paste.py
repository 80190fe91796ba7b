"""An aligned crop -> back into its photograph."""

from math import ceil, floor

import numpy as np
from jaxtyping import Float
from PIL import Image

from generators.pictures.image import read_image, resize, source_name
from inversion.errors import ImageError, SettingsError
from inversion.faces.align import SUPERSAMPLE, Alignment
from inversion.faces.detect import Point


def paste_back(photo: Image.Image, crop: Image.Image, alignment: Alignment, feather: float = 0.1) -> Image.Image:
    """Put a crop back where `align` took it; every pixel outside of it stays exactly as it was.

    feather: width of the soft edge as a fraction of the crop, 0 (hard) to 0.5. ImageError if the photograph has
    another size than the one that was aligned.
    """
    if not 0 <= feather <= 0.5:
        raise SettingsError(f"feather is {feather}; it is a fraction of the crop's side, 0 to 0.5")
    photo, crop = read_image(photo).copy(), read_image(crop)
    if photo.size != tuple(alignment.photo_size):
        came, made = ("{} x {}".format(*size) for size in (photo.size, alignment.photo_size))
        name = source_name(photo)
        raise ImageError(f"{name} is {came} px, the alignment was made at {made}; pass the same photograph")
    box = _bounds(alignment.quad, photo.size)
    if box[0] >= box[2] or box[1] >= box[3]:
        return photo
    side = min(crop.width, ceil(SUPERSAMPLE * alignment.side))  # finer than that would be aliased
    new = _uncut(resize(crop, side), alignment, box)
    weight = np.clip(_uncut(_soft_mask(side, feather), alignment, box), 0, 1)[:, :, None]
    old = np.asarray(photo.crop(box), np.float32)
    mixed = np.rint(old + weight * (new - old)).astype(np.uint8)
    photo.paste(Image.fromarray(mixed), box[:2])
    return photo


def _bounds(quad: tuple[Point, ...], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Smallest pixel box around the quad within an image of this size."""
    xs, ys = zip(*quad, strict=True)
    return max(0, floor(min(xs))), max(0, floor(min(ys))), min(size[0], ceil(max(xs))), min(size[1], ceil(max(ys)))


def _uncut(crop: Image.Image, alignment: Alignment, box: tuple[int, int, int, int]) -> Float[np.ndarray, "h w *rgb"]:
    """The crop as it lies in this box of the photograph, zero beyond its edges."""
    upper_left, lower_left, _, upper_right = np.array(alignment.quad)
    to_crop = np.linalg.inv(np.stack([upper_right - upper_left, lower_left - upper_left], axis=1) / crop.width)
    offset = to_crop @ (np.array(box[:2]) - upper_left)
    fine = max(1, round(crop.width / alignment.side))  # sample at the crop's own density, then average
    affine = tuple(float(v) for v in np.column_stack([to_crop / fine, offset]).ravel())
    size = ((box[2] - box[0]) * fine, (box[3] - box[1]) * fine)
    warped = crop.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    return np.asarray(warped.reduce(fine), np.float32)


def _soft_mask(side: int, feather: float) -> Image.Image:
    """One inside, falling smoothly to zero at the edge; float."""
    edge = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / side
    ramp = np.clip(edge / feather, 0, 1) if feather else np.ones(side)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return Image.fromarray(np.outer(ramp, ramp).astype(np.float32))
