"""A face as all attributes look at it: found once in a picture of one size, with a frame of its own to take samples in.

The frame of a face: its origin lies midway between the eyes, x points from the eye at the picture's left to that at its
right, y down the face, and 1 is the distance of the eyes' middles. The left is the picture's left throughout.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from generators.pictures.image import read_image
from inversion.faces.detect import Face, largest_face

LOOK_PX = 256  # longer side of what attributes look at, where a face is found at that size
GRID = 24  # samples along each side of a patch
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of R, G and B (Rec. 709)
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The largest face of a picture, and the pixels that it was found in."""

    pixels: UInt8[np.ndarray, "height width 3"]
    face: Face

    @property
    def points(self) -> Float[np.ndarray, "68 2"]:
        """The landmarks in the face's own frame."""
        points = self.face.landmarks
        left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
        x = right - left
        turn = np.array([[x[0], x[1]], [-x[1], x[0]]]) / max(float(x @ x), 1e-9)
        return (points - (left + right) / 2) @ turn.T

    def patch(self, across: Span, down: Span) -> Float[np.ndarray, "24 24 3"]:
        """RGB levels, 0 to 255, of a rectangle of the face's frame, at the pixels nearest to an even grid."""
        points = self.face.landmarks
        left, right = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
        x = right - left
        y = np.array([-x[1], x[0]])
        u, v = np.meshgrid(np.linspace(*across, GRID), np.linspace(*down, GRID))
        places = (left + right) / 2 + u[..., None] * x + v[..., None] * y
        height, width = self.pixels.shape[:2]
        column, row = np.floor(places[..., 0]), np.floor(places[..., 1])
        kept = self.pixels[row.clip(0, height - 1).astype(int), column.clip(0, width - 1).astype(int)]
        return kept.astype(float)

    def light(self, across: Span, down: Span) -> float:
        """Mean luminance of a rectangle of the face's frame, in levels of 0 to 255."""
        return float((self.patch(across, down) @ LUMINANCE).mean())


def see(image: Image.Image) -> Seen | None:
    """The largest face of a picture; None without one.

    The picture is looked at with a longer side of 256 px, so that figures of one face do not depend on how large it was
    rendered; where there is no face at that size, as it is.
    """
    photo = read_image(image)
    scale = LOOK_PX / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    usual = photo if size == photo.size else photo.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    for one in (usual, photo):
        if face := largest_face(one):
            return Seen(pixels=np.array(one), face=face)
        if usual is photo:
            break
    return None
