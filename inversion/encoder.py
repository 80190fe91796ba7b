"""Photograph -> first guess: where the descent starts."""

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator
from inversion.latent import Latent, LatentSpace, mean_latent, sample_latent


@torch.no_grad()
def encode(generator: Generator, images: Float[Tensor, "batch channels height width"]) -> Latent | None:
    """What the model's encoder sees in images, in w_plus with the fixed noise; None where it has no encoder."""
    if generator.encoder is None:
        return None
    return Latent(generator.encoder(images), LatentSpace.W_PLUS, generator.fixed_noise(len(images)))


def first_guess(
    generator: Generator,
    images: Float[Tensor, "batch channels height width"],
    start: str,
    space: LatentSpace,
    *,
    seed: int = 0,
) -> Latent:
    """A start in space: "encoder", "mean", or "random" from seed.

    The encoder's styles are averaged over the layers for w. For z, and where the model has no encoder, "encoder" is
    "mean".
    """
    if start == "random":
        return random_guess(generator, len(images), space, seed)
    guess = encode(generator, images) if start == "encoder" and space is not LatentSpace.Z else None
    if guess is None:
        return mean_latent(generator, space, batch=len(images))
    if space is LatentSpace.W:
        return Latent(guess.code.mean(dim=1), space, guess.noise)
    return guess


def random_guess(generator: Generator, batch: int, space: LatentSpace, seed: int) -> Latent:
    """The same random start for every image, so that each goes as it would alone."""
    if space is LatentSpace.Z:
        z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(seed))
        return Latent(z.to(generator.w_avg.device).repeat(batch, 1), space, generator.fixed_noise(batch))
    ws = sample_latent(generator, seed=seed).code.repeat(batch, 1, 1)
    code = ws[:, 0] if space is LatentSpace.W else ws
    return Latent(code, space, generator.fixed_noise(batch))
