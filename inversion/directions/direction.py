"""A direction in W: what it changes, whose W it is of, and how far one may go along it.

Its length is one standard deviation: that of samples of w along it. So strengths mean the same in every generator.

Moves are made before the mapping's last leaky ReLU, where there is one: what lies below zero moves by a fifth. So w
stays where samples are, also that of a photograph, which a straight line soon leaves: its faces get crusts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, layers_between
from inversion.config import LatentSpace
from inversion.directions.fingerprint import Fingerprint, fingerprint, same_w
from inversion.edit.move import apply_direction
from inversion.errors import DirectionError, SettingsError
from inversion.latent import Latent

SAFE = (-3.0, 3.0)  # standard deviations, where nothing was measured
Shift = Float[Tensor, "layers w_dim"]  # one layer: the same for all


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A named way through the latent space of one generator, or of all that share its W."""

    name: str
    shift: Shift  # what a strength of 1 adds before the last leaky ReLU: (1, w_dim), or a row for each style
    generator: str  # name
    sha256: str  # of the generator it was found in
    fingerprint: Fingerprint = ()
    band: tuple[int, int] | None = None  # resolutions, in px, at whose layers it acts; None: at all
    safe: tuple[float, float] = SAFE  # strengths between which faces stay faces of the same person
    effects: Mapping[str, float] = field(default_factory=dict)  # attribute -> what one standard deviation adds to it
    made: Mapping[str, Any] = field(default_factory=dict)  # how: method, data, seed, licence, as JSON holds it

    @property
    def everywhere(self) -> bool:
        """True where it is the same for all styles, so that it is a direction of w."""
        return len(self.shift) == 1

    def fits(self, generator: Generator) -> bool:
        """Tell a generator that it may be used with: its own, or for directions of w one with the same W."""
        if self.shift.shape[1] != generator.w_dim or len(self.shift) not in (1, generator.num_ws):
            return False
        if self.sha256 == generator.origin_sha256():
            return True
        return self.everywhere and same_w(self.fingerprint, fingerprint(generator))


def check_direction(generator: Generator, direction: Direction) -> None:
    """DirectionError unless the direction fits the generator."""
    if not direction.fits(generator):
        what = "" if direction.everywhere else ", which its styles differ from" * (direction.sha256 == "")
        raise DirectionError(
            f"the direction {direction.name} is of {direction.generator} ({direction.sha256[:12]}){what}, and "
            f"{generator.name} has another W; use it with the first, or learn one: latent directions learn"
        )


def move(
    generator: Generator,
    latent: Latent,
    direction: Direction,
    strength: float,
    *,
    layers: Sequence[int] | None = None,
) -> Latent:
    """The latent moved by strength standard deviations along a direction, in w_plus unless it may stay in w.

    layers: style indices, as `layers_between` gives them; None: those that the direction names, or all. Raises
    DirectionError if the direction is of another W, SettingsError for a strength that is no number, or huge.
    """
    check_direction(generator, direction)
    return along(generator, latent, direction, strength, layers)


def along(
    generator: Generator, latent: Latent, direction: Direction, strength: float, layers: Sequence[int] | None = None
) -> Latent:
    """`move` along a direction that was checked already: a check reads all of the generator's weights."""
    if layers is None and direction.band is not None:
        layers = layers_between(generator, *direction.band)
    if strength == 0:
        return latent
    if latent.space is LatentSpace.Z or layers is not None or not direction.everywhere:
        latent = latent.to_w_plus(generator)
    shift = direction.shift[0] if direction.everywhere else direction.shift
    start = generator.unbent(latent.code)
    moved = apply_direction(replace(latent, code=start), shift, strength, layers)
    code = torch.where(moved.code == start, latent.code, generator.bent(moved.code))
    return replace(moved, code=code)


def deviation(generator: Generator, shift: Shift) -> float:
    """The standard deviation of samples of w along a direction; of several rows, that along each, averaged."""
    outward = generator.statistics().outward
    unit = shift.to(outward) / shift.to(outward).norm(dim=1, keepdim=True).clamp_min(torch.finfo(outward.dtype).tiny)
    return float((unit @ outward.T).norm(dim=1)[shift.any(dim=1).to(unit.device)].mean())


def length_for(generator: Generator, vector: Shift) -> float:
    """The length of a shift that moves samples of w by one of their standard deviations along it, in the mean.

    What lies below zero moves less, so it is longer than that; the mean is of squares, over samples.
    """
    slope = 1 - (1 - generator.w_slope**2) * generator.statistics().below
    weights = vector.to(slope).square().sum(dim=0)
    return deviation(generator, vector) / float((weights * slope).sum() / weights.sum()) ** 0.5


def direction_of(generator: Generator, name: str, vector: Shift, **about: Any) -> Direction:
    """The direction of any vector, (1, w_dim) or (num_ws, w_dim), brought to the length of one standard deviation.

    Of several rows the longest gets that length, and the others keep their shares. SettingsError for one of length
    zero, that is not finite, or that does not fit the generator.
    """
    vector = vector.detach().float().cpu()
    vector = vector[None] if vector.ndim == 1 else vector
    if len(vector) > 1 and bool((vector == vector[0]).all()):
        vector = vector[:1]
    if vector.ndim != 2 or vector.shape[1] != generator.w_dim or len(vector) not in (1, generator.num_ws):
        wanted = f"(1, {generator.w_dim}) or ({generator.num_ws}, {generator.w_dim})"
        raise SettingsError(f"the direction {name} is {tuple(vector.shape)}; {generator.name} takes {wanted}")
    longest = float(vector.norm(dim=1).max())
    if not 0 < longest < float("inf"):
        raise SettingsError(f"the direction {name} is not finite, or zero everywhere; give another")
    shift = vector * (length_for(generator, vector) / longest)
    return Direction(
        name=name,
        shift=shift,
        generator=generator.name,
        sha256=generator.origin_sha256(),
        fingerprint=fingerprint(generator),
        **about,
    )


def opposite(direction: Direction) -> Direction:
    """The same way, walked backwards."""
    low, high = direction.safe
    effects = {name: -value for name, value in direction.effects.items()}
    return replace(direction, shift=-direction.shift, safe=(-high, -low), effects=effects)
