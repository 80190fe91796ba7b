"""A photograph from file to latent: align, guess, descend, measure. What `latent invert` and most programs call."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from generators.base import Generator, averaged
from generators.pictures.image import fit_square, read_image, resize, to_pil, to_tensor
from generators.storage import sha256_of
from inversion.encoder import first_guess
from inversion.errors import ImageError, SettingsError
from inversion.faces.align import Alignment
from inversion.faces.align import align as align_face
from inversion.latent import Latent, synthesize
from inversion.loop import InvertConfig, Step, better, check_budget, descend
from inversion.losses import TermContext, objectives
from inversion.metrics import MEASURE_PX, identity_distance, landmark_distance, perceptual, psnr, ssim
from inversion.recipes import recipe as recipe_named

Photo = str | Path | Image.Image | Float[Tensor, "1 channels height width"]


@dataclass(frozen=True)
class Target:
    """What is to be found: the picture at the generator's size, and where it came from."""

    image: Float[Tensor, "1 channels height width"]
    source: str | None = None  # the photograph's path
    sha256: str | None = None  # of its file
    alignment: Alignment | None = None  # None: it was taken as it is


@dataclass(frozen=True)
class Inversion:
    """What an inversion found, and how well."""

    latent: Latent
    target: Target
    image: Float[Tensor, "1 channels height width"]  # the latent rendered
    losses: dict[str, float]  # weighted terms of the objective
    metrics: dict[str, float | None]  # as `compare` gives them
    steps: int
    seconds: float
    history: dict[str, object]  # all that a latent file tells about its making


def load_target(photo: Photo, generator: Generator, *, align: bool = True, face: int | None = None) -> Target:
    """Bring a photograph to the generator's size: aligned like its training faces, or cropped to the centre square.

    A generator of anything but faces takes the square, whatever align says; a grey one the picture's luma. face counts
    from the left, from 1; None takes the largest. A tensor is taken as it is, in [-1, 1]; ImageError if it has another
    size than the generator's images, or values far outside.
    """
    if isinstance(photo, Tensor):
        return Target(checked(photo, generator).to(generator.w_avg.device))
    picture, size = read_image(photo), generator.img_resolution
    if align and generator.subject == "face":
        crop, alignment = align_face(picture, size, face)
    else:
        crop, alignment = resize(fit_square(picture), size), None
    image = to_tensor(crop)
    if generator.img_channels == 1:
        image = to_tensor(crop.convert("L").convert("RGB"))[:, :1]
    path = None if isinstance(photo, Image.Image) else str(photo)
    digest = sha256_of(path) if path not in (None, "-") and isinstance(photo, str | Path) else None
    return Target(image.to(generator.w_avg.device), path, digest, alignment)


def checked(image: Tensor, generator: Generator) -> Float[Tensor, "1 channels height width"]:
    """The tensor, if it can be a target; synthesis may overshoot [-1, 1] a little."""
    size = (1, generator.img_channels, generator.img_resolution, generator.img_resolution)
    if tuple(image.shape) != size:
        raise ImageError(f"a tensor of {tuple(image.shape)} came, {generator.name} takes {size}; resize it first")
    if not (image.isfinite() & (image.abs() < 2)).all():
        raise ImageError("the tensor holds values outside of [-1, 1]; scale it, as in pixels / 127.5 - 1")
    return image.float()


def search(
    generator: Generator,
    images: Float[Tensor, "batch channels height width"],
    config: InvertConfig,
    *,
    init: Latent | None = None,
    budget: float | None = None,
) -> Iterator[Step]:
    """Invert a batch: yields the best step so far of every image, from the first guess on. Leave the loop to stop.

    init replaces config.start. budget is in seconds, of which the first guess and the features, made before the first
    step, take their part; the first guess is always yielded.
    """
    check_budget(budget)
    began = monotonic()
    if init is None:
        init = best_start(generator, images, config, budget=budget)
    elif init.space is not config.space:
        raise SettingsError(f"the start is in {init.space}, the search in {config.space}; convert it or set space")
    elif len(init) != len(images):
        raise SettingsError(f"{len(init)} starts came for {len(images)} images; give one each")
    terms = objectives(config.loss, context_of(generator, images, init, config))
    left = None if budget is None else max(0.0, budget - (monotonic() - began))
    yield from descend(generator, init, terms, config, budget=left)


def best_start(generator: Generator, images: Tensor, config: InvertConfig, *, budget: float | None = None) -> Latent:
    """The first guess; of several random ones, the best of each image after a tenth of the steps.

    Those have half of the budget (seconds) between them.
    """
    if config.start != "random" or config.restarts == 1:
        return first_guess(generator, images, config.start, config.space, seed=config.seed, looks=config.looks)
    best, short = None, replace(config, steps=config.steps // 10, patience=None, detail=0.0)
    share = None if budget is None else budget / (2 * config.restarts)
    for k in range(config.restarts):
        start = first_guess(generator, images, "random", config.space, seed=config.seed + k)
        terms = objectives(config.loss, context_of(generator, images, start, config))
        *_, last = descend(generator, start, terms, short, budget=share)
        best = last if best is None else better(best, last)
    assert best is not None
    return best.latent


def context_of(generator: Generator, images: Tensor, init: Latent, config: InvertConfig) -> TermContext:
    with torch.no_grad():
        start = init.to_ws(generator)
    return TermContext(generator=generator, target=images, init_ws=start, init_noise=init.noise, seed=config.seed)


def invert(
    generator: Generator,
    photo: Photo,
    *,
    recipe: str = "default",
    config: InvertConfig | None = None,
    loss: Mapping[str, float] | None = None,
    init: Latent | None = None,
    budget: float | None = None,
    seed: int = 0,
    align: bool = True,
    face: int | None = None,
) -> Inversion:
    """Find the latent of one photograph: a path, a PIL image, or a tensor (1, 3, h, w) in [-1, 1] of the right size.

    config replaces the recipe's settings, and its seed; loss replaces its terms, name -> weight; budget is in seconds.
    Raises InversionError's kinds: no face, an unreadable file, an unknown recipe.
    """
    recipe = recipe if config is None else "custom"
    config = config or replace(recipe_named(recipe, generator), seed=seed)
    config = config if loss is None else replace(config, loss=loss)
    target = load_target(photo, generator, align=align, face=face)
    began = monotonic()
    step = deque(search(generator, target.image, config, init=init, budget=budget), maxlen=1).pop()
    return measure(generator, [target], step, config, recipe=recipe, seconds=monotonic() - began)[0]


def plain(config: InvertConfig) -> dict[str, object]:
    """The settings as JSON has them."""
    return {**asdict(config), "coarse": [list(pair) for pair in config.coarse]}


def measure(
    generator: Generator, targets: Sequence[Target], step: Step, config: InvertConfig, *, recipe: str, seconds: float
) -> list[Inversion]:
    """What a search found, one result per target, rendered and measured; seconds is for the whole batch."""
    share = seconds / len(targets)
    return [measure_one(generator, t, step, i, config, recipe=recipe, seconds=share) for i, t in enumerate(targets)]


def measure_one(
    generator: Generator, target: Target, step: Step, index: int, config: InvertConfig, *, recipe: str, seconds: float
) -> Inversion:
    """What a search found for image `index` of its batch, rendered and measured; seconds is this image's part."""
    latent = step.latent.split()[index]
    image = synthesize(generator, latent)
    losses = {name: float(loss[index]) for name, loss in step.losses.items()}
    metrics = compare(image, target.image, faces=generator.subject == "face")
    history = {
        "recipe": recipe, "settings": plain(config), "steps": step.index, "seconds": seconds, "losses": losses,
        "metrics": metrics, "photograph": target.source, "photograph_sha256": target.sha256,
        "alignment": None if target.alignment is None else target.alignment.to_json(),
    }
    return Inversion(latent, target, image, losses, metrics, step.index, seconds, history)


def compare(
    image: Float[Tensor, "1 channels height width"], target: Float[Tensor, "1 channels height width"], *, faces: bool
) -> dict[str, float | None]:
    """psnr_db and ssim; perceptual, None under 32 px; identity and landmarks, None without faces. See `metrics`."""
    size = image.shape[-1]
    while size > MEASURE_PX:
        size //= 2
    a, b = averaged(image, size), averaged(target, size)
    first, second = to_pil(a), to_pil(b)
    return {
        "psnr_db": float(psnr(a, b)[0]), "ssim": float(ssim(a, b)[0]),
        "perceptual": float(perceptual(a, b)[0]) if size >= 32 else None,
        "identity": identity_distance(first, second) if faces else None,
        "landmarks": landmark_distance(first, second) if faces else None,
    }  # fmt: skip


def stacked(targets: Sequence[Target]) -> Float[Tensor, "batch channels height width"]:
    """The pictures of several targets as one batch."""
    return torch.cat([target.image for target in targets])

