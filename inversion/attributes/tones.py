"""Figures of a face's light and colour, in levels of 0 to 255, from patches of the face's frame.

They are of the picture, not of the person: light, make-up and white balance are in them.
"""

import numpy as np

from inversion.attributes.seen import Seen, Span

LEFT, RIGHT = (-0.75, -0.4), (0.4, 0.75)  # the cheeks
CHEEK: Span = (0.45, 0.8)
BROW, FOREHEAD = (-0.3, 0.3), (-0.75, -0.5)  # the middle of the forehead, above the brows
CROWN, HAIR = (-0.5, 0.5), (-1.6, -1.25)  # where hair is, above the forehead


def light_side(seen: Seen) -> float:
    """How much brighter the cheek at the picture's right is than that at its left."""
    return seen.light(RIGHT, CHEEK) - seen.light(LEFT, CHEEK)


def skin_light(seen: Seen) -> float:
    """Brightness of the cheeks."""
    return (seen.light(RIGHT, CHEEK) + seen.light(LEFT, CHEEK)) / 2


def skin_warmth(seen: Seen) -> float:
    """How much more red than blue the cheeks are."""
    both = np.stack([seen.patch(LEFT, CHEEK), seen.patch(RIGHT, CHEEK)])
    return float((both[..., 0] - both[..., 2]).mean())


def hair_dark(seen: Seen) -> float:
    """Darkness above the forehead, 255 for black; a hat counts as hair, and a bald head as fair."""
    return 255 - seen.light(CROWN, HAIR)


def fringe(seen: Seen) -> float:
    """How much darker the forehead is than the cheeks, as hair makes it."""
    return skin_light(seen) - seen.light(BROW, FOREHEAD)


def beard(seen: Seen) -> float:
    """How much darker chin and upper lip are than the cheeks."""
    points = seen.points
    lip, chin = (points[33, 1], points[51, 1]), (points[57, 1], points[8, 1])
    middle = float(points[[33, 51, 57, 8], 0].mean())
    around = (middle - 0.2, middle + 0.2)
    chin_light = seen.light(around, _inner(chin, 0.25, 0.75))
    return skin_light(seen) - (seen.light(around, _inner(lip, 0.3, 0.8)) + chin_light) / 2


def lip_red(seen: Seen) -> float:
    """How much redder (red over green) the lower lip is than the cheeks."""
    points = seen.points
    middle = float(points[[66, 57], 0].mean())
    lip = seen.patch((middle - 0.15, middle + 0.15), _inner((points[66, 1], points[57, 1]), 0.25, 0.75))
    skin = np.stack([seen.patch(LEFT, CHEEK), seen.patch(RIGHT, CHEEK)])
    return float((lip[..., 0] - lip[..., 1]).mean() - (skin[..., 0] - skin[..., 1]).mean())


def glasses(seen: Seen) -> float:
    """Edges that run across the nose's bridge and below the eyes, where skin is smooth: a guess at glasses."""
    strips = [seen.patch((-0.14, 0.14), (-0.3, 0.35))]
    strips += [seen.patch(across, (0.22, 0.55)) for across in ((-0.65, -0.3), (0.3, 0.65))]
    steps = [np.abs(np.diff(strip @ [0.2126, 0.7152, 0.0722], axis=0)).mean(axis=1).max() for strip in strips]
    return float(np.mean(steps))


def background(seen: Seen) -> float:
    """Brightness of the picture's upper corners."""
    height, width = seen.pixels.shape[:2]
    high, wide = max(1, height // 12), max(1, width // 12)
    corners = np.concatenate([seen.pixels[:high, :wide], seen.pixels[:high, -wide:]])
    return float((corners @ np.array([0.2126, 0.7152, 0.0722])).mean())


def _inner(span: tuple[float, float], start: float, stop: float) -> Span:
    """The part of a span from one share of it to another."""
    low, high = (float(v) for v in span)
    return low + start * (high - low), low + stop * (high - low)
