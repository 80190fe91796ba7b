"""What the readers of other people's files share. What they raise goes on from the file's name: see `errors.naming`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generators.base import Generator
from generators.checkpoints.ours import assemble
from generators.errors import ModelFileError, naming
from generators.stylegan2 import StyleGAN2, StyleGAN2Config
from generators.unpickle.allowed import SLACK
from generators.unpickle.torch_save import load_torch

LARGEST = 4096  # px; a file of small weights could otherwise ask for noise maps of any size


def read_saved(path: Path) -> Any:
    """The content of a file of torch.save; OSError where there is none, ModelFileError where it is damaged."""
    with naming(path), path.open("rb") as file:
        return load_torch(file)


def stylegan2(config: StyleGAN2Config, tensors: dict[str, Tensor], card: dict[str, object]) -> StyleGAN2:
    """A generator with weights in our names; ModelFileError where they do not fit."""
    height, width = tensors["start"].shape[-2:] if "start" in tensors and tensors["start"].ndim == 4 else (4, 4)
    if height != width:
        raise ModelFileError(
            f"draws pictures that are not square (grown from {width} x {height} px); none such is read"
        )
    generator = assemble("stylegan2", config, tensors, card)
    assert isinstance(generator, StyleGAN2)
    return generator


def check_size(tensors: Iterable[Tensor]) -> None:
    """ModelFileError where all that a file names is far larger than what it holds, as with one tensor of many names."""
    named = list(tensors)
    total = sum(value.numel() * value.element_size() for value in named)
    stores = {store.data_ptr(): store.nbytes() for store in (value.untyped_storage() for value in named)}
    if total > 4 * sum(stores.values()) + SLACK:
        raise ModelFileError(f"names {total:,} bytes of weights, far more than it holds; it is damaged")


def with_noise(tensors: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """The weights of a StyleGAN2; layers that were trained without noise get noise of no strength."""
    for index in range(blocks):
        for conv in ("conv0", "conv1")[index == 0 :]:
            tensors.setdefault(f"blocks.{index}.{conv}.noise_strength", torch.zeros(()))
            tensors.setdefault(f"blocks.{index}.{conv}.noise_const", torch.zeros(4 << index, 4 << index))
    return tensors


def taps(kernel: Tensor | None) -> tuple[float, ...]:
    """A low-pass kernel as the line that it is the square of, its sum 8; None is the usual one."""
    if kernel is None:
        return (1.0, 3.0, 3.0, 1.0)
    line = kernel.float().sum(0) if kernel.ndim == 2 else kernel.float()
    total = float(line.sum())
    if line.ndim != 1 or not 2 <= len(line) <= 16 or len(line) % 2 or not total > 0:
        raise ModelFileError(f"enlarges with a filter of {tuple(kernel.shape)}; an even number of taps is wanted")
    line = line / total * 8
    if kernel.ndim == 2 and (torch.outer(line, line) / 64 - kernel / kernel.sum()).abs().max() > 1e-4:
        raise ModelFileError("enlarges with a filter that is no product of two lines; that is not supported")
    return tuple(round(float(x), 6) for x in line)


def filters_of(conv: Sequence[Tensor | None], rgb: Sequence[Tensor | None]) -> dict[str, Any]:
    """A StyleGAN2's settings for the filters of its doublings, of features and of the picture; None is the usual one.

    Where most of a file's filters are left out, those that are there tell the others.
    """
    known = next((kernel for kernel in (*conv, *rgb) if kernel is not None), None)
    lines = [tuple(taps(known if kernel is None else kernel) for kernel in kernels) for kernels in (conv, rgb)]
    first = taps(known)
    if {first}.issuperset((*lines[0], *lines[1])):
        return {"resample": first}
    return {"resample": first, "resample_conv": lines[0], "resample_rgb": lines[1]}


@torch.no_grad()
def estimate_mean(generator: Generator, samples: int = 10_000, seed: int = 0) -> None:
    """Set w_avg to the mean of so many mapped z, for a file that does not hold it; the card says so."""
    rng, total = torch.Generator().manual_seed(seed), torch.zeros(generator.w_dim, dtype=torch.float64)
    for done in range(0, samples, 1000):
        count = min(1000, samples - done)  # at a time: w_avg, and with it the sha256, depends on it
        total += generator.mapping(*generator.sample_z(count, rng))[:, 0].double().sum(0)
    generator.w_avg.copy_(total / samples)
    remark(generator.card, "notes", f"w_avg is not in the file: estimated from {samples:,} samples, seed {seed}")


def remark(card: dict[str, object], key: str, text: str) -> None:
    """Add a line to a list of the card."""
    card[key] = [*card.get(key, []), text]  # type: ignore[misc]
