"""A photograph at the generator's size, and where it came from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from generators.base import Generator
from generators.pictures.image import at_most, fit_square, notes_of, read_image, resize, to_pil, to_tensor
from generators.pictures.memory import as_picture
from generators.pictures.sources import Content, Picture, lone_file, pictures
from inversion.errors import ImageError, note
from inversion.faces.align import Alignment, cut
from inversion.faces.align import align as align_face
from inversion.faces.mask import Mask, MaskLike, read_mask

File = BinaryIO | BufferedIOBase
Memory = Image.Image | np.ndarray  # as (h, w) or (h, w, channels)
Pixels = Float[Tensor, "1 channels height width"] | UInt8[Tensor, "1 channels height width"]
Photo = str | Path | Picture | Content | bytes | File | Memory | Pixels
OVERSHOOT = 1.5  # of a rendering, beyond [-1, 1]


@dataclass(frozen=True)
class Target:
    """The picture that is to be found, at the generator's size, and where it came from."""

    image: Float[Tensor, "1 channels height width"]
    source: str | None = None  # the photograph's path
    sha256: str | None = None  # of its file
    alignment: Alignment | None = None  # None: it was taken as it is
    kept: Bool[Tensor, "1 1 height width"] | None = None  # the pixels that count; None: all of them

    @property
    def name(self) -> str | None:
        """The photograph's name without its folders, which stay out of files that are passed on."""
        return None if self.source is None else Path(self.source).name

    @property
    def left_out(self) -> float:
        """The share of the pixels that does not count."""
        return 0.0 if self.kept is None else 1 - float(self.kept.float().mean())


def load_target(
    generator: Generator,
    photo: Photo,
    *,
    align: bool = True,
    face: int | None = None,
    mask: MaskLike | Mask | None = None,
) -> Target:
    """Bring a photograph to the generator's size: aligned like its training faces, or cropped to the centre square.

    A generator of anything but faces takes the square, whatever align says; a grey one the picture's luma. face counts
    from the left, from 1; None takes the largest. An array is a picture: bytes, or floats in one of the usual ranges. A
    tensor is taken as it is, in [-1, 1], or as bytes; ImageError if it has another size than the generator's images, or
    values far outside. mask: what is left out, as `read_mask` takes it; it goes the photograph's way, and so has its
    size.
    """
    mask = None if mask is None else read_mask(mask)
    device = generator.w_avg.device
    if isinstance(photo, Tensor):
        image = checked(generator, photo)
        return Target(image.to(device), kept=kept_of(mask, to_pil(image), to_pil(image), lambda m: m, device))
    picture, content = opened(photo)
    for line in notes_of(picture):
        note(line)
    size = generator.img_resolution
    if align and generator.subject == "face":
        crop, alignment = align_face(picture, size, face)
        through = partial(cut, alignment=alignment, size=size)
    else:
        crop, alignment = centre(picture, size), None
        through = partial(centre, size=size)
    kept = kept_of(mask, picture, crop, through, device)
    image = to_tensor(crop)
    if generator.img_channels == 1:
        image = to_tensor(crop.convert("L").convert("RGB"))[:, :1]
    source = None if content is None else content.place or None
    digest = None if content is None else content.sha256
    return Target(image.to(device), source, digest, alignment, kept)


def centre(picture: Image.Image, size: int) -> Image.Image:
    """The centre square at this size."""
    return resize(fit_square(picture), size)


def kept_of(
    mask: Mask | None,
    picture: Image.Image,
    crop: Image.Image,
    through: Callable[[Image.Image], Image.Image],
    device: torch.device,
) -> Bool[Tensor, "1 1 height width"] | None:
    """The pixels of the crop that count, which through makes of the picture; None where all of them do."""
    kept = None if mask is None else mask.kept(picture, crop, through)
    return None if kept is None or kept.all() else torch.from_numpy(kept)[None, None].to(device)


def opened(photo: str | Path | Picture | Content | bytes | File | Memory) -> tuple[Image.Image, Content | None]:
    """A photograph as a picture, with the bytes of its file where it has one; nothing is read or decoded twice."""
    if isinstance(photo, np.ndarray):
        photo = as_picture(photo)
    if isinstance(photo, Image.Image):
        return read_image(photo), None
    if isinstance(photo, str | Path):
        photo = pictures("-")[0] if str(photo) == "-" else lone_file(named_file(photo))
    if isinstance(photo, Content | Picture):
        content = photo if isinstance(photo, Content) else photo.content()
        return content.image(), content
    name = getattr(photo, "name", None)
    if isinstance(photo, bytes):
        content = Content("", photo)
    elif hasattr(photo, "read"):
        content = Content(name if isinstance(name, str) else "", at_most(photo, str(name or "the file")))
    else:
        raise ImageError(f"{type(photo).__name__} came; pass a path, an image, an array (h, w, 3), a tensor or bytes")
    return content.image(), content


def named_file(photo: str | Path) -> Path:
    """The path; ImageError where there is none in it."""
    if str(photo) == "":
        raise ImageError("the path is empty; name a photograph")
    return Path(photo)


def checked(generator: Generator, image: Tensor) -> Float[Tensor, "1 channels height width"]:
    """The tensor, if it can be a target, in [-1, 1], which renderings overshoot; a note where that seems not so."""
    size = (1, generator.img_channels, generator.img_resolution, generator.img_resolution)
    if tuple(image.shape) != size:
        raise ImageError(f"a tensor of {tuple(image.shape)} came, {generator.name} takes {size}; resize it first")
    if image.dtype == torch.uint8:
        return image.float() / 127.5 - 1
    if not (image.isfinite() & (image.abs() < 2)).all():
        raise ImageError("the tensor holds values outside of [-1, 1]; scale it, as in pixels / 127.5 - 1")
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high > 0:
        note(f"the tensor goes from {low:.2g} to {high:.2g}, taken as part of [-1, 1]; scale one in [0, 1] by * 2 - 1")
    elif max(-low, high) > OVERSHOOT:
        note(f"the tensor goes from {low:.2g} to {high:.2g}, taken as [-1, 1]; scale it if it is of another range")
    return image.clone().float()  # one that was made in inference mode cannot be searched for


def stacked_kept(targets: Sequence[Target]) -> Bool[Tensor, "batch 1 height width"] | None:
    """The pixels that count of several targets as one batch; None where all of all of them do."""
    if all(target.kept is None for target in targets):
        return None
    every = [torch.ones_like(t.image[:, :1], dtype=torch.bool) if t.kept is None else t.kept for t in targets]
    return torch.cat(every)


def stacked(targets: Sequence[Target]) -> Float[Tensor, "batch channels height width"]:
    """The pictures of several targets as one batch."""
    return torch.cat([target.image for target in targets])
