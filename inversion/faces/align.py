"""Photograph -> aligned crop, and the way back (Karras et al. 2019, FFHQ, appendix A), with dlib's 68 landmarks.

Points are (x, y) in pixels of the photograph; (0, 0) is the outer corner of its upper left pixel.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from math import ceil, floor, hypot
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from generators.pictures.image import read_image, resize, source_name
from inversion.errors import FaceError, ImageError, InversionError, SettingsError

DETECT_PX = 1000  # longer side of what the face detector looks at first
DESCRIBE_PX = 256  # descriptors and landmarks: smaller images are enlarged to this
SUPERSAMPLE = 4
INSTALL = "run: pip install dlib-bin face_recognition_models"
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face as the detector sees it."""

    box: tuple[float, float, float, float]  # left, top, right, bottom
    landmarks: Float[np.ndarray, "68 2"]

    @property
    def area(self) -> float:
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Where a crop was taken from, so that it can go back there."""

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
        """What `to_json` gave, also after a trip through JSON; ImageError if it is something else."""
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
    reflection. FaceError if there is no face, or not that one.
    """
    photo = read_image(image)
    faces = find_faces(photo)
    number = _choose(faces, face, photo)
    quad = _quad(faces[number - 1].landmarks)
    alignment = Alignment(quad=quad, photo_size=photo.size, face=number, faces=len(faces))
    return _cut(photo, alignment, size), alignment


def find_faces(image: Image.Image) -> list[Face]:
    """All faces, ordered left to right; [] if there is none.

    The detector needs faces of about 80 px, so without a find it looks again at a larger and at a smaller size.
    """
    photo = read_image(image)
    longer = max(photo.size)
    first = min(1.0, DETECT_PX / longer)
    for scale in (first, 2 * first, 4 * first, first / 2):
        if scale * longer > 2 * DETECT_PX:
            continue  # would take seconds
        shapes, _ = _detect(photo, scale)
        if shapes:
            return sorted((_face(shape, scale) for shape in shapes), key=lambda f: f.box[0] + f.box[2])
    return []


def landmarks(image: Image.Image) -> Float[np.ndarray, "68 2"] | None:
    """Landmarks of the largest face, in the image's own pixels, as `describe` finds them; None without a face."""
    photo = read_image(image)
    scale = _describe_scale(photo)
    shapes, _ = _detect(photo, scale)
    return max((_face(s, scale) for s in shapes), key=lambda f: f.area).landmarks if shapes else None


def describe(image: Image.Image) -> Float[np.ndarray, " 128"] | None:
    """Identity of the largest face; two descriptors less than 0.6 apart (Euclidean) are one person.

    None without a face. An image under 256 px is first enlarged to that; the detector does not enlarge it further.
    """
    photo = read_image(image)
    shapes, pixels = _detect(photo, _describe_scale(photo))
    if not shapes:
        return None
    largest = max(shapes, key=lambda s: s.rect.area())
    return np.array(_recognizer().compute_face_descriptor(pixels, largest))


def chip_details(
    image: Image.Image, size: int, padding: float
) -> tuple[tuple[float, float, float, float], float] | None:
    """Where dlib cuts a chip of size x size pixels for the largest face: left, top, right, bottom, and the angle.

    In pixels of the image, counted from the middle of its first one, looked for as `describe` does; None without one.
    """
    photo = read_image(image)
    scale = _describe_scale(photo)
    shapes, _ = _detect(photo, scale)
    if not shapes:
        return None
    found = _dlib().get_face_chip_details(max(shapes, key=lambda s: s.rect.area()), size, padding)
    left, top, right, bottom = (
        (v + 0.5) / scale - 0.5 for v in (found.rect.left(), found.rect.top(), found.rect.right(), found.rect.bottom())
    )
    return (left, top, right, bottom), float(found.angle)


def paste_back(photo: Image.Image, crop: Image.Image, alignment: Alignment, feather: float = 0.1) -> Image.Image:
    """Put a crop back where `align` took it; every pixel outside of it stays exactly as it was.

    feather: width of the soft edge as a fraction of the crop, 0 (hard) to 0.5. ImageError if the photograph has
    another size than the one that was aligned.
    """
    if not 0 <= feather <= 0.5:
        raise SettingsError(f"feather is {feather}; it is a fraction of the crop's side, 0 to 0.5")
    photo, crop = read_image(photo), read_image(crop)
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


def _choose(faces: list[Face], face: int | None, photo: Image.Image) -> int:
    """Number of the face asked for, from 1; of the largest if face is None."""
    name = source_name(photo)
    if not faces:
        raise FaceError(
            f"no face found in {name} ({photo.width} x {photo.height}); use a larger or frontal photograph, "
            "or --no-align (align=False) if it is already cropped"
        )
    if face is None:
        return 1 + max(range(len(faces)), key=lambda i: faces[i].area)
    if not 1 <= face <= len(faces):
        have = ", ".join(f"{i} at x = {(f.box[0] + f.box[2]) / 2:.0f}" for i, f in enumerate(faces, 1))
        raise FaceError(f"face {face} was asked for, {name} has {len(faces)}, from the left: {have}; choose one")
    return face


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


def _cut(photo: Image.Image, alignment: Alignment, size: int) -> Image.Image:
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
    (a, d), (b, e), (c, f) = (upper_right - upper_left) / fine, (lower_left - upper_left) / fine, upper_left
    big = region.transform((fine, fine), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC)
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


def _describe_scale(photo: Image.Image) -> float:
    longer = max(photo.size)
    return max(1.0, DESCRIBE_PX / longer) if longer <= DETECT_PX else DETECT_PX / longer


def _detect(photo: Image.Image, scale: float) -> tuple[list[Any], UInt8[np.ndarray, "h w 3"]]:
    """dlib's shapes (rect and 68 points) in the photograph at this scale, and its pixels at this scale."""
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    pixels = np.array(photo if size == photo.size else photo.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))
    return [_predictor()(pixels, rect) for rect in _detector()(pixels, 0)], pixels


def _face(shape: Any, scale: float) -> Face:
    """A dlib shape in pixels of the photograph; dlib counts from the middle of the first pixel."""
    points = (np.array([(p.x, p.y) for p in shape.parts()]) + 0.5) / scale
    rect = shape.rect
    left, top, right, bottom = (v / scale for v in (rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1))
    return Face(box=(left, top, right, bottom), landmarks=points)


def _dlib() -> Any:
    try:
        import dlib
    except ImportError:
        raise InversionError(f"faces need dlib, which is not installed; {INSTALL}") from None
    return dlib


def model_file(name: str) -> str:
    """Path of a dlib model; the package that ships it is located, not imported, since its import fails."""
    spec = find_spec("face_recognition_models")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder) / "models" / name).is_file():
            return str(path)
    raise InversionError(f"the face model {name} is not installed; {INSTALL}")


# Loading takes up to a second, so each object is kept: they are constants.
@cache
def _detector() -> Any:
    return _dlib().get_frontal_face_detector()


@cache
def _predictor() -> Any:
    return _dlib().shape_predictor(model_file("shape_predictor_68_face_landmarks.dat"))


@cache
def _recognizer() -> Any:
    return _dlib().face_recognition_model_v1(model_file("dlib_face_recognition_resnet_model_v1.dat"))
