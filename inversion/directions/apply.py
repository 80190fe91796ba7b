"""Edits by named directions: so many standard deviations of each, or as far as it takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from generators.base import Generator
from inversion.directions.direction import Direction, along, check_direction, move
from inversion.directions.store import chosen
from inversion.directions.undo import moves
from inversion.errors import FaceError, SettingsError, note
from inversion.faces.detect import describe
from inversion.latent import Latent, check_factor, preview

STRIDE, FURTHEST = 0.5, 8.0  # standard deviations, of the search for a strength
HALVINGS = 5  # of its last stride
SAME_PERSON = 0.6  # Euclidean distance of dlib's descriptors
Attribute = Callable[[Image.Image], float | None]  # None where it cannot be told


def edit(
    generator: Generator,
    latent: Latent,
    strengths: Mapping[str, float],
    directions: Mapping[str, Direction],
    *,
    layers: Sequence[int] | None = None,
) -> Latent:
    """The latent moved along named directions, by so many standard deviations of w along each.

    layers: style indices; None: those that each direction names, or all. Says where a strength leaves the range in
    which faces were seen to stay faces. Raises DirectionError for a name that is not there, or another W.
    """
    for name, strength in strengths.items():
        direction = chosen(directions, name, generator)
        check_factor(name, strength)
        low, high = direction.safe
        if not low <= strength <= high:
            note(f"{name} was found safe from {low:+.1f} to {high:+.1f}; at {strength:+.1f} the face may fall apart")
        latent = move(generator, latent, direction, strength, layers=layers)
    return latent


@dataclass(frozen=True)
class Reached:
    """How far a search for a value came."""

    latent: Latent
    strength: float  # standard deviations
    value: float  # of the attribute there
    identity: float | None  # distance from the face it began with; None where it shows no face
    why: str  # "reached", or what ended it before: "identity", "face" where none was seen, "range"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """The value that a search for a strength is to reach, and what ends it before."""

    target: float  # of the attribute
    within: float = SAME_PERSON  # the largest identity distance from the start
    furthest: float = FURTHEST  # standard deviations
    rises: bool | None = None  # tells if the attribute rises along the direction; None: looked at from the start


def reach(
    generator: Generator,
    latent: Latent,
    direction: Direction,
    attribute: Attribute,
    aim: Aim,
    *,
    layers: Sequence[int] | None = None,
) -> Reached:
    """Move one latent along a direction until the attribute of its picture says so, or as near as it comes.

    Strides of half a standard deviation, then halvings of the last one. It stops before the identity distance passes
    aim.within, and at aim.furthest. Raises FaceError where the attribute cannot be told of the start, SettingsError for
    several latents or a target that is no number.
    """
    if len(latent) != 1:
        raise SettingsError(f"{len(latent)} latents came; a strength is searched for one at a time")
    if not np.isfinite(aim.target):
        raise SettingsError(f"the target is {aim.target}; give a number")
    first = Look(generator, latent, direction, attribute, layers)
    start = first.at(0.0)
    if start is None:
        raise FaceError("no face is seen in the rendering, so nothing can be measured there; invert it with more steps")
    if start.value == aim.target:
        return start
    return first.marched(start, aim, up=aim.target > start.value)


class Look:
    """Renderings along a direction, measured."""

    def __init__(
        self,
        generator: Generator,
        latent: Latent,
        direction: Direction,
        attribute: Attribute,
        layers: Sequence[int] | None,
    ) -> None:
        self.generator, self.latent = generator, latent
        self.direction = direction
        self.attribute, self.layers = attribute, layers
        check_direction(generator, direction)
        self.face: np.ndarray | None = describe(preview(generator, latent)[0])

    def at(self, strength: float) -> Reached | None:
        """The picture there, measured; None where nothing can be."""
        moved = along(self.generator, self.latent, self.direction, strength, self.layers)
        picture = preview(self.generator, moved)[0]
        value, face = self.attribute(picture), describe(picture)
        if value is None:
            return None
        apart = None if face is None or self.face is None else float(np.linalg.norm(face - self.face))
        return Reached(moved, strength, float(value), apart, "reached")

    def sign(self, start: Reached, aim: Aim, *, up: bool) -> int:
        """The way along the direction that changes the attribute as wanted."""
        if aim.rises is not None:
            return 1 if aim.rises == up else -1
        seen = [self.at(strength) for strength in (STRIDE, -STRIDE)]
        values = [start.value if one is None else one.value for one in seen]
        return 1 if (values[0] >= values[1]) == up else -1

    def marched(self, start: Reached, aim: Aim, *, up: bool) -> Reached:
        """Strides from the start until the aim is passed, or what ends it before."""
        sign = self.sign(start, aim, up=up)
        inside = nearest = start
        for index in range(1, round(aim.furthest / STRIDE) + 1):
            seen = self.at(sign * STRIDE * index)
            if seen is None or (seen.identity or 0.0) > aim.within:
                why = "face" if seen is None else "identity"
                return self.halved(inside, sign * STRIDE * index, aim, nearest, up=up, why=why)
            if (seen.value >= aim.target) == up:
                return self.halved(inside, seen.strength, aim, nearest, up=up, why="reached")
            inside = seen
            nearest = min(nearest, seen, key=lambda one: abs(one.value - aim.target))
        return replace(nearest, why="range")

    def halved(self, inside: Reached, outside: float, aim: Aim, best: Reached, *, up: bool, why: str) -> Reached:
        """Between a strength that does not go far enough and one that goes too far: the nearest allowed to the aim."""
        for _ in range(HALVINGS):
            middle = (inside.strength + outside) / 2
            seen = self.at(middle)
            allowed = seen is not None and (seen.identity or 0.0) <= aim.within
            if seen is not None and allowed and abs(seen.value - aim.target) < abs(best.value - aim.target):
                best = seen
            if seen is not None and allowed and (seen.value >= aim.target) != up:
                inside = seen
            else:
                outside = middle
        return replace(best, why=why)


def meant_for(directions: Mapping[str, Direction], name: str, target: float) -> Direction:
    """The direction along which that one's attribute is brought to a value.

    That is the named one, unless another was learned for values as far out as the target (`LearnConfig.between`).
    """
    own = directions[name]
    for one in directions.values():
        between = one.made.get("between")
        if between and moves(one) == moves(own) and (target - between[0]) * (between[1] - between[0]) > 0:
            return one
    return own


def check_known(directions: Mapping[str, Direction], names: Sequence[str], generator: Generator) -> None:
    """DirectionError for the first of names that is no direction of the generator."""
    for name in names:
        chosen(directions, name, generator)
