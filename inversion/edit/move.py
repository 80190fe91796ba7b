"""Moves: between latents, along a path through several, towards the average, along a direction."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator
from inversion.config import LatentSpace
from inversion.edit.mix import mix_noise
from inversion.errors import SettingsError, SpaceMismatch
from inversion.latent import Latent, check_alike, check_factor

KINDS = ("spherical", "linear", "spline")  # of ways through latents


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
    check_factor("t", t)
    if kind not in ("linear", "spherical"):
        raise SettingsError(f"kind is {kind!r}; choose linear or spherical")
    if t in (0, 1):
        return b if t else a
    if kind == "linear":
        code = a.code.lerp(b.code, t)
    else:
        middle = torch.zeros_like(a.code) if center is None else fit_to(a.code, "center", center)
        code = middle + slerp(a.code - middle, b.code - middle, t)
    parts = (*(part.times(1 - t) for part in a.parts), *(part.times(t) for part in b.parts))
    noise = mix_noise([a.noise, b.noise], [1 - t, t])
    return replace(a, code=code, noise=noise, parts=parts, source=None)


class Route:
    """A way through latents in turn: t from 0 on, whole numbers at the latents, which are hit exactly.

    kind "spline" is a natural cubic spline through the codes, in w and w_plus: it does not turn sharply at a latent as
    the others do. Its knots lie apart by the roots of the distances (Lee 1989, "Choosing Nodes in Parametric Curve
    Interpolation"), so that it does not swing out. loop: the way comes back to the first latent; a spline passes it
    smoothly too. kind and center else as in `interpolate`, noise as in `mix_noise`. SettingsError on fewer than two
    latents or an unknown kind, SpaceMismatch for a spline in z.
    """

    def __init__(
        self,
        latents: Sequence[Latent],
        *,
        kind: str = "linear",
        center: Float[Tensor, "..."] | None = None,
        loop: bool = False,
    ) -> None:
        if len(latents) < 2:
            raise SettingsError(f"{len(latents)} latent came; a path needs at least two")
        if kind not in KINDS:
            raise SettingsError(f"kind is {kind!r}; choose {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        check_alike(latents)
        self.stops = [*latents, latents[0]] if loop else list(latents)
        self.kind, self.center = kind, center
        self.loop = loop
        self.curve = self.spline() if kind == "spline" else None

    @property
    def end(self) -> int:
        """The largest t."""
        return len(self.stops) - 1

    def spline(self) -> Callable[[float], Float[Tensor, "batch ..."]]:
        """The codes at a t in [0, end]."""
        import numpy as np
        from scipy.interpolate import CubicSpline

        codes = torch.stack([stop.code for stop in self.stops])
        if self.stops[0].space is LatentSpace.Z:
            raise SpaceMismatch("the latents are in z, a spline needs w or w_plus; call .to_w_plus(generator) first")
        points = codes.flatten(1).double().cpu().numpy()
        apart = np.maximum(np.linalg.norm(np.diff(points, axis=0), axis=1), 1e-9) ** 0.5
        knots = np.concatenate([[0.0], np.cumsum(apart)])
        found = CubicSpline(knots, points, bc_type="periodic" if self.loop else "natural")
        place = np.arange(len(knots))
        return lambda t: torch.from_numpy(found(np.interp(t, place, knots))).to(codes).view(codes.shape[1:])

    def __call__(self, t: float | int) -> Latent:
        """The latent at t in [0, end]."""
        first = min(max(int(t), 0), self.end - 1)
        a, b = self.stops[first : first + 2]
        if self.curve is None or t in (first, first + 1):
            kind = self.kind if self.curve is None else "linear"
            return interpolate(a, b, float(t - first), kind=kind, center=self.center)
        return replace(a, code=self.curve(float(t)), noise=mix_noise([a.noise, b.noise], [first + 1 - t, t - first]))


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
    ease: slow down at each latent. kind and center as in `Route`. `steady.steady` walks at constant speed. Raises
    SettingsError on fewer than two latents, or fewer frames than latents.
    """
    route = Route(latents, kind=kind, center=center, loop=loop)
    check_frames(route, frames)
    last = frames if loop else frames - 1
    marks = [i * last // route.end for i in range(route.end + 1)]
    walk = []
    for i, (start, stop) in enumerate(zip(marks[:-1], marks[1:], strict=True)):
        for frame in range(start, stop):
            t = (frame - start) / (stop - start)
            walk.append(route(i + (t * t * (3 - 2 * t) if ease else t)))
    return walk if loop else [*walk, route.stops[-1]]


def check_frames(route: Route, frames: int) -> None:
    """SettingsError for fewer frames than latents."""
    count = len(route.stops) - route.loop
    if frames < count:
        raise SettingsError(f"frames is {frames}; a path through {count} latents needs at least {count}")


def truncate(generator: Generator, latent: Latent, psi: float) -> Latent:
    """Move towards the average image: psi 0 gives w_avg, 1 leaves the latent as it is, above 1 exaggerates.

    Noise moves from the generator's fixed noise to the latent's and stays there above 1, as in `mix_noise`. Raises
    SpaceMismatch in z, SettingsError if psi is not finite. Karras et al. 2019, appendix B.
    """
    check_factor("psi", psi)
    if latent.space is LatentSpace.Z:
        where = f"the latent{latent.told} is in z"
        raise SpaceMismatch(f"{where}, truncation works in w and w_plus; call .to_w_plus(generator) first")
    average = fit_to(latent.code, "w_avg", generator.w_avg)
    share = min(max(psi, 0.0), 1.0)
    noise = mix_noise([generator.fixed_noise(len(latent)), latent.noise], [1 - share, share])
    parts = tuple(part.times(psi) for part in latent.parts)
    return replace(latent, code=average.lerp(latent.code, psi), noise=noise, parts=parts)


def apply_direction(
    latent: Latent, direction: Float[Tensor, "..."], strength: float, layers: Sequence[int] | None = None
) -> Latent:
    """Move latent by strength along direction, (w_dim,) or (num_ws, w_dim), at all layers or only some.

    layers are style indices, as `layers_between(generator, low, high)` gives them; None means all. Raises
    SettingsError if direction does not fit the latent or a layer does not exist, SpaceMismatch in z, and in w when
    single layers are meant. Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face Editing".
    """
    check_factor("strength", strength)
    per_layer = layers is not None or direction.ndim > 1
    if latent.space is LatentSpace.Z or (per_layer and latent.space is LatentSpace.W):
        wanted = "w_plus" if per_layer else "w or w_plus"
        where = f"the latent{latent.told} is in {latent.space}"
        raise SpaceMismatch(f"{where}, this edit works in {wanted}; call .to_w_plus(generator)")
    shift = strength * fit_to(latent.code, "direction", direction)
    if layers is not None:
        count = latent.code.shape[1]
        if wrong := [i for i in layers if not 0 <= i < count]:
            raise SettingsError(f"no layer {wrong[0]}: the latent{latent.told} has layers 0 to {count - 1}")
        mask = torch.zeros(count, 1, dtype=shift.dtype, device=shift.device)
        mask[list(layers)] = 1
        shift = shift * mask
    return replace(latent, code=latent.code + shift)


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


def fit_to(code: Float[Tensor, "batch ..."], what: str, value: Float[Tensor, "..."]) -> Float[Tensor, "batch ..."]:
    """value repeated to the shape of code, on its device; SettingsError with both shapes if it does not fit."""
    rest = tuple(code.shape[1:])
    if tuple(value.shape) not in (rest, rest[-1:], tuple(code.shape)):
        came, wanted = tuple(value.shape), " or ".join(sorted({str(rest[-1:]), str(rest)}, key=len))
        raise SettingsError(f"{what} is {came}; a latent of {tuple(code.shape)} takes {wanted}")
    return value.to(code).expand_as(code)
