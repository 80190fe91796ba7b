"""A generator, tuned around latents until it draws their photographs (Roich et al. 2022, "Pivotal Tuning").

The latents stay. What is trained is of low rank from the start, and is all that is kept: a `Delta`.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import cos, pi

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, weights_of
from generators.checkpoints.delta import apply, delta_of
from inversion.latent import Latent
from inversion.loop import precision
from inversion.tuning.config import TuneConfig
from inversion.tuning.lowrank import Changes, LowRank, fitting_rank
from inversion.tuning.people import Best, Images, Losses, People, check_people, drawn

RISE, FALL = 0.05, 0.5  # shares of the steps over which the rate rises and falls


@dataclass(frozen=True)
class TuneStep:
    """One step: what the changes before it scored, and the best changes so far."""

    index: int
    latent: Latent  # of those who were looked at
    losses: Losses  # weighted
    size: int  # pixels of the picture that they are of
    changes: Changes  # the best so far, as `delta_of` takes them

    @property
    def total(self) -> Float[Tensor, " batch"]:
        return torch.stack(list(self.losses.values())).sum(dim=0)


@torch.inference_mode(False)
@torch.enable_grad()
def steps_of(
    generator: Generator,
    latents: Latent,
    images: Images,
    config: TuneConfig = TuneConfig(),  # noqa: B008 - frozen
) -> Iterator[TuneStep]:
    """Tune a copy of the generator until each latent draws its image, yielding every step; leave the loop to stop.

    images, RGB in [-1, 1] at the generator's size, are as many as the latents. All are tuned together, a few a step, in
    turns. The generator stays as it is. SettingsError for what does not fit, or cannot be tuned.
    """
    check_people(generator, latents, images)
    people = People(generator, latents, images, config)
    model = deepcopy(generator)
    weights = reached(model, people)
    factors = LowRank(weights, fitting_rank(generator, [*weights.values()], config.rank), config.seed)
    optimizer, rate = torch.optim.Adam([*factors.factors.values()]), None
    turns = len(people.turns)
    best, total = Best(factors, turns, config.patience), config.steps * turns
    for index in range(total + 1):
        turn, size = index % turns, people.size_at(index / total)
        factors.put(weights)
        with precision(images.device, None):
            losses = people.look(model, turn, size)
        best.see(turn, losses, size)
        told = {name: loss.detach() for name, loss in losses.items()}
        yield TuneStep(index, part(latents, people.chosen(turn)), told, size, best.changes)
        if index == total or best.tired:
            return
        if best.gone_astray:
            factors.restore(best.changes)
            optimizer, rate = torch.optim.Adam([*factors.factors.values()]), rate and rate / 2
            best.since = 0
            continue
        loss = torch.stack(list(losses.values())).sum(dim=0).mean()
        if config.locality and index % config.every == config.every - 1:
            with precision(images.device, None):
                loss = loss + config.locality * config.every * people.held(model, turn, size, index)
        loss.backward()
        factors.take({key: value.grad for key, value in weights.items()})
        model.zero_grad(set_to_none=True)
        rate = rate or config.lr * float(loss.detach()) / factors.slope()
        optimizer.param_groups[0]["lr"] = rate * ramp(index / total)
        optimizer.step()


def tuned_by(generator: Generator, step: TuneStep, config: TuneConfig, people: int = 1) -> Generator:
    """The generator with the best changes of a step, as its delta keeps them in half precision."""
    about = {"settings": asdict(config), "steps": step.index, "people": people}
    return apply(generator, delta_of(generator, step.changes, about))


@torch.inference_mode(False)
@torch.enable_grad()
def tune(
    generator: Generator,
    latents: Latent,
    images: Images,
    config: TuneConfig = TuneConfig(),  # noqa: B008 - frozen
) -> Generator:
    """The generator, tuned by `steps_of` until each latent draws its image: a copy, whose delta is what changed.

    Its latents, and all edits of them, are drawn by what comes back; `save` keeps the delta beside them.
    """
    *_, last = steps_of(generator, latents, images, config)
    return tuned_by(generator, last, config, len(latents))


def reached(model: Generator, people: People) -> dict[str, Tensor]:
    """The model's weights that its pictures of latents depend on, made to take gradients: not those of its mapping."""
    own = weights_of(model)
    weights = {key: value for key, value in model.named_parameters() if key in own}
    for value in weights.values():
        value.requires_grad_(True)
    image = drawn(model, people.ws[:1], tuple(n[:1] for n in people.noise), model.img_resolution).image
    if image.requires_grad:
        image.mean().backward()
    found: dict[str, Tensor] = {key: value for key, value in weights.items() if value.grad is not None}
    model.requires_grad_(False)
    model.zero_grad(set_to_none=True)
    for value in found.values():
        value.requires_grad_(True)
    return found


def part(latents: Latent, who: slice) -> Latent:
    """Some of a batch of latents."""
    return Latent(latents.code[who], latents.space, tuple(n[who] for n in latents.noise))


def ramp(done: float) -> float:
    """The rate's factor: linear up, then level, then down along a cosine."""
    return min(1.0, (done + 0.005) / RISE) * (0.5 - 0.5 * cos(pi * min(1.0, (1 - done) / FALL)))
