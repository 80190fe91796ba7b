import math
from dataclasses import replace
from itertools import count

import pytest
import torch

from generators.training.methods.method import precision_on
from inversion import loop
from inversion.config import InvertConfig, LatentSpace
from inversion.errors import SettingsError
from inversion.guess import random_guess
from inversion.latent import Latent
from inversion.loop import OPTIMIZERS, Jitter, Step, better, check_budget, descend, lr_ramp, optimize, whiten_
from inversion.losses import Candidate, TermContext, objective
from tests.inversion.descents import PIXEL, SPACES, run, scripted, settings, targets


@pytest.mark.parametrize("moves", [{}, {"optimize_noise": True}, {"detail": 0.4}])
@pytest.mark.parametrize("space", SPACES)
def test_each_image_goes_as_it_would_alone(generator, space, moves):
    images = targets(generator)
    jitter = 0.0 if space is LatentSpace.Z else 0.02
    loss = {"pixel": 1.0, "noise": 0.1, "detail": 0.01}
    config = settings(space=space, w_jitter=jitter, loss=loss, **moves)
    together = run(generator, images, config)[-1]
    assert not torch.equal(together.latent.code[0], together.latent.code[1])
    for i in range(len(images)):
        alone = run(generator, images[i : i + 1], config)[-1]
        torch.testing.assert_close(together.latent.code[i : i + 1], alone.latent.code, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(together.total[i : i + 1], alone.total, rtol=1e-3, atol=1e-5)
        for a, b in zip(together.latent.noise, alone.latent.noise, strict=True):
            torch.testing.assert_close(a[i : i + 1], b, rtol=1e-2, atol=1e-3)


def test_a_seed_decides_everything_and_the_global_generator_nothing(generator):
    images, config = targets(generator, 1), settings(w_jitter=0.05, optimize_noise=True)
    state = torch.random.get_rng_state()
    first = run(generator, images, config)[-1].latent
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    second, other = (run(generator, images, c)[-1].latent for c in (config, replace(config, seed=1)))
    torch.random.set_rng_state(state)
    assert torch.equal(first.code, second.code) and not torch.equal(first.code, other.code)
    assert all(map(torch.equal, first.noise, second.noise))


@pytest.mark.parametrize("space", SPACES)
def test_it_finds_what_the_generator_made(generator, space):
    images = targets(generator, 2)
    steps = run(generator, images, settings(space=space, steps=100, lr=0.1))
    if space is LatentSpace.Z:  # this mapping folds z: a start may lie behind a fold
        assert (steps[-1].total < 0.7 * steps[0].total).all()
    else:
        assert (steps[-1].total < 0.1 * steps[0].total).all()


@pytest.mark.parametrize("space", SPACES)
def test_the_losses_of_a_step_are_those_of_its_latent(generator, space):
    images = targets(generator)
    jitter = 0.0 if space is LatentSpace.Z else 0.05
    config = settings(space=space, w_jitter=jitter, optimize_noise=True, loss={"pixel": 2.0, "noise": 1.0})
    init = random_guess(generator, 3, space, 0)
    terms = objective(config.loss, TermContext(generator=generator, target=images))
    steps = list(optimize(generator, init, terms, config))
    assert [step.index for step in steps] == list(range(13))
    assert torch.equal(steps[0].latent.code, init.code) is (not jitter) and steps[1].latent.space is space
    for step in (steps[0], steps[5], steps[12]):
        ws, noise = step.latent.to_ws(generator), step.latent.noise
        candidate = Candidate(generator.synthesis(ws, noise), ws, noise)
        torch.testing.assert_close(step.losses["pixel"], 2 * terms["pixel"][1](candidate))
        torch.testing.assert_close(step.losses["noise"], terms["noise"][1](candidate))


def test_a_step_keeps_its_values_when_the_loop_goes_on(generator):
    init = random_guess(generator, 1, LatentSpace.W_PLUS, 0)
    terms = objective(PIXEL, TermContext(generator=generator, target=targets(generator, 1)))
    config = settings(optimize_noise=True, lr_rampup=0.0)
    kept = [(step, step.latent.code.clone()) for step in optimize(generator, init, terms, config)]
    assert all(torch.equal(step.latent.code, code) for step, code in kept)
    assert not torch.equal(kept[0][1], kept[1][1])
    assert torch.equal(init.code, random_guess(generator, 1, LatentSpace.W_PLUS, 0).code)


def test_the_best_so_far_is_the_running_minimum_of_each_image(generator):
    images, config = targets(generator), settings(steps=25, lr=3.0, lr_rampup=0.0, w_jitter=0.1)  # far too fast
    init = random_guess(generator, 3, config.space, 0)
    terms = objective(PIXEL, TermContext(generator=generator, target=images))
    every = torch.stack([step.total for step in optimize(generator, init, terms, config)])
    best = list(descend(generator, init, terms, config))
    assert (every[-1] > every.min(dim=0).values).any()
    torch.testing.assert_close(torch.stack([step.total for step in best]), every.cummin(dim=0).values)
    assert [step.index for step in best] == list(range(26))
    rendered = generator.synthesis(best[-1].latent.to_ws(generator), best[-1].latent.noise)
    torch.testing.assert_close((rendered - images).square().mean(dim=(1, 2, 3)), best[-1].total)


def test_no_steps_give_the_first_guess(generator):
    init = random_guess(generator, 3, LatentSpace.W, 0)
    steps = run(generator, targets(generator), settings(steps=0, space=LatentSpace.W, w_jitter=0.5), init)
    assert len(steps) == 1 and steps[0].index == 0
    assert torch.equal(steps[0].latent.code, init.code)


def test_patience_ends_a_descent_without_gain(generator):
    flat = [[1.0]] * 21
    assert [step.index for step in scripted(generator, flat, patience=5)] == list(range(6))
    assert len(scripted(generator, flat)) == 21
    late = [[1.0]] * 5 + [[0.5]] * 16
    assert scripted(generator, late, patience=5)[-1].index == 10  # a gain at 5, then five without


def test_patience_adds_up_small_gains(generator):
    slow = [[0.9996**i] for i in range(21)]  # 0.1 % in three steps
    assert scripted(generator, slow, patience=4)[-1].index == 20
    assert scripted(generator, slow, patience=2)[-1].index == 2


def test_patience_is_each_images_own(generator):
    #        runs out at 2, then finds a gain too late;  gains until 4
    values = [[1.0, 1.0], [1.0, 0.9], [1.0, 0.8], [0.5, 0.7], [0.5, 0.6], [0.5, 0.6], [0.5, 0.6], [0.5, 0.6]]
    together = scripted(generator, values, patience=2)
    assert together[-1].index == 6
    assert together[-1].total.tolist() == pytest.approx([1.0, 0.6])
    for i in range(2):
        alone = scripted(generator, [row[i : i + 1] for row in values], patience=2)
        assert alone[-1].total.item() == pytest.approx(together[-1].total[i].item())


def test_budget_ends_the_descent(generator, monkeypatch):
    clock = count()  # a second at each look
    monkeypatch.setattr(loop, "monotonic", lambda: float(next(clock)))
    images = targets(generator)
    assert run(generator, images, settings(), budget=4.0)[-1].index == 3
    assert len(run(generator, images, settings(), budget=0.5)) == 1  # the first guess always
    assert run(generator, images, settings())[-1].index == 12


@pytest.mark.parametrize("budget", [0.0, -1.0, math.inf, math.nan])
def test_a_budget_is_some_seconds(budget):
    with pytest.raises(SettingsError, match="seconds above 0"):
        check_budget(budget)
    check_budget(None)


def test_lr_ramp():
    config = settings(lr_rampup=0.1, lr_rampdown=0.5)
    at = {0.0: 0.0, 0.05: 0.5, 0.1: 1.0, 0.5: 1.0, 0.75: 0.5, 0.875: 0.5 - 0.5 * math.cos(math.pi / 4)}
    assert [lr_ramp(t, config) for t in at] == pytest.approx(list(at.values()))
    constant = settings(lr_rampup=0.0, lr_rampdown=0.0)
    assert [lr_ramp(t, constant) for t in (0.0, 0.5, 0.99)] == [1.0, 1.0, 1.0]


def test_whiten():
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    wide, flat = 3 * noise + 5, torch.full((1, 1, 4, 4), 2.0)
    whiten_((wide, flat))
    expected = noise - noise.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(wide, expected / expected.square().mean(dim=(2, 3), keepdim=True).sqrt())
    assert torch.equal(flat, torch.zeros_like(flat))


def test_noise_stays_white_only_where_it_is_optimised(generator):
    images = targets(generator)
    init = random_guess(generator, 3, LatentSpace.W_PLUS, 0)
    moved, kept = (run(generator, images, settings(optimize_noise=m), init)[-1] for m in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(kept.latent.noise, init.noise, strict=True))
    for n in moved.latent.noise:
        torch.testing.assert_close(n.square().mean(dim=(1, 2, 3)), torch.ones(3), rtol=1e-4, atol=1e-4)


def test_jitter_falls_to_zero(generator):
    def jitter(t):
        return Jitter(generator, (5000,), settings(w_jitter=0.2, jitter_ramp=0.5))(t)

    strength = 0.2 * generator.statistics().spread
    assert jitter(0.0).std().item() == pytest.approx(strength, rel=0.05)
    torch.testing.assert_close(jitter(0.25), jitter(0.0) / 4)
    assert not jitter(0.5).any() and not jitter(1.0).any()
    assert not torch.equal(jitter(0.0), Jitter(generator, (5000,), settings(w_jitter=0.2, seed=1))(0.0))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_by_name(generator, name):
    rate = {"sgd": 2.0, "rmsprop": 0.01}.get(name, 0.05)
    steps = run(generator, targets(generator), settings(steps=30, optimizer=name, lr=rate))
    assert (steps[-1].total < 0.9 * steps[0].total).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", -1),
        ("restarts", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr_rampup", 1.5),
        ("lr_rampdown", -0.1),
        ("w_jitter", -1.0),
        ("jitter_ramp", 0.0),
        ("patience", 0),
        ("start", "middle"),
        ("optimizer", "lbfgs"),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(SettingsError, match=f"{name} is ") as caught:
        InvertConfig(**{name: value})
    assert "\n" not in str(caught.value)
    if name == "start":
        assert "encoder, mean, random" in str(caught.value)


def test_jitter_needs_w():
    with pytest.raises(SettingsError, match="space z"):
        InvertConfig(space=LatentSpace.Z, w_jitter=0.05)


def test_better_takes_the_smaller_total_of_each_image():
    nan, inf = math.nan, math.inf

    def step(totals, code):
        noise = (torch.full((len(totals), 1, 4, 4), code),)
        latent = Latent(torch.full((len(totals), 2, 3), code), LatentSpace.W_PLUS, noise)
        return Step(int(code), latent, {"a": torch.tensor(totals)})

    a = step([1.0, 1.0, 1.0, nan, nan, inf, 1.0], 0.0)
    b = step([2.0, 0.5, nan, 1.0, nan, 1.0, -inf], 1.0)
    best = better(a, b)
    wins = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert best.latent.code[:, 0, 0].tolist() == wins and best.latent.noise[0][:, 0, 0, 0].tolist() == wins
    assert best.total[:4].tolist() == [1.0, 0.5, 1.0, 1.0] and best.index == 1
    live = torch.tensor([True, False, True, False, True, True, True])
    assert better(a, b, live).latent.code[:, 0, 0].tolist() == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_one_image_that_diverges_leaves_the_others_alone(generator):
    images, config = targets(generator), settings()
    poison = torch.tensor([1, math.nan, 1])
    poisoned = {"pixel": (1.0, lambda c: (c.image - images).square().mean(dim=(1, 2, 3)) * poison)}
    init = random_guess(generator, 3, config.space, 0)
    *_, last = descend(generator, init, poisoned, config)
    good = run(generator, images, config, init)[-1]
    torch.testing.assert_close(last.latent.code[[0, 2]], good.latent.code[[0, 2]])
    assert torch.equal(last.latent.code[1], init.code[1])


def test_bf16_by_default_where_it_is_faster(monkeypatch):
    cpu = torch.device("cpu")
    for fits in (False, True):
        monkeypatch.setattr(loop, "has_bf16", lambda device, fits=fits: fits)
        monkeypatch.setattr("generators.training.methods.method.has_bf16", lambda device, fits=fits: fits)
        assert precision_on(cpu, "auto") == ("bf16" if fits else "fp32")
        with loop.precision(cpu, None):
            assert torch.is_autocast_enabled("cpu") is fits
        with loop.precision(cpu, not fits):
            assert torch.is_autocast_enabled("cpu") is not fits


def test_bf16_finds_nearly_the_same(generator):
    images = targets(generator)
    exact, rough = (run(generator, images, settings(steps=30, bf16=bf16))[-1].total for bf16 in (False, True))
    torch.testing.assert_close(rough, exact, rtol=0.3, atol=0.02)


def test_nothing_is_timed_where_one_picture_is_all_or_the_settings_say_it(generator, monkeypatch):
    monkeypatch.setattr(loop, "has_bf16", None)
    for config in (settings(steps=0, bf16=None), settings(steps=1, bf16=False), settings(steps=1, bf16=True)):
        run(generator, targets(generator, 1), config)
    with pytest.raises(TypeError):
        run(generator, targets(generator, 1), settings(steps=1, bf16=None))
