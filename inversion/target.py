"""A photograph at the generator's size, and where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from generators.base import Generator
from generators.pictures.image import fit_square, read_image, resize, to_tensor
from generators.pictures.sources import Content, Picture, lone_file, pictures
from inversion.errors import ImageError
from inversion.faces.align import Alignment
from inversion.faces.align import align as align_face

Photo = str | Path | Picture | Content | Image.Image | Float[Tensor, "1 channels height width"]


@dataclass(frozen=True)
class Target:
    """The picture that is to be found, at the generator's size, and where it came from."""

    image: Float[Tensor, "1 channels height width"]
    source: str | None = None  # the photograph's path
    sha256: str | None = None  # of its file
    alignment: Alignment | None = None  # None: it was taken as it is

    @property
    def name(self) -> str | None:
        """The photograph's name without its folders, which stay out of files that are passed on."""
        return None if self.source is None else Path(self.source).name


def load_target(generator: Generator, photo: Photo, *, align: bool = True, face: int | None = None) -> Target:
    """Bring a photograph to the generator's size: aligned like its training faces, or cropped to the centre square.

    A generator of anything but faces takes the square, whatever align says; a grey one the picture's luma. face counts
    from the left, from 1; None takes the largest. A tensor is taken as it is, in [-1, 1]; ImageError if it has another
    size than the generator's images, or values far outside.
    """
    if isinstance(photo, Tensor):
        return Target(checked(generator, photo).to(generator.w_avg.device))
    picture, content = opened(photo)
    size = generator.img_resolution
    if align and generator.subject == "face":
        crop, alignment = align_face(picture, size, face)
    else:
        crop, alignment = resize(fit_square(picture), size), None
    image = to_tensor(crop)
    if generator.img_channels == 1:
        image = to_tensor(crop.convert("L").convert("RGB"))[:, :1]
    source = None if content is None else content.place
    digest = None if content is None else content.sha256
    return Target(image.to(generator.w_avg.device), source, digest, alignment)


def opened(photo: str | Path | Picture | Content | Image.Image) -> tuple[Image.Image, Content | None]:
    """A photograph as a picture, with the bytes of its file where it has one; nothing is read or decoded twice."""
    if isinstance(photo, Image.Image):
        return read_image(photo), None
    if isinstance(photo, str | Path):
        photo = pictures("-")[0] if str(photo) == "-" else lone_file(Path(photo))
    content = photo if isinstance(photo, Content) else photo.content()
    return content.image(), content


def checked(generator: Generator, image: Tensor) -> Float[Tensor, "1 channels height width"]:
    """The tensor, if it can be a target; synthesis may overshoot [-1, 1] a little."""
    size = (1, generator.img_channels, generator.img_resolution, generator.img_resolution)
    if tuple(image.shape) != size:
        raise ImageError(f"a tensor of {tuple(image.shape)} came, {generator.name} takes {size}; resize it first")
    if not (image.isfinite() & (image.abs() < 2)).all():
        raise ImageError("the tensor holds values outside of [-1, 1]; scale it, as in pixels / 127.5 - 1")
    return image.clone().float()  # one that was made in inference mode cannot be searched for


def stacked(targets: Sequence[Target]) -> Float[Tensor, "batch channels height width"]:
    """The pictures of several targets as one batch."""
    return torch.cat([target.image for target in targets])
