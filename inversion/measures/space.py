"""Measures of a latent space: continuous? complete? like beside like? And what do codes keep of their pictures?

Distances of images are root mean squares over pixels and channels, in units of [-1, 1], at the generator's resolution.
A picture is plausible where a data picture is as near as it is to most unseen pictures (`SpaceConfig.plausible`).
Pixels take blur for plausible: read completeness beside coverage and reconstruction, and compare models on one source.
"""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from generators.base import Generator
from generators.pictures.digits import digits
from generators.pictures.sources import is_digits
from inversion.errors import SettingsError
from inversion.inverter import Inverter
from inversion.library.collection import Collection, collect
from inversion.measures.config import SPACE_CONVENTIONS, SpaceConfig
from inversion.watch import SILENT, Watch

BATCH = 64  # images that are rendered at a time
MOST = 3000  # codes that trustworthiness looks at: it compares all with all


def parts(
    sources: Sequence[str | Path],
    inverter: Inverter,
    space: SpaceConfig,
    *,
    data: Sequence[str | Path] = (),
    watch: Watch = SILENT,
    limit: int | None = None,
) -> tuple[Collection, Collection]:
    """The held-out pictures and the data in sources, with the codes that inverter gives; limit as `collect` takes it.

    data names the data, and then all of sources is held out. Of the bundled digits the test part is, and of others a
    share, drawn by the seed.
    """
    every = collect(sources, inverter, watch, limit=limit)
    if data:
        return every, collect(data, inverter, watch, limit=limit)
    if len(sources) == 1 and is_digits(sources[0]):
        unseen = {digit.name for digit in digits("test")}
        tests = [i for i, name in enumerate(every.names) if name in unseen]
    else:
        order = torch.randperm(len(every), generator=torch.Generator().manual_seed(space.seed))
        tests = order[: round(space.held_out * len(every))].tolist()
    return every.take(tests), every.take(sorted(set(range(len(every))) - set(tests)))


def measure_space(generator: Generator, held: Collection, data: Collection, config: SpaceConfig) -> dict[str, Any]:
    """All measures of one generator's space, as JSON values; names and meanings as in the functions here.

    Without labels the measures of labels are None. SettingsError where there are too few pictures.
    """
    least = max(config.neighbours + 1, 4)
    if min(len(held), len(data)) < least:
        raise SettingsError(f"{len(data)} pictures of data and {len(held)} held out came; each needs {least} or more")
    paths = segments(generator, held.codes, config)
    threshold = float(nearest(held.images, data.images).quantile(config.plausible))
    samples = render(generator, prior_codes(generator, config))
    return {
        "model": generator.name,
        "numbers": prod(held.codes.shape[1:]),
        "pictures": len(data),
        "held_out": len(held),
        **reconstruction(generator, held),
        **continuity(paths),
        "between": plausible_share(paths[:, 1:-1].flatten(0, 1), data.images, threshold),
        "completeness": plausible_share(samples, data.images, threshold),
        "coverage": plausible_share(held.images, samples, threshold),
        "threshold": threshold,
        **neighbours(held, data, config.neighbours),
    }


def reconstruction(generator: Generator, held: Collection) -> dict[str, float]:
    """The error of held-out pictures by their codes: mse over all pixels in units of [-1, 1], and the mean psnr_db."""
    errors = (render(generator, held.codes) - held.images).square().mean(dim=(1, 2, 3))
    return {"mse": float(errors.mean()), "psnr_db": float((10 * torch.log10(4 / errors.clamp_min(1e-12))).mean())}


def segments(
    generator: Generator, codes: Float[Tensor, "count num_ws w_dim"], config: SpaceConfig
) -> Float[Tensor, "segments images channels height width"]:
    """Images at even steps of straight lines between the codes of random pairs, both ends included; not clamped."""
    rng = torch.Generator().manual_seed(config.seed)
    first = torch.randint(len(codes), (config.segments,), generator=rng)
    second = (first + torch.randint(1, len(codes), (config.segments,), generator=rng)) % len(codes)
    t = torch.linspace(0, 1, config.segment_steps + 1)[:, None, None]
    walks = codes[first][:, None].lerp(codes[second][:, None], t)
    return render(generator, walks.flatten(0, 1), clamp=False).unflatten(0, (config.segments, -1))


def continuity(paths: Float[Tensor, "segments images channels height width"]) -> dict[str, float]:
    """How images change along segments in even steps; a linear decoder has worst_to_mean and detour 1.

    step_mean and step_worst: the change of the image at a step, over all segments. worst_to_mean: the worst step of a
    segment over its mean step, averaged over segments. detour: the length of all paths of images over that of the
    straight cross-fades between their ends. A cross-fade is even without being meaningful: see `between`.
    """
    steps = rms(paths[:, 1:] - paths[:, :-1])
    mean, chord = steps.mean(dim=1), rms(paths[:, -1] - paths[:, 0])
    ratio = torch.where(mean > 0, steps.amax(dim=1) / mean.clamp_min(1e-12), torch.ones_like(mean))
    return {
        "step_mean": float(steps.mean()),
        "step_worst": float(steps.max()),
        "worst_to_mean": float(ratio.mean()),
        "detour": float(steps.sum() / chord.sum().clamp_min(1e-12)),
    }


def prior_codes(generator: Generator, config: SpaceConfig) -> Float[Tensor, "samples num_ws w_dim"]:
    """Codes as the generator draws them: z ~ N(0, I) through its mapping, with an even draw of labels if it has any."""
    rng = torch.Generator().manual_seed(config.seed)
    z, device = torch.randn(config.samples, generator.z_dim, generator=rng), generator.w_avg.device
    labels = None
    if generator.c_dim:
        which = torch.randint(generator.c_dim, (config.samples,), generator=rng)
        labels = torch.nn.functional.one_hot(which, generator.c_dim).float().to(device)
    with torch.no_grad():
        return generator.mapping(z.to(device), labels).cpu()


def plausible_share(
    images: Float[Tensor, "count channels height width"], data: Float[Tensor, "n channels height width"], limit: float
) -> float:
    """Share of the images whose nearest of data is at most limit away.

    Over samples of the prior it is their completeness (compare precision, Kynkäänniemi et al. 2019); over inner
    images of segments, `between` (as the mean distance to data of Berthelot et al. 2019, "Understanding and Improving
    Interpolation in Autoencoders via an Adversarial Regularizer"); of held-out pictures among samples, the coverage.
    """
    return float((nearest(images.clamp(-1, 1), data) <= limit).float().mean())


def nearest(
    images: Float[Tensor, "count channels height width"], data: Float[Tensor, "n channels height width"]
) -> Float[Tensor, " count"]:
    """Distance of each image to the nearest of data."""
    pixels = data.flatten(1)
    found = [torch.cdist(part.flatten(1), pixels).amin(dim=1) for part in images.split(256)]
    return torch.cat(found) / pixels.shape[1] ** 0.5


def neighbours(held: Collection, data: Collection, count: int) -> dict[str, float | None]:
    """Like beside like: held-out codes and their nearest among the data's codes (Euclidean).

    nearest_label: share whose nearest has their label (1-NN accuracy). same_label: share of their label among the
    `count` nearest. trustworthiness: 1 where the nearest codes are near in pixels as well (Venna and Kaski 2001).
    """
    from sklearn.manifold import trustworthiness

    every, pixels = torch.cat([held.codes, data.codes])[:MOST], torch.cat([held.images, data.images])[:MOST]
    trust = trustworthiness(pixels.flatten(1).numpy(), every.flatten(1).numpy(), n_neighbors=count)
    same = None
    if any(held.labels) and any(data.labels):
        near = torch.cdist(held.codes.flatten(1), data.codes.flatten(1)).topk(count, largest=False).indices
        same = agreement(held.labels, data.labels, near)
    return {
        "nearest_label": None if same is None else float(same[:, 0].float().mean()),
        "same_label": None if same is None else float(same.float().mean()),
        "trustworthiness": float(trust),
    }


def conventions(records: Sequence[Mapping[str, Any]], config: SpaceConfig) -> str:
    """The meaning of the table's columns, in one line."""
    thresholds = ", ".join(f"{value:.4f}" for value in sorted({record["threshold"] for record in records}))
    return SPACE_CONVENTIONS.format(plausible=config.plausible, threshold=thresholds, neighbours=config.neighbours)


def agreement(
    own: Sequence[str | None], others: Sequence[str | None], near: Tensor
) -> Bool[Tensor, "count neighbours"]:
    """True for each neighbour that has one's own label; near holds indices into others."""
    return torch.tensor([[label == others[i] for i in row] for label, row in zip(own, near.tolist(), strict=True)])


def render(
    generator: Generator, codes: Float[Tensor, "count num_ws w_dim"], *, clamp: bool = True
) -> Float[Tensor, "count channels height width"]:
    """Images of codes, on the CPU, with the generator's fixed noise."""
    parts, device = [], generator.w_avg.device
    for part in codes.split(BATCH):
        with torch.no_grad():
            parts.append(generator.synthesis(part.to(device), generator.fixed_noise(len(part))).cpu())
    images = torch.cat(parts)
    return images.clamp(-1, 1) if clamp else images


def rms(difference: Float[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch"]:
    """Root of the mean square over channels and pixels."""
    return difference.square().mean(dim=(-3, -2, -1)).sqrt()
