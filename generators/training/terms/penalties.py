"""What the kinds of autoencoders descend: likelihoods, what they ask of codes, and how they spoil pictures.

Every term is one number a picture, in nats where it is a likelihood or a divergence.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from generators.autoencoder import CodeEncoder
from generators.shapes import Float


def gaussian_nll(
    image: Float[Tensor, "batch c h w"], target: Float[Tensor, "batch c h w"], sigma: float
) -> Float[Tensor, " batch"]:
    """Negative log-likelihood of target, but for a constant, where pixels are Gaussian about image."""
    return ((target - image) / sigma).square().sum(dim=(1, 2, 3)) / 2


def bernoulli_nll(
    logits: Float[Tensor, "batch c h w"], target: Float[Tensor, "batch c h w"]
) -> Float[Tensor, " batch"]:
    """Cross entropy of target, a picture in [-1, 1] taken as the chance that each pixel is white."""
    chance = ((target + 1) / 2).clamp(0, 1)
    return F.binary_cross_entropy_with_logits(logits, chance, reduction="none").sum(dim=(1, 2, 3))


def kl_to_normal(mean: Float[Tensor, "batch dim"], log_variance: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """Divergence of N(mean, variance) from N(0, I) (Kingma and Welling 2014, appendix B)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2


def sparse_kl(code: Float[Tensor, "batch dim"], target: float) -> Float[Tensor, ""]:
    """Divergence of each number's mean activation over the batch from target, both in (0, 1), summed over the code.

    Ng 2011, "Sparse autoencoder" (CS294A lecture notes).
    """
    mean = code.mean(dim=0).clamp(1e-6, 1 - 1e-6)
    share = torch.full_like(mean, target)
    return (share * (share / mean).log() + (1 - share) * ((1 - share) / (1 - mean)).log()).sum()


def contraction(
    encoder: CodeEncoder, image: Float[Tensor, "batch c h w"], probes: int = 0, rng: torch.Generator | None = None
) -> Float[Tensor, " batch"]:
    """Squared Frobenius norm of the Jacobian of the code by the pixels (Rifai et al. 2011).

    In closed form for a single layer. For more, probes random directions estimate it without bias; 0 takes the
    derivative of every number of the code.
    """
    if len(encoder.features) == 1:  # pixels -> code without a hidden layer
        code, _ = encoder.moments(image)
        return contraction_of_layer(code, encoder.last.weight[: code.shape[1]], sigmoid=encoder.sigmoid)
    image = image.detach().requires_grad_()
    code, _ = encoder.moments(image)
    return jacobian_norm(code, image) if probes == 0 else hutchinson_norm(code, image, probes, rng)


def contraction_of_layer(
    code: Float[Tensor, "batch dim"], weight: Float[Tensor, "dim pixels"], *, sigmoid: bool
) -> Float[Tensor, " batch"]:
    """The penalty of one layer: a sigmoid's derivative is h (1 - h), a linear one's is 1."""
    slope = code * (1 - code) if sigmoid else torch.ones_like(code)
    return slope.square() @ weight.square().sum(dim=1)


def jacobian_norm(code: Float[Tensor, "batch dim"], image: Float[Tensor, "batch c h w"]) -> Float[Tensor, " batch"]:
    """Squared Frobenius norm of d code / d image, one derivative for each number of the code."""
    rows = [torch.autograd.grad(column.sum(), image, create_graph=True)[0] for column in code.unbind(dim=1)]
    return torch.stack([row.square().sum(dim=(1, 2, 3)) for row in rows]).sum(dim=0)


def hutchinson_norm(
    code: Float[Tensor, "batch dim"], image: Float[Tensor, "batch c h w"], probes: int, rng: torch.Generator | None
) -> Float[Tensor, " batch"]:
    """Estimate of `jacobian_norm`: the mean of |v J|^2 over random signs v (Hutchinson 1990)."""
    total = code.new_zeros(len(code))
    for _ in range(probes):
        signs = torch.randint(0, 2, code.shape, generator=rng).to(code) * 2 - 1
        (row,) = torch.autograd.grad((code * signs).sum(), image, create_graph=True)
        total = total + row.square().sum(dim=(1, 2, 3))
    return total / probes


def corrupt(
    image: Float[Tensor, "batch c h w"], noise: str, level: float, rng: torch.Generator
) -> Float[Tensor, "batch c h w"]:
    """The picture spoiled: "gaussian" adds noise of standard deviation level, "mask" blackens that share of pixels.

    Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising Autoencoders".
    """
    if noise == "gaussian":
        return image + level * torch.randn(image.shape, generator=rng).to(image)
    keep = torch.rand(image[:, :1].shape, generator=rng).to(image.device) >= level
    return torch.where(keep, image, -1.0)
