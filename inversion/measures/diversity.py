"""Diversity of the faces in a set of pictures, and their distance from those of another set, by dlib's descriptors."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from generators.pictures.image import to_pil
from inversion.errors import SettingsError
from inversion.faces.detect import describe
from inversion.metrics import laplacian_energy

FEWEST = 200  # descriptors on either side of a Fréchet distance: their covariance has 128 directions
MOST = 2000  # descriptors whose distances are all taken, two million; of more, so many are drawn
CHUNK = 64  # rows of a table of distances held at a time


@dataclass(frozen=True)
class FaceStats:
    """Descriptors and sharpness of pictures, in their order."""

    descriptors: tuple[Float[np.ndarray, " 128"] | None, ...]  # None without a face
    energies: tuple[float, ...]  # `laplacian_energy` of each

    def __len__(self) -> int:
        return len(self.energies)

    @property
    def faces(self) -> Float[np.ndarray, "faces 128"]:
        """The descriptors of those that have a face."""
        return np.array([d for d in self.descriptors if d is not None]).reshape(-1, 128)

    @property
    def face_rate(self) -> float | None:
        """The share with a face; None for no picture."""
        return len(self.faces) / len(self) if len(self) else None

    @property
    def energy(self) -> float | None:
        """Mean Laplacian energy; None for no picture."""
        return sum(self.energies) / len(self) if len(self) else None


def measure_pictures(images: Iterable[Float[Tensor, "1 channels height width"]], *, faces: bool = True) -> FaceStats:
    """Describe and measure pictures in [-1, 1], one by one; faces=False looks for none."""
    pairs = [(describe(to_pil(image)) if faces else None, float(laplacian_energy(image)[0])) for image in images]
    return FaceStats(tuple(d for d, _ in pairs), tuple(e for _, e in pairs))


def frechet_distance(a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "m dim"]) -> float:
    """Fréchet distance of the Gaussians with the mean and covariance of a and of b, squared as it is always given.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); 0 for equal sets, and never quite 0 for two samples of one
    population. SettingsError for fewer than two rows. Heusel et al. 2017 (FID), with dlib's descriptors for Inception's
    features.
    """
    if min(len(a), len(b)) < 2:
        raise SettingsError(f"{len(a)} and {len(b)} descriptors came; a covariance needs two on each side, at least")
    c1, c2 = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    root = matrix_root(c1)
    # (C1 C2)^(1/2) has the eigenvalues of the symmetric (C1^(1/2) C2 C1^(1/2))^(1/2), which stays real
    overlap = np.sqrt(np.linalg.eigvalsh(root @ c2 @ root).clip(min=0)).sum()
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return max(0.0, float(shift + np.trace(c1) + np.trace(c2) - 2 * overlap))


def matrix_root(c: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim dim"]:
    """The symmetric root of a covariance."""
    values, axes = np.linalg.eigh(c)
    return axes * np.sqrt(values.clip(min=0)) @ axes.T


def mean_pairwise(points: Float[np.ndarray, "n dim"], *, seed: int = 0) -> float | None:
    """Mean Euclidean distance of all pairs, of 2,000 points drawn where there are more; None for fewer than two."""
    from scipy.spatial.distance import pdist

    return float(pdist(subsample(points, MOST, seed)).mean()) if len(points) > 1 else None


def nearest(
    points: Float[np.ndarray, "n dim"], among: Float[np.ndarray, "m dim"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """For each point the row of among that is nearest by Euclidean distance, and how far it is."""
    tables = [distances(points[i : i + CHUNK], among) for i in range(0, len(points), CHUNK)]
    index = np.concatenate([t.argmin(axis=1) for t in tables]) if tables else np.zeros(0, int)
    return index, np.concatenate([t.min(axis=1) for t in tables]) if tables else np.zeros(0)


def distances(a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, "n m"]:
    """Euclidean distance of each row of a from each row of b."""
    from scipy.spatial.distance import cdist

    return cdist(a, b)


def strangers(points: Float[np.ndarray, "n dim"], count: int, seed: int) -> Float[np.ndarray, " count"]:
    """Distances of count random pairs of different points; none of fewer than two points."""
    if len(points) < 2:
        return np.zeros(0)
    rng = np.random.default_rng(seed)
    first = rng.integers(len(points), size=count)
    second = (first + rng.integers(1, len(points), size=count)) % len(points)
    return np.linalg.norm(points[first] - points[second], axis=1)


def subsample(points: Float[np.ndarray, "n dim"], most: int, seed: int) -> Float[np.ndarray, "k dim"]:
    """At most so many of the rows, drawn without repeats."""
    return points if len(points) <= most else points[np.random.default_rng(seed).permutation(len(points))[:most]]


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b; None where either is missing, or b is 0."""
    return None if a is None or not b else a / b
