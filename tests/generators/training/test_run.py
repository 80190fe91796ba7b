import csv
import errno
import json
import os
from dataclasses import replace

import pytest
import torch
from PIL import Image

from generators.checkpoints.ours import load_model
from generators.errors import LatentError, TrainingError
from generators.training import run
from generators.training.checkpoint import load_checkpoint
from generators.training.config import EncodeConfig, TrainConfig
from generators.training.methods.encoder import EncoderTrainer
from generators.training.methods.stylegan2 import StyleGAN2Trainer
from generators.training.record import record
from generators.training.record.record import Meter
from generators.training.run import about_pictures, report_pictures, train
from generators.training.settings import read_settings, report_resumed, train_config
from generators.training.trainer import Trainer
from tests.conftest import tiny_generator
from tests.generators.training.small import flat

TINY = TrainConfig(
    resolution=8, channels=(8, 8), w_dim=8, mapping_layers=1, batch=4, images=40, warmup=8, precision="fp32", linear=0
)


def rows(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def tensors(path):
    return {k: v.clone() for k, v in load_model(path).state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


class Fake(Trainer):
    """A trainer that does nothing, for what a run does around it."""

    def __init__(self, config, pictures, *, device="cpu", init=None, encoder=None):
        super().__init__(config, pictures, device=device, init=init)
        self.ema = tiny_generator(img_resolution=8, channels=(8, 8))
        self.ema.encoder = encoder

    def one_step(self):
        return {"loss": 1.0 / (self.images_seen + self.config.batch)}, True

    def warm(self):
        return self.images_seen > self.config.warmup

    def weights(self):
        return {}

    def load_weights(self, state):
        pass


class Encoding(Fake):
    def __init__(self, *args, **more):
        super().__init__(*args, encoder=torch.nn.Identity(), **more)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(run, "trainer_of", lambda kind: Fake)


# --- what is written


@pytest.mark.slow
def test_a_run_writes_what_it_promises_and_goes_on(tmp_path):
    folder, out, config = tmp_path / "run", tmp_path / "model.safetensors", replace(TINY, images=16)
    steps = list(train(flat(10), out, config, run=folder, card={"licence": "CC0"}, every=1e9, snapshot_every=100))
    assert [s.images_seen for s in steps] == [4, 8, 12, 16]
    assert [s.psnr is None for s in steps] == [True, True, True, False]
    assert [s.due for s in steps] == [False, False, True, True]  # a tenth of 100, and the end
    written = {"checkpoint.pt", "curve.png", "latest.safetensors", "log.csv", "samples-00000016.png", "samples.png"}
    assert {f.name for f in folder.iterdir()} == written | {"settings.json"}
    model = load_model(out)
    assert model.img_resolution == 8 and model.card == {"licence": "CC0"}
    assert model.encoder is not None and model.discriminator is not None
    with Image.open(folder / "samples.png") as sheet:
        assert sheet.size == (2 * 64, 5 * 64)  # two held out; five rows
    _, row = rows(folder / "log.csv")
    assert row["images"] == "16" and float(row["psnr"]) == steps[-1].psnr
    assert float(row["reconstruction"]) == pytest.approx(steps[-1].losses["reconstruction"])
    assert json.loads((folder / "settings.json").read_text())["settings"]["w_dim"] == 8
    more = list(train(flat(10), out, replace(config, images=24), run=folder, resume=True, snapshot_every=4))
    assert [(s.images_seen, s.psnr is None) for s in more] == [(20, False), (24, False)]
    assert [r["images"] for r in rows(folder / "log.csv")] == ["12", "16", "20", "24"]


def test_the_best_model_is_kept(tmp_path, monkeypatch, fake):
    measures = iter([20.0, 22.0, 21.0, 23.0, 19.0])
    monkeypatch.setattr(record, "held_out_psnr", lambda model, held: next(measures))
    monkeypatch.setattr(record, "contact_sheet", lambda model, held: Image.new("RGB", (8, 8)))
    saved = []
    monkeypatch.setattr(record, "save_model", lambda model, path, dtype: saved.append(path.name))
    monkeypatch.setattr(run, "trainer_of", lambda kind: Encoding)
    config = replace(TINY, images=20, warmup=4)
    assert len(list(train(flat(10), tmp_path / "out.safetensors", config, run=tmp_path / "run", snapshot_every=4))) == 5
    # nothing is kept during the warmup; then 22, and 23
    assert [name == "out.safetensors" for name in saved] == [False, True, False, False, True, False, False]


def test_without_an_encoder_the_latest_is_the_best(tmp_path, fake):
    out = tmp_path / "out.safetensors"
    steps = list(train(flat(10), out, replace(TINY, images=8, warmup=100), run=tmp_path / "run", snapshot_every=4))
    assert [s.psnr for s in steps] == [None, None] and all(s.due for s in steps)
    assert same(tensors(out), tensors(tmp_path / "run" / "latest.safetensors"))
    assert rows(tmp_path / "run" / "log.csv")[-1]["loss"] == "0.125"


def test_reports_and_sheets_come_by_images(tmp_path, fake):
    config = replace(TINY, images=400)
    steps = list(train(flat(10), tmp_path / "m.safetensors", config, run=tmp_path / "run", snapshot_every=100))
    passed = [-(-n // 4) * 4 for n in range(10, 410, 10)]  # the step that reaches each tenth of the way to a sheet
    assert [s.images_seen for s in steps if s.due] == passed
    sheets = sorted(f.name for f in (tmp_path / "run").glob("samples-*.png"))
    assert sheets == [f"samples-{n:08}.png" for n in (100, 200, 300, 400)]
    assert [int(r["images"]) for r in rows(tmp_path / "run" / "log.csv")] == passed


@pytest.mark.parametrize(("images", "wanted"), [(40, 8), (4000, 800), (20_000, 1000), (200_000, 4000)])
def test_sheets_are_neither_many_nor_few(tmp_path, images, wanted):
    trainer = Fake(replace(TINY, images=images), flat(10))
    record = run.Record(
        trainer,
        "stylegan2",
        flat(10).images,
        tmp_path / "m",
        tmp_path / "run",
        every=1.0,
        snapshot_every=None,
        best=-1.0,
    )
    assert record.snapshot_every == wanted


def test_what_a_killed_run_left_half_written_goes(tmp_path, fake):
    out, folder = tmp_path / "m.safetensors", tmp_path / "run"
    folder.mkdir()
    (tmp_path / ".m.safetensors.123.tmp").write_text("half")
    for name in (".latest.safetensors.123.tmp", ".log.csv.9.tmp.csv"):
        (folder / name).write_text("half")
    list(train(flat(10), out, replace(TINY, images=4), run=folder))
    assert not list(tmp_path.rglob("*.tmp*"))


def test_a_report_is_the_mean_since_the_last_one():
    meter = Meter()
    for losses in ({"a": 1.0, "b": 4.0}, {"a": 3.0}, {}):
        meter.add(losses)
    assert meter.means() == {"a": 2.0, "b": 4.0} and Meter().means() == {}


def test_other_processes_write_nothing(tmp_path, fake):
    steps = list(train(flat(10), tmp_path / "m.safetensors", TINY, run=tmp_path / "run", every=0.0, main=False))
    assert steps[-1].images_seen == 40 and list(tmp_path.iterdir()) == []


# --- going on


@pytest.mark.slow
def test_leaving_early_keeps_the_last_step_and_a_resumed_run_equals_an_unbroken_one(tmp_path):
    args = {"every": 1e9, "snapshot_every": 8}
    config = replace(TINY, images=24)
    list(train(flat(10), tmp_path / "whole.safetensors", config, run=tmp_path / "whole", **args))
    for stop in (12, 20, None):
        steps = train(
            flat(10), tmp_path / "parts.safetensors", config, run=tmp_path / "parts", resume=stop != 12, **args
        )
        for step in steps:
            if step.images_seen == stop:
                break
        steps.close()
        assert load_checkpoint(tmp_path / "parts" / "checkpoint.pt")["images_seen"] == (stop or 24)
    for name in ("{}.safetensors", "{}/latest.safetensors"):
        a, b = (tensors(tmp_path / name.format(which)) for which in ("whole", "parts"))
        assert same(a, b)
    whole, parts = (rows(tmp_path / which / "log.csv") for which in ("whole", "parts"))
    assert [(r["images"], r["psnr"]) for r in whole] == [(r["images"], r["psnr"]) for r in parts]


def test_runs_that_cannot_go_on(tmp_path, fake):
    out, folder = tmp_path / "m.safetensors", tmp_path / "run"
    with pytest.raises(TrainingError, match="nothing to resume at .*checkpoint.pt; start without --resume"):
        next(train(flat(10), out, TINY, run=folder, resume=True))
    list(train(flat(10), out, TINY, run=folder, every=1e9))
    with pytest.raises(TrainingError, match="cannot go on: w_dim was 8, now 16; give what was") as caught:
        next(train(flat(10), out, replace(TINY, w_dim=16), run=folder, resume=True))
    assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match="kind was stylegan2, now encoder"):
        next(train(flat(10), out, EncodeConfig(resolution=8), run=folder, resume=True, kind="encoder"))
    with pytest.raises(TrainingError, match="the settings are TrainConfig; the kind encoder takes EncodeConfig"):
        next(train(flat(10), out, TINY, run=folder, kind="encoder"))


def test_settings_of_a_resumed_run(tmp_path, fake):
    folder = tmp_path / "run"
    list(train(flat(10), tmp_path / "m.safetensors", replace(TINY, images=4, r1=0.5), run=folder))
    assert train_config(resume=folder) == replace(TINY, images=4, r1=0.5)  # what is not given is as it was
    config = train_config(resume=folder, lr=0.5, images=8)
    assert config == replace(TINY, images=8, r1=0.5, lr=0.5)
    lines = report_resumed(folder, config, 10)
    assert len(lines) == 1 and "images was 4, now 8; lr was 0.002, now 0.5" in lines[0]
    assert "the run had 10 pictures, now 12" in report_resumed(folder, config, 12)[1]
    with pytest.raises(TrainingError, match="resolution was 8, now 16; channels was \\[8, 8\\], now \\[8, 8, 8\\]"):
        train_config(resume=folder, resolution=16, channels=(8, 8, 8))
    (folder / "settings.json").unlink()
    assert train_config(resume=folder) == replace(TINY, images=4, r1=0.5)  # the checkpoint knows it too
    (folder / "settings.json").write_text('{"kind": "stylegan2"')
    with pytest.raises(TrainingError, match="settings.json is damaged"):
        read_settings(folder)
    with pytest.raises(TrainingError, match="nothing to resume in .*none; start without --resume"):
        train_config(resume=tmp_path / "none")


def test_model_cards_tell_where_a_model_comes_from(tmp_path):
    g = tiny_generator()
    g.card = {"licence": "CC0"}
    about = about_pictures([tmp_path / "faces.zip"], flat(10), licence="MIT", subject="face")
    assert about == {"data": ["faces.zip"], "pictures": 10, "licence": "MIT", "subject": "face"}
    assert "subject" not in about_pictures([], flat(10), licence="MIT", subject=None)
    assert StyleGAN2Trainer.card(about, None) == about
    assert StyleGAN2Trainer.card(about, g) == about | {"init": "tiny"}
    assert EncoderTrainer.card(about, g) == {"licence": "CC0", "encoder": about}  # the generator keeps its own


# --- data checks


def test_what_is_told_of_the_pictures(tmp_path):
    pictures = replace(flat(200), skipped=("a/x.png",), resized=7, grey=50, duplicates=3)
    lines = " | ".join(report_pictures(pictures))
    for word in (
        "200 pictures of 8 px",
        "in memory",
        "7 of them",
        "25% of them have no colour",
        "3 equal others",
        "a/x.png",
    ):
        assert word in lines
    assert "few" not in lines and "under 100" in " ".join(report_pictures(flat(99)))
    assert str(tmp_path) in report_pictures(replace(flat(200), mapped=tmp_path))[0]
    assert "and 5 more" in report_pictures(replace(flat(200), skipped=tuple("x" * 25)))[1]
    with pytest.raises(TrainingError, match="4 pictures came; give at least 5"):
        report_pictures(flat(4))


# --- full disks


def full(*args, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_ends_a_run_with_one_line(tmp_path, monkeypatch, fake):
    out, folder = tmp_path / "m.safetensors", tmp_path / "run"
    steps = train(flat(10), out, TINY, run=folder, every=0.0, snapshot_every=20)
    next(steps)
    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(LatentError, match="the disk is full.*make room"):
        list(steps)
    assert load_checkpoint(folder / "checkpoint.pt")["images_seen"] == 4


def test_a_place_that_cannot_be_written_is_told(tmp_path, fake):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="file/run cannot be written to .*; name a folder that can be"):
        next(train(flat(10), tmp_path / "m.safetensors", TINY, run=tmp_path / "file" / "run"))
