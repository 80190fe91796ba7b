"""Photograph -> first guess: where the descent starts."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from generators.base import Generator, averaged
from generators.parts.pyramid import Pyramid
from inversion.config import LatentSpace
from inversion.faces.mask import grown
from inversion.faces.membrane import membrane
from inversion.latent import Latent, mean_latent, sample_latent

CORRECTION = 0.75  # of what is missing, at each look
ROUNDS = 4  # in which the encoder fills what is missing
FILL_PSI = 0.7
BORDER = 0.03  # of the side: how much beside the filling tells its colours
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
    image, at FILL_PSI of its way from the average, as an untruncated one keeps to the filling that it saw. Its colours
    take those of the image at the border (`matched`).
    """
    noise, size = generator.fixed_noise(len(images)), generator.img_resolution
    small = next(size >> k for k in range(32) if size >> k <= LOOK_PX)
    guess = mean_latent(generator, LatentSpace.W_PLUS, batch=len(images)).code
    here, counts = averaged(torch.where(kept, images, 0.0), small), averaged(kept.float(), small) > 1 - 1e-6
    for _ in range(0 if generator.encoder is None else ROUNDS):
        drawn = generator.synthesis(generator.w_avg.lerp(guess, FILL_PSI), noise, resolution=small).float()
        filled = torch.where(counts, here, drawn + matched(here - drawn, counts)).clamp(-1, 1)
        seen = encode(generator, F.interpolate(filled, (size, size), mode="bilinear", align_corners=False))
        guess = guess if seen is None else seen.code
    drawn = generator.synthesis(generator.w_avg.lerp(guess, FILL_PSI), noise).float()
    light = matched(here - averaged(drawn, small), counts)
    light = F.interpolate(light, (size, size), mode="bilinear", align_corners=False)
    return torch.where(kept, images, (drawn + light).clamp(-1, 1))


def matched(
    differences: Float[Tensor, "batch channels h w"], kept: Bool[Tensor, "batch 1 h w"]
) -> Float[Tensor, "batch channels h w"]:
    """The differences at the border of what is kept, carried on smoothly over all that is not."""
    fields = []
    for values, known in zip(differences.permute(0, 2, 3, 1).cpu().numpy(), kept[:, 0].cpu().numpy(), strict=True):
        ring = known & grown(~known, max(1, round(BORDER * len(known))))
        fields.append(torch.from_numpy(membrane(values, ring, ~known)).permute(2, 0, 1).float())
    return torch.stack(fields).to(differences.device)


def first_guess(
    generator: Generator,
    images: Float[Tensor, "batch channels height width"],
    start: str,
    space: LatentSpace,
    *,
    seed: int = 0,
    looks: int = 0,
    label: int | None = None,
) -> Latent:
    """A start in space: "encoder" (with looks, see `encode`), "mean", or "random" from seed.

    The encoder's styles are averaged over the layers for w. For z, and where the model has no encoder, "encoder" is
    "mean". label: the class that is mapped, of which the mean is then taken.
    """
    if start == "random":
        return random_guess(generator, len(images), space, seed, label)
    guess = encode(generator, images, looks=looks) if start == "encoder" and space is not LatentSpace.Z else None
    if guess is None:
        return mean_latent(generator, space, batch=len(images), label=label)
    if space is LatentSpace.W:
        return Latent(guess.code.mean(dim=1), space, guess.noise)
    return guess


def random_guess(generator: Generator, batch: int, space: LatentSpace, seed: int, label: int | None = None) -> Latent:
    """The same random start for every image, so that each goes as it would alone."""
    if space is LatentSpace.Z:
        z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(seed))
        return Latent(z.to(generator.w_avg.device).repeat(batch, 1), space, generator.fixed_noise(batch), label)
    if label is None and generator.c_dim:
        label = seed % generator.c_dim  # no photograph tells its class
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
