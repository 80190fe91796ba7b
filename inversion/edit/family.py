"""Children: latents that mix their parents anew at every resolution, and from region to region of the face.

A face splits into what acts at each resolution (pose and shape at 4 to 8 px, features at 16 to 32, colour above), and a
child takes a different share of each parent for each of them. That a father and a mother can be mixed in latent
space, and that the result looks like both, is the idea of FamilyGAN; the weights here are drawn, not learned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch

from generators.base import Generator
from inversion.config import LatentSpace
from inversion.edit.mix import mix_noise, normalized, placing
from inversion.edit.traits import TRAITS, inherit
from inversion.errors import FaceError, SettingsError, note
from inversion.latent import Latent, check_alike, check_w_plus

Key = TypeVar("Key", int, str)
Weights = dict[int, tuple[float, ...]]  # resolution in px -> one share per parent, summing to one
Traits = dict[
    str, tuple[float, ...]
]  # region of the face -> shares of parents, then of ancestors; the rest is the child


@dataclass(frozen=True, kw_only=True)
class ChildConfig:
    """How children are drawn."""

    concentration: float = 1.0  # of the Dirichlet, above 0: large gives equal shares, small one parent a resolution
    least_share: float | None = None  # every parent has at least this part of its mean share at each resolution, in
    # [0, 1]; None: 0.25, or 0.7 where the generator lays out pictures linearly, whose mixtures ghost with less
    dominance: tuple[float, ...] | None = None  # what each parent counts; None: all the same
    mutation: float = 0.2  # how far each child is moved towards a random person, in [0, 1], so that it is somebody
    by_region: bool = False  # eyes, nose, mouth, jaw and hair draw shares of their own as well

    def __post_init__(self) -> None:
        if not 0 < self.concentration < float("inf"):
            raise SettingsError(f"concentration is {self.concentration}; give a number above 0")
        for name in ("least_share", "mutation"):
            value = vars(self)[name]
            if value is not None and not 0 <= value <= 1:
                raise SettingsError(f"{name} is {value}; give a number from 0 to 1")


@dataclass(frozen=True)
class Child:
    """A child, and what it took from whom."""

    latent: Latent
    weights: Weights
    traits: Traits = field(default_factory=dict)


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
    traits: Mapping[str, Sequence[float]] | None = None,
    ancestors: Sequence[Latent] = (),
    change: Callable[[Latent], Latent] = lambda child: child,
) -> list[Child]:
    """Siblings of two or more parents, in w_plus; child i depends on the seed and i alone.

    Parents may be in any space. In a batch, image k of a child comes from image k of each parent. traits: regions that
    every child has from certain people, with a share for each parent, and for each of the ancestors, as in `inherit`.
    change moves the whole of every child, such as along a direction of age, before regions of its face are looked for.
    Raises SettingsError on fewer than two parents, count below 1 or a negative seed; SpaceMismatch if they do not fit;
    FaceError where traits are asked for and a child shows no face.
    """
    check_drawn(count, seed)
    parents, fixed = checked_parents(generator, parents), dict(traits or {})
    people = [*parents, *(ancestor.to_w_plus(generator) for ancestor in ancestors)]
    shares = normalized(config.dominance or [1.0] * len(parents), len(parents))
    if config.least_share is None:
        config = replace(config, least_share=0.7 if generator.linear_layout else 0.25)
    config, found = replace(config, dominance=tuple(shares)), []
    for index in range(count):
        weights = draw_weights(sorted(set(generator.ws_resolutions)), seed=seed, index=index, config=config)
        child = change(mutated(generator, combine(generator, parents, weights), seed, index, config.mutation))
        own = fixed | (drawn_traits(seed, index, config, fixed, len(people)) if config.by_region else {})
        try:
            child = inherit(generator, child, people, own)
        except FaceError:
            if fixed:
                raise
            note(f"child {index + 1} has no face in which regions could be found; it is mixed as a whole")
            own = {}
        found.append(Child(child, weights, {region: tuple(own[region]) for region in own}))
    return found


def check_drawn(count: int, seed: int) -> None:
    """SettingsError for no children, or a seed that there is not."""
    if count < 1:
        raise SettingsError(f"count is {count}; ask for at least one child")
    if seed < 0:
        raise SettingsError(f"seed is {seed}; give 0 or more")


def checked_parents(generator: Generator, parents: Sequence[Latent]) -> list[Latent]:
    """The parents in w_plus; SettingsError on fewer than two, SpaceMismatch if they do not fit."""
    if len(parents) < 2:
        raise SettingsError(f"{len(parents)} parent came; children need at least two")
    parents = [parent.to_w_plus(generator) for parent in parents]
    check_alike(parents)
    check_w_plus(generator, parents[0])
    return parents


def next_generation(
    generator: Generator,
    people: Sequence[Latent],
    *,
    seed: int = 0,
    config: ChildConfig = ChildConfig(),  # noqa: B008 - frozen
) -> list[Child]:
    """A child of each two, in their order: the parents that grandparents had. SettingsError unless they pair up."""
    if len(people) < 4 or len(people) % 2:
        raise SettingsError(f"{len(people)} grandparents came; give two for each parent, so four or more")
    pairs = [people[i : i + 2] for i in range(0, len(people), 2)]
    return [family(generator, pair, count=i + 1, seed=seed, config=config)[i] for i, pair in enumerate(pairs)]


def draw_weights(
    keys: Sequence[Key], *, seed: int, index: int, config: ChildConfig, more: int = 0
) -> dict[Key, tuple[float, ...]]:
    """Shares of each parent for each key: Dirichlet draws, moved towards the parents' dominance by least_share.

    Siblings step through the draws by irrational strides, one for each parent, so that none is like the one before
    (a Kronecker sequence). Every key has its bound, since one resolution may decide most of the face. more: another
    number gives other draws of one seed.
    """
    from scipy.special import gammaincinv

    assert config.least_share is not None and config.dominance is not None
    size, mean = (len(keys), len(config.dominance)), np.array(config.dominance)
    begin = np.random.default_rng([seed, more] if more else seed).random(size)
    stride = 0.6180339887 * (1 + np.arange(size[1])) * (-1.0) ** np.arange(size[1])  # golden: never near a repeat
    shape = config.concentration * size[1] * np.maximum(mean, 1e-3)
    gamma = gammaincinv(shape, (begin + index * stride) % 1 * 0.998 + 0.001)  # normalised: Dirichlet
    drawn = gamma * (mean > 0)
    drawn = drawn / drawn.sum(axis=1, keepdims=True)
    shares = (1 - config.least_share) * drawn + config.least_share * mean
    return {key: tuple(float(x) for x in row) for key, row in zip(keys, shares, strict=True)}


def drawn_traits(seed: int, index: int, config: ChildConfig, fixed: Mapping[str, object], people: int) -> Traits:
    """Shares for the regions that are not fixed; ancestors have none."""
    drawn = draw_weights(TRAITS, seed=seed, index=index, config=config, more=1)
    return {key: (*row, *[0.0] * (people - len(row))) for key, row in drawn.items() if key not in fixed}


def combine(generator: Generator, parents: Sequence[Latent], weights: Weights) -> Latent:
    """The child with these weights: the weighted mean of w_plus parents by resolution; noise by `placing`."""
    code = parents[0].code
    table = torch.tensor([weights[r] for r in generator.ws_resolutions], dtype=code.dtype, device=code.device)
    mixed = torch.einsum("lp,pblw->blw", table, torch.stack([parent.code for parent in parents]))
    noise = mix_noise([parent.noise for parent in parents], weights[placing(weights)])
    parts = [part.times(table[:, i, None]) for i, parent in enumerate(parents) for part in parent.parts]
    return Latent(mixed, LatentSpace.W_PLUS, noise, parts=tuple(parts))


def mutated(generator: Generator, child: Latent, seed: int, index: int, share: float) -> Latent:
    """The child, moved towards a random person by that share; who it is depends on seed and index."""
    if not share:
        return child
    other = generator.sample_w(1, int(np.random.default_rng([seed, index]).integers(2**31)))
    return replace(child, code=child.code.lerp(other.to(child.code).expand_as(child.code), share))


def partner(generator: Generator, parent: Latent, child: Latent, *, reach: float = 1.0) -> Latent:
    """The likely other parent, in w_plus: the one with whom the parent's mean is the child, pulled towards the mean.

    That one lies as far beyond the child as the parent before it, where no faces may be. So what all layers share goes
    there, pulled towards w_avg until it is at most reach times as far from that as the parent's or the child's; in what
    tells layers apart, which no face bears to be doubled, the partner is as the child. The child of the two is near the
    given one, though not the same. Raises SettingsError for a reach not above 0.
    """
    if not 0 < reach < float("inf"):
        raise SettingsError(f"reach is {reach}; give a number above 0")
    one, two = checked_parents(generator, [parent, child])
    shared = two.code.mean(dim=1, keepdim=True)
    away = [one.code.mean(dim=1, keepdim=True) - generator.w_avg, shared - generator.w_avg]
    beyond = 2 * away[1] - away[0]
    most = reach * torch.maximum(*(code.norm(dim=2, keepdim=True) for code in away))
    pull = (most / beyond.norm(dim=2, keepdim=True).clamp_min(1e-12)).clamp(max=1)
    return Latent(generator.w_avg + pull * beyond + (two.code - shared), LatentSpace.W_PLUS, two.noise)
