"""Faces in a photograph, by dlib: where they are, their 68 landmarks, and whose they are.

Points are (x, y) in pixels of the photograph; (0, 0) is the outer corner of its upper left pixel.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from generators.pictures.image import read_image
from inversion.errors import InversionError

DETECT_PX = 1000  # longer side of what the face detector looks at first
DESCRIBE_PX = 256  # descriptors and landmarks: smaller images are enlarged to this
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
