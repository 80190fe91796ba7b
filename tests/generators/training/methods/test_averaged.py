"""The loop of training, and the average: of every kind that a `Method` moves."""

from dataclasses import replace

import pytest
import torch

from generators.errors import TrainingError
from generators.training.data import Pictures
from generators.training.methods import joint, plain
from generators.training.methods.prior import FlowPrior
from generators.training.methods.stylegan2 import StyleGAN2Trainer
from generators.training.terms.losses import generator_loss, reconstruction
from tests.generators.training.small import ADAPTIVE, ENCODER, PLAIN, TINY, copied, flat, state_equal, trainer_of


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The flow is fitted from the first codes on."""
    monkeypatch.setattr(FlowPrior, "enough", 4)


KINDS = {"flow": TINY, "critic": replace(TINY, style_mixing=0.9, flow_steps=0), "plain": PLAIN}


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_every_part_moves(config):
    trainer = StyleGAN2Trainer(config, flat())
    parts = [trainer.model] + ([trainer.method.prior.critic] if config is KINDS["critic"] else [])
    before = [copied(part.state_dict()) for part in parts]
    first = copied(trainer.ema.state_dict())
    for _ in trainer.run():
        pass
    for part, old in zip(parts, before, strict=True):
        new = part.state_dict()
        still = {k for k, v in old.items() if torch.equal(new[k], v)}
        assert all(k.endswith("noise_const") for k in still), still
    assert any(not torch.equal(first[k], v) for k, v in trainer.ema.state_dict().items())
    assert not any(p.requires_grad for p in trainer.ema.parameters())


def test_reconstruction_falls():
    config = replace(TINY, images=240, warmup=240, channels=(16, 16), lr=0.05)
    losses = [s.losses["reconstruction"] for s in StyleGAN2Trainer(config, flat()).run()]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_learning_rate_ramps_up_and_down():
    trainer = StyleGAN2Trainer(replace(TINY, images=1000, rampdown=0.5), flat())
    factors = []
    for step, seen in ((0, 0), (49, 0), (200, 500), (200, 750), (200, 1000)):
        trainer.step, trainer.images_seen = step, seen
        factors.append(trainer.lr_factor())
    assert factors == pytest.approx([0.01, 0.5, 1.0, 0.55, 0.1])


def test_the_average_follows_closely_at_first():
    trainer = StyleGAN2Trainer(TINY, flat())
    trainer.model.start.data.zero_()
    for step, share in ((0, 0.9), (90, 0.09), (10**6, 1 - 0.998 ** (4 / 16))):
        trainer.ema.start.data.fill_(1.0)
        trainer.step = step
        trainer.update_average()
        torch.testing.assert_close(trainer.ema.start, torch.full_like(trainer.ema.start, 1 - share))


@pytest.mark.parametrize(
    "config",
    [TINY, replace(TINY, style_mixing=0.5, flow_steps=0, **ADAPTIVE), PLAIN, replace(TINY, precision="bf16"), ENCODER],
    ids=["flow", "critic and ada", "plain", "bf16", "encoder"],
)
def test_resumed_run_equals_an_unbroken_one(config, tmp_path):
    whole = trainer_of(config)
    for step in whole.run():
        if step.images_seen == 20:
            torch.save(whole.state(), tmp_path / "checkpoint.pt")
    resumed = trainer_of(config)
    resumed.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert resumed.images_seen == 20
    assert not state_equal(resumed.state(), whole.state())
    assert len(list(resumed.run())) == 5
    assert state_equal(resumed.state(), whole.state())


def test_same_seed_same_run():
    a, b, c = (StyleGAN2Trainer(replace(TINY, images=16, seed=seed), flat()) for seed in (0, 0, 1))
    runs = [[s.losses for s in t.run()] for t in (a, b, c)]
    assert runs[0] == runs[1] != runs[2]


def test_pictures_are_mirrored_where_that_is_asked_for(monkeypatch):
    asked = []
    original = Pictures.draw
    monkeypatch.setattr(Pictures, "draw", lambda self, *a, mirror: asked.append(mirror) or original(self, *a))
    for mirror in (True, False):
        next(StyleGAN2Trainer(replace(TINY, mirror=mirror), flat()).run())
    assert asked == [True, False]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "fp16"}, "fp16 needs a GPU, and this run is on the cpu; leave --precision out"),
        ({"precision": "tf32"}, "precision is 'tf32'; wanted one of auto, bf16, fp16, fp32"),
        ({"augment_kind": "cutmix"}, "augment_kind is 'cutmix'; wanted one of diff, ada, none"),
        ({"batch": 1}, "batch is 1; give 2 or more"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(TrainingError, match=words):
        StyleGAN2Trainer(replace(TINY, **settings), flat())


def poisoned(loss):
    return lambda *args: loss(*args) * float("nan")


@pytest.mark.parametrize(
    ("config", "module", "name", "loss"),
    [
        (replace(TINY, warmup=10**6), joint, "reconstruction", reconstruction),
        (PLAIN, plain, "generator_loss", generator_loss),
    ],
    ids=["joint", "plain"],
)
def test_steps_without_a_finite_gradient_are_skipped(config, module, name, loss, monkeypatch):
    trainer = StyleGAN2Trainer(config, flat())
    generator = {k: v.clone() for k, v in trainer.model.state_dict().items() if not k.startswith("discriminator.")}
    average = copied(trainer.ema.state_dict())
    steps = trainer.run()
    with monkeypatch.context() as patch:
        patch.setattr(module, name, poisoned(loss))
        assert next(steps).losses == {"skipped": 1}
    assert state_equal({k: v for k, v in trainer.model.state_dict().items() if k in generator}, generator)
    assert state_equal(trainer.ema.state_dict(), average) and trainer.bad_steps == 1
    assert next(steps).losses["skipped"] == 1 and trainer.bad_steps == 0
    assert not state_equal(trainer.ema.state_dict(), average)


def test_fifty_bad_steps_end_the_run(monkeypatch):
    monkeypatch.setattr(joint, "reconstruction", poisoned(reconstruction))
    trainer = StyleGAN2Trainer(replace(TINY, images=10**6, warmup=10**6), flat())
    seen = []
    with pytest.raises(TrainingError, match="not finite 50 times in a row; lower lr, and resume"):
        seen.extend(trainer.run())
    assert len(seen) == 49
    assert all(v.isfinite().all() for v in trainer.model.state_dict().values())


def test_losses_are_scaled_for_half_precision_and_gradients_are_not():
    """The scale of fp16 changes nothing but the range; it is halved when that is left, and doubled later."""
    one, other = (StyleGAN2Trainer(replace(TINY, warmup=4), flat()) for _ in range(2))
    other.method.scale = 2.0**10
    for a, b in zip(one.run(), other.run(), strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-4)
    torch.testing.assert_close(other.model.state_dict(), one.model.state_dict(), rtol=1e-4, atol=1e-6)
    method = one.method
    method.adapt_scale(False)
    assert method.scale == 1  # not in this precision
    method.precision, method.scale = "fp16", 2.0**16
    method.adapt_scale(False)
    assert method.scale == 2.0**15
    for _ in range(2000):
        method.adapt_scale(True)
    assert method.scale == 2.0**16
