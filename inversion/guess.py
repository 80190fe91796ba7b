"""Photograph -> first guess: where the descent starts."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from generators.base import Generator
from generators.parts.pyramid import Pyramid
from inversion.config import LatentSpace
from inversion.latent import Latent, mean_latent, sample_latent

CORRECTION = 0.75  # of what is missing, at each look
ROUNDS = 6  # in which the encoder fills what is missing
FILL_PSI = 0.7
LOOK_PX = 256  # the largest size at which it is drawn meanwhile
HARM = 1.1  # of the first squared error, beyond which a look has led astray


@torch.no_grad()
def encode(
    generator: Generator, images: Float[Tensor, "batch channels height width"], *, looks: int = 0
) -> Latent | None:
    """The latent that the model's encoder sees in images, in w_plus with the fixed noise; None where it has no encoder.

    looks: so often it looks at its own rendering too, and moves by the difference between what it sees there and in the
    image. An image to which that does harm, by more than a tenth of the squared error, keeps the first code. After
    Alaluf et al. 2021, "ReStyle", whose own encoders see both pictures at once, and are asked as they were trained.
    """
    if generator.encoder is None:
        return None
    noise, seen = generator.fixed_noise(len(images)), generator.encoder(images)
    if isinstance(generator.encoder, Pyramid) and generator.encoder.config.feedback:
        for _ in range(looks):
            seen = generator.encoder(images, generator.synthesis(seen, noise), seen)
        return Latent(seen, LatentSpace.W_PLUS, noise)
    ws, errors = seen, []
    for look in range(looks + 1 if looks else 0):
        rendered = generator.synthesis(ws, noise).clamp(-1, 1)
        errors.append((rendered - images).square().mean(dim=(1, 2, 3)))
        if look < looks:
            ws = ws + CORRECTION * (seen - generator.encoder(rendered))
    if errors:
        ws = torch.where((errors[-1] <= HARM * errors[0])[:, None, None], ws, seen)
    return Latent(ws, LatentSpace.W_PLUS, noise)


@torch.no_grad()
def completed(
    generator: Generator,
    images: Float[Tensor, "batch channels height width"],
    kept: Bool[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch channels height width"]:
    """The images with all that is not kept filled by the generator; nothing depends on the pixels that are not kept.

    The filling is first the average image's, and then, ROUNDS times, that of the encoder's guess from the filled
    image, at FILL_PSI of its way from the average, as an untruncated one keeps to the filling that it saw.
    """
    noise, size = generator.fixed_noise(len(images)), generator.img_resolution
    small = next(px for px in (size >> k for k in range(16)) if px <= LOOK_PX)
    guess, filled = mean_latent(generator, LatentSpace.W_PLUS, batch=len(images)), images
    for round in range(1 if generator.encoder is None else ROUNDS + 1):
        ws = guess.to_ws(generator)
        last = round == ROUNDS or generator.encoder is None
        drawn = generator.synthesis(generator.w_avg.lerp(ws, FILL_PSI), noise, resolution=size if last else small)
        drawn = F.interpolate(drawn.float(), (size, size), mode="bilinear", align_corners=False)
        filled = torch.where(kept, images, drawn.clamp(-1, 1))
        if not last:
            guess = encode(generator, filled) or guess
    return filled


def first_guess(
    generator: Generator,
    images: Float[Tensor, "batch channels height width"],
    start: str,
    space: LatentSpace,
    *,
    seed: int = 0,
    looks: int = 0,
) -> Latent:
    """A start in space: "encoder" (with looks, see `encode`), "mean", or "random" from seed.

    The encoder's styles are averaged over the layers for w. For z, and where the model has no encoder, "encoder" is
    "mean".
    """
    if start == "random":
        return random_guess(generator, len(images), space, seed)
    guess = encode(generator, images, looks=looks) if start == "encoder" and space is not LatentSpace.Z else None
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
    label = seed % generator.c_dim if generator.c_dim else None  # no photograph tells its class
    ws = sample_latent(generator, seed=seed, label=label).code.repeat(batch, 1, 1)
    code = ws[:, 0] if space is LatentSpace.W else ws
    return Latent(code, space, generator.fixed_noise(batch))


def fresh_noise(generator: Generator, latent: Latent, seed: int) -> Latent:
    """The latent with noise ~ N(0, 1) of the seed, the same for every image, as a search that moves noise begins."""
    maps = generator.sample_noise(1, seed)
    return replace(latent, noise=tuple(n.repeat(len(latent), 1, 1, 1) for n in maps))


def lively(generator: Generator, latent: Latent, seed: int) -> Latent:
    """The latent, with `fresh_noise` in the place of maps that are flat, which cannot be brought to unit variance."""
    fresh = fresh_noise(generator, latent, seed).noise
    flat = [(n == n[..., :1, :1]).flatten(1).all(dim=1)[:, None, None, None] for n in latent.noise]
    return replace(latent, noise=tuple(map(torch.where, flat, fresh, latent.noise)))
