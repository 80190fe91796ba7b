"""Mixtures: the weighted mean of latents, and layers of one with layers of another."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import fsum, isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, Noise, layers_between
from inversion.errors import SettingsError
from inversion.latent import Latent, check_alike, check_w_plus

PLACES = 16  # px: the styles that act there place the features that noise adds to, so noise goes with them
BANDS = {"coarse": (1, 15), "middle": (16, 63), "fine": (64, 2**20)}  # px; Karras et al. 2019, section 3.1


def blend(latents: Sequence[Latent], weights: Sequence[float] | None = None) -> Latent:
    """The weighted mean of latents; weights None means equal ones, and any are divided by their sum first.

    Local edits of each go along, with its weight. Noise as in `mix_noise`. Raises SettingsError unless there is one
    finite weight per latent, none of them negative and not all zero; SpaceMismatch if the latents do not fit.
    """
    check_alike(latents)
    shares = normalized(weights if weights is not None else [1.0] * len(latents), len(latents))
    code = torch.stack([share * latent.code for share, latent in zip(shares, latents, strict=True)]).sum(dim=0)
    parts = tuple(part.times(share) for share, one in zip(shares, latents, strict=True) if share for part in one.parts)
    noise = mix_noise([latent.noise for latent in latents], shares)
    return replace(latents[0], code=code, noise=noise, parts=parts, source=None)


def crossover(generator: Generator, a: Latent, b: Latent, *, low: int, high: int) -> Latent:
    """a with b's styles at the layers that act at resolutions low..high, in pixels (style mixing).

    The noise is that of the latent whose styles act at PLACES, or at the generator's nearest size. Raises
    SpaceMismatch outside w_plus, GeneratorError if the generator has no layer there. Karras et al. 2019, section 3.1.
    """
    check_alike([a, b])
    check_w_plus(generator, a)
    layers = list(layers_between(generator, low, high))
    code = a.code.clone()
    code[:, layers] = b.code[:, layers]
    taken = torch.zeros(generator.num_ws, 1).to(code).index_fill(0, torch.tensor(layers, device=code.device), 1)
    parts = (*(part.times(1 - taken) for part in a.parts), *(part.times(taken) for part in b.parts))
    noise = b.noise if low <= placing(generator.ws_resolutions) <= high else a.noise
    return replace(a, code=code, noise=noise, parts=parts, source=None)


def mix(generator: Generator, coarse: Latent, middle: Latent, fine: Latent | None = None) -> Latent:
    """Pose and shape (4 to 8 px) of one latent, features (16 to 32) of another, colours and detail (64 up) of a third.

    fine None means as middle. The resolutions are the same whatever the generator's size, so a small generator lacks
    some of them: SettingsError if a latent is named for layers that do not exist and appears nowhere else.
    SpaceMismatch outside w_plus. Karras et al. 2019, section 3.1.
    """
    if generator.num_ws == 1:
        raise SettingsError(f"{generator.name} has one style for the whole picture, so no layers to mix; use blend")
    parts = {"coarse": coarse, "middle": middle, "fine": middle if fine is None else fine}
    check_alike(list(parts.values()))
    check_w_plus(generator, coarse)
    bands = [name for name, (low, high) in BANDS.items() if any(low <= r <= high for r in generator.ws_resolutions)]
    for name in parts:
        if name not in bands and not any(torch.equal(parts[name].code, parts[used].code) for used in bands):
            instead = " or ".join(bands)
            raise SettingsError(
                f"{generator.name} has no {name} layers; give this latent{parts[name].told} as {instead}"
            )
    mixed = parts[bands[0]]
    for name in bands[1:]:
        mixed = crossover(generator, mixed, parts[name], low=BANDS[name][0], high=BANDS[name][1])
    return mixed


def mix_noise(noises: Sequence[Noise], weights: Sequence[float]) -> Noise:
    """The weighted sum of noises, each map scaled so that its power is the weighted mean of theirs.

    A plain mean of independent noises has too little power, and the image loses its texture; for those this equals
    dividing by the root of the sum of squared weights. Where all maps are the same, that map; where one weight is
    1 and the others 0, that noise exactly.
    """
    if 1 in weights and sum(w != 0 for w in weights) == 1:
        return noises[list(weights).index(1)]
    return tuple(_mix_maps(maps, weights) for maps in zip(*noises, strict=True))


def _mix_maps(maps: Sequence[Float[Tensor, "batch 1 h w"]], weights: Sequence[float]) -> Float[Tensor, "batch 1 h w"]:
    if all(m is maps[0] or torch.equal(m, maps[0]) for m in maps):
        return maps[0]
    total = sum(abs(w) for w in weights)
    pairs = list(zip(weights, maps, strict=True))
    mixed = torch.stack([w * m for w, m in pairs]).sum(dim=0)
    power = torch.stack([abs(w) / total * m.square().mean(dim=(1, 2, 3), keepdim=True) for w, m in pairs]).sum(dim=0)
    have = mixed.square().mean(dim=(1, 2, 3), keepdim=True)
    return mixed * (power / have.clamp_min(1e-12)).sqrt()


def placing(resolutions: Iterable[int]) -> int:
    """The resolution, of a generator's own, whose styles noise goes with: the nearest to PLACES."""
    return min(resolutions, key=lambda r: abs(r - PLACES))


def normalized(weights: Sequence[float], count: int) -> list[float]:
    """Weights divided by their sum; SettingsError unless there are count of them, none negative, not all zero."""
    if len(weights) != count:
        raise SettingsError(f"{len(weights)} weights came for {count} latents; give one each")
    if not all(isfinite(w) and w >= 0 for w in weights) or not 0 < sum(weights) < float("inf"):
        raise SettingsError(f"weights are {', '.join(map(str, weights))}; give numbers of at least 0, not all zero")
    total = fsum(weights)
    return [w / total for w in weights]
