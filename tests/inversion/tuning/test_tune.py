"""A generator tuned around latents."""

from dataclasses import replace

import pytest
import torch

from generators.adapter import adapt
from generators.base import weights_of
from generators.checkpoints.delta import RIGHT
from inversion.errors import SettingsError
from inversion.latent import Latent, sample_latent, synthesize
from inversion.tuning.config import TuneConfig
from inversion.tuning.lowrank import LowRank, count, fitting_rank
from inversion.tuning.people import Best, People
from inversion.tuning.tune import steps_of, tune, tuned_by
from tests.conftest import tiny_generator, tiny_mobile

PIXEL = TuneConfig(steps=30, loss={"pixel": 1.0}, seed=3)


@pytest.fixture(scope="module")
def plain():
    """A generator of no faces, so that there is nothing to see but pixels."""
    generator = tiny_generator(img_resolution=32, channels=(8, 8, 8, 8))
    generator.card["subject"] = "patterns"
    return generator


@pytest.fixture(scope="module")
def two(plain) -> tuple[Latent, torch.Tensor]:
    """Latents of two, and pictures that they do not draw."""
    return sample_latent(plain, batch=2, seed=1), synthesize(plain, sample_latent(plain, batch=2, seed=2))


def error(generator, latent, images):
    with torch.no_grad():
        drawn = generator.synthesis(latent.to_ws(generator), latent.noise)
    return (drawn - images).square().mean(dim=(1, 2, 3))


def test_tuning_draws_what_the_latents_could_not(plain, two):
    before = {key: value.clone() for key, value in weights_of(plain).items()}
    tuned = tune(plain, *two, config=PIXEL)
    assert (error(tuned, *two) < 0.5 * error(plain, *two)).all()
    assert all(torch.equal(value, before[key]) for key, value in weights_of(plain).items()) and plain.delta is None
    assert all(torch.equal(weights_of(tuned)[key], before[key]) for key in before if key.startswith("map."))


def test_the_same_seed_gives_the_same_delta(plain, two):
    config = replace(PIXEL, steps=5)
    one, again, other = (tune(plain, *two, config=c).delta for c in (config, config, replace(config, seed=4)))
    assert one == again and one != other and one is not None


def test_the_first_step_is_the_generator_itself(plain, two):
    steps = list(steps_of(plain, *two, config=replace(PIXEL, steps=3)))
    assert [step.index for step in steps] == [0, 1, 2, 3]
    torch.testing.assert_close(steps[0].losses["pixel"], error(plain, *two), rtol=1e-4, atol=1e-5)
    untouched = tuned_by(plain, steps[0], PIXEL)
    assert torch.equal(synthesize(untouched, two[0]), synthesize(plain, two[0]))


def test_the_best_step_is_given_and_scores_what_was_told(plain, two):
    steps = list(steps_of(plain, *two, config=replace(PIXEL, locality=0.0)))
    best = min(float(step.total.mean()) for step in steps)
    made = error(tuned_by(plain, steps[-1], PIXEL), *two)
    assert float(made.mean()) == pytest.approx(best, rel=0.02)  # half precision


def test_locality_holds_the_faces_around(plain, two):
    people = People(plain, *two, config=PIXEL)
    near = [people.near(people.ws[:1], seed) for seed in range(20)]

    def moved(locality: float) -> float:
        tuned = tune(plain, *two, config=replace(PIXEL, locality=locality, every=1))
        noise = tuple(n[:1] for n in two[0].noise)
        apart = [(tuned.synthesis(ws, noise) - plain.synthesis(ws, noise)).square().mean() for ws in near]
        return float(torch.stack(apart).mean())

    assert moved(3.0) < 0.6 * moved(0.0)


def test_faces_around_are_as_far_off_as_was_asked(plain, two):
    people = People(plain, *two, config=replace(PIXEL, reach=0.5))
    off = (people.near(people.ws[:1], 7) - people.ws[:1]).square().sum(dim=2).mean().sqrt()
    assert float(off) == pytest.approx(0.5 * plain.statistics().spread, rel=1e-4)


def test_people_take_turns_where_memory_allows_few(plain, two, monkeypatch):
    monkeypatch.setattr("inversion.tuning.people.at_a_time", lambda generator: 1)
    steps = list(steps_of(plain, *two, config=replace(PIXEL, steps=20)))
    assert len(steps) == 41 and all(len(step.latent) == 1 for step in steps)
    assert torch.equal(steps[1].latent.code, two[0].code[1:]) and torch.equal(steps[2].latent.code, two[0].code[:1])
    assert (error(tuned_by(plain, steps[-1], PIXEL), *two) < error(plain, *two)).all()


def test_steps_that_are_too_long_go_back_and_become_shorter(plain, two):
    steps = list(steps_of(plain, *two, config=replace(PIXEL, lr=20.0, patience=30)))
    totals = [float(step.total.mean()) for step in steps]
    astray = [i for i in range(1, len(totals) - 1) if totals[i] > 1.5 * min(totals[:i])]
    assert astray and [totals[i + 1] for i in astray] == pytest.approx([min(totals[:i]) for i in astray], rel=1e-3)


def test_patience_ends_it(plain):
    latent = sample_latent(plain, seed=1)
    images = synthesize(plain, latent) + 0  # drawn already, so that nothing can be gained
    assert len(list(steps_of(plain, latent, images, replace(PIXEL, patience=4, lr=1e-9)))) == 5


def test_a_step_counts_once_all_have_been_looked_at():
    factors = LowRank({"a": torch.ones(4, 4)}, 1)
    best = Best(factors, turns=2, patience=1)
    for turn, value, least in [(0, 1.0, torch.inf), (1, 1.0, 2.0), (0, 3.0, 2.0), (1, 0.5, 2.0), (0, 1.0, 1.5)]:
        best.see(turn, {"pixel": torch.tensor([value])}, 32)
        assert best.least == least
    best.see(0, {"pixel": torch.tensor([9.0])}, 64)
    assert best.least == torch.inf and not best.tired  # another size is another scale


def test_factors_have_the_gradients_of_their_product():
    torch.manual_seed(0)
    weight, goal = torch.randn(5, 3, 2, 2), torch.randn(5, 3, 2, 2)
    low = LowRank({"w": weight}, 2, seed=1)
    low.factors["w:left"].normal_()
    left, right = (low.factors[f"w:{side}"].clone().requires_grad_() for side in ("left", "right"))
    changed = weight + low.scale["w"] * (left @ right).view_as(weight)
    (changed * goal).sum().backward()
    low.take({"w": goal})
    torch.testing.assert_close(low.factors["w:left"].grad, left.grad)
    torch.testing.assert_close(low.factors["w:right"].grad, right.grad)
    put = torch.zeros_like(weight)
    low.put({"w": put})
    torch.testing.assert_close(put, changed.detach())
    made = low.changes()
    torch.testing.assert_close(weight + (made["w:left"] @ made["w:right"]).view_as(weight), put)


def test_a_rank_that_passes_a_tenth_of_the_model_is_lowered():
    generator = tiny_generator(w_dim=64, z_dim=64, channels=(64, 64, 64))
    weights = [value for key, value in weights_of(generator).items() if key.endswith("weight")]
    total = sum(value.numel() for value in weights_of(generator).values())
    rank = fitting_rank(generator, weights, 64)
    assert 2 * count(weights, rank) <= 0.1 * 4 * total < 2 * count(weights, rank + 1)
    assert fitting_rank(generator, weights, 2) == 2
    factors = LowRank(dict(zip("abc", weights[-3:], strict=True)), 2).factors
    assert all(len(value) == 2 for key, value in factors.items() if key.endswith(RIGHT))


def test_a_large_one_is_compared_small_first_and_whole_at_the_end(monkeypatch):
    monkeypatch.setattr("inversion.tuning.people.COARSE", 8)
    g = tiny_mobile()
    g.card["subject"] = "patterns"
    latent, images = sample_latent(g, seed=1), synthesize(g, sample_latent(g, seed=2))
    steps = list(steps_of(g, latent, images, replace(PIXEL, steps=10, coarse=0.75)))
    assert [step.size for step in steps] == [8] * 8 + [32] * 3
    assert float(error(tuned_by(g, steps[-1], PIXEL), latent, images)) < float(error(g, latent, images))


def test_faces_are_looked_at_with_eyes_and_others_are_not(plain, two):
    small, face = tiny_generator(), tiny_generator(img_resolution=32, channels=(8, 8, 8, 8))
    assert People(small, *drawn(small), TuneConfig()).weights.keys() == {"pixel", "laplacian", "identity"}
    assert People(plain, *two, config=TuneConfig()).weights.keys() == {"pixel", "laplacian", "perceptual"}
    assert People(face, *drawn(face), TuneConfig()).weights.keys() == TuneConfig().loss.keys()


def drawn(generator):
    latent = sample_latent(generator, seed=1)
    return latent, synthesize(generator, latent)


def test_searches_under_inference_mode_go_on(plain, two):
    with torch.inference_mode():
        tuned = tune(plain, sample_latent(plain, batch=2, seed=1), two[1].clone(), replace(PIXEL, steps=3))
    assert tuned.delta is not None and tuned.sha256() != plain.sha256()


class Decoder(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3 * 8 * 8)

    def forward(self, z):
        return self.layer(z).tanh().view(-1, 3, 8, 8)


def test_an_adapted_network_is_tuned_too_but_no_bare_function():
    g = adapt(Decoder(), z_dim=4)
    latent, images = sample_latent(g, seed=1), torch.zeros(1, 3, 8, 8)
    assert float(error(tune(g, latent, images, PIXEL), latent, images)) < 0.5 * float(error(g, latent, images))
    bare = adapt(lambda z: z[:, :3, None, None].expand(-1, 3, 8, 8).tanh(), z_dim=4, name="bare")
    with pytest.raises(SettingsError, match="bare has no weights that its pictures depend on"):
        tune(bare, sample_latent(bare, seed=1), images, PIXEL)


def test_what_cannot_be_tuned_is_told_in_one_line(plain, two):
    latents, images = two
    with pytest.raises(SettingsError, match="2 latents came for 1 images"):
        tune(plain, latents, images[:1], PIXEL)
    tuned = tune(plain, latents, images, replace(PIXEL, steps=1))
    with pytest.raises(SettingsError, match="tuned already; tune all people together"):
        tune(tuned, latents, images, PIXEL)
    with pytest.raises(SettingsError, match="no loss named 'nothing'"):
        tune(plain, latents, images, replace(PIXEL, loss={"nothing": 1.0}))
    for wrong in ({"steps": 0}, {"rank": 0}, {"locality": -1.0}, {"coarse": 2.0}, {"lr": 0.0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            replace(PIXEL, **wrong)
