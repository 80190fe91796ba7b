"""Latents of photographs, kept: a photograph is inverted the first time that it is named, and read from then on."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from generators.base import Generator
from generators.pictures.image import READING
from generators.storage import is_file, write_kept
from inversion.config import InvertConfig
from inversion.errors import LatentFileError, WriteError
from inversion.files.latent_file import Bundle, as_bytes, read_bundle
from inversion.latent import Latent, check_fits

VERSION = 1  # to be raised when equal settings come to give better latents, so that old ones are not used
WAYS = ("checkpoint",)  # settings that say how a latent is computed, and not which
TOLD = ("losses", "metrics", "steps", "seconds")  # what an entry has to tell of its making


def entry_of(
    cache: Path,
    photograph: str,
    generator: Generator,
    config: InvertConfig,
    cut: dict[str, Any],
) -> Path:
    """The file in the cache that is named for all that a latent depends on.

    photograph is the sha256 of its file; cut tells how the target was made of it (align, face, mask).
    """
    settings = {name: value for name, value in asdict(config).items() if name not in WAYS} | cut
    text = json.dumps([photograph, generator.sha256(), settings, VERSION, READING], sort_keys=True)
    return cache / f"{hashlib.sha256(text.encode()).hexdigest()}.latent.safetensors"


def kept(entry: Path, generator: Generator) -> Bundle | None:
    """An entry of the cache; None where there is none, or a damaged one, which is made again."""
    with suppress(LatentFileError):
        bundle = read_bundle(entry) if is_file(entry) else None
        if bundle is not None and bundle.history.keys() >= set(TOLD) and len(bundle.latent) == 1:
            check_fits(generator, bundle.latent, str(entry))
            return bundle
    return None


def write_entry(entry: Path, latent: Latent, generator: Generator, history: dict[str, Any]) -> None:
    """Keep a latent; a cache that cannot be written to costs time, not the result."""
    with suppress(WriteError):
        write_kept(entry, as_bytes(latent, entry, generator, history))


def settings_told(config: InvertConfig) -> dict[str, Any]:
    """The settings as JSON has them."""
    return {**asdict(config), "coarse": [list(pair) for pair in config.coarse]}
