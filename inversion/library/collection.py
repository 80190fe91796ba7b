"""Collections: folders, zips, the bundled digits and saved latents, as images and codes with names and labels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator
from generators.pictures.sources import Picture, pictures, thinned
from inversion.config import InvertConfig, config_of
from inversion.errors import ImageError, InversionError
from inversion.files.latent_file import LATENTS, load_latent
from inversion.guess import encode
from inversion.inverter import search
from inversion.latent import at_a_time, synthesize
from inversion.target import load_target

Counted = Callable[[Iterable[Any], str, int], Iterable[Any]]  # wraps a loop: items, what they are, how many


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
    sources: Sequence[str | Path],
    generator: Generator,
    *,
    config: InvertConfig | None = None,
    align: bool = True,
    batch: int = 32,
    limit: int | None = None,
    counted: Counted = lambda items, what, total: items,
    skipped: Callable[[str, str], object] = lambda name, why: None,
) -> Collection:
    """Images and codes of all that sources hold: pictures, saved latents, and folders of those.

    Pictures get the codes of `codes_of`; latents are rendered. A label is the folder that a picture stands in, or
    else its source, where there are several. limit: only so many, drawn at random. counted draws a bar; skipped is told
    of each file that cannot be used, and why. ImageError if nothing is left.
    """
    config = config or settings_for(generator)
    files = thinned([pair for source in sources for pair in listing(source, alone=len(sources) == 1)], limit)
    parts = []
    batch = at_a_time(generator, batch)
    for first in counted(range(0, len(files), batch), "batches", -(-len(files) // batch)):
        parts += read_batch(files[first : first + batch], generator, config, align, skipped)
    if not parts:
        raise ImageError(f"nothing in {', '.join(map(str, sources))} could be used; name other files")
    names, labels = tuple(n for part in parts for n in part.names), tuple(n for part in parts for n in part.labels)
    images, codes = torch.cat([part.images for part in parts]), torch.cat([part.codes for part in parts])
    return Collection(names, labels, images, codes)


def listing(source: str | Path, *, alone: bool) -> list[tuple[Picture | Path, str | None]]:
    """What a source holds, with labels; a Path is a saved latent. alone: the source's own name tells nothing."""
    path = Path(source)
    latents = sorted(path.rglob("*.latent.safetensors")) if path.is_dir() else []
    if path.suffix.lower() in LATENTS and not path.is_dir():
        return [(path, path.parent.name or None)]
    if latents:  # the pictures beside them are what they were made from
        return [(one, label_of(one.relative_to(path).as_posix(), None if alone else path.name)) for one in latents]
    return [(file, label_of(file.name, None if alone else path.stem)) for file in pictures(source)]


def read_batch(
    files: Sequence[tuple[Picture | Path, str | None]],
    generator: Generator,
    config: InvertConfig,
    align: bool,
    skipped: Callable[[str, str], object],
) -> list[Collection]:
    """The collections that the files make: one of each latent file, and one of all pictures."""
    found, names, labels, images = [], [], [], []
    for file, label in files:
        try:
            if isinstance(file, Path):
                found.append(latents_in(file, label, generator))
            else:
                images.append(load_target(file, generator, align=align).image)
                names.append(file.name)
                labels.append(label)
        except InversionError as error:
            skipped(str(file if isinstance(file, Path) else file.name), str(error))
    if images:
        stacked = torch.cat(images)
        codes = codes_of(generator, stacked, config)
        found.append(Collection(tuple(names), tuple(labels), stacked.cpu(), codes.cpu()))
    return found


def latents_in(path: Path, label: str | None, generator: Generator) -> Collection:
    """The latents of one file, rendered; several are numbered."""
    latent = load_latent(path, generator).to_w_plus(generator)
    name = path.name.removesuffix(path.suffix).removesuffix(".latent")
    names = [name] if len(latent) == 1 else [f"{name}-{i + 1}" for i in range(len(latent))]
    images, codes = synthesize(generator, latent).cpu(), latent.code.detach().cpu()
    return Collection(tuple(names), (label,) * len(latent), images, codes)


def settings_for(
    generator: Generator, recipe: str | None = None, *, steps: int | None = None, seed: int = 0
) -> InvertConfig:
    """How codes are found: by that recipe, or None: by the encoder, or else, without one, by the default recipe."""
    recipe = recipe or ("default" if generator.encoder is None or steps else "encode")
    return config_of(generator, recipe, steps=steps, seed=seed)


def codes_of(
    generator: Generator, images: Float[Tensor, "batch channels height width"], config: InvertConfig
) -> Float[Tensor, "batch num_ws w_dim"]:
    """Codes of images in w_plus: what the encoder sees, where config takes no steps, or else what a search finds."""
    seen = None if config.steps else encode(generator, images)
    if seen is not None:
        return seen.code
    *_, last = search(generator, images, config)
    return last.latent.to_ws(generator).detach()
