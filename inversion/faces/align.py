"""Photograph -> aligned crop, and the way back (Karras et al. 2019, FFHQ, appendix A), with dlib's 68 landmarks.

Points are (x, y) in pixels of the photograph; (0, 0) is the outer corner of its upper left pixel.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, floor, hypot
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from generators.pictures.image import read_image, source_name
from inversion.errors import FaceError, ImageError, note
from inversion.faces.detect import DETAIL_PX, Face, Point, find_faces

SUPERSAMPLE = 4
SMALL_PX = 300  # the longer side of a photograph that is too small to show a face but from near


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The place that a crop was taken from, so that it can go back there."""

    quad: tuple[Point, Point, Point, Point]  # corners of the crop: upper left, lower left, lower right, upper right
    photo_size: tuple[int, int]  # width, height
    face: int  # counted from the left, starting at 1
    faces: int  # how many were found

    @property
    def side(self) -> float:
        """Side of the crop in pixels of the photograph."""
        (x0, y0), (x1, y1) = self.quad[:2]
        return hypot(x1 - x0, y1 - y0)

    def to_json(self) -> dict[str, Any]:
        """The alignment as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Alignment":
        """The alignment that `to_json` told, also after a trip through JSON; ImageError if it is something else."""
        try:
            a, b, c, d = ((float(x), float(y)) for x, y in values["quad"])
            width, height = (int(v) for v in values["photo_size"])
            face, faces = int(values["face"]), int(values["faces"])
            return cls(quad=(a, b, c, d), photo_size=(width, height), face=face, faces=faces)
        except (KeyError, TypeError, ValueError) as error:
            raise ImageError(f"not an alignment ({error!r}); it needs quad, photo_size, face and faces") from error


def align(image: Image.Image, size: int, face: int | None = None) -> tuple[Image.Image, Alignment]:
    """Cut a face out as FFHQ does: upright, eyes and mouth in fixed places, size x size pixels.

    face: counted from the left, starting at 1; None is the largest. What lies beyond the photograph's border is its
    reflection. A face that lies on its side, or may be none, is taken with a note. FaceError if there is no face, or
    not that one.
    """
    photo = read_image(image)
    faces = find_faces(photo)
    number = _choose(faces, face, photo)
    _tell(faces[number - 1], source_name(photo))
    quad = _quad(faces[number - 1].landmarks)
    alignment = Alignment(quad=quad, photo_size=photo.size, face=number, faces=len(faces))
    return cut(photo, alignment, size), alignment


def _choose(faces: list[Face], face: int | None, photo: Image.Image) -> int:
    """Number of the face asked for, from 1; of the largest if face is None."""
    name = source_name(photo)
    if not faces:
        raise FaceError(
            f"no face found in {name} ({photo.width} x {photo.height}); {_advice(photo)} (quarter turns were tried), "
            "or --no-align (align=False) if it is already cropped"
        )
    if face is None:
        return 1 + max(range(len(faces)), key=lambda i: faces[i].area)
    if not 1 <= face <= len(faces):
        have = ", ".join(f"{i} at x = {(f.box[0] + f.box[2]) / 2:.0f}" for i, f in enumerate(faces, 1))
        raise FaceError(f"face {face} was asked for, {name} has {len(faces)}, from the left: {have}; choose one")
    return face


def _advice(photo: Image.Image) -> str:
    """Say what may help where no face was found."""
    if max(photo.size) > DETAIL_PX:
        return "crop it to the face if that is small in it"
    if max(photo.size) > SMALL_PX:
        return "use a photograph that shows the face whole, from the front"
    return "use a larger photograph"


def _tell(face: Face, name: str) -> None:
    """A note on a face that lies on its side, or that may be something else."""
    x, y = ((face.box[i] + face.box[i + 2]) / 2 for i in (0, 1))
    if face.turn:
        how = "upside down" if face.turn == 180 else "on its side"
        note(f"the face in {name} lies {how}; it is cut out upright")
    if face.doubtful:
        note(f"what is taken for a face in {name}, at x = {x:.0f}, y = {y:.0f}, may be none; look at the crop")


def _quad(points: Float[np.ndarray, "68 2"]) -> tuple[Point, Point, Point, Point]:
    """Corners of the FFHQ crop: upper left, lower left, lower right, upper right."""
    left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    eyes, mouth = (left + right) / 2, (points[48] + points[54]) / 2
    across, down = right - left, mouth - eyes
    x = across + np.array([down[1], -down[0]])  # the mean of two estimates of "to the right"
    x *= max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down
    a, b, c, d = ((float(px), float(py)) for px, py in (centre - x - y, centre - x + y, centre + x + y, centre + x - y))
    return a, b, c, d


def cut(photo: Image.Image, alignment: Alignment, size: int) -> Image.Image:
    """Resample the quad to size x size pixels, without aliasing."""
    shrink = max(1, floor(alignment.side / (2 * size)))
    small = photo.reduce(shrink) if shrink > 1 else photo
    quad = np.array(alignment.quad) / shrink
    margin = 3  # for the resampling filter
    left, top = (floor(v) - margin for v in quad.min(axis=0))
    right, bottom = (ceil(v) + margin for v in quad.max(axis=0))
    region = _reflected_crop(small, (left, top, right, bottom))
    upper_left, lower_left, _, upper_right = quad - (left, top)
    fine = size * SUPERSAMPLE
    across, down = (upper_right - upper_left) / fine, (lower_left - upper_left) / fine
    affine = tuple(float(v) for v in np.column_stack([across, down, upper_left]).ravel())
    big = region.transform((fine, fine), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
    return big.resize((size, size), Image.Resampling.LANCZOS)


def _reflected_crop(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Crop to a box that may reach beyond the image, which is mirrored there."""
    left, top, right, bottom = box
    columns, rows = _mirror(left, right, image.width), _mirror(top, bottom, image.height)
    return Image.fromarray(np.asarray(image)[rows[:, None], columns[None, :]])


def _mirror(start: int, stop: int, size: int) -> np.ndarray:
    """Indices start..stop-1, folded back into 0..size-1 at both ends."""
    period = max(1, 2 * (size - 1))
    index = np.arange(start, stop) % period
    return np.minimum(index, period - index) % size
