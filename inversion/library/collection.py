"""Collections: folders, zips, the bundled digits and saved latents, as images and codes with names and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator
from generators.pictures.sources import Picture, thinned
from inversion.errors import ImageError, InversionError
from inversion.files.chosen import is_latent, short_name
from inversion.files.latent_file import load_latent
from inversion.files.named import named
from inversion.inverter import Inverter
from inversion.latent import at_a_time, synthesize
from inversion.watch import SILENT, Watch

Labelled = tuple[Path | Picture, str | None]  # a Path is a saved latent
BATCH = 32  # pictures at a time, up to 256 px


@dataclass(frozen=True)
class Collection:
    """Images and their codes, with what to call them; one of each for each image."""

    names: tuple[str, ...]
    labels: tuple[str | None, ...]  # None: it stands in no group
    images: Float[Tensor, "count channels height width"]
    codes: Float[Tensor, "count num_ws w_dim"]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int]) -> "Collection":
        """Some of them, in the order of rows."""
        names, labels = tuple(self.names[i] for i in rows), tuple(self.labels[i] for i in rows)
        return Collection(names, labels, self.images[list(rows)], self.codes[list(rows)])


def label_of(name: str, otherwise: str | None = None) -> str | None:
    """The folder that a picture stands in, the outermost below its source."""
    first, slash, _ = name.partition("/")
    return first if slash else otherwise


def collect(
    sources: Sequence[str | Path], inverter: Inverter, watch: Watch = SILENT, *, limit: int | None = None
) -> Collection:
    """Images and codes of all that sources hold: pictures, saved latents, and folders of those.

    Pictures get the codes of `Inverter.coded`; latents are rendered. A label is the folder that a picture stands in, or
    else its source, where there are several. limit: only so many, drawn at random. watch counts the batches, and hears
    of each file that cannot be used. ImageError if nothing is left.
    """
    files = listed(sources, limit)
    parts: list[Collection] = []
    size = inverter.batch or at_a_time(inverter.generator, BATCH)
    for first in watch.counted(range(0, len(files), size), "batches", -(-len(files) // size)):
        parts += read_batch(files[first : first + size], inverter, watch)
    if not parts:
        raise ImageError(f"nothing in {', '.join(map(str, sources))} could be used; name other files")
    names = tuple(name for part in parts for name in part.names)
    labels = tuple(label for part in parts for label in part.labels)
    return Collection(names, labels, torch.cat([part.images for part in parts]), torch.cat([p.codes for p in parts]))


def listed(sources: Sequence[str | Path], limit: int | None = None) -> list[Labelled]:
    """All things that sources name, with labels, or so many, drawn at random."""
    return thinned([pair for source in sources for pair in listing(source, alone=len(sources) == 1)], limit)


def most_codes(sources: Sequence[str | Path], generator: Generator, limit: int | None = None) -> int:
    """How many codes `collect` can give, without a look at any photograph."""
    count = 0
    for one, _ in listed(sources, limit):
        try:
            count += len(load_latent(one, generator)) if isinstance(one, Path) else 1
        except InversionError:
            count += 1  # what is wrong with it is told when it is read again
    return count


def listing(source: str | Path, *, alone: bool) -> list[Labelled]:
    """The things that a source names, with labels. alone: the source's own name tells nothing."""
    path = Path(source)
    if is_latent(path):
        return [(path, path.parent.name or None)]
    own = path.stem if path.is_file() else path.name
    return [(one, label_of(within(one, path), None if alone else own)) for one in named([source])]


def within(one: Path | Picture, source: Path) -> str:
    """The name of a latent or a picture below its source."""
    return one.name if isinstance(one, Picture) else one.relative_to(source).as_posix()


def read_batch(files: Sequence[Labelled], inverter: Inverter, watch: Watch) -> list[Collection]:
    """The collections that the files make: one of each latent file, and one of each picture."""
    found: list[Collection] = []
    for file, label in files:
        if isinstance(file, Path):
            try:
                found.append(latents_of_file(file, label, inverter.generator))
            except InversionError as error:
                watch.skipped(str(file), str(error))
    photos = [(file, label) for file, label in files if isinstance(file, Picture)]
    coded = inverter.coded([photo for photo, _ in photos], watch)
    for (photo, label), one in zip(photos, coded, strict=True):
        if isinstance(one, InversionError):
            watch.skipped(photo.name, str(one))
        else:
            target, code = one
            found.append(Collection((photo.name,), (label,), target.image.cpu(), code.detach().cpu()))
    return found


def latents_of_file(path: Path, label: str | None, generator: Generator) -> Collection:
    """The latents of one file, rendered; several are numbered."""
    latent = load_latent(path, generator).to_w_plus(generator)
    name = short_name(path)
    names = [name] if len(latent) == 1 else [f"{name}-{i + 1}" for i in range(len(latent))]
    images, codes = synthesize(generator, latent).cpu(), latent.code.detach().cpu()
    return Collection(tuple(names), (label,) * len(latent), images, codes)
