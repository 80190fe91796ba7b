import copy
import math
from dataclasses import replace

import pytest
import torch

from generators.errors import TrainingError
from generators.parts.flow import Flow
from generators.stylegan2 import StyleMap
from generators.training.config import EncodeConfig, TrainConfig
from generators.training.data import Pictures
from generators.training.methods import joint, plain
from generators.training.methods.moments import match_moments
from generators.training.methods.prior import FlowPrior
from generators.training.start.build import build_model
from generators.training.terms.losses import discriminator_loss, generator_loss, reconstruction
from generators.training.trainer import Trainer

TINY = TrainConfig(
    resolution=8,
    channels=(8, 8),
    w_dim=8,
    mapping_layers=1,
    batch=4,
    images=40,
    warmup=8,
    precision="fp32",
    rampdown=0.5,
)
ADAPTIVE = {"augment_kind": "ada", "augment_speed": 16, "augment_target": -2.0}  # its probability always rises
PLAIN = replace(TINY, joint=False, path_length=2.0, path_every=2, r1_every=3, **ADAPTIVE)
ENCODER = EncodeConfig(resolution=8, batch=4, images=40, warmup=8, precision="fp32")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The flow is fitted from the first codes on."""
    monkeypatch.setattr(FlowPrior, "enough", 4)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(count=8):
    """Pictures of one colour each."""
    colours = torch.randint(0, 256, (count, 3, 1, 1), generator=rng()).to(torch.uint8)
    images = colours.expand(count, 3, 8, 8).contiguous()
    return Pictures(images=images, weights=torch.full((count,), 1 / count), skipped=(), resized=0)


def trainer_of(config):
    """A trainer, for a generator of its own where it needs one."""
    init = Trainer(TINY, flat()).ema if isinstance(config, EncodeConfig) else None
    return Trainer(config, flat(), init=init)


def state_equal(a, b):
    """Whether two nested states hold the same numbers, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(state_equal(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(state_equal, a, b))
    return a == b


def copied(state):
    return {k: v.clone() for k, v in state.items()}


def test_adversary_enters_after_the_warmup():
    before = torch.get_rng_state()
    steps = list(Trainer(TINY, flat()).run())
    assert torch.equal(torch.get_rng_state(), before)
    assert [s.images_seen for s in steps] == list(range(4, 44, 4))
    assert all(s.losses.keys() == {"reconstruction", "penalty", "skipped"} for s in steps[:2])
    late = {"reconstruction", "penalty", "adversarial", "matching", "discriminator", "mapping", "skipped"}
    assert all(s.losses.keys() - {"r1"} == late for s in steps[2:])
    assert all(math.isfinite(v) for s in steps for v in s.losses.values())


def test_penalties_come_when_they_are_due():
    steps = [set(s.losses) for s in Trainer(replace(TINY, r1_every=3), flat()).run()]
    assert [i for i, names in enumerate(steps) if "r1" in names] == [3, 6, 9]  # from the third on, the adversary is in
    steps = [set(s.losses) for s in Trainer(PLAIN, flat()).run()]
    assert [i for i, names in enumerate(steps) if "r1" in names] == [0, 3, 6, 9]
    assert [i for i, names in enumerate(steps) if "path" in names] == [0, 2, 4, 6, 8]


KINDS = {"flow": TINY, "critic": replace(TINY, style_mixing=0.9, flow_steps=0), "plain": PLAIN}


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_every_part_moves(config):
    trainer = Trainer(config, flat())
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
    losses = [s.losses["reconstruction"] for s in Trainer(config, flat()).run()]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_learning_rate_ramps_up_and_down():
    trainer = Trainer(replace(TINY, images=1000, rampdown=0.5), flat())
    factors = []
    for step, seen in ((0, 0), (49, 0), (200, 500), (200, 750), (200, 1000)):
        trainer.step, trainer.images_seen = step, seen
        factors.append(trainer.lr_factor())
    assert factors == pytest.approx([0.01, 0.5, 1.0, 0.55, 0.1])


def test_the_average_follows_closely_at_first():
    trainer = Trainer(TINY, flat())
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


def test_codes_gathered_by_a_warmup_are_part_of_the_state(monkeypatch):
    """A run that is taken up in its warm-up fits the flow as an unbroken one does, and no second time later."""
    fits, fit_moments = [], Flow.fit_moments
    monkeypatch.setattr(Flow, "fit_moments", lambda self, w: fits.append(len(w)) or fit_moments(self, w))
    config = replace(TINY, images=32, warmup=16, mapping_rounds=1)
    whole, states = Trainer(config, flat()), []
    for _ in whole.run():
        states.append(copy.deepcopy(whole.state()))
    assert fits == [20]  # four steps of warm-up, and the first of the adversary
    for state, again in ((states[1], [20]), (states[5], [])):
        fits.clear()
        resumed = Trainer(config, flat())
        resumed.restore(state)
        list(resumed.run())
        assert fits == again and state_equal(resumed.state(), whole.state())


def test_same_seed_same_run():
    a, b, c = (Trainer(replace(TINY, images=16, seed=seed), flat()) for seed in (0, 0, 1))
    runs = [[s.losses for s in t.run()] for t in (a, b, c)]
    assert runs[0] == runs[1] != runs[2]


def test_pictures_are_mirrored_where_that_is_asked_for(monkeypatch):
    asked = []
    original = Pictures.draw
    monkeypatch.setattr(Pictures, "draw", lambda self, *a, mirror: asked.append(mirror) or original(self, *a))
    for mirror in (True, False):
        next(Trainer(replace(TINY, mirror=mirror), flat()).run())
    assert asked == [True, False]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": "fp16"}, "fp16 needs a GPU, and this run is on the cpu; leave --precision out"),
        ({"precision": "tf32"}, "no precision named 'tf32'; choose one of auto, bf16, fp16, fp32"),
        ({"augment_kind": "cutmix"}, "no augmentation named 'cutmix'; choose one of diff, ada, none"),
        ({"batch": 1}, "batch is 1; give 2 or more"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(TrainingError, match=words):
        Trainer(replace(TINY, **settings), flat())


# --- steps that are not finite


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
    trainer = Trainer(config, flat())
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


def test_a_discriminator_without_a_finite_gradient_stays(monkeypatch):
    trainer = Trainer(replace(TINY, warmup=0, mapping_rounds=0), flat())
    before, steps = copied(trainer.model.discriminator.state_dict()), trainer.run()
    with monkeypatch.context() as patch:
        patch.setattr(joint, "discriminator_loss", poisoned(discriminator_loss))
        assert next(steps).losses["skipped"] == 1
    assert state_equal(trainer.model.discriminator.state_dict(), before) and trainer.bad_steps == 1
    assert next(steps).losses["skipped"] == 1 and not state_equal(trainer.model.discriminator.state_dict(), before)


def test_nothing_not_finite_ever_gets_into_the_model():
    """The mapping network and its critic, too, leave a bad step out; then all goes on."""
    trainer = Trainer(replace(TINY, warmup=0, mapping_rounds=1, flow_steps=0), flat())
    steps = trainer.run()
    next(steps)
    trainer.method.prior.critic.layers[2].bias.data.fill_(float("nan"))
    assert next(steps).losses["skipped"] == 2
    for part in (trainer.model, trainer.ema):
        assert all(v.isfinite().all() for v in part.state_dict().values())
    trainer.method.prior.critic.layers[2].bias.data.zero_()
    assert next(steps).losses["skipped"] == 2 and trainer.bad_steps == 0


def test_fifty_bad_steps_end_the_run(monkeypatch):
    monkeypatch.setattr(joint, "reconstruction", poisoned(reconstruction))
    trainer = Trainer(replace(TINY, images=10**6, warmup=10**6), flat())
    seen = []
    with pytest.raises(TrainingError, match="not finite 50 times in a row; lower lr, and resume"):
        seen.extend(trainer.run())
    assert len(seen) == 49
    assert all(v.isfinite().all() for v in trainer.model.state_dict().values())


def test_losses_are_scaled_for_half_precision_and_gradients_are_not():
    """The scale of fp16 changes nothing but the range; it is halved when that is left, and doubled later."""
    one, other = (Trainer(replace(TINY, warmup=4), flat()) for _ in range(2))
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


# --- the start, and the end


def test_a_start_from_principal_components_renders_them():
    """The code of a small picture, drawn by the style map, is its projection on the principal components."""
    factors = draw(40, 6) @ (draw(6, 192, seed=1) * torch.tensor([40.0, 30, 20, 12, 8, 5])[:, None])
    varied = (128 + factors).clamp(0, 255).reshape(40, 3, 8, 8).to(torch.uint8)
    pictures = replace(flat(), images=varied, weights=torch.full((40,), 1 / 40))
    model = Trainer(replace(TINY, linear=8, w_dim=16), pictures).model
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
    trainer = Trainer(config, flat())
    *_, last = trainer.run()
    codes, flow = trainer.method.prior.codes[:1200], trainer.model.map
    assert trainer.method.prior.count == 1200 and flow.fitted and "mapping" in last.losses
    w = flow(draw(2000, 8, seed=3))
    torch.testing.assert_close(w.mean(dim=0), codes.mean(dim=0), rtol=0, atol=0.25)
    torch.testing.assert_close(w.std(dim=0), codes.std(dim=0), rtol=0.3, atol=0.05)
