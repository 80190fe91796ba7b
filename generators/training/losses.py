"""What training descends: reconstruction, adversarial and feature-matching terms, and R1."""

from math import log2

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from generators.ops import laplacian_pyramid

Scores = tuple[Tensor, ...]  # one tensor (batch, scores) a head


def reconstruction(image: Float[Tensor, "batch c h w"], target: Float[Tensor, "batch c h w"]) -> Float[Tensor, ""]:
    """Mean over the batch of L1, L2 and the L1 of the Laplacian pyramid."""
    difference = image - target
    bands = laplacian_pyramid(difference, int(log2(image.shape[-1])) - 1)  # down to 4 px; the pyramid is linear
    return difference.abs().mean() + difference.square().mean() + torch.stack([b.abs().mean() for b in bands]).sum()


def generator_loss(fake: Scores) -> Float[Tensor, ""]:
    """Non-saturating loss (Goodfellow et al. 2014), averaged over the heads."""
    return torch.stack([F.softplus(-s.float()).mean() for s in fake]).mean()


def discriminator_loss(real: Scores, fake: Scores) -> Float[Tensor, ""]:
    """Logistic loss, averaged over the heads."""
    terms = [F.softplus(-r.float()).mean() + F.softplus(f.float()).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def feature_matching(fake: tuple[Tensor, ...], real: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    """L1 between the discriminator's features, each level over its own mean size (Larsen et al. 2016)."""
    terms = [(f.float() - r.float()).abs().mean() / r.float().abs().mean() for f, r in zip(fake, real, strict=True)]
    return torch.stack(terms).mean()


def r1_penalty(critic: nn.Module, real: Tensor) -> Float[Tensor, ""]:
    """Mean squared gradient norm of a critic on real data (Mescheder et al. 2018)."""
    real = real.detach().requires_grad_()
    scores = critic(real)
    heads = scores if isinstance(scores, tuple) else (scores,)
    total = torch.stack([s.float().mean(dim=1).sum() for s in heads]).sum()
    (gradient,) = torch.autograd.grad(total, real, create_graph=True)
    return gradient.float().square().flatten(1).sum(dim=1).mean()
