"""W as samples have it: mean, principal axes, spread."""

from dataclasses import dataclass

import torch
from torch import Tensor

from generators.shapes import Float


@dataclass(frozen=True, eq=False)
class Statistics:
    """W as samples have it: its mean, its principal axes and how far it spreads along them, smallest first.

    In its own measure a w is told by coordinates along the axes, in standard deviations from the mean: about N(0, I)
    for samples. A direction that hardly varies counts as a thousandth of the one that varies most, so that it still
    moves a little.
    """

    mean: Float[Tensor, " w_dim"]
    outward: Float[Tensor, "w_dim w_dim"]  # a row for each axis, one standard deviation long
    inward: Float[Tensor, "w_dim w_dim"]  # its inverse
    below: Float[Tensor, " w_dim"]  # the share of samples under zero, of each number
    spread: float  # root mean squared distance of a sample from the mean (Karras et al. 2020, appendix D)

    def enter(self, w: Float[Tensor, "*batch w_dim"]) -> Float[Tensor, "*batch w_dim"]:
        """The coordinates of w."""
        return (w - self.mean) @ self.inward

    def leave(self, coordinates: Float[Tensor, "*batch w_dim"]) -> Float[Tensor, "*batch w_dim"]:
        """The w of coordinates, in float32 also where all else is in half precision."""
        with torch.autocast(coordinates.device.type, enabled=False):
            return self.mean + coordinates @ self.outward


def statistics_of(w: Float[Tensor, "count w_dim"]) -> Statistics:
    """The statistics of these samples, on their device; sums are taken in double on the CPU."""
    exact = w.double().cpu()
    values, axes = torch.linalg.eigh(exact.T.cov())
    deviations = values.clamp_min(values[-1] * 1e-6).sqrt()
    return Statistics(
        mean=exact.mean(dim=0).float().to(w.device),
        outward=(axes * deviations).T.float().to(w.device),
        inward=(axes / deviations).float().to(w.device),
        below=(w < 0).float().mean(dim=0),
        spread=float((w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt()),
    )
