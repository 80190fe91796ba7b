"""Latents and the three spaces they live in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from generators.base import Generator, Noise, averaged
from generators.pictures.image import to_pil
from inversion.config import LatentSpace
from inversion.errors import LatentFileError, SettingsError, SpaceMismatch

LARGEST_FACTOR = 100  # of truncations, strengths and places on a line; far less is already noise


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


def check_factor(name: str, value: float | int) -> None:
    """SettingsError for a factor that is no number, or so large that nothing can be drawn with it."""
    if not abs(value) <= LARGEST_FACTOR:
        raise SettingsError(f"{name} is {value}; give a number from -{LARGEST_FACTOR} to {LARGEST_FACTOR}")


def sample_latent(
    generator: Generator, *, batch: int = 1, seed: int = 0, truncation_psi: float = 1.0, label: int | None = None
) -> Latent:
    """Random latents in w_plus; image i of a batch depends on the seed and i alone.

    label is the class, from 0, that a conditional generator draws; SettingsError where it is missing, or there is none.
    """
    check_factor("truncation_psi", truncation_psi)
    if generator.c_dim and (label is None or not 0 <= label < generator.c_dim):
        came = "no label" if label is None else f"label {label}"
        raise SettingsError(
            f"{came} came; {generator.name} draws by class, choose a label of 0 to {generator.c_dim - 1}"
        )
    if label is not None and not generator.c_dim:
        raise SettingsError(f"label {label} came; {generator.name} knows no classes, so leave it out")
    rng = torch.Generator().manual_seed(seed)
    z, _ = generator.sample_z(batch, rng)
    c = None if label is None else torch.zeros(batch, generator.c_dim, device=z.device)
    if c is not None:
        c[:, label] = 1.0
    with torch.no_grad():
        ws = generator.mapping(z, c, truncation_psi=truncation_psi)
    return Latent(ws.contiguous(), LatentSpace.W_PLUS, generator.fixed_noise(batch))


@torch.no_grad()
def synthesize(generator: Generator, latent: Latent) -> Float[Tensor, "batch channels height width"]:
    """Render a latent to images, RGB clamped to [-1, 1]."""
    return generator.synthesis(latent.to_ws(generator), latent.noise).clamp(-1, 1)


@torch.no_grad()
def preview(generator: Generator, latent: Latent, size: int = 256) -> list[Image.Image]:
    """The pictures of a latent at no more than size px, as cheap as the generator can; for looking and measuring."""
    px = generator.img_resolution
    while px > size and px % 2 == 0:
        px //= 2
    cheap = px if generator.rendering(px) != "skip" else None  # which is another picture
    image = averaged(generator.synthesis(latent.to_ws(generator), latent.noise, resolution=cheap), px)
    return [to_pil(one) for one in image.clamp(-1, 1)]


def at_a_time(generator: Generator, most: int = 8) -> int:
    """The count of pictures to work on at once: most up to 256 px, fewer above, so that they take no more memory."""
    return max(1, min(most, most * 256**2 // generator.img_resolution**2))


def check_same_space(a: Latent, b: Latent) -> None:
    """SpaceMismatch unless a and b live in one space."""
    if a.space is not b.space:
        raise SpaceMismatch(f"latents are in {a.space} and {b.space}; call .to_w_plus(generator) on both")


def check_alike(latents: Sequence[Latent]) -> None:
    """SpaceMismatch unless all latents share a space and their shapes, SettingsError if there is none."""
    if not latents:
        raise SettingsError("no latent came; at least one is needed")
    first = latents[0]
    for other in latents[1:]:
        check_same_space(first, other)
        if first.code.shape != other.code.shape:
            one, two = tuple(first.code.shape), tuple(other.code.shape)
            raise SpaceMismatch(f"latents are {one} and {two}; use one generator and one batch size")
        shapes = [[tuple(n.shape) for n in latent.noise] for latent in (first, other)]
        if shapes[0] != shapes[1]:
            raise SpaceMismatch(f"noise maps are {shapes[0]} and {shapes[1]}; use latents of one generator")
        if first.code.device != other.code.device:
            raise SettingsError(f"latents are on {first.code.device} and {other.code.device}; call .to(device) on both")


def check_w_plus(generator: Generator, latent: Latent) -> None:
    """SpaceMismatch unless latent is in w_plus and fits the generator."""
    if latent.space is not LatentSpace.W_PLUS:
        raise SpaceMismatch(f"the latent is in {latent.space}, layers need w_plus; call .to_w_plus(generator) first")
    came, wanted = tuple(latent.code.shape), (generator.num_ws, generator.w_dim)
    if came[1:] != wanted:
        raise SpaceMismatch(f"the latent is {came}; {generator.name} takes (batch, {wanted[0]}, {wanted[1]})")


def check_tensors(code: Tensor, space: LatentSpace, noise: Sequence[Tensor], where: str) -> None:
    """LatentFileError unless code and noise are finite floats of as many dimensions as the space asks."""
    dims = 3 if space is LatentSpace.W_PLUS else 2
    if code.ndim != dims or 0 in code.shape:
        raise LatentFileError(f"{where}: the code is {tuple(code.shape)}; {space} has {dims} dimensions, none empty")
    for name, tensor in [("code", code), *((f"noise.{i}", n) for i, n in enumerate(noise))]:
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise LatentFileError(f"{where}: {name} holds values that are not finite numbers; invert again")
        if name != "code" and (tensor.ndim != 4 or tuple(tensor.shape[:2]) != (len(code), 1)):
            raise LatentFileError(f"{where}: {name} is {tuple(tensor.shape)}; wanted ({len(code)}, 1, height, width)")


def check_fits(generator: Generator, latent: Latent, where: str) -> None:
    """LatentFileError unless code and noise have the shapes that the generator takes."""
    shapes = {LatentSpace.Z: (generator.z_dim,), LatentSpace.W: (generator.w_dim,)}
    wanted = shapes.get(latent.space, (generator.num_ws, generator.w_dim))
    if tuple(latent.code.shape[1:]) != wanted:
        raise misfit(where, "code", tuple(latent.code.shape), generator, ("batch", *wanted))
    noise = tuple(tuple(n.shape[2:]) for n in latent.noise)
    if noise != tuple(map(tuple, generator.noise_shapes)):
        raise misfit(where, "noise", noise, generator, generator.noise_shapes)


def misfit(where: str, what: str, shape: tuple, generator: Generator, wanted: tuple) -> LatentFileError:
    takes = str(wanted).replace("'", "")
    return LatentFileError(f"{where}: {what} is {shape}; {generator.name} takes {takes}; load the generator it is for")


def render_all(generator: Generator, latents: Iterable[Latent], *, chunk: int = 1) -> Iterator[Image.Image]:
    """A picture for each image of the latents, as they are asked for.

    One by one they equal those of single calls bit for bit; chunk latents at a time is faster, and equal to rounding.
    """
    queue = iter(latents)
    while part := list(islice(queue, chunk)):
        for latent in [stack(part)] if chunk > 1 else stack(part).split():
            for image in synthesize(generator, latent):
                yield to_pil(image)
