"""A direction without what it moves besides: others are subtracted until their attributes stay where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, layers_between
from inversion.directions.direction import Direction, direction_of
from inversion.errors import DirectionError

SMALLEST = 0.02  # singular values of the effects below that share of the largest are noise


def moves(direction: Direction) -> str:
    """The attribute that a direction was learned to move: by its name, unless it tells another."""
    return str(direction.made.get("of", direction.name))


def undo(generator: Generator, direction: Direction, away: Mapping[str, Direction]) -> Direction:
    """The direction, less as much of each of the others as makes their attributes stay; again one deviation long.

    away: attribute -> the direction that moves it. All need effects, as `effects.measure_effects` gives them; those of
    the result are what they add up to. made["undone"] tells how much of each was added. DirectionError where an effect
    was not measured, or nothing is left.
    """
    names = [name for name in away if away[name].name != direction.name]
    if not names:
        return direction
    shares = shares_of(direction, [away[name] for name in names], names)
    parts = [(direction, 1.0), *zip((away[name] for name in names), shares, strict=True)]
    vector = sum_of(generator, parts)
    found = direction_of(
        generator, direction.name, vector, band=band_of([one for one, _ in parts]), safe=direction.safe
    )
    stretch = float(found.shift.norm(dim=1).max() / vector.norm(dim=1).max())
    known = [name for name in direction.effects if all(name in one.effects for one, _ in parts)]
    effects = {name: stretch * sum(share * one.effects[name] for one, share in parts) for name in known}
    undone = {name: float(share) for name, share in zip(names, shares, strict=True)}
    return replace(found, effects=effects, made={**direction.made, "undone": undone})


def shares_of(direction: Direction, others: Sequence[Direction], names: Sequence[str]) -> Float[np.ndarray, " others"]:
    """How much of each of the others cancels the direction's effects on these attributes, by least squares.

    Each attribute counts in what its own direction does to it.
    """
    for one in (direction, *others):
        missing = [name for name in names if name not in one.effects]
        if missing:
            raise DirectionError(
                f"the effect of {one.name} on {', '.join(missing)} was not measured; run: latent directions report"
            )
    matrix = np.array([[other.effects[name] for other in others] for name in names])
    besides = np.array([direction.effects[name] for name in names])
    own = np.abs(np.diag(matrix)).clip(min=1e-12)
    return np.linalg.lstsq(matrix / own[:, None], -besides / own, rcond=SMALLEST)[0]


def sum_of(generator: Generator, parts: Sequence[tuple[Direction, float]]) -> Float[Tensor, "layers w_dim"]:
    """Shares of directions, added; a row for each style where they differ by style."""
    directions = [one for one, _ in parts]
    whole = len({one.band for one in directions}) == 1
    rows = [one.shift if whole else at_its_layers(generator, one) for one in directions]
    if len({len(row) for row in rows}) > 1:
        rows = [row.expand(generator.num_ws, -1) for row in rows]
    return torch.stack([share * row for row, (_, share) in zip(rows, parts, strict=True)]).sum(dim=0)


def band_of(directions: Sequence[Direction]) -> tuple[int, int] | None:
    """The band that all of the directions have."""
    bands = {one.band for one in directions}
    return bands.pop() if len(bands) == 1 else None


def at_its_layers(generator: Generator, direction: Direction) -> Float[Tensor, "num_ws w_dim"]:
    """A row for each style, zero where the direction does not act."""
    rows = direction.shift.expand(generator.num_ws, -1).clone()
    if direction.band is not None:
        inside = layers_between(generator, *direction.band)
        rows[[i for i in range(generator.num_ws) if i not in inside]] = 0
    return rows
