"""The people whom a tuning is for: their latents, their photographs, and the faces near them that are to stay."""

from collections.abc import Callable
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, Noise
from inversion.errors import SettingsError
from inversion.latent import Latent, at_a_time, check_fits
from inversion.losses import Candidate, Objective, TermContext, build, check_weights, objectives
from inversion.tuning.config import TuneConfig
from inversion.tuning.lowrank import Changes, LowRank

COARSE = 256  # px, which most steps compare
SMALL = 32  # px, under which networks have nothing to see
GAIN = 0.99  # of the best total, which a step has to come under to count as a gain
ASTRAY = 1.5  # times the best total, from where the steps were too long
HELD = ("pixel", "perceptual")  # the terms by which faces near the latents are held, of those that there are
Images = Float[Tensor, "batch channels height width"]
Losses = dict[str, Float[Tensor, " batch"]]


class People:
    """Latents with their photographs, looked at in turns of as many as memory allows."""

    def __init__(self, generator: Generator, latents: Latent, images: Images, config: TuneConfig) -> None:
        self.generator, self.config = generator, config
        with torch.no_grad():
            self.ws, self.noise = latents.to_ws(generator).clone(), tuple(n.clone() for n in latents.noise)
            self.images = images.clone()  # those that were made in inference mode cannot be searched with
        self.weights = fitted(generator, config)
        self.turns = range(0, len(images), at_a_time(generator))
        self.terms: dict[int, Callable[[int], Objective]] = {}
        self.cheap = generator.img_resolution > COARSE and generator.rendering(COARSE) != "skip"

    def size_at(self, done: float) -> int:
        """Pixels of the pictures that are compared when this share of the steps is done."""
        return COARSE if self.cheap and done < self.config.coarse else self.generator.img_resolution

    def chosen(self, turn: int) -> slice:
        """The people of a turn."""
        return slice(self.turns[turn], self.turns[turn] + self.turns.step)

    def look(self, model: Generator, turn: int, size: int) -> Losses:
        """The weighted terms of those whose turn it is, as the model draws them."""
        who = self.chosen(turn)
        if turn not in self.terms:
            context = TermContext(generator=self.generator, target=self.images[who])
            self.terms[turn] = objectives(self.weights, context)
        candidate = drawn(model, self.ws[who], tuple(n[who] for n in self.noise), size)
        return {name: weight * term(candidate).float() for name, (weight, term) in self.terms[turn](size).items()}

    def held(self, model: Generator, turn: int, size: int, seed: int) -> Float[Tensor, ""]:
        """How far the model draws a random face near the first of a turn from what the generator draws there."""
        first = slice(self.turns[turn], self.turns[turn] + 1)
        near, noise = self.near(self.ws[first], seed), tuple(n[first] for n in self.noise)
        with torch.no_grad():
            wanted = self.generator.synthesis(near, noise, resolution=size).float()
        weights = {name: self.weights[name] for name in HELD if name in self.weights} or {"pixel": 1.0}
        terms = build(weights, TermContext(generator=self.generator, target=wanted))
        candidate = drawn(model, near, noise, size)
        return torch.stack([weight * term(candidate).float().sum() for weight, term in terms.values()]).sum()

    def near(self, ws: Float[Tensor, "1 num_ws w_dim"], seed: int) -> Float[Tensor, "1 num_ws w_dim"]:
        """Styles config.reach spreads of w away from ws, towards a random face (Roich et al. 2022, equation 4)."""
        spread = self.generator.statistics().spread
        towards = self.generator.sample_w(1, seed=self.config.seed + 1000 * seed)[:, None] - ws
        length = towards.square().sum(dim=2).mean().sqrt().clamp_min(1e-8)
        return ws + towards * (self.config.reach * spread / length)


class Best:
    """The changes of the lowest total so far, over all people as they were last looked at; anew at each size."""

    def __init__(self, factors: LowRank, turns: int, patience: int) -> None:
        self.factors, self.changes = factors, copied(factors)
        self.patience, self.turns = patience * turns, turns
        self.size = 0
        self.last: dict[int, float] = {}
        self.least = self.mark = self.total = inf
        self.since = 0

    def see(self, turn: int, losses: Losses, size: int) -> None:
        """Take note of what the present changes scored."""
        if size != self.size:
            self.size, self.last = size, {}
            self.since = 0
            self.least = self.mark = self.total = inf
        self.last[turn] = float(torch.stack(list(losses.values())).sum(dim=0).detach().mean())
        if len(self.last) < self.turns:
            return
        total = self.total = sum(self.last.values())
        if total < self.least:
            self.least, self.changes = total, copied(self.factors)
        gained = total < GAIN * self.mark
        self.mark, self.since = (total, 0) if gained else (self.mark, self.since + 1)

    @property
    def gone_astray(self) -> bool:
        """True where the present changes are far worse than the best, so that the steps were too long."""
        return len(self.last) == self.turns and not self.total <= ASTRAY * self.least

    @property
    def tired(self) -> bool:
        """True once patience has run out."""
        return self.since >= self.patience


def copied(factors: LowRank) -> Changes:
    """The present changes, as they stay."""
    return {key: value.clone() for key, value in factors.changes().items()}


def drawn(model: Generator, ws: Float[Tensor, "batch num_ws w_dim"], noise: Noise, size: int) -> Candidate:
    """The pictures of a model, as the terms take them."""
    return Candidate(model.synthesis(ws, noise, resolution=size).float(), ws, noise)


def fitted(generator: Generator, config: TuneConfig) -> dict[str, float]:
    """The weights of the terms that the generator's pictures can have: others than faces have no identity."""
    weights = dict(config.loss)
    if generator.subject != "face" or generator.img_channels != 3:
        weights.pop("identity", None)
    if generator.img_resolution < SMALL:
        weights.pop("perceptual", None)
    weights = weights if any(weights.values()) else {"pixel": 1.0}
    check_weights(weights)
    return weights


def check_people(generator: Generator, latents: Latent, images: Images) -> None:
    """SettingsError unless there is an image for each latent, and a generator that is as it came."""
    if len(latents) != len(images):
        raise SettingsError(f"{len(latents)} latents came for {len(images)} images; give one each")
    if generator.delta is not None:
        raise SettingsError(
            f"{generator.name} is tuned already; tune all people together, from latents of the generator as it came"
        )
    check_fits(generator, latents, "a latent")
