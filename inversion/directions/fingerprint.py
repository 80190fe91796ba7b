"""Whose W it is: a few numbers of a mapping network, by which two files that hold the same one are told."""

from collections.abc import Sequence

import torch

from generators.base import Generator

PROBES, NUMBERS = 4, 16  # Gaussians that are mapped, and the first numbers of each w
NEAR = 0.02  # in standard deviations of those numbers: gains folded into weights, and half precision, move less
Fingerprint = tuple[float, ...]


@torch.no_grad()
def fingerprint(generator: Generator) -> Fingerprint:
    """Where the mapping takes four fixed Gaussians, 64 numbers; none where W is z itself, which tells nothing.

    A distilled or fine-tuned generator that kept its mapping network has the same, and so the same W.
    """
    rng = torch.Generator().manual_seed(20)
    z = torch.randn(PROBES, generator.z_dim, generator=rng).to(generator.w_avg.device)
    c = torch.eye(generator.c_dim, device=z.device)[:1].expand(PROBES, -1) if generator.c_dim else None
    w = generator.mapping(z, c)[:, 0].float()
    if w.shape == z.shape and torch.equal(w, z):
        return ()
    return tuple(round(float(x), 5) for x in w[:, :NUMBERS].flatten())


def same_w(a: Sequence[float], b: Sequence[float]) -> bool:
    """Tell two fingerprints of one mapping network."""
    if not a or len(a) != len(b):
        return False
    x, y = torch.tensor(a), torch.tensor(b)
    return float((x - y).abs().max()) <= NEAR * float(x.std())
