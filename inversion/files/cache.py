"""Latents of photographs, kept: a photograph is inverted the first time that it is named, and read from then on."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic

from generators.base import Generator
from generators.storage import sha256_of
from inversion.errors import LatentFileError, SettingsError, WriteError
from inversion.files.latent_file import FOREIGN, load_latent, save
from inversion.latent import Latent
from inversion.loop import InvertConfig, Step
from inversion.photograph import load_target, measure, search

LATENTS = (".safetensors", *FOREIGN)  # suffixes of saved latents; anything else is a photograph
SEARCH_VERSION = 1  # to be raised when equal settings come to give better latents, so that old ones are not used


def latent_of(
    source: str | Path,
    generator: Generator,
    config: InvertConfig,
    *,
    recipe: str = "default",
    align: bool = True,
    face: int | None = None,
    cache: Path | None = None,
    watch: Callable[[Step], object] | None = None,
) -> Latent:
    """The latent in a file, or of a photograph, which is inverted unless cache holds its latent already.

    A file is a latent where its suffix says so, and must hold one image's. cache None keeps nothing; standard input
    is never kept. watch sees every step of a search. Raises what `load_latent` and `invert` raise.
    """
    if Path(source).suffix.lower() in LATENTS:
        return load_one(Path(source), generator)
    key = cache_key(source, generator, config, align=align, face=face)
    kept = None if cache is None or key is None else cache / f"{key}.latent.safetensors"
    if kept is not None and kept.is_file():
        with suppress(LatentFileError):  # a damaged entry is made again
            return load_one(kept, generator)
    target, began, step = load_target(source, generator, align=align, face=face), monotonic(), None
    for step in search(generator, target.image, config):
        if watch is not None:
            watch(step)
    assert step is not None
    found = measure(generator, [target], step, config, recipe=recipe, seconds=monotonic() - began)[0]
    if kept is not None:
        with suppress(WriteError):  # a cache that cannot be written costs time, not the result
            save(found.latent, kept, generator, found.history)
    return found.latent


def latents_of(
    sources: Sequence[str | Path],
    generator: Generator,
    config: InvertConfig,
    *,
    recipe: str = "default",
    align: bool = True,
    face: int | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int, Step], object] | None = None,
) -> list[Latent]:
    """`latent_of` each source; in w_plus where they do not share a space. progress: sources done, in all, a step."""
    latents = []
    for done, source in enumerate(sources):
        watch = None if progress is None else partial(progress, done, len(sources))
        latents.append(
            latent_of(source, generator, config, recipe=recipe, align=align, face=face, cache=cache, watch=watch)
        )
    same = len({latent.space for latent in latents}) == 1
    return [latent if same else latent.to_w_plus(generator) for latent in latents]


def load_one(path: Path, generator: Generator) -> Latent:
    """The latent of one image; SettingsError where the file holds those of several."""
    latent = load_latent(path, generator)
    if len(latent) != 1:
        raise SettingsError(f"{path} holds the latents of {len(latent)} images; save the one that you mean to a file")
    return latent


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
