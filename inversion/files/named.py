"""Sources by name: saved latents, and pictures."""

from collections.abc import Iterable
from pathlib import Path

from generators.pictures.sources import Picture, pictures
from inversion.files.chosen import is_latent


def named(sources: Iterable[str | Path | Picture]) -> list[Path | Picture]:
    """The things that sources name: a saved latent, those in a folder, or else its pictures (`sources.pictures`)."""
    found: list[Path | Picture] = []
    for source in sources:
        if isinstance(source, Picture):
            found.append(source)
            continue
        path = Path(source)
        if is_latent(path):
            found.append(path)
        else:  # the pictures beside latents are what they were made from, and what they render
            found += latents_in(path) or pictures(source)
    return found


def latents_in(folder: Path) -> list[Path]:
    """The saved latents in a folder and its folders."""
    return sorted(folder.rglob("*.latent.safetensors")) if folder.is_dir() else []
