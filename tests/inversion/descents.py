"""Short descents on the tiny generator."""

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
