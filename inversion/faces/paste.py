"""An aligned crop -> back into its photograph, without a seam."""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from generators.pictures.image import read_image, resize, source_name
from inversion.errors import ImageError, SettingsError
from inversion.faces.align import SUPERSAMPLE, Alignment
from inversion.faces.detect import Point
from inversion.faces.membrane import membrane

REACH = 0.1  # of the crop's side, over which the colour match of a whole crop fades: beyond is another thing's colour
COARSE, GONE = 0.04, (0.03, 0.12)  # see `transferred`: of the side; changes of brightness, of its whole range
Pixels = Float[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Place:
    """Where a crop lies in a photograph: the box about it, and how many of its pixels matter there."""

    alignment: Alignment
    box: tuple[int, int, int, int]
    side: int

    def uncut(self, crop: Image.Image) -> Float[np.ndarray, "h w *rgb"]:
        """The crop as it lies in the box, zero beyond its edges."""
        return _uncut(crop if crop.size == (self.side,) * 2 else resize(crop, self.side), self.alignment, self.box)


def paste_back(
    photo: Image.Image,
    crop: Image.Image,
    alignment: Alignment,
    feather: float = 0.1,
    *,
    instead_of: Image.Image | None = None,
    inside: Bool[np.ndarray, "size size"] | None = None,
    match: bool = True,
) -> Image.Image:
    """Put a crop back where `align` took it; every pixel outside of it stays exactly as it was.

    feather: width of the soft edge as a fraction of the crop, 0 (hard) to 0.5. instead_of: the rendering that the crop
    is an edit of: what the edit changed is carried over to the photograph, whose detail stays (`transferred`); equal
    pictures change nothing. inside: the crop's pixels that are to come from it, with the soft edge about them;
    None: all, the soft edge inside. match: the crop's colours take those of the photograph at the border.

    SettingsError for another feather, ImageError if the photograph has another size than the one that was aligned.
    """
    if not 0 <= feather <= 0.5:
        raise SettingsError(f"feather is {feather}; it is a fraction of the crop's side, 0 to 0.5")
    photo, crop = read_image(photo).copy(), read_image(crop)
    check_photo(photo, alignment)
    box = _bounds(alignment.quad, photo.size)
    if box[0] >= box[2] or box[1] >= box[3]:
        return photo
    place = Place(alignment, box, min(crop.width, ceil(SUPERSAMPLE * alignment.side)))  # finer would be aliased
    new, old = place.uncut(crop), np.asarray(photo.crop(box), np.float32)
    weight = np.clip(place.uncut(_soft_mask(place.side, feather, inside)), 0, 1)
    valid = place.uncut(_soft_mask(place.side, 0.0)) > 0.999
    if instead_of is not None:
        new = transferred(old, new, place.uncut(read_image(instead_of)), valid, alignment.side)
    elif match:
        reach = REACH * alignment.side if inside is None else None
        new = new + membrane(old - new, valid & (weight < 0.5), weight > 0, reach)
    mixed = np.clip(np.rint(old + weight[:, :, None] * (new - old)), 0, 255).astype(np.uint8)
    photo.paste(Image.fromarray(mixed), box[:2])
    return photo


def check_photo(photo: Image.Image, alignment: Alignment) -> None:
    """ImageError unless the photograph has the size of the one that was aligned."""
    if photo.size != tuple(alignment.photo_size):
        came, made = ("{} x {}".format(*size) for size in (photo.size, alignment.photo_size))
        name = source_name(photo)
        raise ImageError(f"{name} is {came} px, the alignment was made at {made}; pass the same photograph")


def transferred(old: Pixels, edited: Pixels, unedited: Pixels, valid: Bool[np.ndarray, "h w"], side: float) -> Pixels:
    """The photograph's pixels with the edit: edited, and what the rendering before the edit lacked of the photograph.

    Of that the coarse part, colour and light, is added everywhere; the fine part, detail that no rendering draws, only
    where the edit changed little, as it would lie beside what has moved. valid: where the crop lies; side: its own, in
    pixels of the photograph.
    """
    from scipy.ndimage import gaussian_filter

    lacking, sigma = old - unedited, COARSE * side
    there = valid[:, :, None].astype(np.float32)
    coarse, share = (gaussian_filter(x, (sigma, sigma, 0), mode="nearest") for x in (lacking * there, there))
    coarse = coarse / np.maximum(share, 1e-6)
    change = np.abs(edited - unedited).mean(axis=2, keepdims=True) / 255
    near = gaussian_filter(change, (sigma / 4, sigma / 4, 0), mode="nearest")
    gone = np.clip((near - GONE[0]) / (GONE[1] - GONE[0]), 0, 1)
    return edited + coarse + (1 - gone) * (lacking - coarse)


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


def _soft_mask(side: int, feather: float, inside: Bool[np.ndarray, "size size"] | None = None) -> Image.Image:
    """One inside, falling smoothly to zero at the edge of the crop, or beyond what is inside; float."""
    edge = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / side
    ramp = smoothstep(edge / feather) if feather and inside is None else np.ones(side)
    mask = np.outer(ramp, ramp)
    if inside is not None:
        mask = np.minimum(mask, _about(np.asarray(Image.fromarray(inside).resize((side, side))), feather))
    return Image.fromarray(mask.astype(np.float32))


def _about(inside: Bool[np.ndarray, "side side"], feather: float) -> Float[np.ndarray, "side side"]:
    """One inside, falling smoothly to zero at a distance from it of feather of the side."""
    from scipy.ndimage import distance_transform_edt

    away = np.asarray(distance_transform_edt(~inside)) / len(inside)
    return smoothstep(1 - away / feather) if feather and inside.any() else inside.astype(np.float64)


def smoothstep(x: Float[np.ndarray, "*size"]) -> Float[np.ndarray, "*size"]:
    """Rises from 0 to 1, level at both ends."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
