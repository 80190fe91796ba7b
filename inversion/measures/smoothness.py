"""Between two faces: whether what lies half way is a face, sharp, and how fast the picture changes along the way."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from generators.base import Generator
from generators.pictures.image import to_pil, write_image
from generators.pictures.sheet import sheet
from inversion.config import LatentSpace
from inversion.edit.move import interpolate
from inversion.features import discriminator_features
from inversion.inverter import Inversion
from inversion.latent import sample_latent, synthesize
from inversion.measures.diversity import measure_pictures, ratio
from inversion.metrics import quantile, unit_energy

EPSILON = 1e-4  # step along a path, as a share of it; Karras et al. 2019
SHEET_ROWS = 12
KINDS = ("spherical", "linear", "pixel average")


def draw_pairs(names: Iterable[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of different names, so many different ones or all that there are."""
    pairs = list(combinations(sorted(names), 2))
    return [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))[:count]]


def midpoints(
    generator: Generator, one: Inversion, two: Inversion
) -> dict[str, Float[Tensor, "1 channels height width"]]:
    """The images half way: as `latent interpolate` goes, on the straight line, and the mean of the two pictures."""
    center = None if one.latent.space is LatentSpace.Z else generator.w_avg
    ways = {kind: interpolate(one.latent, two.latent, 0.5, kind=kind, center=center) for kind in KINDS[:2]}
    drawn = {kind: synthesize(generator, latent) for kind, latent in ways.items()}
    return {**drawn, KINDS[2]: (one.image + two.image) / 2}


def measure_midpoints(
    generator: Generator, people: Mapping[str, Inversion], pairs: Iterable[tuple[str, str]], *, faces: bool = True
) -> dict[str, dict[str, float | None]]:
    """The midpoints of each of KINDS: face_rate, laplacian_ratio and sharpness.

    The ratio is the median over pairs of a midpoint's Laplacian energy over the mean of its parents' reconstructions';
    sharpness is its root. Two unlike pictures averaged have half the energy, a sharpness of 0.71. face_rate is None for
    faces=False, and all are where there is no pair.
    """
    found: dict[str, list[tuple[bool, float]]] = {kind: [] for kind in KINDS}
    for a, b in pairs:
        parents = measure_pictures([people[a].image, people[b].image], faces=False).energy
        for kind, image in midpoints(generator, people[a], people[b]).items():
            seen = measure_pictures([image], faces=faces)
            found[kind].append((seen.face_rate == 1, ratio(seen.energy, parents) or 0.0))
    figures: dict[str, dict[str, float | None]] = {}
    for kind, values in found.items():
        middle = quantile(sorted(energy for _, energy in values), 0.5)
        rate = sum(face for face, _ in values) / len(values) if values and faces else None
        sharpness = None if middle is None else middle**0.5
        figures[kind] = {"face_rate": rate, "laplacian_ratio": middle, "sharpness": sharpness}
    return figures


def write_midpoints(
    generator: Generator, people: Mapping[str, Inversion], pairs: Sequence[tuple[str, str]], path: Path
) -> None:
    """A row for each of the first dozen pairs: A, what lies half way, B; nothing without a pair."""
    images: list[Image.Image] = []
    labels: list[str] = []
    for a, b in pairs[:SHEET_ROWS]:
        between = midpoints(generator, people[a], people[b])
        images += [to_pil(image) for image in (people[a].image, *between.values(), people[b].image)]
        labels += [Path(a).stem, *between, Path(b).stem]
    if images:
        write_image(sheet(images, labels, columns=5, tile=128), path)


@torch.no_grad()
def perceptual_path_length(
    generator: Generator,
    *,
    pairs: int = 500,
    batch: int = 8,
    seed: int = 0,
    epsilon: float = EPSILON,
    label: int | None = None,
) -> float:
    """How fast the picture changes along straight paths between samples in w, by the model's own discriminator.

    The mean over paths of d(G(t), G(t + epsilon)) / epsilon^2, t uniform in [0, 1]; d is the squared difference of
    features scaled to unit length at each pixel, averaged over pixels and levels. It compares generators under one
    discriminator only. FeatureError without one. Karras et al. 2019, section 4.1, there with VGG's features.
    """
    features = discriminator_features(generator)
    ends = sample_latent(generator, batch=2 * pairs, seed=seed, label=label).code
    t = torch.rand(pairs, 1, 1, generator=torch.Generator().manual_seed(seed)).to(ends)
    found = []
    for part in torch.arange(pairs, device=ends.device).split(batch):
        a, b = ends[part], ends[pairs + part]
        at, noise = t[part], generator.fixed_noise(len(part))
        one, two = (features(generator.synthesis(a.lerp(b, at + step), noise)) for step in (0, epsilon))
        levels = [(unit_energy(x) - unit_energy(y)).square().mean(dim=(1, 2, 3)) for x, y in zip(one, two, strict=True)]
        found.append(torch.stack(levels).mean(dim=0) / epsilon**2)
    return float(torch.cat(found).double().mean())
