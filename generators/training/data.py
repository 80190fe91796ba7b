"""Training pictures: folders and zip files -> one uint8 tensor in memory."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from generators.errors import TrainingError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Pictures:
    """All pictures of a run, and how often each is drawn."""

    images: UInt8[Tensor, "count 3 size size"]
    weights: Float[Tensor, " count"]  # sum to one
    skipped: tuple[str, ...]  # files that could not be read
    resized: int  # how many were of another size

    def without(self, count: int, seed: int) -> tuple["Pictures", UInt8[Tensor, "count 3 size size"]]:
        """The pictures left after holding `count` of them out for measuring, and those."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))
        held, kept = order[:count].sort().values, order[count:].sort().values
        weights = self.weights[kept] / self.weights[kept].sum()
        return replace(self, images=self.images[kept], weights=weights), self.images[held]

    def some(self, count: int, seed: int) -> UInt8[Tensor, "count 3 size size"]:
        """So many pictures as a run draws them, unchanged; some come twice."""
        rng = torch.Generator().manual_seed(seed)
        return self.images[torch.multinomial(self.weights, count, replacement=True, generator=rng)]

    def draw(self, batch: int, rng: torch.Generator) -> Float[Tensor, "batch 3 size size"]:
        """Random pictures in [-1, 1], mirrored half of the time and moved by up to 3 % of their size."""
        index = torch.multinomial(self.weights, batch, replacement=True, generator=rng)
        x = self.images[index].float() / 127.5 - 1
        mirror = torch.rand(batch, 1, 1, 1, generator=rng) < 0.5
        x = torch.where(mirror, x.flip(3), x)
        reach = round(0.03 * x.shape[-1])
        moves = torch.randint(0, 2 * reach + 1, (batch, 2), generator=rng).tolist()
        padded, size = F.pad(x, (reach,) * 4, mode="reflect"), x.shape[-1]
        return torch.stack([p[:, j : j + size, i : i + size] for p, (i, j) in zip(padded, moves, strict=True)])


def load_pictures(sources: Sequence[Path], resolution: int, *, shares: Sequence[float] | None = None) -> Pictures:
    """Read every picture of the sources (folders or zip files) at resolution x resolution, centre-cropped.

    shares says how often each source is drawn; None: by its number of pictures. TrainingError if nothing can be read.
    """
    if shares is not None and (len(shares) != len(sources) or min(shares) < 0 or sum(shares) <= 0):
        raise TrainingError(f"{len(shares)} shares came for {len(sources)} sources; give one positive number for each")
    images, weights, skipped, resized = [], [], [], 0
    for k, source in enumerate(sources):
        found = []
        for name, data in files_of(source):
            try:
                picture = Image.open(io.BytesIO(data)).convert("RGB")
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # SyntaxError: broken PNGs
                skipped.append(f"{source}/{name}")
                continue
            resized += picture.size != (resolution, resolution)
            found.append(to_square(picture, resolution))
        images += found
        share = len(found) if shares is None else shares[k]
        weights += [share / max(len(found), 1)] * len(found)
    if not images:
        names, kinds = ", ".join(map(str, sources)), ", ".join(sorted(SUFFIXES))
        raise TrainingError(f"no readable picture in {names}; give folders or zips of {kinds}")
    w = torch.tensor(weights)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Pictures(stacked, w / w.sum(), tuple(skipped), resized)


def files_of(source: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each picture file, in order of name."""
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES):
            yield str(path.relative_to(source)), path.read_bytes()
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as z:
            for name in sorted(n for n in z.namelist() if Path(n).suffix.lower() in SUFFIXES):
                yield name, z.read(name)
    else:
        raise TrainingError(f"{source} is neither a folder nor a zip file of pictures")


def to_square(picture: Image.Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Centre crop to a square and resize, antialiased."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    crop = picture.crop((left, top, left + side, top + side))
    return np.asarray(crop.resize((size, size), Image.Resampling.LANCZOS))
