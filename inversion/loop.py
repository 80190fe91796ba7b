"""Inversion: find the latent whose image is the target. The loop is `optimize`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from math import cos, isfinite, pi
from time import monotonic

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from generators.base import Generator
from generators.device import has_bf16
from generators.parts.recompute import recomputing
from inversion.config import InvertConfig, LatentSpace
from inversion.errors import SettingsError
from inversion.guess import completed, first_guess, fresh_noise, lively
from inversion.latent import Latent, check_label
from inversion.losses import Candidate, Objective, Objectives, TermContext, objectives
from inversion.together import Found, Rows, better, fitted
from inversion.together import Step as Step

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


def optimize(
    generator: Generator,
    init: Latent,
    objective: Objective | Callable[[int], Objective],
    config: InvertConfig,
    *,
    clock: Callable[[], float] = lambda: 0.0,
    leave: Callable[[], Rows | None] = lambda: None,
) -> Iterator[Step]:
    """Descend the objective from init, yielding every step; stop early by leaving the loop.

    Each image of a batch moves as it would alone. The latent of a step is the one that its losses were taken at,
    jitter included: without that step 0 is init, and config.steps updates give config.steps + 1 of them. clock tells
    which share of the time is gone: the schedule then hurries so that all of it fits, and ends at 1. For pictures of
    several sizes (config.coarse) objective is a function of the size, as `losses.objectives` gives it. leave is asked
    after each step for the rows of that step which go on alone; None is all of them.
    """
    check_label(generator, config.label, LatentSpace.W)
    if config.coarse and not callable(objective):
        raise SettingsError("coarse needs an objective at every size; pass losses.objectives(...), or leave it out")
    terms = objective if callable(objective) else lambda _: objective
    axes = generator.statistics(seed=config.seed, label=config.label) if config.whiten else None
    start = init.code if axes is None else axes.enter(init.code)
    code = start.detach().clone().requires_grad_()
    noise = tuple(n.detach().clone().requires_grad_(config.optimize_noise) for n in init.noise)
    moved = [code, *(noise if config.optimize_noise else ())]
    optimizer = OPTIMIZERS[config.optimizer](moved, lr=config.lr)
    jitter = Jitter(generator, code.shape[1:], config) if config.w_jitter and config.steps else None
    bf16 = config.bf16 if config.steps else bool(config.bf16)  # to time it does not pay for one picture
    turn = 1 - config.detail if noise else 1.0  # the share that is done when the code stops and the noise takes over

    for index in range(config.steps + 1):
        done = max(index / max(config.steps, 1), min(clock(), 1.0))
        if turn <= done < 1 and code.requires_grad:
            code.requires_grad_(False)
            noise = tuple(n.detach().clone().requires_grad_() for n in noise)  # the steps before keep what they have
            optimizer = OPTIMIZERS[config.optimizer](noise, lr=config.detail_lr)
        with precision(code.device, bf16), recomputing(bool(config.checkpoint)):
            shift = jitter(done / turn) if jitter and done < turn else 0.0
            latent = replace(init, code=(code if axes is None else axes.leave(code)) + shift, noise=noise)
            ws, size = latent.to_ws(generator), config.size_at(done, generator.img_resolution)
            candidate = Candidate(generator.synthesis(ws, noise, resolution=size).float(), ws, noise)
            losses = {name: weight * term(candidate).float() for name, (weight, term) in terms(size).items()}
        yield Step(index, settled(latent), {name: loss.detach() for name, loss in losses.items()}, size)

        if index == config.steps or done >= 1:
            return
        optimizer.param_groups[0]["lr"] = lr_at(done, turn, config)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # a sum keeps images independent
        optimizer.step()
        if code.requires_grad and config.optimize_noise:
            whiten_(noise)
        if (rows := leave()) is not None and isinstance(terms, Objectives):
            code, *left = narrowed((code, *noise), optimizer, rows)
            init, terms = init.take(rows), terms.take(rows)
            noise = tuple(left)


@torch.inference_mode(False)  # whatever mode the caller is in; gradients are needed
@torch.enable_grad()
def steps_of(
    generator: Generator,
    images: Float[Tensor, "batch channels height width"],
    config: InvertConfig,
    *,
    init: Latent | None = None,
    budget: float | None = None,
    kept: Bool[Tensor, "batch 1 height width"] | None = None,
) -> Iterator[Step]:
    """Invert a batch: yields the best step so far of every image, from the first guess on. Leave the loop to stop.

    kept: the pixels that count; the generator fills in the others first, and they are then held to that more loosely.
    init replaces config.start. budget is in seconds, of which the first guess and the features, made before the first
    step, take their part; the first guess is always yielded.
    """
    check_budget(budget)
    check_label(generator, config.label, config.space)
    began = monotonic()
    images = images.clone() if images.is_inference() else images
    if config.checkpoint is None:
        _, config = fitted(generator, config, len(images))
    if kept is not None:
        images = completed(generator, images, kept)
    if init is None:
        init = best_start(generator, images, config, budget=budget)
    elif init.space is not config.space:
        where = f"the start{init.told} is in {init.space}"
        raise SettingsError(f"{where}, the inversion in {config.space}; convert it or set space")
    elif init.space is LatentSpace.Z and init.label != config.label:
        where = f"the start{init.told} is z of class {init.label}"
        raise SettingsError(f"{where}, the inversion of {config.label}; give one label")
    elif len(init) != len(images):
        raise SettingsError(f"{len(init)} starts came for {len(images)} images; give one each")
    elif config.optimize_noise:
        init = lively(generator, init, config.seed)
    terms = objectives(config.loss, context_of(generator, images, init, config, kept))
    left = None if budget is None else max(0.0, budget - (monotonic() - began))
    yield from descend(generator, init, terms, config, budget=left)


def best_start(generator: Generator, images: Tensor, config: InvertConfig, *, budget: float | None = None) -> Latent:
    """The first guess; of several random ones, the best of each image after a tenth of the steps.

    Those have half of the budget (seconds) between them.
    """
    if config.start != "random" or config.restarts == 1:
        return started(generator, images, config)
    best, short = None, replace(config, steps=config.steps // 10, patience=None, detail=0.0)
    share = None if budget is None else budget / (2 * config.restarts)
    for k in range(config.restarts):
        start = started(generator, images, replace(config, seed=config.seed + k))
        terms = objectives(config.loss, context_of(generator, images, start, config))
        *_, last = descend(generator, start, terms, short, budget=share)
        best = last if best is None else better(best, last)
    assert best is not None
    return best.latent


def started(generator: Generator, images: Tensor, config: InvertConfig) -> Latent:
    """The first guess that the settings ask for."""
    how = {"seed": config.seed, "looks": config.looks, "label": config.label}
    guess = first_guess(generator, images, config.start, config.space, **how)
    return fresh_noise(generator, guess, config.seed) if config.optimize_noise else guess


def context_of(
    generator: Generator, images: Tensor, init: Latent, config: InvertConfig, kept: Tensor | None = None
) -> TermContext:
    with torch.no_grad():
        start = init.to_ws(generator)
    given = {"init_ws": start, "init_noise": init.noise, "seed": config.seed, "label": config.label}
    return TermContext(generator=generator, target=images, kept=kept, **given)


def descend(
    generator: Generator,
    init: Latent,
    objective: Objective | Callable[[int], Objective],
    config: InvertConfig,
    *,
    budget: float | None = None,
) -> Iterator[Step]:
    """`optimize`, cut by patience and fitted into budget (seconds), yielding what config.returns says of every image.

    That is the best step so far, or the last. An image whose patience has run out keeps what it has, so that it ends as
    it would alone; the batch goes on until all have. Where the size of the pictures changes, the others start anew.
    """
    start = monotonic()
    clock = (lambda: 0.0) if budget is None else (lambda: (monotonic() - start) / max(budget, 1e-9))
    found = Found(config, len(init), init.code.device, leaving=isinstance(objective, Objectives))
    for step in optimize(generator, init, objective, config, clock=clock, leave=found.leave):
        yield found.after(step)
        if not found.left:
            return


def narrowed(tensors: Sequence[Tensor], optimizer: torch.optim.Optimizer, rows: Rows) -> list[Tensor]:
    """Those rows of the tensors; the optimizer goes on with them where it moved the whole ones."""
    fewer = {tensor: tensor.detach()[rows].requires_grad_(tensor.requires_grad) for tensor in tensors}
    for group in optimizer.param_groups:
        for whole in group["params"]:
            state = optimizer.state.pop(whole, {}).items()
            like = {key: isinstance(value, Tensor) and value.shape == whole.shape for key, value in state}
            optimizer.state[fewer[whole]] = {key: value[rows] if like[key] else value for key, value in state}
        group["params"] = [fewer[whole] for whole in group["params"]]
    return list(fewer.values())


class Jitter:
    """Gaussian noise on the code, the same for every image, that shrinks as the steps go on.

    Karras et al. 2020, appendix D.
    """

    def __init__(self, generator: Generator, shape: Sequence[int], config: InvertConfig) -> None:
        self.config = config
        self.shape, self.device = tuple(shape), generator.w_avg.device
        self.spread = generator.statistics(seed=config.seed, label=config.label).spread
        self.rng = torch.Generator().manual_seed(config.seed)

    def __call__(self, t: float) -> Float[Tensor, "*code"]:
        """The shift of each code at t in [0, 1], the share of the steps that is done."""
        strength = self.spread * self.config.w_jitter * max(0.0, 1 - t / self.config.jitter_ramp) ** 2
        return strength * torch.randn(self.shape, generator=self.rng).to(self.device, non_blocking=True)


def lr_at(done: float, turn: float, config: InvertConfig) -> float:
    """Learning rate at done in [0, 1), of the code before turn, and of the noise from there on."""
    if done < turn:
        return config.lr * lr_ramp(done / turn, config)
    return config.detail_lr * lr_ramp((done - turn) / (1 - turn), config)


def lr_ramp(t: float, config: InvertConfig) -> float:
    """Learning-rate factor in [0, 1] at t in [0, 1): linear up, cosine down."""
    down = 1.0 if config.lr_rampdown == 0 else min(1.0, (1.0 - t) / config.lr_rampdown)
    up = 1.0 if config.lr_rampup == 0 else min(1.0, t / config.lr_rampup)  # the first step warms Adam's averages
    return (0.5 - 0.5 * cos(pi * down)) * up


@torch.no_grad()
def whiten_(noise: tuple[Tensor, ...]) -> None:
    """Bring each noise map back to zero mean and unit variance, in place."""
    for n in noise:
        n -= n.mean(dim=(2, 3), keepdim=True)
        n *= n.square().mean(dim=(2, 3), keepdim=True).add(1e-12).rsqrt()


def precision(device: torch.device, bf16: bool | None) -> torch.autocast | nullcontext:
    """bf16 autocast where it is asked for, or by default where it is clearly faster on this machine."""
    wanted = has_bf16(device) if bf16 is None else bf16
    return torch.autocast(device.type, dtype=torch.bfloat16) if wanted else nullcontext()


def settled(latent: Latent) -> Latent:
    """The latent of a step, whose code is no part of the search, apart from what moves on in place: the noise."""
    noise = tuple(n.detach().clone() if n.requires_grad else n for n in latent.noise)
    return replace(latent, code=latent.code.detach(), noise=noise)


def check_budget(budget: float | None) -> None:
    """SettingsError unless budget is None or a positive number of seconds."""
    if budget is not None and not (isfinite(budget) and budget > 0):
        raise SettingsError(f"budget is {budget} s; give a number of seconds above 0, or none")
