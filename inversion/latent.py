"""Latents and the three spaces they live in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from generators.base import Generator, Noise, at, averaged
from generators.compose import compose
from generators.pictures.image import to_pil
from inversion.config import LatentSpace
from inversion.errors import LatentFileError, SettingsError, SpaceMismatch

LARGEST_FACTOR = 100  # of truncations, strengths and places on a line; far less is already noise


@dataclass(frozen=True)
class Part:
    """A local edit: what is added to the styles inside of a mask; so it goes along with whatever moves the code."""

    mask: Float[Tensor, "..."]  # (batch, 1, size, size) from 0, where nothing changes, to 1; of any size
    offset: Float[Tensor, "..."]  # (batch, num_ws, w_dim)

    def times(self, factor: float | Tensor) -> "Part":
        """The same edit, so many times as strong."""
        return replace(self, offset=self.offset * factor)


@dataclass(frozen=True)
class Latent:
    """All a generator needs to render images again: a code, its space, the noise, and local edits."""

    code: Float[Tensor, "batch ..."]
    space: LatentSpace
    noise: Noise
    label: int | None = None  # the class, from 0, that a conditional generator maps z with; of no use in other spaces
    source: str | None = None  # the file that it came from, for messages
    parts: tuple[Part, ...] = ()

    def __len__(self) -> int:
        return len(self.code)

    def to_ws(self, generator: Generator) -> Float[Tensor, "batch num_ws w_dim"]:
        """The per-layer styles that `generator.synthesis` takes, without local edits."""
        if self.space is LatentSpace.Z:
            return generator.mapping(self.code, generator.labels(self.label, len(self)))
        if self.space is LatentSpace.W:
            return self.code[:, None].expand(-1, generator.num_ws, -1)
        return self.code

    def to_w_plus(self, generator: Generator) -> "Latent":
        """The same images as a w_plus latent."""
        return replace(self, code=self.to_ws(generator), space=LatentSpace.W_PLUS, label=None)

    @property
    def told(self) -> str:
        """Its file in brackets, as it stands in messages; nothing where it came from none."""
        return "" if self.source is None else f" ({self.source})"

    def to(self, device: str | torch.device) -> "Latent":
        """The same latent on another device."""
        parts = tuple(Part(part.mask.to(device), part.offset.to(device)) for part in self.parts)
        return replace(self, code=self.code.to(device), noise=tuple(n.to(device) for n in self.noise), parts=parts)

    def split(self) -> list["Latent"]:
        """One latent per image of the batch, each with the local edits that change it."""
        return [self.take(torch.tensor([i])) for i in range(len(self))]

    def take(self, rows: Int[Tensor, " rows"]) -> "Latent":
        """A copy of those images of the batch, with the local edits that change any of them."""
        parts = (Part(part.mask[rows], part.offset[rows]) for part in self.parts)
        some = tuple(part for part in parts if part.mask.any() and part.offset.any())
        return replace(self, code=self.code[rows], noise=tuple(n[rows] for n in self.noise), parts=some)


def stack(latents: Sequence[Latent]) -> Latent:
    """One batch out of latents of one space; SpaceMismatch if they are not."""
    if not latents:
        raise SettingsError("no latent came; at least one is needed")
    for other in latents[1:]:
        check_same_space(latents[0], other)
    noise = tuple(torch.cat(maps) for maps in zip(*(latent.noise for latent in latents), strict=True))
    parts = [part for i, latent in enumerate(latents) for part in spread(latent.parts, i, latents)]
    source = latents[0].source if len(latents) == 1 else None
    code = torch.cat([latent.code for latent in latents])
    return replace(latents[0], code=code, noise=noise, source=source, parts=tuple(parts))


def spread(parts: Iterable[Part], index: int, latents: Sequence[Latent]) -> Iterator[Part]:
    """The local edits of one of several latents, as they are in a batch of all: they leave the others alone."""
    for part in parts:
        tensors = (part.mask, part.offset)
        mask, offset = (
            torch.cat([t if i == index else t.new_zeros(len(one), *t.shape[1:]) for i, one in enumerate(latents)])
            for t in tensors
        )
        yield Part(mask, offset)


def mean_latent(generator: Generator, space: LatentSpace, *, batch: int = 1, label: int | None = None) -> Latent:
    """The average image, or that of a class: z = 0, or the mean of w in w and w_plus; with the fixed noise."""
    noise = generator.fixed_noise(batch)
    if space is LatentSpace.Z:
        return Latent(torch.zeros(batch, generator.z_dim, device=generator.w_avg.device), space, noise, label)
    w_avg = generator.w_avg if label is None else generator.statistics(label=label).mean
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
    check_label(generator, label)
    rng = torch.Generator().manual_seed(seed)
    z, _ = generator.sample_z(batch, rng)
    with torch.no_grad():
        ws = generator.mapping(z, generator.labels(label, batch), truncation_psi=truncation_psi)
    return Latent(ws.contiguous(), LatentSpace.W_PLUS, generator.fixed_noise(batch))


def check_label(generator: Generator, label: int | None, space: LatentSpace = LatentSpace.Z) -> None:
    """SettingsError for a class that there is not, or where there are classes and z is to be mapped without one."""
    if label is not None and not generator.c_dim:
        raise SettingsError(f"label {label} came; {generator.name} knows no classes, so leave it out")
    if label is None and (not generator.c_dim or space is not LatentSpace.Z):
        return
    if label is None or not 0 <= label < generator.c_dim:
        came = "no label" if label is None else f"label {label}"
        last = generator.c_dim - 1
        raise SettingsError(f"{came} came; {generator.name} draws by class, choose a label (--label) of 0 to {last}")


@torch.no_grad()
def synthesize(
    generator: Generator, latent: Latent, *, resolution: int | None = None
) -> Float[Tensor, "batch channels height width"]:
    """Render a latent to images, RGB clamped to [-1, 1]; resolution as `generator.synthesis` takes it."""
    ws = latent.to_ws(generator)
    if not latent.parts:
        return generator.synthesis(ws, latent.noise, **at(resolution)).clamp(-1, 1)
    regions = [(part.mask, ws + part.offset) for part in latent.parts]
    return compose(generator, ws, latent.noise, regions, resolution=resolution).clamp(-1, 1)


def small(generator: Generator, latent: Latent, size: int = 256) -> Float[Tensor, "batch channels height width"]:
    """The images of a latent at no more than size px, as cheap as the generator can; for looking and measuring."""
    px = generator.img_resolution
    while px > size and px % 2 == 0:
        px //= 2
    cheap = px if generator.rendering(px) != "skip" else None  # which is another picture
    return averaged(synthesize(generator, latent, resolution=cheap), px)


def preview(generator: Generator, latent: Latent, size: int = 256) -> list[Image.Image]:
    """The pictures of a latent at no more than size px, as `small` draws them."""
    return [to_pil(one) for one in small(generator, latent, size)]


def at_a_time(generator: Generator, most: int = 8) -> int:
    """The count of pictures to work on at once: most up to 256 px, fewer above, so that they take no more memory."""
    return max(1, min(most, most * 256**2 // generator.img_resolution**2))


def check_same_space(a: Latent, b: Latent) -> None:
    """SpaceMismatch unless a and b live in one space, and in z in one class."""
    if a.space is not b.space:
        both = f"{a.space}{a.told} and {b.space}{b.told}"
        raise SpaceMismatch(f"latents are in {both}; call .to_w_plus(generator) on both")
    if a.space is LatentSpace.Z and a.label != b.label:
        both = f"{a.label}{a.told} and {b.label}{b.told}"
        raise SpaceMismatch(f"z of the classes {both} came; call .to_w_plus(generator) on both")


def check_alike(latents: Sequence[Latent]) -> None:
    """SpaceMismatch unless all latents share a space and their shapes, SettingsError if there is none."""
    if not latents:
        raise SettingsError("no latent came; at least one is needed")
    first = latents[0]
    for other in latents[1:]:
        check_same_space(first, other)
        if first.code.shape != other.code.shape:
            both = f"{tuple(first.code.shape)}{first.told} and {tuple(other.code.shape)}{other.told}"
            raise SpaceMismatch(f"latents are {both}; use one generator and one batch size")
        shapes = [[tuple(n.shape) for n in latent.noise] for latent in (first, other)]
        if shapes[0] != shapes[1]:
            both = f"{shapes[0]}{first.told} and {shapes[1]}{other.told}"
            raise SpaceMismatch(f"noise maps are {both}; use latents of one generator")
        if first.code.device != other.code.device:
            both = f"{first.code.device}{first.told} and {other.code.device}{other.told}"
            raise SettingsError(f"latents are on {both}; call .to(device) on both")


def check_w_plus(generator: Generator, latent: Latent) -> None:
    """SpaceMismatch unless latent is in w_plus and fits the generator."""
    if latent.space is not LatentSpace.W_PLUS:
        where = f"the latent{latent.told} is in {latent.space}"
        raise SpaceMismatch(f"{where}, layers need w_plus; call .to_w_plus(generator) first")
    came, wanted = tuple(latent.code.shape), (generator.num_ws, generator.w_dim)
    if came[1:] != wanted:
        raise SpaceMismatch(
            f"the latent{latent.told} is {came}; {generator.name} takes (batch, {wanted[0]}, {wanted[1]})"
        )


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


def check_parts(parts: Sequence[Part], batch: int, where: str) -> None:
    """LatentFileError unless masks go from 0 to 1, offsets are finite, and both are of that batch."""
    for i, part in enumerate(parts):
        shape, offset = tuple(part.mask.shape), tuple(part.offset.shape)
        if part.mask.ndim != 4 or shape[:2] != (batch, 1) or shape[2] != shape[3] or not shape[2]:
            raise LatentFileError(f"{where}: mask {i} is {shape}; wanted ({batch}, 1, size, size)")
        if part.offset.ndim != 3 or offset[0] != batch or 0 in offset:
            raise LatentFileError(f"{where}: offset {i} is {offset}; wanted ({batch}, num_ws, w_dim)")
        if not ((part.mask >= 0) & (part.mask <= 1)).all() or not part.offset.isfinite().all():
            raise LatentFileError(f"{where}: local edit {i} holds values outside of its range; make it again")


def check_fits(generator: Generator, latent: Latent, where: str) -> None:
    """LatentFileError unless code and noise have the shapes that the generator takes, and z a class of it."""
    shapes = {LatentSpace.Z: (generator.z_dim,), LatentSpace.W: (generator.w_dim,)}
    wanted = shapes.get(latent.space, (generator.num_ws, generator.w_dim))
    if tuple(latent.code.shape[1:]) != wanted:
        raise misfit(where, "code", tuple(latent.code.shape), generator, ("batch", *wanted))
    layers = (generator.num_ws, generator.w_dim)
    for part in latent.parts:
        if tuple(part.offset.shape[1:]) != layers:
            raise misfit(where, "a local edit", tuple(part.offset.shape), generator, ("batch", *layers))
    noise = tuple(tuple(n.shape[2:]) for n in latent.noise)
    if noise != tuple(map(tuple, generator.noise_shapes)):
        raise misfit(where, "noise", noise, generator, generator.noise_shapes)
    try:
        check_label(generator, latent.label if latent.space is LatentSpace.Z else None, latent.space)
    except SettingsError as error:
        raise LatentFileError(f"{where}: {error}") from error


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
