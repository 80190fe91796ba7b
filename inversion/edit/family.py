"""Children: latents that mix their parents anew at every resolution.

A face splits into what acts at each resolution (pose and shape at 4 to 8 px, features at 16 to 32, colour above), and a
child takes a different share of each parent for each of them. That a father and a mother can be mixed in latent
space, and that the result looks like both, is the idea of FamilyGAN; the weights here are drawn, not learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from generators.base import Generator
from inversion.config import LatentSpace
from inversion.edit.mix import mix_noise, placing
from inversion.errors import SettingsError
from inversion.latent import Latent, check_alike, check_w_plus

Weights = dict[int, tuple[float, ...]]  # resolution in px -> one share per parent, summing to one


@dataclass(frozen=True, kw_only=True)
class ChildConfig:
    """How children are drawn."""

    concentration: float = 1.0  # of the Dirichlet, above 0: large gives equal shares, small one parent a resolution
    least_share: float | None = None  # every parent has at least this part of an equal share at each resolution, in
    # [0, 1]; None: 0.25, or 0.7 where the generator lays out pictures linearly, whose mixtures ghost with less

    def __post_init__(self) -> None:
        if not 0 < self.concentration < float("inf"):
            raise SettingsError(f"concentration is {self.concentration}; give a number above 0")
        if self.least_share is not None and not 0 <= self.least_share <= 1:
            raise SettingsError(f"least_share is {self.least_share}; give a number from 0 to 1")


@dataclass(frozen=True)
class Child:
    """A child, and what it took from whom."""

    latent: Latent
    weights: Weights


def children(
    generator: Generator,
    parents: Sequence[Latent],
    *,
    count: int,
    seed: int = 0,
    config: ChildConfig = ChildConfig(),  # noqa: B008 - frozen
) -> list[Latent]:
    """Siblings of two or more parents, in w_plus, as `family` draws them."""
    return [child.latent for child in family(generator, parents, count=count, seed=seed, config=config)]


def family(
    generator: Generator,
    parents: Sequence[Latent],
    *,
    count: int,
    seed: int = 0,
    config: ChildConfig = ChildConfig(),  # noqa: B008 - frozen
) -> list[Child]:
    """Siblings of two or more parents, in w_plus; child i depends on the seed and i alone.

    Parents may be in any space. In a batch, image k of a child comes from image k of each parent. Raises
    SettingsError on fewer than two parents, count below 1 or a negative seed; SpaceMismatch if the parents do not fit.
    """
    if len(parents) < 2:
        raise SettingsError(f"{len(parents)} parent came; children need at least two")
    if count < 1:
        raise SettingsError(f"count is {count}; ask for at least one child")
    if seed < 0:
        raise SettingsError(f"seed is {seed}; give 0 or more")
    parents = [parent.to_w_plus(generator) for parent in parents]
    check_alike(parents)
    check_w_plus(generator, parents[0])
    if config.least_share is None:
        config = replace(config, least_share=0.7 if generator.linear_layout else 0.25)
    drawn = (draw_weights(generator, len(parents), seed=seed, index=i, config=config) for i in range(count))
    return [Child(combine(generator, parents, weights), weights) for weights in drawn]


def draw_weights(generator: Generator, parents: int, *, seed: int, index: int, config: ChildConfig) -> Weights:
    """Shares of each parent at each resolution: Dirichlet draws, moved towards equal ones by least_share.

    Siblings step through the draws by irrational strides, one for each parent, so that none is like the one before
    (a Kronecker sequence). Every resolution has its bound, since one of them may decide most of the face.
    """
    from scipy.special import gammaincinv

    resolutions = sorted(set(generator.ws_resolutions))
    assert config.least_share is not None
    size = (len(resolutions), parents)
    begin = np.random.default_rng(seed).random(size)
    stride = 0.6180339887 * (1 + np.arange(parents)) * (-1.0) ** np.arange(parents)  # golden: never near a repeat
    gamma = gammaincinv(config.concentration, (begin + index * stride) % 1 * 0.998 + 0.001)  # normalised: Dirichlet
    drawn = gamma / gamma.sum(axis=1, keepdims=True)
    shares = (1 - config.least_share) * drawn + config.least_share / parents
    return {r: tuple(float(x) for x in row) for r, row in zip(resolutions, shares, strict=True)}


def combine(generator: Generator, parents: Sequence[Latent], weights: Weights) -> Latent:
    """The child with these weights: the weighted mean of w_plus parents by resolution; noise by `placing`."""
    code = parents[0].code
    table = torch.tensor([weights[r] for r in generator.ws_resolutions], dtype=code.dtype, device=code.device)
    mixed = torch.einsum("lp,pblw->blw", table, torch.stack([parent.code for parent in parents]))
    noise = mix_noise([parent.noise for parent in parents], weights[placing(weights)])
    return Latent(mixed, LatentSpace.W_PLUS, noise)
