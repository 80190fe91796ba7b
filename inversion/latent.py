"""Latents and the three spaces they live in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, Noise
from inversion.errors import SettingsError, SpaceMismatch


class LatentSpace(StrEnum):
    Z = "z"  # (batch, z_dim), Gaussian
    W = "w"  # (batch, w_dim), one style for all layers
    W_PLUS = "w_plus"  # (batch, num_ws, w_dim), one style per layer


@dataclass(frozen=True)
class Latent:
    """All a generator needs to render images again: a code, its space, and the noise."""

    code: Float[Tensor, "batch ..."]
    space: LatentSpace
    noise: Noise

    def __len__(self) -> int:
        return len(self.code)

    def to_ws(self, generator: Generator) -> Float[Tensor, "batch num_ws w_dim"]:
        """The per-layer styles that `generator.synthesis` takes."""
        if self.space is LatentSpace.Z:
            return generator.mapping(self.code)
        if self.space is LatentSpace.W:
            return self.code[:, None].expand(-1, generator.num_ws, -1)
        return self.code

    def to_w_plus(self, generator: Generator) -> "Latent":
        """The same images as a w_plus latent."""
        return replace(self, code=self.to_ws(generator), space=LatentSpace.W_PLUS)

    def to(self, device: str | torch.device) -> "Latent":
        """The same latent on another device."""
        return replace(self, code=self.code.to(device), noise=tuple(n.to(device) for n in self.noise))

    def split(self) -> list["Latent"]:
        """One latent per image of the batch."""
        return [
            replace(self, code=self.code[i : i + 1].clone(), noise=tuple(n[i : i + 1].clone() for n in self.noise))
            for i in range(len(self))
        ]


def stack(latents: Sequence[Latent]) -> Latent:
    """One batch out of latents of one space; SpaceMismatch if they are not."""
    if not latents:
        raise SettingsError("no latent came; at least one is needed")
    for other in latents[1:]:
        check_same_space(latents[0], other)
    noise = tuple(torch.cat(maps) for maps in zip(*(latent.noise for latent in latents), strict=True))
    return Latent(torch.cat([latent.code for latent in latents]), latents[0].space, noise)


def mean_latent(generator: Generator, space: LatentSpace, *, batch: int = 1) -> Latent:
    """The average image: z = 0, or w_avg in w and w_plus; with the generator's fixed noise."""
    noise, w_avg = generator.fixed_noise(batch), generator.w_avg
    if space is LatentSpace.Z:
        return Latent(torch.zeros(batch, generator.z_dim, device=w_avg.device), space, noise)
    if space is LatentSpace.W:
        return Latent(w_avg.expand(batch, -1), space, noise)
    return Latent(w_avg.expand(batch, generator.num_ws, -1), space, noise)


def sample_latent(
    generator: Generator, *, batch: int = 1, seed: int = 0, truncation_psi: float = 1.0, label: int | None = None
) -> Latent:
    """Random latents in w_plus; image i of a batch depends on the seed and i alone.

    label is the class, from 0, that a conditional generator draws; SettingsError where it is missing, or there is none.
    """
    if generator.c_dim and (label is None or not 0 <= label < generator.c_dim):
        came = "no label" if label is None else f"label {label}"
        raise SettingsError(
            f"{came} came; {generator.name} draws by class, choose a label of 0 to {generator.c_dim - 1}"
        )
    if label is not None and not generator.c_dim:
        raise SettingsError(f"label {label} came; {generator.name} knows no classes, so leave it out")
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, generator.z_dim, generator=rng).to(generator.w_avg.device)
    c = None if label is None else torch.eye(generator.c_dim, device=z.device)[label].expand(batch, -1)
    with torch.no_grad():
        ws = generator.mapping(z, c, truncation_psi=truncation_psi)
    return Latent(ws.contiguous(), LatentSpace.W_PLUS, generator.fixed_noise(batch))


@torch.no_grad()
def synthesize(generator: Generator, latent: Latent) -> Float[Tensor, "batch channels height width"]:
    """Render a latent to images, RGB clamped to [-1, 1]."""
    return generator.synthesis(latent.to_ws(generator), latent.noise).clamp(-1, 1)


def at_a_time(generator: Generator, most: int = 8) -> int:
    """How many pictures to work on at once: most up to 256 px, and fewer above, so that they take no more memory."""
    return max(1, min(most, most * 256**2 // generator.img_resolution**2))


def check_same_space(a: Latent, b: Latent) -> None:
    """SpaceMismatch unless a and b live in one space."""
    if a.space is not b.space:
        raise SpaceMismatch(f"latents are in {a.space} and {b.space}; call .to_w_plus(generator) on both")
