"""The last steps of a descent, which move the noise alone."""

from copy import deepcopy
from dataclasses import replace
from itertools import count

import torch

from inversion.config import LatentSpace
from inversion.guess import random_guess
from inversion.latent import sample_latent, synthesize
from inversion.loop import optimize
from inversion.losses import TermContext, objective
from tests.inversion.descents import PIXEL, run, settings, targets


def test_the_schedule_hurries_with_the_clock(generator):
    init = random_guess(generator, 1, LatentSpace.W_PLUS, 0)
    terms = objective(PIXEL, TermContext(generator=generator, target=targets(generator, 1)))
    config, clock = settings(steps=1000, detail=0.5, lr_rampup=0.0), count()
    moved = [moves(init, s.latent) for s in optimize(generator, init, terms, config, clock=lambda: next(clock) / 10)]
    assert moved == [(False, False)] + 5 * [(True, False)] + 5 * [(True, True)]


def moves(init, latent):
    """Whether the code and whether the noise are elsewhere than in init."""
    return not torch.equal(init.code, latent.code), not all(map(torch.equal, init.noise, latent.noise))


def test_detail_moves_the_noise_after_the_code(generator):
    init = random_guess(generator, 1, LatentSpace.W_PLUS, 0)
    terms = objective(PIXEL, TermContext(generator=generator, target=targets(generator, 1)))
    for detail, at in ((0.0, 12), (0.25, 9), (1.0, 0)):
        config = settings(detail=detail, w_jitter=0.1, lr_rampup=0.0, lr_rampdown=0.0)
        steps = [step.latent for step in optimize(generator, init, terms, config)]
        assert [moves(init, latent)[1] for latent in steps] == [index > at for index in range(13)]
        assert all(torch.equal(latent.code, steps[at].code) for latent in steps[at:])
        assert moves(init, steps[-1])[0] is (at > 0)


def test_detail_finds_what_no_style_draws(generator):
    truth = sample_latent(generator, batch=2, seed=1)
    noise = generator.sample_noise(2, 3)
    images, generator = lively(generator, truth, noise)
    init = replace(truth, noise=generator.fixed_noise(2))
    plain, fine = (run(generator, images, settings(steps=100, detail=d), init)[-1].total for d in (0.0, 0.5))
    assert (fine < 0.5 * plain).all()
    free, held = (
        run(generator, images, settings(steps=100, detail=0.5, loss=PIXEL | {"detail": weight}), init)[-1].latent.noise
        for weight in (1e-6, 1.0)
    )
    assert sum(d.square().sum() for d in difference(held, init.noise)) < 0.1 * sum(
        d.square().sum() for d in difference(free, init.noise)
    )


def lively(generator, latent, noise):
    """What the latent draws with that noise, by a copy of the generator on which noise counts, and the copy."""
    generator = deepcopy(generator)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
    return synthesize(generator, replace(latent, noise=noise)), generator


def difference(one, two):
    return [a - b for a, b in zip(one, two, strict=True)]
