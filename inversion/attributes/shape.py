"""Figures of a face's shape and pose, from its 68 landmarks: in distances of the eyes unless they say otherwise.

Points as `inversion.attributes.seen` has them. Figures describe how a face looks in a picture, turned as it is.
"""

import numpy as np
from jaxtyping import Float

from inversion.attributes.seen import Seen

Points = Float[np.ndarray, "68 2"]
RIGID = (36, 39, 42, 45, 27, 30, 33)  # corners of the eyes, the nose's root, tip and foot; a mouth moves too much
# Where they lie in an average head, in mm: to the picture's right, down, and towards the camera.
HEAD = np.array(
    [(-45, 0, -6), (-16, 1, 0), (16, 1, 0), (45, 0, -6), (0, -2, 12), (0, 36, 32), (0, 46, 18)],
    dtype=float,
)
MOUTH_DEPTH = 0.2  # how far the mouth's corners lie behind its middle: looking up lowers them in a picture


def smile(seen: Seen) -> float:
    """Width of the mouth, and twice how high its corners stand above the upper lip; a pitch is allowed for."""
    points = seen.points
    lift = points[61:64, 1].mean() - points[[48, 54], 1].mean() + MOUTH_DEPTH * np.sin(np.radians(pitch(seen)))
    return float(points[54, 0] - points[48, 0] + 2 * lift)


def mouth_open(seen: Seen) -> float:
    """How far the lips are apart."""
    points = seen.points
    return float((points[[67, 66, 65], 1] - points[[61, 62, 63], 1]).mean())


def eye_open(seen: Seen) -> float:
    """How far the lids are apart, as a part of the eyes' width."""
    points = seen.points

    def one(i: int) -> float:
        gap = (points[[i + 5, i + 4], 1] - points[[i + 1, i + 2], 1]).mean()
        return float(gap / max(np.hypot(*(points[i + 3] - points[i])), 1e-9))

    return (one(36) + one(42)) / 2


def brow_height(seen: Seen) -> float:
    """How high the brows stand above the eyes' corners."""
    points = seen.points
    return float(points[[36, 39, 42, 45], 1].mean() - points[17:27, 1].mean())


def face_width(seen: Seen) -> float:
    """Width at the cheekbones over the height from the nose's root to the chin, without the gap between the lips."""
    points = seen.points
    height = points[8, 1] - points[27, 1] - mouth_open(seen)
    return float((points[14, 0] - points[2, 0]) / max(height, 1e-9))


def jaw_width(seen: Seen) -> float:
    """Width at the corners of the jaw over that at the cheekbones."""
    points = seen.points
    return float((points[11, 0] - points[5, 0]) / max(points[14, 0] - points[2, 0], 1e-9))


def nose_width(seen: Seen) -> float:
    """Width of the nose."""
    return float(seen.points[35, 0] - seen.points[31, 0])


def lip_height(seen: Seen) -> float:
    """Height of both lips, without the gap between them."""
    points = seen.points
    return float(points[57, 1] - points[51, 1]) - mouth_open(seen)


def yaw(seen: Seen) -> float:
    """Degrees by which the face looks to the picture's right."""
    return pose(seen.face.landmarks)[0]


def pitch(seen: Seen) -> float:
    """Degrees by which the face looks up."""
    return pose(seen.face.landmarks)[1]


def roll(seen: Seen) -> float:
    """Degrees by which the face leans to the picture's right (clockwise)."""
    return pose(seen.face.landmarks)[2]


def pose(points: Points) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees: the turns of an average head under which it covers these points best.

    A camera that is far away is taken for granted (weak perspective). 0, 0, 0 where points lie on a line.
    """
    head, flat = HEAD - HEAD.mean(axis=0), points[list(RIGID)] - points[list(RIGID)].mean(axis=0)
    camera = np.linalg.lstsq(head, flat, rcond=None)[0].T
    a, sizes, b = np.linalg.svd(camera, full_matrices=False)
    if sizes[-1] <= 1e-9:
        return 0.0, 0.0, 0.0
    right, down = a @ b  # where the picture's right and down lie in the head
    x, y, z = np.cross(right, down)  # its way to the camera
    yaw, pitch = -np.arctan2(x, z), np.arcsin(np.clip(y, -1, 1))
    level = np.array([z, 0, -x]) / max(np.hypot(x, z), 1e-9)  # the head's right, at right angles to the way
    roll = np.arctan2(down @ level, right @ level)
    degrees = np.degrees([yaw, pitch, roll]).tolist()
    return degrees[0], degrees[1], degrees[2]
