"""The trainer of StyleGAN2: its adversary, its flow, its start and its end."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from generators.parts.flow import Flow
from generators.stylegan2 import StyleMap
from generators.training.methods import joint
from generators.training.methods.moments import match_moments
from generators.training.methods.prior import FlowPrior
from generators.training.methods.stylegan2 import StyleGAN2Trainer
from generators.training.start.build import build_model
from generators.training.terms.losses import discriminator_loss
from tests.generators.training.small import PLAIN, TINY, copied, draw, flat, rng, state_equal


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The flow is fitted from the first codes on."""
    monkeypatch.setattr(FlowPrior, "enough", 4)


def test_adversary_enters_after_the_warmup():
    before = torch.get_rng_state()
    steps = list(StyleGAN2Trainer(TINY, flat()).run())
    assert torch.equal(torch.get_rng_state(), before)
    assert [s.images_seen for s in steps] == list(range(4, 44, 4))
    assert all(s.losses.keys() == {"reconstruction", "penalty", "skipped"} for s in steps[:2])
    late = {"reconstruction", "penalty", "adversarial", "matching", "discriminator", "mapping", "skipped"}
    assert all(s.losses.keys() - {"r1"} == late for s in steps[2:])
    assert all(math.isfinite(v) for s in steps for v in s.losses.values())


def test_penalties_come_when_they_are_due():
    steps = [set(s.losses) for s in StyleGAN2Trainer(replace(TINY, r1_every=3), flat()).run()]
    assert [i for i, names in enumerate(steps) if "r1" in names] == [3, 6, 9]  # from the third on, the adversary is in
    steps = [set(s.losses) for s in StyleGAN2Trainer(PLAIN, flat()).run()]
    assert [i for i, names in enumerate(steps) if "r1" in names] == [0, 3, 6, 9]
    assert [i for i, names in enumerate(steps) if "path" in names] == [0, 2, 4, 6, 8]


def test_codes_gathered_by_a_warmup_are_part_of_the_state(monkeypatch):
    """A run that is taken up in its warm-up fits the flow as an unbroken one does, and no second time later."""
    fits, fit_moments = [], Flow.fit_moments
    monkeypatch.setattr(Flow, "fit_moments", lambda self, w: fits.append(len(w)) or fit_moments(self, w))
    config = replace(TINY, images=32, warmup=16, mapping_rounds=1)
    whole, states = StyleGAN2Trainer(config, flat()), []
    for _ in whole.run():
        states.append(copy.deepcopy(whole.state()))
    assert fits == [20]  # four steps of warm-up, and the first of the adversary
    for state, again in ((states[1], [20]), (states[5], [])):
        fits.clear()
        resumed = StyleGAN2Trainer(config, flat())
        resumed.restore(state)
        list(resumed.run())
        assert fits == again and state_equal(resumed.state(), whole.state())


def poisoned(loss):
    return lambda *args: loss(*args) * float("nan")


def test_a_discriminator_without_a_finite_gradient_stays(monkeypatch):
    trainer = StyleGAN2Trainer(replace(TINY, warmup=0, mapping_rounds=0), flat())
    before, steps = copied(trainer.model.discriminator.state_dict()), trainer.run()
    with monkeypatch.context() as patch:
        patch.setattr(joint, "discriminator_loss", poisoned(discriminator_loss))
        assert next(steps).losses["skipped"] == 1
    assert state_equal(trainer.model.discriminator.state_dict(), before) and trainer.bad_steps == 1
    assert next(steps).losses["skipped"] == 1 and not state_equal(trainer.model.discriminator.state_dict(), before)


def test_nothing_not_finite_ever_gets_into_the_model():
    """The mapping network and its critic, too, leave a bad step out; then all goes on."""
    trainer = StyleGAN2Trainer(replace(TINY, warmup=0, mapping_rounds=1, flow_steps=0), flat())
    steps = trainer.run()
    next(steps)
    trainer.method.prior.critic.layers[2].bias.data.fill_(float("nan"))
    assert next(steps).losses["skipped"] == 2
    for part in (trainer.model, trainer.ema):
        assert all(v.isfinite().all() for v in part.state_dict().values())
    trainer.method.prior.critic.layers[2].bias.data.zero_()
    assert next(steps).losses["skipped"] == 2 and trainer.bad_steps == 0


def test_a_start_from_principal_components_renders_them():
    """The code of a small picture, drawn by the style map, is its projection on the principal components."""
    factors = draw(40, 6) @ (draw(6, 192, seed=1) * torch.tensor([40.0, 30, 20, 12, 8, 5])[:, None])
    varied = (128 + factors).clamp(0, 255).reshape(40, 3, 8, 8).to(torch.uint8)
    pictures = replace(flat(), images=varied, weights=torch.full((40,), 1 / 40))
    model = StyleGAN2Trainer(replace(TINY, linear=8, w_dim=16), pictures).model
    small = pictures.images.float() / 127.5 - 1
    w, _ = model.encoder.parts(small)
    drawn = next(m for m in model.modules() if isinstance(m, StyleMap)).draw(w)
    every = torch.cat([small, small.flip(3)]).flatten(1)
    mean = every.mean(dim=0)
    axes = torch.linalg.svd(every - mean, full_matrices=False)[2][:16].T
    wanted = (small.flatten(1) - mean) @ axes @ axes.T + mean
    wanted = torch.nn.functional.pixel_unshuffle(wanted.reshape(-1, 3, 8, 8), 2).flatten(1)
    torch.testing.assert_close(drawn, wanted, rtol=1e-3, atol=5e-3)
    assert float(w.detach().square().mean()) == pytest.approx(1, rel=0.2)  # whitened


def test_samples_get_the_moments_of_the_codes():
    pictures = torch.randint(0, 256, (64, 3, 8, 8), generator=rng()).to(torch.uint8)
    model = build_model(replace(TINY, linear=0, flow_steps=0))
    matched = match_moments(model, pictures, samples=4000, seed=3)
    codes, _ = matched.encoder.parts(pictures.float() / 127.5 - 1)
    w = matched.map(draw(4000, 8, seed=3), None)
    torch.testing.assert_close(w.mean(dim=0), codes.mean(dim=0), rtol=0, atol=1e-4)
    torch.testing.assert_close(w.T.cov(), codes.T.cov(), rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(matched.w_avg, codes.mean(dim=0))
    assert not torch.equal(model.map.layers[-1].weight, matched.map.layers[-1].weight)  # the model stays as it was


def test_the_flow_is_first_fitted_to_what_the_warmup_gathered():
    """And then its samples have the codes' mean and spread; the picture's gradient never reaches it."""
    config = replace(TINY, images=1200, warmup=1160, batch=40, mapping_rounds=1)
    trainer = StyleGAN2Trainer(config, flat())
    *_, last = trainer.run()
    codes, flow = trainer.method.prior.codes[:1200], trainer.model.map
    assert trainer.method.prior.count == 1200 and flow.fitted and "mapping" in last.losses
    w = flow(draw(2000, 8, seed=3))
    torch.testing.assert_close(w.mean(dim=0), codes.mean(dim=0), rtol=0, atol=0.25)
    torch.testing.assert_close(w.std(dim=0), codes.std(dim=0), rtol=0.3, atol=0.05)
