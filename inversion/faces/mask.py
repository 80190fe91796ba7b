"""Parts of a photograph that do not count: a picture of them, a box, or all but the face."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from generators.pictures.image import file_bytes, read_image, source_name, why_not
from generators.pictures.memory import as_picture
from inversion.errors import FaceError, ImageError, note
from inversion.faces.regions import regions_in

FACE = "face"
HINT = "give a picture that is white where the photograph does not count, the word face, or a box x0,y0,x1,y1"
LEFT_OUT = 64  # of 255: the least white of a picture that leaves a pixel out
LEAST = 0.02  # of the crop, that has to be left to look at
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the photograph
MaskLike = str | Path | Image.Image | np.ndarray | Sequence[float | int]


@dataclass(frozen=True)
class Mask:
    """The part of a photograph that is left out: the white of a picture, a box, or, with neither, all but the face."""

    key: str  # equal masks have equal ones
    picture: Image.Image | None = None  # grey, of the photograph's size
    box: Box | None = None

    def kept(
        self, photo: Image.Image, crop: Image.Image, through: Callable[[Image.Image], Image.Image]
    ) -> Bool[np.ndarray, "size size"]:
        """The pixels of a crop that count; through brings a grey picture of the photograph's size to the crop.

        Pixels at the border of what is left out do not count either, as they were mixed with it. ImageError if the mask
        has another size than the photograph, or leaves nothing; FaceError where a face is needed and there is none.
        """
        if self.picture is None and self.box is None:
            try:  # forehead included, and hair left out
                (face,) = regions_in(crop, crop.width, ["face"]).values()
            except FaceError as error:
                missing = f"no face found in {source_name(photo)} for the mask; give a box or a picture instead"
                raise FaceError(missing) from error
            kept = face[0, 0].numpy() > 0.5
        else:
            kept = ~grown(np.asarray(through(self.left_out(photo))) >= LEFT_OUT, max(crop.size) // 128)
        if kept.mean() < LEAST:
            raise ImageError(f"the mask leaves {kept.mean():.0%} of {source_name(photo)}; leave more of the face")
        if kept.all():
            note(f"the mask covers nothing of the part of {source_name(photo)} that is looked at; all of it counts")
        return kept

    def left_out(self, photo: Image.Image) -> Image.Image:
        """A grey picture of the photograph's size, white where it does not count."""
        name, size = source_name(photo), "{} x {}".format(*photo.size)
        if self.picture is not None:
            if self.picture.size != photo.size:
                came = "{} x {}".format(*self.picture.size)
                raise ImageError(f"the mask is {came} px, {name} is {size} px; give a mask of the photograph's size")
            return self.picture
        assert self.box is not None
        left, top, right, bottom = self.box
        if min(right, photo.width) <= max(left, 0) or min(bottom, photo.height) <= max(top, 0):
            box = ",".join(f"{v:g}" for v in self.box)
            raise ImageError(f"the box {box} lies outside of {name}, which is {size} px; give x0,y0,x1,y1 inside")
        drawn = Image.new("L", photo.size)
        ImageDraw.Draw(drawn).rectangle((round(left), round(top), round(right) - 1, round(bottom) - 1), fill=255)
        return drawn


def read_mask(given: MaskLike | Mask) -> Mask:
    """A mask: a picture (its path, or itself), white or transparent where the photograph does not count; a box x0, y0,
    x1, y1 in pixels of the photograph (numbers, or text with commas); or the word face, by which all else is left out.

    ImageError for what is none of these.
    """
    if isinstance(given, Mask):
        return given
    if isinstance(given, Image.Image):
        return of_picture(given)
    if isinstance(given, np.ndarray) and given.ndim > 1:
        return of_picture(as_picture(given.astype(np.uint8) * 255 if given.dtype == bool else given))
    if not isinstance(given, str | Path):
        return of_box(tuple(given), str(given))
    if str(given) == FACE:
        return Mask(FACE)
    if not os.path.lexists(given) and (numbers := as_numbers(str(given))) is not None:
        return of_box(numbers, str(given))
    try:
        file_bytes(given)
    except (OSError, ValueError) as error:
        raise ImageError(f"the mask {why_not(str(given), error)}; {HINT}") from error
    return of_picture(read_image(given))


def of_picture(picture: Image.Image) -> Mask:
    """A mask by a picture."""
    grey = read_image(picture).convert("L")
    return Mask(hashlib.sha256(repr(grey.size).encode() + grey.tobytes()).hexdigest(), picture=grey)


def of_box(numbers: Sequence[object], given: str) -> Mask:
    """A mask by a box; ImageError where the numbers are none."""
    try:
        left, top, right, bottom = (float(str(number)) for number in numbers)
    except (TypeError, ValueError):
        raise ImageError(f"the mask {given!r} is no box; write x0,y0,x1,y1 in pixels, as in 40,200,180,260") from None
    if not (left < right and top < bottom):
        raise ImageError(f"the mask {given!r} is no box; x0 is to be left of x1, and y0 above y1")
    box = (left, top, right, bottom)
    return Mask(f"box {box}", box=box)


def as_numbers(text: str) -> tuple[float, ...] | None:
    """Numbers with commas between them; None for other text."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return None


def grown(mask: Bool[np.ndarray, "height width"], pixels: int) -> Bool[np.ndarray, "height width"]:
    """The mask with so many pixels more at each side."""
    from scipy.ndimage import maximum_filter

    return maximum_filter(mask, size=2 * pixels + 1) if pixels else mask
