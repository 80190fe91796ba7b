"""Whom children are like: identity of each to each of its people, against people who are nobody's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from generators.base import Generator
from inversion.faces.detect import describe
from inversion.latent import Latent, preview, sample_latent

STRANGERS = 48  # samples of the generator that stand for everybody else
LOOK_PX = 256  # the size at which faces are looked at, and at most drawn
Face = Float[np.ndarray, " 128"]


@dataclass(frozen=True)
class Likeness:
    """How like two people are."""

    distance: float | None  # of identity, under 0.6 for one person; None where a face is missing
    nearer_than: float | None  # the share of unrelated people who are further from the child, in [0, 1]


def resemblance(
    generator: Generator, children: Sequence[Latent], people: Sequence[Latent], *, strangers: int = STRANGERS
) -> list[list[Likeness]]:
    """A row for each child, with its likeness to each of the people; unrelated ones are drawn by the generator."""
    faces = [identity(generator, child) for child in children]
    known = [identity(generator, one) for one in people]
    others = [] if not any(face is not None for face in faces) else unrelated(generator, strangers)
    return [[likeness(face, other, others) for other in known] for face in faces]


def unrelated(generator: Generator, count: int) -> list[Face]:
    """The identities of random people; those without a face are left out."""
    found = [identity(generator, one) for one in sample_latent(generator, batch=count, seed=1).split()]
    return [face for face in found if face is not None]


def identity(generator: Generator, latent: Latent) -> Face | None:
    """Whose face a latent shows; None where it shows none."""
    return describe(preview(generator, latent, LOOK_PX)[0])


def likeness(face: Face | None, other: Face | None, unrelated: Sequence[Face]) -> Likeness:
    """The likeness of a face to another, by the distances of unrelated ones from it."""
    if face is None or other is None:
        return Likeness(None, None)
    distance = float(np.linalg.norm(face - other))
    further = [float(np.linalg.norm(face - one)) > distance for one in unrelated]
    return Likeness(distance, sum(further) / len(further) if further else None)
