"""Short descents on the tiny generator."""

import torch

from inversion.config import InvertConfig, LatentSpace
from inversion.guess import random_guess
from inversion.latent import sample_latent, synthesize
from inversion.loop import descend
from inversion.losses import TermContext, objective

SPACES = list(LatentSpace)
PIXEL = {"pixel": 1.0}


def settings(**changes):
    return InvertConfig(**({"steps": 12, "lr": 0.05, "bf16": False, "loss": PIXEL} | changes))


def targets(generator, batch=3):
    return synthesize(generator, sample_latent(generator, batch=batch, seed=1))


def run(generator, images, config, init=None, budget=None):
    init = init or random_guess(generator, len(images), config.space, config.seed)
    start = {"init_ws": init.to_ws(generator), "init_noise": init.noise}
    terms = objective(config.loss, TermContext(generator=generator, target=images, **start))
    return list(descend(generator, init, terms, config, budget=budget))


def table(values):
    """An objective whose totals are given, a row a step and a column an image, whatever the latent."""
    rows = iter(values)
    return {"table": (1.0, lambda candidate: 0 * candidate.ws.sum(dim=(1, 2)) + torch.tensor(next(rows)))}


def scripted(generator, values, **changes):
    config = settings(steps=len(values) - 1, **changes)
    return list(descend(generator, random_guess(generator, len(values[0]), config.space, 0), table(values), config))
