"""Faces in a photograph, by dlib: where they are, their 68 landmarks, and whose they are.

Points are (x, y) in pixels of the photograph; (0, 0) is the outer corner of its upper left pixel.
"""

from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from generators.pictures.image import read_image
from inversion.errors import InversionError

DETECT_PX, DETAIL_PX = 1000, 2000  # longer side of what the face detector looks at first, and in detail
DESCRIBE_PX = 256  # descriptors and landmarks: smaller images are enlarged to this
UPRIGHT_PX, AROUND = (192, 224), 0.8  # sizes of the second look at a face, and how much is left around it
SURE = 0.5  # of a second look: true faces have 0.8 to 2.5, also tilted ones; badges, wheels and the like under 0.3
CHIP_PADDING = 0.2  # of its size left around a face that is cut out for a network, dlib's own
SAME = 0.3  # share of their area that boxes of one face have in common
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
DLIB = RLock()  # dlib's objects keep state while they work, so that one thread at a time may use them
INSTALL = "run: pip install dlib-bin face_recognition_models"
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face as the detector sees it."""

    box: Box
    landmarks: Float[np.ndarray, "68 2"]
    sure: float = SURE  # the detector's confidence, of the face cut out upright
    turn: int = 0  # degrees, counterclockwise, by which the photograph was turned to see it

    @property
    def area(self) -> float:
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    @property
    def doubtful(self) -> bool:
        """True for what may be something else."""
        return self.sure < SURE


def find_faces(image: Image.Image) -> list[Face]:
    """All faces, ordered left to right; [] if there is none.

    The detector needs faces of about 80 px, so several scales are looked at: a large face does not hide small ones.
    Doubtful finds, such as a badge, are told only where there is nothing better, also in more detail and in each
    quarter turn.
    """
    photo = read_image(image)
    longer = max(photo.size)
    first = min(1.0, DETECT_PX / longer)
    usual = [scale for scale in (first, 2 * first, 4 * first, first / 2) if scale * longer <= DETAIL_PX]
    faces = _seen(photo, usual)
    if not _sure(faces) and longer > DETAIL_PX:
        faces = _once([*faces, *_seen(photo, [min(1.0, 2 * DETAIL_PX / longer)])])
    if not _sure(faces):
        turned = [_sure(_seen(photo, usual[:2], turn)) for turn in TURNS]
        faces = max([faces, *turned], key=lambda found: max((face.sure for face in found), default=0.0))
    return sorted(_sure(faces) or faces, key=lambda f: f.box[0] + f.box[2])


def _sure(faces: list[Face]) -> list[Face]:
    return [face for face in faces if not face.doubtful]


def _seen(photo: Image.Image, scales: list[float], turn: int = 0) -> list[Face]:
    """The faces in a photograph after a turn, at any of the scales, in pixels of the photograph as it was."""
    turned = photo.transpose(TURNS[turn]) if turn else photo
    faces: list[Face] = []
    for scale in scales:
        shapes, pixels = _detect(turned, scale)
        faces += [replace(_face(shape, scale), sure=_confidence(pixels, shape)) for shape in shapes]
    return [_turned_back(face, photo.size, turn) for face in _once(faces)]


def _once(faces: list[Face]) -> list[Face]:
    """Each face as it was seen first, sure ones before doubtful ones."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: face.doubtful):
        if all(_overlap(face.box, other.box) < SAME for other in kept):
            kept.append(face)
    return kept


def _confidence(pixels: UInt8[np.ndarray, "h w 3"], shape: Any) -> float:
    """The detector's confidence at a second look, of the face cut out upright, where a tilt costs nothing."""
    scores = []
    with DLIB:
        for size in UPRIGHT_PX:
            chip = _dlib().get_face_chip(pixels, shape, size, AROUND)
            found, confidence, _ = _detector().run(chip, 0, 0.0)
            middle = _dlib().point(size // 2, size // 2)
            scores.append(max((c for r, c in zip(found, confidence, strict=True) if r.contains(middle)), default=0.0))
    return float(np.mean(scores))


def _overlap(a: Box, b: Box) -> float:
    """The area that two boxes share, as a part of what they cover together."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, wide) * max(0.0, high)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _turned_back(face: Face, size: tuple[int, int], turn: int) -> Face:
    """A face that was found in a photograph of this size after a turn, in pixels of the photograph as it was."""
    if not turn:
        return face
    corners = _points_back(np.array(face.box).reshape(2, 2), size, turn)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    points = _points_back(face.landmarks, size, turn)
    return replace(face, box=(left, top, right, bottom), landmarks=points, turn=turn)


def _points_back(points: Float[np.ndarray, "n 2"], size: tuple[int, int], turn: int) -> Float[np.ndarray, "n 2"]:
    """Where points of a photograph that was turned counterclockwise lie in it as it was."""
    x, y = points.T
    width, height = size
    back = {90: (width - y, x), 180: (width - x, height - y), 270: (y, height - x)}
    return np.stack(back[turn], axis=1)


def landmarks(image: Image.Image) -> Float[np.ndarray, "68 2"] | None:
    """Landmarks of the largest face, in the image's own pixels, as `describe` finds them; None without a face."""
    face = largest_face(image)
    return None if face is None else face.landmarks


def largest_face(image: Image.Image) -> Face | None:
    """The largest face, in the image's own pixels, as `describe` finds it; None without one."""
    photo = read_image(image)
    scale = _describe_scale(photo)
    shapes, pixels = _detect(photo, scale)
    return _face(_largest(shapes, pixels), scale) if shapes else None


def five_point_chip(
    pixels: UInt8[np.ndarray, "h w 3"], box: Box, size: int, *, predictor: str
) -> UInt8[np.ndarray, "size size 3"]:
    """The face in a box cut out upright, size x size pixels, by dlib's landmark model in the file predictor."""
    left, top, right, bottom = (round(v) for v in box)
    with DLIB:
        shape = _predictor(predictor)(pixels, _dlib().rectangle(left, top, right - 1, bottom - 1))
        return _dlib().get_face_chip(pixels, shape, size, CHIP_PADDING)


def describe(image: Image.Image) -> Float[np.ndarray, " 128"] | None:
    """Identity of the largest face; two descriptors less than 0.6 apart (Euclidean) are one person.

    None without a face. An image under 256 px is first enlarged to that; the detector does not enlarge it further.
    """
    photo = read_image(image)
    shapes, pixels = _detect(photo, _describe_scale(photo))
    if not shapes:
        return None
    largest = _largest(shapes, pixels)
    with DLIB:
        return np.array(_recognizer().compute_face_descriptor(pixels, largest))


def descriptor(pixels: UInt8[np.ndarray, "h w 3"], face: Face) -> Float[np.ndarray, " 128"]:
    """Identity of a face that was found in these pixels, as `describe` gives it."""
    left, top, right, bottom = (round(v) for v in face.box)
    with DLIB:
        points = [_dlib().point(round(x - 0.5), round(y - 0.5)) for x, y in face.landmarks.tolist()]
        shape = _dlib().full_object_detection(_dlib().rectangle(left, top, right - 1, bottom - 1), points)
        return np.array(_recognizer().compute_face_descriptor(pixels, shape))


def chip_details(
    image: Image.Image, size: int, padding: float
) -> tuple[tuple[float, float, float, float], float] | None:
    """Where dlib cuts a chip of size x size pixels for the largest face: left, top, right, bottom, and the angle.

    In pixels of the image, counted from the middle of its first one, looked for as `describe` does; None without one.
    """
    photo = read_image(image)
    scale = _describe_scale(photo)
    shapes, pixels = _detect(photo, scale)
    if not shapes:
        return None
    found = _dlib().get_face_chip_details(_largest(shapes, pixels), size, padding)
    left, top, right, bottom = (
        (v + 0.5) / scale - 0.5 for v in (found.rect.left(), found.rect.top(), found.rect.right(), found.rect.bottom())
    )
    return (left, top, right, bottom), float(found.angle)


def _largest(shapes: list[Any], pixels: UInt8[np.ndarray, "h w 3"]) -> Any:
    """The largest of some shapes; of several the largest that is surely a face, if one is."""
    sure = [shape for shape in shapes if _confidence(pixels, shape) >= SURE] if len(shapes) > 1 else []
    return max(sure or shapes, key=lambda shape: shape.rect.area())


def _describe_scale(photo: Image.Image) -> float:
    longer = max(photo.size)
    return max(1.0, DESCRIBE_PX / longer) if longer <= DETECT_PX else DETECT_PX / longer


def _detect(photo: Image.Image, scale: float) -> tuple[list[Any], UInt8[np.ndarray, "h w 3"]]:
    """dlib's shapes (rect and 68 points) in the photograph at this scale, and its pixels at this scale."""
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    pixels = np.array(photo if size == photo.size else photo.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))
    with DLIB:
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
def _predictor(path: str | None = None) -> Any:
    return _dlib().shape_predictor(path or model_file("shape_predictor_68_face_landmarks.dat"))


@cache
def _recognizer() -> Any:
    return _dlib().face_recognition_model_v1(model_file("dlib_face_recognition_resnet_model_v1.dat"))
