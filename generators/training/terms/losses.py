"""What training descends: reconstruction, adversarial and feature-matching terms, R1 and path lengths."""

from collections.abc import Callable
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor

from generators.parts.ops import laplacian_pyramid
from generators.shapes import Float
from generators.training.distributed import average

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
    sizes = average(torch.stack([r.float().abs().mean() for r in real]))
    terms = torch.stack([(f.float() - r.float()).abs().mean() for f, r in zip(fake, real, strict=True)])
    return (terms / sizes).mean()


def r1_penalty(critic: Callable[[Tensor], Tensor | Scores], real: Tensor) -> Float[Tensor, ""]:
    """Mean squared gradient norm of a critic on real data (Mescheder et al. 2018)."""
    real = real.detach().requires_grad_()
    scores = critic(real)
    heads = (scores,) if isinstance(scores, Tensor) else scores
    total = torch.stack([s.float().mean(dim=1).sum() for s in heads]).sum()
    (gradient,) = torch.autograd.grad(total, real, create_graph=True)
    # Nothing of the total: but every parameter is then in the graph, as DistributedDataParallel wants it.
    return gradient.float().square().flatten(1).sum(dim=1).mean() + 0 * total


def path_lengths(
    images: Float[Tensor, "batch c h w"], ws: Float[Tensor, "batch num_ws w_dim"], y: Float[Tensor, "batch c h w"]
) -> Float[Tensor, " batch"]:
    """How far the picture moves for a step of the styles, |J^T y|, y being normal noise (Karras et al. 2020, eq. 4)."""
    (gradient,) = torch.autograd.grad((images * y).sum() / images.shape[-1], ws, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()
