"""Training pictures: folders, zips, files -> one uint8 tensor, in memory, or mapped from a file if it does not fit."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generators.device import free_memory
from generators.errors import ImageError, TrainingError
from generators.pictures.formats import NAMES
from generators.pictures.image import READING, notes_of, square_pixels
from generators.pictures.sources import Picture, digit_pictures, fingerprint, is_digits, pictures
from generators.shapes import Float, Int, UInt8
from generators.storage import from_json, write_bytes
from generators.training.distributed import is_main, world

Files = list[tuple[int, Picture]]  # index of the source, and a picture of it
Watch = Callable[[Files], Iterable[tuple[int, Picture]]]  # wraps a loop, for a progress bar


@dataclass(frozen=True)
class Pictures:
    """All pictures of a run, and how often each is drawn."""

    images: UInt8[Tensor, "count channels size size"]  # in random order
    weights: Float[Tensor, " count"]  # sum to one
    skipped: tuple[str, ...]  # files that could not be read
    resized: int  # how many were of another size or shape
    grey: int = 0  # how many have no colour
    duplicates: int = 0  # how many equal an earlier one, pixel for pixel
    guessed: tuple[str, ...] = ()  # a line on each that was read by a guess, as by the range of its values
    mapped: Path | None = None  # the file that holds the images; None: they are in memory

    def without(self, count: int) -> tuple["Pictures", UInt8[Tensor, "count channels size size"]]:
        """The pictures left after holding the last `count` out for measuring, and those; nothing is copied.

        The order is random, so these are a fair sample; the same pictures always hold out the same ones.
        """
        kept = len(self.images) - count
        weights = self.weights[:kept] / self.weights[:kept].sum()
        return replace(self, images=self.images[:kept], weights=weights), self.images[kept:]

    def subsample(self, count: int, seed: int) -> UInt8[Tensor, "count channels size size"]:
        """Pictures as a run draws them, unchanged; some come twice."""
        rng = torch.Generator().manual_seed(seed)
        return self.images[torch.multinomial(self.weights, count, replacement=True, generator=rng)]

    def draw(self, batch: int, rng: torch.Generator, mirror: bool = True) -> Float[Tensor, "batch channels size size"]:
        """Random pictures in [-1, 1], mirrored half of the time and moved by up to 3 % of their size.

        mirror=False leaves the sides as they are, and changes nothing else of what rng draws.
        """
        index = torch.multinomial(self.weights, batch, replacement=True, generator=rng)
        x = self.images[index].float() / 127.5 - 1
        flip = torch.rand(batch, 1, 1, 1, generator=rng) < 0.5
        x = torch.where(flip & mirror, x.flip(3), x)
        reach = round(0.03 * x.shape[-1])
        moves = torch.randint(0, 2 * reach + 1, (batch, 2), generator=rng).tolist()
        padded, size = F.pad(x, (reach,) * 4, mode="reflect"), x.shape[-1]
        return torch.stack([p[:, j : j + size, i : i + size] for p, (i, j) in zip(padded, moves, strict=True)])


def load_pictures(
    sources: Sequence[Path],
    resolution: int,
    *,
    channels: int = 3,
    shares: Sequence[float] | None = None,
    cache: Path | None = None,
    memory: int | None = None,
    watch: Watch = iter,
) -> Pictures:
    """Read every picture of the sources (folders, zips or files) at resolution x resolution, centre-cropped.

    shares says how often each source is drawn; None: by its number of pictures. cache is the file to keep pictures in
    that take more than half of the memory (bytes; None: what is free), and always where several processes share a run;
    it is used again while the sources stay as they are. watch wraps the loop, for a progress bar. TrainingError if
    nothing can be read, or if there is no room for the pictures.
    """
    if shares is not None and (len(shares) != len(sources) or min(shares) < 0 or sum(shares) <= 0):
        raise TrainingError(f"{len(shares)} shares came for {len(sources)} sources; give one positive number for each")
    files = shuffled([(k, picture) for k, source in enumerate(sources) for picture in listed(source)])
    shape = (len(files), channels, resolution, resolution)
    mapped = place_for(shape, cache, free_memory() if memory is None else memory)
    if mapped is None:
        about = read_all(files, (images := np.empty(shape, np.uint8)), watch)
    else:
        images, about = read_mapped(files, shape, mapped, watch)
    if not about["sources"]:
        names = ", ".join(map(str, sources))
        raise TrainingError(f"no readable picture in {names}{about['why']}; give folders or zips of {NAMES}")
    weights = weights_of(torch.tensor(about["sources"]), len(sources), shares)
    found = {key: about[key] for key in ("resized", "grey", "duplicates")}
    stacked = torch.from_numpy(images[: len(weights)])
    return Pictures(stacked, weights, tuple(about["skipped"]), guessed=tuple(about["guessed"]), mapped=mapped, **found)


def listed(source: Path) -> list[Picture]:
    """The pictures of a source, of the digits those to train on; TrainingError where it holds none."""
    try:
        return digit_pictures("train") if is_digits(source) else pictures(source)
    except ImageError as error:
        raise TrainingError(str(error)) from error


def weights_of(origin: Int[Tensor, " count"], sources: int, shares: Sequence[float] | None) -> Float[Tensor, " count"]:
    """How often each picture is drawn, summing to one; origin is the source of each."""
    counts = origin.bincount(minlength=sources)
    share = counts if shares is None else torch.tensor(shares)
    weights = (share / counts.clamp(min=1))[origin].float()
    return weights / weights.sum()


def shuffled(files: Files) -> Files:
    """The files in random order, always the same."""
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).flip(0)
    return [files[i] for i in order]


def read_all(files: Files, images: np.ndarray, watch: Watch) -> dict[str, Any]:
    """Fill images from the front with what can be read; gives the source of each, and what was seen on the way."""
    size, channels = images.shape[-1], images.shape[1]
    about: dict[str, Any] = {"sources": [], "skipped": [], "why": "", "guessed": []}
    about |= {"resized": 0, "grey": 0, "duplicates": 0}
    seen: set[bytes] = set()
    for k, picture in watch(files):
        try:
            image = picture.read()
        except ImageError as error:
            about["skipped"].append(picture.place)
            about["why"] = about["why"] or f" ({error})"
            continue
        about["guessed"] += notes_of(image)[:1]
        square = square_pixels(image, size, channels)
        images[len(about["sources"])] = square
        about["sources"].append(k)
        about["resized"] += image.size != (size, size)
        about["grey"] += bool(np.ptp(square, axis=0).mean() < 1)
        digest = hashlib.blake2b(square.tobytes(), digest_size=16).digest()
        about["duplicates"] += digest in seen
        seen.add(digest)
    about["skipped"].sort()
    return about


def place_for(shape: tuple[int, ...], cache: Path | None, memory: int | None) -> Path | None:
    """The file to keep pictures of this shape in, or None for memory; TrainingError if neither has the room."""
    need = int(np.prod(shape, dtype=np.int64))
    fits = memory is None or need <= memory // 2
    if not need or (fits and (world() == 1 or cache is None)):
        return None
    what = f"{shape[0]} pictures of {shape[-1]} px take {need / 1e9:.1f} GB"
    if cache is None:
        free = f"{(memory or 0) / 1e9:.1f} GB of memory"
        raise TrainingError(f"{what}, and {free} are free; give fewer, a smaller resolution, or a cache file")
    cache.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.parent).free + (cache.stat().st_size if cache.exists() else 0)
    if need > free - 2**28:
        raise TrainingError(
            f"{what}; {(memory or 0) / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB at {cache.parent} are free; "
            "give --run on a larger disk, or a smaller --resolution"
        )
    return cache


def read_mapped(files: Files, shape: tuple[int, ...], path: Path, watch: Watch) -> tuple[np.ndarray, dict[str, Any]]:
    """The pictures as a file that is mapped into memory, and what `read_all` tells; read anew if a source changed."""
    notes = path.with_suffix(".json")
    key = {"shape": list(shape), "pictures": fingerprint([picture for _, picture in files]), "reading": READING}
    while (about := read_notes(notes, key)) is None and not is_main():
        sleep(1)  # the main process reads them for all
    if about is not None:
        return np.memmap(path, np.uint8, "r+", shape=shape), about
    notes.unlink(missing_ok=True)
    images = np.memmap(path, np.uint8, "w+", shape=shape)
    about = read_all(files, images, watch) | {"key": key}
    images.flush()
    write_bytes(json.dumps(about).encode(), notes)  # the notes come last: with them the pictures are whole
    return images, about


def read_notes(path: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """The notes beside mapped pictures; None where there are none, or where they are of others."""
    try:
        about = from_json(path.read_text())
        return about if about["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
