"""Effects of directions: all that each changes, whose face it stays, and how far faces stay faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from generators.base import Generator
from inversion.attributes import attribute
from inversion.attributes.seen import see
from inversion.attributes.table import values_of
from inversion.directions.direction import Direction, along, check_direction
from inversion.errors import FaceError
from inversion.faces.detect import descriptor
from inversion.latent import Latent, preview
from inversion.watch import SILENT, Watch

NEAR = (1.0, 2.0)  # strengths, both ways, that effects are taken from
FAR = (3.0, 4.0)  # and those at which faces are looked for beyond
FOUND, STRANGER = 0.8, 0.8  # safe: a face in so many pictures, nearer in the median than somebody else would be
SAME_PERSON = 0.6  # Euclidean distance of dlib's descriptors
FEWEST = 3  # faces to measure on
Descriptor = Float[np.ndarray, " 128"]


@dataclass(frozen=True)
class Sight:
    """A face, measured."""

    values: Mapping[str, float]
    face: Descriptor


@dataclass(frozen=True, kw_only=True)
class Step:
    """All the faces at one strength, beside themselves at 0; NaN for those that show no face there."""

    strength: float  # standard deviations of w
    changes: Mapping[str, Float[np.ndarray, " faces"]]  # attribute -> what was added to it
    apart: Float[np.ndarray, " faces"]  # identity distance

    @property
    def found(self) -> float:
        """Share that shows a face."""
        return float(np.isfinite(self.apart).mean())

    @property
    def identity(self) -> float:
        """Median identity distance; 1 without any face."""
        return float(np.nanmedian(self.apart)) if self.found else 1.0

    @property
    def safe(self) -> bool:
        """True where faces stay faces, and most of them nearer to themselves than to somebody else."""
        return self.found >= FOUND and self.identity <= STRANGER


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One direction, measured on some faces."""

    name: str
    faces: int
    steps: tuple[Step, ...]
    effects: Mapping[str, float]  # attribute -> what a standard deviation of w adds to it
    safe: tuple[float, float]

    def at(self, strength: float) -> tuple[Step, Step]:
        """The steps so far away, both ways."""
        back, forth = (step for step in self.steps if abs(step.strength) == strength)
        return back, forth

    def identity(self, strength: float) -> float:
        """Median identity distance so far away, both ways."""
        return float(np.mean([step.identity for step in self.at(strength)]))

    def same_person(self, strength: float) -> float:
        """Share of pictures so far away, both ways, that show the same person: less than 0.6 apart."""
        return float(np.mean([step.apart < SAME_PERSON for step in self.at(strength)]))

    def moved(self, name: str, strength: float) -> float:
        """Share of faces whose attribute, from so far back to as far forth, goes the way that it goes in the mean."""
        back, forth = self.at(strength)
        return float(((forth.changes[name] - back.changes[name]) * np.sign(self.effects[name]) > 0).mean())


def measure_effects(
    generator: Generator,
    latents: Sequence[Latent],
    directions: Sequence[Direction],
    names: Sequence[str],
    *,
    far: Sequence[float] = FAR,
    watch: Watch = SILENT,
) -> list[Effect]:
    """The effect of each direction on these attributes, over latents of one picture each whose rendering shows a face.

    far: strengths beyond 2 that are tried both ways, in order, until faces fail, to tell the safe range. Raises
    FaceError where fewer than three latents show a face.
    """
    for name in names:
        attribute(name)
    plus = [latent.to_w_plus(generator) for latent in latents]
    starts = [(latent, sight) for latent in plus if (sight := look(generator, latent, names))]
    if len(starts) < FEWEST:
        raise FaceError(f"{len(starts)} of {len(latents)} pictures show a face; effects are told of {FEWEST} or more")
    counted = watch.counted(directions, "effects", len(directions))
    return [measure_one(generator, starts, direction, names, far) for direction in counted]


def measure_one(
    generator: Generator,
    starts: Sequence[tuple[Latent, Sight]],
    direction: Direction,
    names: Sequence[str],
    far: Sequence[float] = FAR,
) -> Effect:
    """The effect of one direction on faces that were looked at where they are."""
    check_direction(generator, direction)
    steps = [step_of(generator, starts, direction, names, sign * s) for s in NEAR for sign in (-1, 1)]
    ends = []
    for sign in (-1, 1):
        known = {abs(step.strength): step for step in steps if step.strength * sign > 0}
        end = 0.0
        for s in (*NEAR, *far):
            step = known.get(s) or step_of(generator, starts, direction, names, sign * s)
            steps += [] if s in known else [step]
            if not step.safe:
                break
            end = s
        ends.append(sign * end)
    near = [step for step in steps if abs(step.strength) in NEAR]
    effects = {name: slope(near, name) for name in names}
    ordered = tuple(sorted(steps, key=lambda step: step.strength))
    return Effect(name=direction.name, faces=len(starts), steps=ordered, effects=effects, safe=(ends[0], ends[1]))


def slope(steps: Sequence[Step], name: str) -> float:
    """The change of an attribute a standard deviation, by least squares over all faces; 0 where none was found."""
    strengths = np.concatenate([np.full(len(step.apart), step.strength) for step in steps])
    changes = np.concatenate([step.changes[name] for step in steps])
    known = np.isfinite(changes)
    strengths, changes = strengths[known], changes[known]
    return float(strengths @ changes / (strengths @ strengths)) if known.any() else 0.0


def step_of(
    generator: Generator,
    starts: Sequence[tuple[Latent, Sight]],
    direction: Direction,
    names: Sequence[str],
    strength: float,
) -> Step:
    """All faces moved by one strength."""
    moved = [along(generator, latent, direction, strength) for latent, _ in starts]
    there = [look(generator, latent, names) for latent in moved]
    pairs = [(start, sight) for (_, start), sight in zip(starts, there, strict=True)]
    changes = {name: [np.nan if b is None else b.values[name] - a.values[name] for a, b in pairs] for name in names}
    apart = [np.nan if b is None else np.linalg.norm(b.face - a.face) for a, b in pairs]
    return Step(
        strength=strength,
        changes={name: np.array(values, float) for name, values in changes.items()},
        apart=np.array(apart, float),
    )


def look(generator: Generator, latent: Latent, names: Sequence[str]) -> Sight | None:
    """The face that a latent renders, at 256 px where the generator can; None without one."""
    seen = see(preview(generator, latent)[0])
    return None if seen is None else Sight(values_of(seen, names), descriptor(seen.pixels, seen.face))


def with_effect(direction: Direction, effect: Effect) -> Direction:
    """The direction with what was measured of it."""
    kept = {
        "faces": effect.faces,
        "identity": {f"{s:g}": round(effect.identity(s), 3) for s in NEAR},
        "same_person": {f"{s:g}": round(effect.same_person(s), 3) for s in NEAR},
    }
    rounded = {name: float(f"{value:.4g}") for name, value in effect.effects.items()}
    return replace(direction, effects=rounded, safe=effect.safe, made={**direction.made, "measured": kept})
