"""Parts of a face as soft masks, from its 68 landmarks; and masks that a user drew.

A region is an outline through landmarks, grown by some share of the distance of the eyes, and fades out over another:
so masks are exactly 0 a little outside of it.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor

from generators.pictures.image import read_image
from inversion.errors import FaceError, ImageError, SettingsError
from inversion.faces.detect import landmarks

Points = Float[np.ndarray, "_ 2"]
Mask = Float[Tensor, "1 1 size size"]  # from 0 to 1

MASK_PX = 256  # masks of regions need no more: they are smooth
EYES, BROWS = (range(36, 42), range(42, 48)), (range(17, 22), range(22, 27))  # landmarks of each outline
OUTLINES = {  # landmarks of outlines, then how far they are grown and fade, in distances of the eyes
    "eyes": (EYES, 0.12, 0.25),
    "brows": (BROWS, 0.06, 0.2),
    "nose": ((range(27, 36),), 0.08, 0.22),
    "mouth": ((range(48, 60),), 0.10, 0.25),
}
REGIONS = (*OUTLINES, "jaw", "hair", "face", "skin", "background")


def check_regions(names: Iterable[str]) -> None:
    """SettingsError for the first of names that is no region."""
    if unknown := [name for name in names if name not in REGIONS]:
        raise SettingsError(f"no region is called {unknown[0]!r}; there are {', '.join(REGIONS)}")


def regions_of(points: Float[np.ndarray, "68 2"], size: int, names: Iterable[str] = REGIONS) -> dict[str, Mask]:
    """The masks of some regions of a face whose landmarks lie so in a picture of size x size pixels.

    Hair is all around the face from the ears up, a background between it included; skin is the face without eyes,
    brows and mouth; background is what is neither face nor hair. SettingsError for a region that is not known.
    """
    names = list(names)
    check_regions(names)
    unit = float(np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0)))
    if not unit > 0:
        raise FaceError("the eyes lie on one place; regions need a face")
    return {name: torch.from_numpy(region(name, points, unit, size)).float()[None, None] for name in names}


def regions_in(image: Image.Image, size: int, names: Iterable[str] = REGIONS) -> dict[str, Mask]:
    """The masks of regions of the largest face in a square picture, size x size; FaceError where there is none."""
    points = landmarks(image)
    if points is None:
        raise FaceError("no face was found in the picture, so no region of one; draw a mask instead")
    return regions_of(points * (size / image.width), size, names)


def region(name: str, points: Float[np.ndarray, "68 2"], unit: float, size: int) -> Float[np.ndarray, "size size"]:
    """One region's mask; unit is the distance of the eyes in pixels."""
    if name in OUTLINES:
        outlines, grown, fade = OUTLINES[name]
        return soft([points[list(outline)] for outline in outlines], unit, size, grown, fade)
    face = soft([face_outline(points, unit)], unit, size, 0.0, 0.25)
    if name == "face":
        return face
    if name == "jaw":
        lower = np.concatenate([points[3:14], points[[33]]])
        return soft([lower], unit, size, 0.02, 0.25) * (1 - region("mouth", points, unit, size))
    if name == "skin":
        return face * np.prod([1 - region(part, points, unit, size) for part in ("eyes", "brows", "mouth")], axis=0)
    head = soft([head_outline(points, unit)], unit, size, 0.0, 0.5)
    return head * (1 - face) if name == "hair" else (1 - head) * (1 - face)


def soft(outlines: list[Points], unit: float, size: int, grown: float, fade: float) -> Float[np.ndarray, "size size"]:
    """1 inside of the outlines' hulls and up to grown * unit around them, falling smoothly to 0 over fade * unit."""
    from scipy.ndimage import distance_transform_edt

    inside = np.zeros((size, size), dtype=bool)
    for outline in outlines:
        inside |= filled(outline, size)
    if not inside.any():
        return np.zeros((size, size))
    away = np.asarray(distance_transform_edt(~inside))
    share = np.clip(1 - (away - grown * unit) / (fade * unit), 0, 1)
    return share * share * (3 - 2 * share)


def filled(outline: Points, size: int) -> Bool[np.ndarray, "size size"]:
    """The pixels inside of the convex hull of some points."""
    from scipy.spatial import ConvexHull, QhullError

    page = Image.new("L", (size, size))
    try:
        hull = outline[ConvexHull(outline).vertices]
    except QhullError:  # they lie on a line, as a brow's may
        hull = outline
    corners = [(float(x) - 0.5, float(y) - 0.5) for x, y in hull]  # PIL counts from the middle of the first pixel
    ImageDraw.Draw(page).polygon(corners, fill=255, outline=255)
    return np.array(page) > 0


def face_outline(points: Float[np.ndarray, "68 2"], unit: float) -> Points:
    """The jaw line, and a forehead above the brows."""
    return np.concatenate([points[:17], points[17:27] + 0.55 * unit * upward(points)])


def head_outline(points: Float[np.ndarray, "68 2"], unit: float) -> Points:
    """An outline around the hair: an ellipse about the forehead that goes down to the mouth."""
    up = upward(points)
    across = np.array([-up[1], up[0]])
    middle = points[27] + 0.35 * unit * up
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
    return middle + unit * (1.75 * np.cos(turn) * across + 1.9 * np.sin(turn) * up)


def upward(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, " 2"]:
    """The direction, of length 1, from the chin to between the eyes."""
    line = points[27] - points[8]
    return line / np.linalg.norm(line)


def drawn_mask(path: str | Path, size: int) -> Mask:
    """A mask that a user drew: white where something may change, black where not, in between partly.

    ImageError unless it is size x size pixels, or a half, a quarter ... of it.
    """
    picture = read_image(path)
    wide, high = picture.size
    if wide != high or size % wide or (size // wide).bit_count() != 1:
        wanted = f"one of {size} x {size} px, or of a half or a quarter of that"
        raise ImageError(f"{path} is {wide} x {high} px; give a mask as large as the generator's pictures, {wanted}")
    mask = torch.from_numpy(np.array(picture.convert("L"), dtype=np.float32) / 255)
    if not mask.any():
        raise ImageError(f"{path} is all black, so nothing may change; paint white what may")
    return mask[None, None]
