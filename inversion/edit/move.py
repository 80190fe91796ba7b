"""Edits: pure functions from latents to a latent. To add one, write a function."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import fsum, isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, Noise, layers_between
from inversion.errors import SettingsError, SpaceMismatch
from inversion.latent import Latent, LatentSpace, check_same_space

PLACES = 16  # px: the styles that act there place the features that noise adds to, so noise goes with them
BANDS = {"coarse": (1, 15), "middle": (16, 63), "fine": (64, 2**20)}  # px; Karras et al. 2019, section 3.1


def interpolate(
    a: Latent, b: Latent, t: float, *, kind: str = "linear", center: Float[Tensor, "..."] | None = None
) -> Latent:
    """The point t of the way from a to b; t outside [0, 1] extrapolates, 0 and 1 give a and b exactly.

    kind "spherical" turns each vector's direction by equal angles and moves its length linearly, as suits z; in w and
    w_plus it turns about the origin unless center, such as generator.w_avg, is given. Noise as in `mix_noise`.
    Raises SettingsError on an unknown kind or a t that is not finite, SpaceMismatch if a and b do not fit each other.
    Spherical: Shoemake 1985, "Animating Rotation with Quaternion Curves"; White 2016, "Sampling Generative Networks".
    """
    check_alike([a, b])
    check_finite("t", t)
    if kind not in ("linear", "spherical"):
        raise SettingsError(f"kind is {kind!r}; choose linear or spherical")
    if t in (0, 1):
        return b if t else a
    if kind == "linear":
        code = a.code.lerp(b.code, t)
    else:
        middle = torch.zeros_like(a.code) if center is None else fit_to(a.code, "center", center)
        code = middle + slerp(a.code - middle, b.code - middle, t)
    return replace(a, code=code, noise=mix_noise([a.noise, b.noise], [1 - t, t]))


def path(
    latents: Sequence[Latent],
    frames: int,
    *,
    kind: str = "linear",
    center: Float[Tensor, "..."] | None = None,
    loop: bool = False,
    ease: bool = True,
) -> list[Latent]:
    """A walk of so many frames through all the latents in turn, each of which is hit exactly.

    loop: come back to the first latent, and stop one frame short of it so that the film repeats without a pause.
    ease: slow down at each latent. kind and center as in `interpolate`. Raises SettingsError on fewer than two
    latents, or fewer frames than latents.
    """
    if len(latents) < 2:
        raise SettingsError(f"{len(latents)} latent came; a path needs at least two")
    if frames < len(latents):
        raise SettingsError(f"frames is {frames}; a path through {len(latents)} latents needs at least {len(latents)}")
    check_alike(latents)
    stops = [*latents, latents[0]] if loop else list(latents)
    last = frames if loop else frames - 1
    marks = [i * last // (len(stops) - 1) for i in range(len(stops))]
    walk = []
    for i, (start, stop) in enumerate(zip(marks[:-1], marks[1:], strict=True)):
        for frame in range(start, stop):
            t = (frame - start) / (stop - start)
            t = t * t * (3 - 2 * t) if ease else t
            walk.append(interpolate(stops[i], stops[i + 1], t, kind=kind, center=center))
    return walk if loop else [*walk, stops[-1]]


def blend(latents: Sequence[Latent], weights: Sequence[float] | None = None) -> Latent:
    """The weighted mean of latents; weights None means equal ones, and any are divided by their sum first.

    Noise as in `mix_noise`. Raises SettingsError unless there is one finite weight per latent, none of them negative
    and not all zero; SpaceMismatch if the latents do not fit each other.
    """
    check_alike(latents)
    shares = normalized(weights if weights is not None else [1.0] * len(latents), len(latents))
    code = torch.stack([share * latent.code for share, latent in zip(shares, latents, strict=True)]).sum(dim=0)
    return replace(latents[0], code=code, noise=mix_noise([latent.noise for latent in latents], shares))


def crossover(a: Latent, b: Latent, *, low: int, high: int, generator: Generator) -> Latent:
    """a with b's styles at the layers that act at resolutions low..high, in pixels (style mixing).

    The noise is that of the latent whose styles act at PLACES, or at the generator's nearest size. Raises
    SpaceMismatch outside w_plus, GeneratorError if the generator has no layer there. Karras et al. 2019, section 3.1.
    """
    check_alike([a, b])
    check_w_plus(a, generator)
    layers = list(layers_between(generator, low, high))
    code = a.code.clone()
    code[:, layers] = b.code[:, layers]
    return replace(a, code=code, noise=b.noise if low <= placing(generator.ws_resolutions) <= high else a.noise)


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
    check_w_plus(coarse, generator)
    bands = [name for name, (low, high) in BANDS.items() if any(low <= r <= high for r in generator.ws_resolutions)]
    for name in parts:
        if name not in bands and not any(torch.equal(parts[name].code, parts[used].code) for used in bands):
            instead = " or ".join(bands)
            raise SettingsError(f"{generator.name} has no {name} layers; give this latent as {instead}")
    mixed = parts[bands[0]]
    for name in bands[1:]:
        mixed = crossover(mixed, parts[name], low=BANDS[name][0], high=BANDS[name][1], generator=generator)
    return mixed


def truncate(latent: Latent, generator: Generator, psi: float) -> Latent:
    """Move towards the average image: psi 0 gives w_avg, 1 leaves the latent as it is, above 1 exaggerates.

    Noise moves from the generator's fixed noise to the latent's and stays there above 1, as in `mix_noise`. Raises
    SpaceMismatch in z, SettingsError if psi is not finite. Karras et al. 2019, appendix B.
    """
    check_finite("psi", psi)
    if latent.space is LatentSpace.Z:
        raise SpaceMismatch("the latent is in z, truncation works in w and w_plus; call .to_w_plus(generator) first")
    average = fit_to(latent.code, "w_avg", generator.w_avg)
    share = min(max(psi, 0.0), 1.0)
    noise = mix_noise([generator.fixed_noise(len(latent)), latent.noise], [1 - share, share])
    return replace(latent, code=average.lerp(latent.code, psi), noise=noise)


def apply_direction(
    latent: Latent, direction: Float[Tensor, "..."], strength: float, layers: Sequence[int] | None = None
) -> Latent:
    """Move latent by strength along direction, (w_dim,) or (num_ws, w_dim), at all layers or only some.

    layers are style indices, as `layers_between(generator, low, high)` gives them; None means all. Raises
    SettingsError if direction does not fit the latent or a layer does not exist, SpaceMismatch in z, and in w when
    single layers are meant. Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face Editing".
    """
    check_finite("strength", strength)
    per_layer = layers is not None or direction.ndim > 1
    if latent.space is LatentSpace.Z or (per_layer and latent.space is LatentSpace.W):
        wanted = "w_plus" if per_layer else "w or w_plus"
        raise SpaceMismatch(f"the latent is in {latent.space}, this edit works in {wanted}; call .to_w_plus(generator)")
    shift = strength * fit_to(latent.code, "direction", direction)
    if layers is not None:
        count = latent.code.shape[1]
        if wrong := [i for i in layers if not 0 <= i < count]:
            raise SettingsError(f"no layer {wrong[0]}: the latent has layers 0 to {count - 1}")
        mask = torch.zeros(count, 1, dtype=shift.dtype, device=shift.device)
        mask[list(layers)] = 1
        shift = shift * mask
    return replace(latent, code=latent.code + shift)


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
    """Of a generator's resolutions, the one whose styles noise goes with: the nearest to PLACES."""
    return min(resolutions, key=lambda r: abs(r - PLACES))


def slerp(p: Float[Tensor, "*batch dim"], q: Float[Tensor, "*batch dim"], t: float) -> Float[Tensor, "*batch dim"]:
    """Turn p towards q by t of the angle between them; lengths move linearly.

    Parallel and opposite vectors, and those of length zero, have no arc: they move along the straight line.
    """
    length_p, length_q = p.norm(dim=-1, keepdim=True), q.norm(dim=-1, keepdim=True)
    tiny = torch.finfo(p.dtype).tiny
    u, v = p / length_p.clamp_min(tiny), q / length_q.clamp_min(tiny)
    angle = 2 * torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True))  # stable near 0, pi
    sine = angle.sin()
    arc = (((1 - t) * angle).sin() * u + (t * angle).sin() * v) / sine
    straight = (sine.abs() < 1e-5) | (length_p == 0) | (length_q == 0)
    return torch.where(straight, p.lerp(q, t), arc * length_p.lerp(length_q, t))


def normalized(weights: Sequence[float], count: int) -> list[float]:
    """Weights divided by their sum; SettingsError unless there are count of them, none negative, not all zero."""
    if len(weights) != count:
        raise SettingsError(f"{len(weights)} weights came for {count} latents; give one each")
    if not all(isfinite(w) and w >= 0 for w in weights) or not 0 < sum(weights) < float("inf"):
        raise SettingsError(f"weights are {', '.join(map(str, weights))}; give numbers of at least 0, not all zero")
    total = fsum(weights)
    return [w / total for w in weights]


def fit_to(code: Float[Tensor, "batch ..."], what: str, value: Float[Tensor, "..."]) -> Float[Tensor, "batch ..."]:
    """value repeated to the shape of code, on its device; SettingsError with both shapes if it does not fit."""
    rest = tuple(code.shape[1:])
    if tuple(value.shape) not in (rest, rest[-1:], tuple(code.shape)):
        came, wanted = tuple(value.shape), " or ".join(sorted({str(rest[-1:]), str(rest)}, key=len))
        raise SettingsError(f"{what} is {came}; a latent of {tuple(code.shape)} takes {wanted}")
    return value.to(code).expand_as(code)


def check_finite(name: str, value: float) -> None:
    """SettingsError if value is infinite or not a number."""
    if not isfinite(value):
        raise SettingsError(f"{name} is {value}; give a finite number")


def check_alike(latents: Sequence[Latent]) -> None:
    """SpaceMismatch unless all latents share a space and their shapes, SettingsError if there is none."""
    if not latents:
        raise SettingsError("no latent came; at least one is needed")
    first = latents[0]
    for other in latents[1:]:
        check_same_space(first, other)
        if first.code.shape != other.code.shape:
            one, two = tuple(first.code.shape), tuple(other.code.shape)
            raise SpaceMismatch(f"latents are {one} and {two}; use one generator and one batch size")
        shapes = [[tuple(n.shape) for n in latent.noise] for latent in (first, other)]
        if shapes[0] != shapes[1]:
            raise SpaceMismatch(f"noise maps are {shapes[0]} and {shapes[1]}; use latents of one generator")
        if first.code.device != other.code.device:
            raise SettingsError(f"latents are on {first.code.device} and {other.code.device}; call .to(device) on both")


def check_w_plus(latent: Latent, generator: Generator) -> None:
    """SpaceMismatch unless latent is in w_plus and fits the generator."""
    if latent.space is not LatentSpace.W_PLUS:
        raise SpaceMismatch(f"the latent is in {latent.space}, layers need w_plus; call .to_w_plus(generator) first")
    came, wanted = tuple(latent.code.shape), (generator.num_ws, generator.w_dim)
    if came[1:] != wanted:
        raise SpaceMismatch(f"the latent is {came}; {generator.name} takes (batch, {wanted[0]}, {wanted[1]})")
