"""The projector of Karras et al. 2020, appendix D: its steps by hand, its noise, and what it gives."""

from dataclasses import replace
from itertools import islice
from math import cos, pi

import pytest
import torch

from inversion.config import InvertConfig, LatentSpace, recipe
from inversion.inverter import Inverter
from inversion.latent import Latent, mean_latent
from inversion.loop import steps_of
from inversion.watch import Watch
from tests.conftest import tiny_generator
from tests.inversion.descents import scripted, settings, targets

WEIGHT = 1e5  # of the noise
LOSS = {"pixel": 1.0, "noise-code": WEIGHT}  # LPIPS would need weights from the network


@pytest.fixture(scope="module")
def silent():
    """A model without noise of its own, as converted files are."""
    generator = tiny_generator()
    for name, value in generator.named_buffers():
        if name.endswith("noise_const"):
            value.zero_()
    return generator


def by_hand(generator, target, steps, total):
    """w and the weighted losses before each of so many updates, out of the appendix's formulas."""
    samples = generator.sample_w(10_000, 0)
    spread = (samples - samples.mean(0)).square().sum(1).mean().sqrt().item()
    rng, w = torch.Generator().manual_seed(0), generator.w_avg.clone()
    draws = torch.Generator().manual_seed(0)
    leaves = [w[None].clone(), *(torch.randn(1, 1, *shape, generator=draws) for shape in generator.noise_shapes)]
    first, second, told = [0.0] * len(leaves), [0.0] * len(leaves), []
    for k in range(steps):
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        shift = torch.randn(8, generator=rng)
        seen = leaves[0] + 0.05 * spread * (1 - k / total / 0.75) ** 2 * shift
        image = generator.synthesis(seen[:, None].expand(-1, generator.num_ws, -1), tuple(leaves[1:]))
        losses = (image - target).square().mean(), WEIGHT * sum(map(carried, leaves[1:]))
        told.append((seen.detach()[0], *(loss.item() for loss in losses)))
        rate = 0.1 * min(1, k / total / 0.05) * (0.5 - 0.5 * cos(pi * min(1, (1 - k / total) / 0.25)))
        for i, gradient in enumerate(torch.autograd.grad(sum(losses), leaves)):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            sides = first[i] / (1 - 0.9 ** (k + 1)), (second[i] / (1 - 0.999 ** (k + 1))).sqrt() + 1e-8
            leaves[i] = leaves[i].detach() - rate * sides[0] / sides[1]
        leaves[1:] = [(n - n.mean()) / (n - n.mean()).square().mean().sqrt() for n in leaves[1:]]
    return told


def carried(noise):
    """The squared mean products of neighbours, in the map and its averages of four down to 8 px."""
    n, total = noise[0, 0], 0.0
    while True:
        across, down = torch.cat([n[:, -1:], n[:, :-1]], 1), torch.cat([n[-1:], n[:-1]], 0)
        total = total + (n * across).mean() ** 2 + (n * down).mean() ** 2
        if len(n) <= 8:
            return total
        n = (n[::2, ::2] + n[1::2, ::2] + n[::2, 1::2] + n[1::2, 1::2]) / 4


def test_ten_steps_by_hand(silent):
    target = targets(silent, 1)
    config = replace(recipe(silent, "projector"), loss=LOSS, bf16=False)
    every = islice(steps_of(silent, target, config), 10)  # it gives the last one
    for step, (w, pixel, noise) in zip(every, by_hand(silent, target, 10, config.steps), strict=True):
        torch.testing.assert_close(step.latent.code[0], w, rtol=1e-5, atol=1e-5)
        assert step.losses["pixel"].item() == pytest.approx(pixel, rel=1e-3)
        assert step.losses["noise-code"].item() == pytest.approx(noise, rel=1e-3)


def test_the_first_look_is_shifted_by_the_whole_strength(silent):
    config = replace(recipe(silent, "projector"), loss=LOSS, bf16=False)
    step = next(steps_of(silent, targets(silent, 2), config))
    samples = silent.sample_w(10_000, 0)
    spread = (samples - samples.mean(0)).square().sum(1).mean().sqrt()
    wanted = silent.w_avg + 0.05 * spread * torch.randn(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(step.latent.code, wanted.expand(2, -1), rtol=1e-5, atol=1e-5)


def test_the_noise_starts_white_and_more_steps_give_more(silent):
    target = targets(silent, 2)
    config = replace(recipe(silent, "projector"), loss=LOSS, bf16=False)
    found = [list(steps_of(silent, target, replace(config, steps=n)))[-1] for n in (0, 5, 100)]
    for noise, drawn in zip(found[0].latent.noise, silent.sample_noise(1, 0), strict=True):
        assert torch.equal(noise[:1], drawn) and torch.equal(noise[1:], drawn)
    assert found[1].found.tolist() == [5, 5]
    assert not torch.equal(found[0].latent.code, found[1].latent.code)
    assert (found[2].losses["pixel"] < found[0].losses["pixel"]).all()


def test_a_start_without_noise_gets_some_and_others_keep_theirs(silent):
    target, config = targets(silent, 1), settings(steps=0, optimize_noise=True, space=LatentSpace.W)
    mean = mean_latent(silent, LatentSpace.W)
    own = Latent(mean.code, mean.space, silent.sample_noise(1, 5))
    for init, seed in ((mean, 0), (own, 5)):
        step = next(steps_of(silent, target, config, init=init))
        assert all(map(torch.equal, step.latent.noise, silent.sample_noise(1, seed)))
    still = next(steps_of(silent, target, settings(steps=0, space=LatentSpace.W), init=mean))
    assert not any(n.any() for n in still.latent.noise)


def test_the_last_step_or_the_best(generator):
    values = [[3.0, 3.0], [1.0, 2.0], [2.0, float("nan")]]
    best, last = (scripted(generator, values, returns=which)[-1] for which in ("best", "last"))
    assert (best.total.tolist(), best.found.tolist()) == ([1.0, 2.0], [1, 1])
    assert (last.total.tolist(), last.found.tolist()) == ([2.0, 2.0], [2, 1])  # what is not finite is none


class Listener(Watch):
    def __init__(self):
        self.heard = []

    def say(self, message):
        self.heard.append(message)


@pytest.mark.parametrize(("lr", "given"), [(1e4, 0), (0.01, 3)])
def test_a_search_whose_best_is_its_start_says_so_once(generator, lr, given):
    config = InvertConfig(steps=3, lr=lr, lr_rampup=0.0, bf16=False, start="mean")
    watch, images = Listener(), targets(generator, 3).split(1)
    found = list(Inverter(generator, config, batch=1, align=False).run(images, watch))
    assert [one.history["step_given"] for one in found] == [given] * 3
    words = ["3 steps found nothing better than the start, which is given; try another --lr or --loss"]
    assert watch.heard == (words if given == 0 else [])
