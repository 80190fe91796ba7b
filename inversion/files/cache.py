"""Latents of photographs, kept: a photograph is inverted the first time that it is named, and read from then on."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from generators.base import Generator
from generators.storage import sha256_of
from inversion.config import InvertConfig

SEARCH_VERSION = 1  # to be raised when equal settings come to give better latents, so that old ones are not used


def cache_key(
    source: str | Path, generator: Generator, config: InvertConfig, *, align: bool, face: int | None
) -> str | None:
    """A name for all that the latent of a photograph depends on; None where there is no file to name."""
    try:
        photograph = sha256_of(source)
    except OSError:  # reading it says what is wrong
        return None
    settings = asdict(config) | {"align": align, "face": face}
    text = json.dumps([photograph, generator.sha256, settings, SEARCH_VERSION], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
