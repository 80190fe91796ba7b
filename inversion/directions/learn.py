"""Directions learned: from what functions say of a generator's samples, or from codes with labels.

All is fitted in W's own measure (`generators.base.Statistics`), where samples are about N(0, I): there a regression's
weights are the way that changes a label most among codes as likely, and to be at right angles means to vary apart. So a
direction is conditional on others by leaving out what it has in common with theirs (InterFaceGAN, Shen et al. 2020,
"Interpreting the Latent Space of GANs for Semantic Face Editing", which does it in W as it is).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from generators.base import Generator
from inversion.attributes import Attribute
from inversion.attributes.seen import see
from inversion.directions.config import LearnConfig
from inversion.directions.direction import Direction, direction_of
from inversion.directions.examples import FEWEST as OF_A_KIND
from inversion.directions.examples import check_examples
from inversion.errors import SettingsError, note
from inversion.latent import preview, sample_latent
from inversion.watch import SILENT, Watch

FOLDS = 5  # of cross-validation
PENALTIES = tuple(float(v) for v in np.logspace(0, 5, 11))  # of ridge regression, to choose from
SOFTNESS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the support vector machine, to choose from
FEWEST = 50  # samples of which a function could tell
LITTLE = 0.3  # of a direction that is its own, below which it is nearly the others
Function = Callable[[Image.Image], float | None]  # None where it cannot tell
Values = Float[np.ndarray, " count"]
Rows = Float[np.ndarray, "count w_dim"]


@dataclass(frozen=True)
class Labels:
    """Codes in W's own measure, and what functions say of their pictures: NaN where they say nothing."""

    places: Rows
    values: Mapping[str, Values]


@dataclass(frozen=True)
class Fit:
    """A linear model of a label."""

    weights: Float[np.ndarray, " w_dim"]  # in W's own measure, of the label in its standard deviations
    score: float  # cross-validated: R^2 of a regression, the share that a boundary tells right
    spread: float  # the label's standard deviation
    count: int


def label(
    generator: Generator,
    functions: Mapping[str, Function],
    config: LearnConfig | None = None,
    watch: Watch = SILENT,
) -> Labels:
    """Labels of samples by functions of their pictures, at 256 px where it can be drawn so; a face is found once.

    Any callable from a picture to a number or None will do; those of `inversion.attributes` share what they look at.
    """
    config = config or LearnConfig()
    drawn = sample_latent(generator, batch=config.samples, seed=config.seed, truncation_psi=config.truncation)
    found: dict[str, list[float]] = {name: [] for name in functions}
    for latent in watch.counted(drawn.split(), "labels", config.samples):
        for name, value in look(preview(generator, latent)[0], functions).items():
            found[name].append(np.nan if value is None else float(value))
    return Labels(places_of(generator, drawn.code), {name: np.array(values) for name, values in found.items()})


def look(image: Image.Image, functions: Mapping[str, Function]) -> dict[str, float | None]:
    """The values of functions for a picture, its face found once."""
    seen = see(image) if any(isinstance(one, Attribute) for one in functions.values()) else None
    found: dict[str, float | None] = {}
    for name, function in functions.items():
        if isinstance(function, Attribute):
            found[name] = None if seen is None else function.of(seen)
        else:
            found[name] = function(image)
    return found


def places_of(generator: Generator, codes: Float[Tensor, "count *layers w_dim"]) -> Rows:
    """Codes of w or w_plus in W's own measure; of several styles their mean."""
    w = codes if codes.ndim == 2 else codes.mean(dim=1)
    return generator.statistics().enter(w).detach().double().cpu().numpy()


def learn(
    generator: Generator,
    labels: Labels,
    names: Sequence[str],
    *,
    apart: Iterable[str] = (),
    config: LearnConfig | None = None,
) -> list[Direction]:
    """The directions along which labels grow, each for itself, while those of apart stay as they are.

    Raises SettingsError for a name that was not labelled, or a label that hardly ever had a value, or one alone. Says
    where little is left after the others are taken away.
    """
    config = config or LearnConfig()
    apart = list(dict.fromkeys(apart))
    fits = {one: fit(labels, one, replace(config, between=None)) for one in apart}
    fits |= {one: fit(labels, one, config) for one in names}
    return [learned(generator, name, fits, [one for one in apart if one != name], config) for name in names]


def learned(
    generator: Generator, name: str, fits: Mapping[str, Fit], others: Sequence[str], config: LearnConfig
) -> Direction:
    """The direction of one label, at right angles to the others."""
    found = fits[name]
    left = without(found.weights, np.stack([fits[other].weights for other in others])) if others else found.weights
    share = float(np.linalg.norm(left) / np.linalg.norm(found.weights))
    if share < LITTLE:
        note(f"{name} has {share:.0%} of its own beside {', '.join(others)}: it will do little without them")
    made = {
        "method": config.method,
        "of": name,
        "not": list(others),
        "samples": found.count,
        "truncation": config.truncation,
        "seed": config.seed,
        "score": round(found.score, 4),
        "spread": float(f"{found.spread:.4g}"),
        "own": round(share, 4),
    }
    made |= {} if config.between is None else {"between": list(config.between)}
    return direction_of(generator, name, vector_of(generator, left), made=made)


def without(own: Float[np.ndarray, " w_dim"], away: Float[np.ndarray, "others w_dim"]) -> Float[np.ndarray, " w_dim"]:
    """The part of a vector that is at right angles to all of the others."""
    return own - away.T @ np.linalg.lstsq(away.T, own, rcond=None)[0]


def vector_of(generator: Generator, weights: Float[np.ndarray, " w_dim"]) -> Float[Tensor, "1 w_dim"]:
    """The way in w of weights in W's own measure."""
    outward = generator.statistics().outward.double().cpu()
    return (torch.from_numpy(weights) @ outward).float()[None]


def fit(labels: Labels, name: str, config: LearnConfig) -> Fit:
    """A linear model of one label over all samples that have it."""
    if name not in labels.values:
        raise SettingsError(f"no label {name!r}; there are {', '.join(labels.values)}")
    values = labels.values[name]
    has = np.isfinite(values)
    if has.sum() < FEWEST:
        raise SettingsError(f"{name} could be told of {has.sum()} of {len(has)} samples; {FEWEST} are needed")
    if np.ptp(values[has]) == 0:
        raise SettingsError(f"{name} is {values[has][0]:g} for every sample; nothing can be learned from that")
    if config.method == "ridge":
        return regression(labels.places[has], values[has], config.seed)
    lacking, having = kinds_of(values, config.between)
    if min(lacking.sum(), having.sum()) < OF_A_KIND:
        count = f"{lacking.sum()} and {having.sum()}"
        raise SettingsError(f"{name} is so in {count} samples; {OF_A_KIND} of each are needed")
    either = lacking | having
    return (boundary if config.method == "svm" else means)(labels.places[either], having[either], config.seed)


def kinds_of(
    values: Values, between: tuple[float, float] | None
) -> tuple[Bool[np.ndarray, " count"], Bool[np.ndarray, " count"]]:
    """The samples on the near side and on the far side: of the median, or beyond the two values of between."""
    if between is None:
        middle = np.nanmedian(values)
        return values <= middle, values > middle
    here, there = between
    return (values <= here, values >= there) if here < there else (values >= here, values <= there)


def regression(places: Rows, values: Values, seed: int = 0) -> Fit:
    """Ridge regression, its penalty and its R^2 cross-validated; the rarest hundredths of values are drawn in."""
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.model_selection import KFold, cross_val_score

    kept = values.clip(*np.quantile(values, [0.01, 0.99])) if len(values) >= 100 else values
    spread = float(kept.std())
    scaled = (kept - kept.mean()) / spread
    model: Any = RidgeCV(alphas=PENALTIES).fit(places, scaled)
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    score = cross_val_score(Ridge(alpha=float(model.alpha_)), places, scaled, cv=folds, scoring="r2").mean()
    return Fit(model.coef_, float(score), spread, len(values))


def boundary(places: Rows, kinds: Bool[np.ndarray, " count"], seed: int = 0) -> Fit:
    """The normal of a linear support vector machine, its softness and its accuracy cross-validated."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import LinearSVC

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    models = [LinearSVC(C=softness, class_weight="balanced", random_state=seed) for softness in SOFTNESS]
    scores = [cross_val_score(model, places, kinds, cv=folds, scoring="balanced_accuracy").mean() for model in models]
    best = int(np.argmax(scores))
    return Fit(models[best].fit(places, kinds).coef_[0], float(scores[best]), float(kinds.std()), len(kinds))


def means(places: Rows, kinds: Bool[np.ndarray, " count"], seed: int = 0) -> Fit:
    """The way from the mean of one kind to that of the other; how well the nearer mean tells them, cross-validated.

    A regression takes one slope for all values. Where the picture changes in another way at their end, as a face does
    in childhood, this is the way there.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import NearestCentroid

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    score = cross_val_score(NearestCentroid(), places, kinds, cv=folds, scoring="balanced_accuracy").mean()
    way = places[kinds].mean(axis=0) - places[~kinds].mean(axis=0)
    return Fit(way, float(score), float(kinds.std()), len(kinds))


def learn_from_examples(
    generator: Generator,
    name: str,
    codes: Float[Tensor, "count *layers w_dim"],
    values: Sequence[float],
    *,
    seed: int = 0,
) -> Direction:
    """The direction along which examples' values grow; of two values alone, the way from the smaller to the larger.

    codes: w or w_plus, one for each value. made["score"] is the cross-validated accuracy (balanced: one half by chance)
    or R^2. Raises SettingsError for fewer than ten of a kind, one kind alone, or values that are no numbers.
    """
    numbers = np.array(values, float)
    if len(numbers) != len(codes):
        raise SettingsError(f"{len(codes)} codes and {len(numbers)} values came; give one value for each")
    check_examples(values)
    kinds = np.unique(numbers)
    two = len(kinds) == 2
    places = places_of(generator, codes)
    found = boundary(places, numbers == kinds[1], seed) if two else regression(places, numbers, seed)
    method = "svm" if two else "ridge"
    made = {"method": method, "of": "examples", "samples": len(numbers), "score": round(found.score, 4), "seed": seed}
    return direction_of(generator, name, vector_of(generator, found.weights), made=made)
