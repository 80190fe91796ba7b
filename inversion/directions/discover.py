"""Directions that nobody had to name: of the weights, or of the samples' own spread."""

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, layers_between
from inversion.directions.direction import Direction, direction_of
from inversion.errors import SettingsError

METHODS = ("sefa", "ganspace")


def discover(
    generator: Generator, method: str = "sefa", *, count: int = 10, band: tuple[int, int] | None = None
) -> list[Direction]:
    """The first directions by a method of METHODS, strongest first, named after it and numbered from 1.

    band: resolutions, in px, at whose layers they act; sefa then asks the weights of those alone. Raises SettingsError
    for an unknown method, a count that the space does not have, or a generator whose weights say nothing.
    """
    if method not in METHODS:
        raise SettingsError(f"no method named {method!r}; choose {' or '.join(METHODS)}")
    if not 1 <= count <= generator.w_dim:
        raise SettingsError(f"count is {count}; {generator.name} has 1 to {generator.w_dim} directions")
    vectors = sefa(generator, band) if method == "sefa" else ganspace(generator)
    made = {"method": method, "band": list(band or ())}
    return [
        direction_of(generator, f"{method}-{i}", vector[None], band=band, made={**made, "index": i})
        for i, vector in enumerate(vectors[:count], 1)
    ]


@torch.no_grad()
def sefa(generator: Generator, band: tuple[int, int] | None = None) -> Float[Tensor, "w_dim w_dim"]:
    """Unit vectors of w, those first that move the factors of features most: eigenvectors of A'A of all affine maps.

    Each map counts by its norm, so that wide layers do not decide alone. The sign, which is free, is the one that makes
    the largest number positive. Shen and Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs".
    """
    wanted = range(generator.num_ws) if band is None else layers_between(generator, *band)
    maps = [matrix_of(layer, generator.w_dim) for i, layer in generator.style_maps() if i in wanted]
    if not maps:
        raise SettingsError(f"{generator.name} has no affine maps of its styles; take the method ganspace")
    gram = torch.stack([a.T @ a / a.square().sum() for a in maps]).sum(dim=0)
    vectors = torch.linalg.eigh(gram.double()).eigenvectors.T.flip(0).float()
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign()


def matrix_of(layer: torch.nn.Module, w_dim: int) -> Float[Tensor, "factors w_dim"]:
    """The matrix of an affine map, whatever gains it has."""
    weight = next(layer.parameters())
    zero = torch.zeros(1, w_dim, device=weight.device, dtype=weight.dtype)
    return (layer(torch.eye(w_dim, device=weight.device, dtype=weight.dtype)) - layer(zero)).T.float()


def ganspace(generator: Generator) -> Float[Tensor, "w_dim w_dim"]:
    """Unit vectors of w, those first along which samples spread most: their principal components.

    Härkönen et al. 2020, "GANSpace: Discovering Interpretable GAN Controls".
    """
    return torch.nn.functional.normalize(generator.statistics().outward.flip(0), dim=1)
