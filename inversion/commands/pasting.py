"""Faces, back into the photographs that they were cut out of; what `--paste` asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inversion.errors import ImageError, LatentFileError

if TYPE_CHECKING:
    from PIL import Image

    from generators.base import Generator
    from generators.pictures.sources import Content, Picture
    from inversion.faces.align import Alignment
    from inversion.latent import Latent

PLAIN, EDITED = 0.1, 0.25  # feathers: an edit may change the background, which then has to fade


@dataclass(frozen=True)
class Pasting:
    """A photograph, where its face was cut out, and the latent that was found for it; None where nothing was edited."""

    content: "Content"
    alignment: "Alignment"
    unedited: "Latent | None" = None

    def picture(self, generator: "Generator", drawn: "Image.Image") -> "Image.Image":
        """The photograph with a rendering, or with what an edit changed, in the place of its face."""
        from generators.pictures.image import to_pil
        from inversion.faces.paste import paste_back
        from inversion.latent import synthesize

        before = None if self.unedited is None else to_pil(synthesize(generator, self.unedited))
        feather = PLAIN if before is None else EDITED
        return paste_back(self.content.image(), drawn, self.alignment, feather, instead_of=before)

    def exif(self, picture: "Image.Image") -> bytes | None:
        """The photograph's EXIF, without the place where it was taken."""
        from generators.pictures.exif import kept_exif

        return kept_exif(self.content.data, picture.size)


def pastings(
    generator: "Generator",
    things: "Sequence[Path | Picture]",
    unedited: "Sequence[Latent | None]",
    into: Path | None = None,
    face: int | None = None,
) -> list[Pasting]:
    """Where the face of each thing goes; into: the photograph of all of them, for saved latents, which hold none.

    ImageError or LatentFileError where a photograph is missing, is another one, or had no face cut out.
    """
    from inversion.target import load_target

    found = []
    for thing, latent in zip(things, unedited, strict=True):
        if isinstance(thing, Path):
            found.append(of_latent(thing, latent, into))
            continue
        content = thing.content()
        alignment = load_target(generator, content, face=face).alignment
        if alignment is None:
            raise ImageError(
                f"{generator.name} draws no faces, so that none is cut out of {thing.place} to be put back"
            )
        found.append(Pasting(content, alignment, latent))
    return found


def of_latent(path: Path, latent: "Latent | None", into: Path | None) -> Pasting:
    """Where the face of a saved latent goes."""
    from generators.pictures.sources import lone_file
    from inversion.faces.align import Alignment
    from inversion.faces.paste import check_photo
    from inversion.files.latent_file import header_of

    history = header_of(path).get("history")
    told = history.get("alignment") if isinstance(history, dict) else None
    if not isinstance(told, dict):
        raise LatentFileError(f"{path} has no alignment, so that its face has no place; invert its photograph, aligned")
    if into is None:
        assert isinstance(history, dict)
        raise LatentFileError(f"{path} holds no photograph; add --into {history.get('photograph') or 'PHOTO'}")
    content, alignment = lone_file(into).content(), Alignment.from_json(told)
    check_photo(content.image(), alignment)
    return Pasting(content, alignment, latent)
