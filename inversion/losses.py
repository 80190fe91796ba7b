"""Loss terms. A term maps a candidate to one number per image; to add one, write a function and a line in TERMS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite, log2

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from generators.base import Generator, Noise, averaged
from generators.parts.lite import maps_distance
from generators.parts.ops import laplacian_pyramid
from inversion.errors import SettingsError
from inversion.features import (
    Faces,
    Lpips,
    Maps,
    discriminator_features,
    lpips_network,
    perceptual_maps,
)
from inversion.metrics import ms_ssim, unit_energy


@dataclass(frozen=True)
class Candidate:
    """The image of one step, and what it was made of."""

    image: Float[Tensor, "batch channels height width"]  # RGB, [-1, 1]
    ws: Float[Tensor, "batch num_ws w_dim"]
    noise: Noise


@dataclass(frozen=True, kw_only=True)
class TermContext:
    """All that a term may be built from."""

    generator: Generator
    target: Float[Tensor, "batch channels height width"]  # RGB, [-1, 1], of the generator's size
    init_ws: Float[Tensor, "batch num_ws w_dim"] | None = None  # where the descent starts; None: no anchor term
    init_noise: Noise | None = None  # likewise; None: no detail term
    seed: int = 0  # for the samples that the prior is measured on
    label: int | None = None  # the class of those samples; None: any
    kept: Bool[Tensor, "batch 1 height width"] | None = None  # the pixels that are the photograph's; None: all


Images = Float[Tensor, "batch channels height width"]
Term = Callable[[Candidate], Float[Tensor, " batch"]]
Objective = Mapping[str, tuple[float, Term]]  # name -> (weight, term)


def pixel_l2(target: Float[Tensor, "batch channels height width"]) -> Term:
    """Mean squared error against target, per image."""
    return lambda candidate: (candidate.image - target).square().mean(dim=(1, 2, 3))


def pixel_l1(target: Float[Tensor, "batch channels height width"]) -> Term:
    """Mean absolute error against target, per image."""
    return lambda candidate: (candidate.image - target).abs().mean(dim=(1, 2, 3))


def laplacian_l1(target: Float[Tensor, "batch channels height width"]) -> Term:
    """Mean absolute error in each band of a Laplacian pyramid down to 4 px, averaged over the bands.

    Bojanowski et al. 2018 (GLO), with the mean over bands for their sum, so that weights fit every resolution.
    """
    levels = max(1, int(log2(min(target.shape[-2:]) / 4)) + 1)
    wanted = laplacian_pyramid(target, levels)

    def term(candidate: Candidate) -> Float[Tensor, " batch"]:
        bands = zip(laplacian_pyramid(candidate.image, levels), wanted, strict=True)
        return torch.stack([(a - b).abs().mean(dim=(1, 2, 3)) for a, b in bands]).mean(dim=0)

    return term


def ms_ssim_distance(target: Float[Tensor, "batch channels height width"]) -> Term:
    """1 - MS-SSIM against target, per image: 0 for equal images, about 1 for unrelated ones."""
    return lambda candidate: 1 - ms_ssim(candidate.image, target)


def lpips_distance(target: Float[Tensor, "batch channels height width"], network: Lpips) -> Term:
    """LPIPS against target, per image."""
    with torch.no_grad():
        wanted = network.features(target)
    return lambda candidate: network.distance(network.features(candidate.image), wanted)


def perceptual(target: Float[Tensor, "batch channels height width"]) -> Term:
    """`lite.maps_distance` from target, per image."""
    with torch.no_grad():
        wanted = perceptual_maps(target)
    return lambda candidate: maps_distance(perceptual_maps(candidate.image), wanted)


def identity(target: Float[Tensor, "batch 3 height width"]) -> Term:
    """Squared distance of dlib's descriptors, 0.36 where another person starts; 0 for an image without a face.

    Both are looked at where the target's face is.
    """
    faces = Faces(target)
    with torch.no_grad():
        wanted = faces.describe(faces.maps(target))
    return lambda c: faces.seen * (faces.describe(faces.maps(c.image)) - wanted).square().sum(dim=1)


def face_maps(target: Float[Tensor, "batch 3 height width"]) -> Term:
    """`feature_l1` of what dlib's face network sees on the way to its descriptor; 0 for an image without a face."""
    faces = Faces(target)
    term = feature_l1(target, faces.maps)
    return lambda candidate: faces.seen * term(candidate)


def feature_l1(target: Float[Tensor, "batch channels height width"], features: Callable[[Tensor], Maps]) -> Term:
    """Mean absolute difference of feature maps, each pixel scaled to mean square one, averaged over the maps."""
    with torch.no_grad():
        wanted = [unit_energy(m) for m in features(target)]

    def term(candidate: Candidate) -> Float[Tensor, " batch"]:
        maps = zip(features(candidate.image), wanted, strict=True)
        return torch.stack([(unit_energy(a) - b).abs().mean(dim=(1, 2, 3)) for a, b in maps]).mean(dim=0)

    return term


def noise_autocorrelation(candidate: Candidate, gain: float = 2.0) -> Float[Tensor, " batch"]:
    """Penalise noise that carries signal: shifted products at every scale down to 8x8; 0 without noise.

    Karras et al. 2020 (StyleGAN2), appendix D, where each average of four is doubled, which keeps white noise at unit
    variance. The authors' programs leave that out: gain 1, by which each scale weighs a sixteenth of the one above.
    """
    total = candidate.image.new_zeros(len(candidate.image))
    for noise in candidate.noise:
        while True:
            for axis in (2, 3):
                total = total + (noise * noise.roll(1, dims=axis)).mean(dim=(1, 2, 3)).square()
            if noise.shape[-1] <= 8:
                break
            noise = F.avg_pool2d(noise, 2) * gain
    return total


def latent_prior(generator: Generator, seed: int = 0, label: int | None = None) -> Term:
    """Squared distance from the latents' centre in units of their spread: about 1 for samples, 0 at the centre.

    Both are those of samples from seed, of one class or of any, before the mapping's last leaky ReLU. Zhu et al. 2020,
    "Improved StyleGAN Embedding: Where are the Good Latents?"; divided by w_dim, averaged over layers.
    """
    gaussian = generator.statistics(seed=seed, unbent=True, label=label)
    return lambda candidate: gaussian.enter(generator.unbent(candidate.ws)).square().mean(dim=(1, 2))


def layer_spread(candidate: Candidate) -> Float[Tensor, " batch"]:
    """Mean squared distance of the layers' styles from their mean, so 0 in w (after Tov et al. 2021, e4e)."""
    return (candidate.ws - candidate.ws.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2))


def anchor(init_ws: Float[Tensor, "batch num_ws w_dim"] | None) -> Term:
    """Mean squared distance of the styles from where they started; SettingsError if that is None."""
    if init_ws is None:
        raise SettingsError("the loss anchor needs a start; pass init_ws, or leave anchor out")
    start = init_ws.detach().clone()
    return lambda candidate: (candidate.ws - start).square().mean(dim=(1, 2))


def detail(init_noise: Noise | None) -> Term:
    """Mean squared distance of each noise map from where it started, summed over the maps; SettingsError if None."""
    if init_noise is None:
        raise SettingsError("the loss detail needs a start; pass init_noise, or leave detail out")
    start = tuple(n.detach().clone() for n in init_noise)

    def term(candidate: Candidate) -> Float[Tensor, " batch"]:
        total = candidate.image.new_zeros(len(candidate.image))
        for noise, first in zip(candidate.noise, start, strict=True):
            total = total + (noise - first).square().mean(dim=(1, 2, 3))
        return total

    return term


Builder = Callable[[TermContext], Term]
HOLD = 0.5  # how much a difference weighs in what is not kept of a target, which the generator filled

TERMS: dict[str, Builder] = {
    "pixel": lambda context: pixel_l2(context.target),
    "l2": lambda context: pixel_l2(context.target),
    "l1": lambda context: pixel_l1(context.target),
    "laplacian": lambda context: laplacian_l1(context.target),
    "ms_ssim": lambda context: ms_ssim_distance(context.target),
    "lpips": lambda context: lpips_distance(context.target, lpips_network("alex", context.target.device)),
    "lpips-alex": lambda context: lpips_distance(context.target, lpips_network("alex", context.target.device)),
    "lpips-vgg": lambda context: lpips_distance(context.target, lpips_network("vgg", context.target.device)),
    "lpips-squeeze": lambda context: lpips_distance(context.target, lpips_network("squeeze", context.target.device)),
    "features": lambda context: feature_l1(context.target, discriminator_features(context.generator)),
    "perceptual": lambda context: perceptual(context.target),
    "identity": lambda context: identity(context.target),
    "face": lambda context: face_maps(context.target),
    "noise": lambda context: noise_autocorrelation,
    "noise-code": lambda context: partial(noise_autocorrelation, gain=1.0),
    "prior": lambda context: latent_prior(context.generator, context.seed, context.label),
    "delta": lambda context: layer_spread,
    "anchor": lambda context: anchor(context.init_ws),
    "detail": lambda context: detail(context.init_noise),
}


def objective(weights: Mapping[str, float], context: TermContext) -> Objective:
    """Build the weighted terms, leaving out those of weight 0; SettingsError for what check_weights refuses."""
    check_weights(weights)
    generator, target = context.generator, context.target
    size = (generator.img_channels, generator.img_resolution, generator.img_resolution)
    if tuple(target.shape[1:]) != size:  # broadcasting would hide it
        raise SettingsError(f"the target is {tuple(target.shape)}; resize it to (batch, {', '.join(map(str, size))})")
    return build(weights, context)


def build(weights: Mapping[str, float], context: TermContext) -> Objective:
    return {name: (float(weight), TERMS[name](context)) for name, weight in weights.items() if weight}


def objectives(weights: Mapping[str, float], context: TermContext) -> "Objectives":
    """`objective` at every size that the generator renders; SettingsError for weights that `check_weights` refuses."""
    check_weights(weights)
    return Objectives(weights, context)


@dataclass(frozen=True)
class Objectives:
    """Size -> objective: the target averaged down, and the terms built on first use.

    SettingsError for what `objective` refuses, and for features of a discriminator below the full size.
    """

    weights: Mapping[str, float]
    context: TermContext
    built: dict[int, Objective] = field(default_factory=dict, repr=False)

    def __call__(self, size: int) -> Objective:
        if size not in self.built:
            self.built[size] = objective_at(self.weights, self.context, averaged(self.context.target, size))
        return self.built[size]

    def take(self, rows: Int[Tensor, " rows"]) -> "Objectives":
        """The objectives of those rows of the batch."""
        context = self.context
        fewer = {
            "target": context.target[rows],
            "init_ws": None if context.init_ws is None else context.init_ws[rows],
            "init_noise": None if context.init_noise is None else tuple(n[rows] for n in context.init_noise),
            "kept": None if context.kept is None else context.kept[rows],
        }
        return Objectives(self.weights, replace(context, **fewer))


def objective_at(weights: Mapping[str, float], context: TermContext, target: Images) -> Objective:
    """`objective` for a target at one of the sizes, `held` where not all of it is kept."""
    full, make = context.generator.img_resolution, build
    if target.shape[-1] == full:
        make = objective
    elif weights.get("features"):
        raise SettingsError(f"features are seen at {full} px alone; leave them out, or coarse sizes")
    terms = make(weights, replace(context, target=target))
    return terms if context.kept is None else held(terms, target, context.kept)


def held(objective: Objective, target: Images, kept: Bool[Tensor, "batch 1 height width"]) -> Objective:
    """The objective of candidates that are drawn towards target, by 1 - HOLD of the way, in all that is not kept.

    So the differences that a term sees there are HOLD times as large. A mean of pixels is kept if all of them are.
    """
    shares = torch.where(averaged(kept.float(), target.shape[-1]) > 1 - 1e-6, 1.0, HOLD)

    def composed(term: Term, candidate: Candidate) -> Float[Tensor, " batch"]:
        return term(replace(candidate, image=target.lerp(candidate.image, shares)))

    return {name: (weight, partial(composed, term)) for name, (weight, term) in objective.items()}


def check_weights(weights: Mapping[str, float]) -> None:
    """SettingsError for an unknown term, a weight that is negative or not finite, or no weight above 0."""
    for name, weight in weights.items():
        if name not in TERMS:
            raise SettingsError(f"no loss named {name!r}; known losses: {', '.join(TERMS)}")
        if not (isfinite(weight) and weight >= 0):
            raise SettingsError(f"the loss {name} has weight {weight}; give a finite number, 0 or more")
    if not any(weights.values()):
        raise SettingsError("no loss has a weight above 0; give at least one, such as pixel=1")
