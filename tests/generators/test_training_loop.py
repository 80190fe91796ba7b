import csv
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from PIL import Image

from generators.errors import TrainingError
from generators.files import load_model
from generators.stylegan2 import StyleMap
from generators.training import loop
from generators.training.data import Pictures
from generators.training.loop import TrainConfig, Trainer, build_model
from generators.training.losses import reconstruction
from generators.training.moments import match_moments
from generators.training.run import train

TINY = TrainConfig(
    resolution=8, channels=(8, 8), w_dim=8, mapping_layers=1, batch=4, images=40, warmup=8, bf16=False, rampdown=0.5
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(count=8):
    """Pictures of one colour each."""
    colours = torch.randint(0, 256, (count, 3, 1, 1), generator=rng()).to(torch.uint8)
    return Pictures(colours.expand(count, 3, 8, 8).contiguous(), torch.full((count,), 1 / count), (), 0)


def state_equal(a, b):
    """Whether two nested states hold the same numbers, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(state_equal(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(state_equal, a, b))
    return a == b


# --- the loop


def test_adversary_enters_after_the_warmup():
    before = torch.get_rng_state()
    steps = list(Trainer(TINY, flat()).run())
    assert torch.equal(torch.get_rng_state(), before)
    assert [s.images_seen for s in steps] == list(range(4, 44, 4))
    assert all(s.losses.keys() == {"reconstruction", "penalty"} for s in steps[:2])
    late = {"reconstruction", "penalty", "adversarial", "matching", "discriminator", "mapping", "critic"}
    assert all(s.losses.keys() == late for s in steps[2:])
    assert all(math.isfinite(v) for s in steps for v in s.losses.values())


def test_every_part_moves():
    trainer = Trainer(TINY, flat())
    before = {k: v.clone() for k, v in (trainer.model.state_dict() | trainer.critic.state_dict()).items()}
    first = {k: v.clone() for k, v in trainer.ema.state_dict().items()}
    for _ in trainer.run():
        pass
    after = trainer.model.state_dict() | trainer.critic.state_dict()
    still = {k for k, v in before.items() if torch.equal(after[k], v)}
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


def test_resumed_run_equals_an_unbroken_one(tmp_path):
    whole = Trainer(TINY, flat())
    for step in whole.run():
        if step.images_seen == 20:
            loop.save_checkpoint(whole, tmp_path / "checkpoint.pt", best=1.5)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["best"] == 1.5 and [f.name for f in tmp_path.iterdir()] == ["checkpoint.pt"]
    resumed = Trainer(TINY, flat())
    resumed.restore(saved)
    assert resumed.images_seen == 20
    assert not state_equal(resumed.state(), whole.state())
    assert len(list(resumed.run())) == 5
    assert state_equal(resumed.state(), whole.state())


def test_same_seed_same_run():
    a, b, c = (Trainer(replace(TINY, images=16, seed=seed), flat()) for seed in (0, 0, 1))
    runs = [[s.losses for s in t.run()] for t in (a, b, c)]
    assert runs[0] == runs[1] != runs[2]


def poisoned(image, target):
    return reconstruction(image, target) * float("nan")


def test_steps_without_a_finite_gradient_are_skipped(monkeypatch):
    trainer = Trainer(replace(TINY, warmup=10**6), flat())
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    steps = trainer.run()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "reconstruction", poisoned)
        assert next(steps).losses == {}
    assert state_equal(trainer.model.state_dict(), before) and trainer.bad_steps == 1
    assert next(steps).losses["reconstruction"] > 0 and trainer.bad_steps == 0
    assert not state_equal(trainer.model.state_dict(), before)


def test_fifty_bad_steps_end_the_run(monkeypatch):
    monkeypatch.setattr(loop, "reconstruction", poisoned)
    trainer = Trainer(replace(TINY, images=10**6, warmup=10**6), flat())
    seen = []
    with pytest.raises(TrainingError, match="not finite 50 times in a row; lower lr, and resume"):
        seen.extend(trainer.run())
    assert len(seen) == 49
    assert all(v.isfinite().all() for v in trainer.model.state_dict().values())


# --- a run on disk


def rows(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def test_a_run_writes_what_it_promises_and_goes_on(tmp_path):
    run, out, config = tmp_path / "run", tmp_path / "model.safetensors", replace(TINY, images=16)
    steps = list(train(flat(10), out, config, run=run, card={"licence": "CC0"}, every=1e9))
    assert [s.images_seen for s in steps] == [4, 8, 12, 16]
    assert [s.psnr is None for s in steps] == [True, True, True, False]  # measured at the end
    assert sorted(f.name for f in run.iterdir()) == ["checkpoint.pt", "latest.safetensors", "log.csv", "samples.png"]
    model = load_model(out)
    assert model.img_resolution == 8 and model.card == {"licence": "CC0"}
    assert model.encoder is not None and model.discriminator is not None
    with Image.open(run / "samples.png") as sheet:
        assert sheet.size == (2 * 8, 4 * 8)  # two held out; four rows
    (row,) = rows(run / "log.csv")
    assert row["images"] == "16" and float(row["psnr"]) == steps[-1].psnr
    more = list(train(flat(10), out, replace(config, images=24), run=run, resume=True, every=0.0))
    assert [(s.images_seen, s.psnr is None) for s in more] == [(20, False), (24, False)]
    assert [r["images"] for r in rows(run / "log.csv")] == ["16", "20", "24"]


def test_the_best_model_is_kept(tmp_path, monkeypatch):
    from generators.training import run

    measures = iter([20.0, 22.0, 21.0, 23.0, 19.0])
    monkeypatch.setattr(run, "held_out_psnr", lambda model, held: next(measures))
    saved = []
    monkeypatch.setattr(run, "save_model", lambda model, path, dtype: saved.append(path.name))
    config = replace(TINY, images=20, warmup=4)
    assert len(list(train(flat(10), tmp_path / "out.safetensors", config, run=tmp_path / "run", every=0.0))) == 5
    # nothing is kept during the warmup; then 22, and 23
    assert [name == "out.safetensors" for name in saved] == [False, True, False, False, True, False, False]


def test_runs_that_cannot_go_on(tmp_path):
    config = replace(TINY, images=4)
    with pytest.raises(TrainingError, match="nothing to resume at .*checkpoint.pt; start without --resume"):
        next(train(flat(), tmp_path / "m.safetensors", config, run=tmp_path / "run", resume=True))
    list(train(flat(), tmp_path / "m.safetensors", config, run=tmp_path / "run", every=1e9))
    other = replace(config, w_dim=16, images=8)
    with pytest.raises(TrainingError, match="a run of another shape .*\"w_dim\": 8.*give the same sizes") as caught:
        next(train(flat(), tmp_path / "m.safetensors", other, run=tmp_path / "run", resume=True))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_training_needs_no_more_than_it_says():
    code = """
import sys
import generators.training.run
optional = {"dlib", "lpips", "sklearn", "matplotlib", "imageio", "torchvision", "scipy", "inversion", "cli"}
print(*sorted(optional & sys.modules.keys()))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_a_start_from_principal_components_renders_them():
    """The code of a small picture, drawn by the style map, is its projection on the principal components."""
    factors = draw(40, 6) @ (draw(6, 192, seed=1) * torch.tensor([40.0, 30, 20, 12, 8, 5])[:, None])
    varied = (128 + factors).clamp(0, 255).reshape(40, 3, 8, 8).to(torch.uint8)
    pictures = replace(flat(), images=varied, weights=torch.full((40,), 1 / 40))
    trainer = Trainer(replace(TINY, linear=8, w_dim=16), pictures)
    small = pictures.images.float() / 127.5 - 1
    w, _ = trainer.encoder.parts(small)
    drawn = next(m for m in trainer.model.modules() if isinstance(m, StyleMap)).draw(w)
    every = torch.cat([small, small.flip(3)]).flatten(1)
    mean = every.mean(dim=0)
    axes = torch.linalg.svd(every - mean, full_matrices=False)[2][:16].T
    wanted = (small.flatten(1) - mean) @ axes @ axes.T + mean
    wanted = torch.nn.functional.pixel_unshuffle(wanted.reshape(-1, 3, 8, 8), 2).flatten(1)
    torch.testing.assert_close(drawn, wanted, rtol=1e-3, atol=5e-3)
    assert float(w.detach().square().mean()) == pytest.approx(1, rel=0.2)  # whitened


def test_samples_get_the_moments_of_the_codes():
    pictures = torch.randint(0, 256, (64, 3, 8, 8), generator=rng()).to(torch.uint8)
    model = build_model(replace(TINY, linear=0))
    matched = match_moments(model, pictures, samples=4000, seed=3)
    codes, _ = matched.encoder.parts(pictures.float() / 127.5 - 1)
    w = matched.map(draw(4000, 8, seed=3), None)
    torch.testing.assert_close(w.mean(dim=0), codes.mean(dim=0), rtol=0, atol=1e-4)
    torch.testing.assert_close(w.T.cov(), codes.T.cov(), rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(matched.w_avg, codes.mean(dim=0))
    assert not torch.equal(model.map.layers[-1].weight, matched.map.layers[-1].weight)  # the model stays as it was
