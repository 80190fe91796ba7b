import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generators.device import peak_memory_mb
from generators.pictures.sources import pictures
from inversion import inverter as walk
from inversion.config import InvertConfig
from inversion.errors import ImageError, SettingsError
from inversion.inverter import Inversion, Inverter, invert
from inversion.latent import mean_latent, sample_latent, synthesize
from inversion.measures import reconstruction as module
from inversion.measures.reconstruction import evaluate, first_of, record, summarize
from inversion.metrics import psnr
from inversion.target import Target
from inversion.watch import SILENT, Watch

CONFIG = InvertConfig(steps=2, bf16=False)


def found(generator, folder, limit=None, watch=SILENT, **more):
    """The records of a folder."""
    inverter = Inverter(generator, CONFIG, "mine", **{"align": False, **more})
    return list(evaluate(inverter, first_of(pictures(folder), limit), watch))


def names(source):
    return [picture.name for picture in pictures(source)]


def test_a_record_for_every_picture(generator, folder):
    records = found(generator, folder, batch=2)
    assert [r["file"] for r in records] == names(folder)
    good, bad = [r for r in records if "error" not in r], [r for r in records if "error" in r]
    assert [r["file"] for r in bad] == ["empty.jpg", "text.jpg"]
    assert "is empty" in bad[0]["error"] and all("\n" not in r["error"] for r in bad)
    for r in good:
        assert r["steps"] == 2 and r["seconds"] > 0 and np.isfinite(r["psnr_db"]) and -1 <= r["ssim"] <= 1
        assert r["identity"] is None and r["target_face"] is False and r["losses"].keys() == {"pixel"}
    json.dumps(records, allow_nan=False)
    assert summarize(records)["n"] == 5 and summarize(records)["failed"] == 2


def test_records_are_what_invert_finds_alone(generator, folder):
    together = {r["file"]: r for r in found(generator, folder) if "error" not in r}
    for name, one in together.items():
        alone = invert(generator, folder / name, config=CONFIG, align=False)
        assert one["psnr_db"] == pytest.approx(alone.metrics["psnr_db"], abs=1e-3)
        assert one["losses"] == pytest.approx(alone.losses, rel=1e-4)


def test_limit_and_batch(generator, folder):
    assert len(found(generator, folder, limit=2)) == 2
    for batch, limit in ((0, 1), (1, 0)):
        with pytest.raises(SettingsError, match="is 0"):
            found(generator, folder, batch=batch, limit=limit)


def test_the_budget_is_for_each_picture(generator, folder, monkeypatch):
    asked = []

    def inverting(generator, images, config, *, init, budget, kept):
        asked.append((len(images), budget))
        return as_it_is(generator, images, config)

    as_it_is = walk.steps_of
    monkeypatch.setattr(walk, "steps_of", inverting)
    found(generator, folder, batch=3, budget=2.0)
    assert asked == [(2, 4.0), (1, 2.0)]  # a batch holds three files, of which one is bad


def test_progress_hears_of_every_step(generator, folder):
    heard = []

    class Hearing(Watch):
        def step(self, done, total, step):
            heard.append((done, total, step.index))

    found(generator, folder, batch=4, watch=Hearing())
    assert heard == [(0, 5, 0), (0, 5, 1), (0, 5, 2)]  # the second batch is the text file alone


def test_photographs_without_a_face_are_told_of(generator, folder):
    records = found(generator, folder, align=True, limit=1)
    assert "no face found in" in str(records[0]["error"])


def test_inversions_come_with_their_latents(generator, folder):
    (result,) = Inverter(generator, CONFIG, align=False).run([folder / "b.png"])
    assert isinstance(result, Inversion) and result.latent.code.shape == (1, 6, 8)
    assert psnr(synthesize(generator, result.latent), result.target.image).item() == result.metrics["psnr_db"]


def test_a_picture_that_diverges_does_not_stop_the_others(generator, folder, monkeypatch):
    def measured(self, target, step, index, seconds):
        if index == 1:
            raise ImageError("the image holds NaN; lower the learning rate, or use float32")
        return measure_as_it_is(self, target, step, index, seconds)

    measure_as_it_is = Inverter.measured
    monkeypatch.setattr(Inverter, "measured", measured)
    records = found(generator, folder)
    assert [r["file"] for r in records if "NaN" in r.get("error", "")] == ["c.png"]


def test_a_target_with_a_face_is_told_from_one_without(generator, monkeypatch):
    looked = []
    monkeypatch.setattr(module, "describe", lambda image: looked.append(image) or np.zeros(128))
    latent, image = mean_latent(generator, sample_latent(generator).space), torch.zeros(1, 3, 16, 16)

    def line(identity):
        metrics = {"psnr_db": 20.0, "ssim": 0.5, "identity": identity}
        return record("a", Inversion(latent, Target(image), image, {}, metrics, 1, 0.1, {}))

    assert line(0.4)["target_face"] is True and not looked  # an identity needs both faces
    assert line(None)["target_face"] is True and len(looked) == 1
    monkeypatch.setattr(module, "describe", lambda image: None)
    assert line(None)["target_face"] is False


def test_summarize():
    def line(psnr_db, identity, face=True):
        return {
            "file": "a",
            "seconds": psnr_db / 10,
            "psnr_db": psnr_db,
            "ssim": 0.5,
            "identity": identity,
            "perceptual": 0.2,
            "landmarks": None if identity is None else 0.03,
            "target_face": face,
            "peak_memory_mb": psnr_db * 10,
        }

    lines = [line(20.0, 0.3), line(30.0, 0.6), line(40.0, None), line(50.0, None, False), {"file": "b", "error": "no"}]
    summary = summarize(lines)
    middle = {"seconds": 3.5, "psnr_db": 35.0, "ssim": 0.5, "identity": pytest.approx(0.45), "perceptual": 0.2}
    assert summary["median"] == middle | {"landmarks": 0.03}
    assert summary["p10"]["psnr_db"] == pytest.approx(23.0) and summary["p90"]["psnr_db"] == pytest.approx(47.0)
    assert summary["same_person"] == pytest.approx(1 / 3)  # 0.6 is not under 0.6, and a lost face is a miss
    assert (summary["n"], summary["failed"], summary["faces"], summary["peak_memory_mb"]) == (5, 1, 3, 500.0)
    json.dumps(summary)


def test_summarize_nothing():
    summary = summarize([{"file": "b", "error": "no"}])
    assert summary["same_person"] is None and summary["median"]["psnr_db"] is None and summary["n"] == 1
    assert summarize([])["n"] == 0


def test_peak_memory_is_the_systems():
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("needs Linux's /proc to compare with")
    peak = peak_memory_mb()
    line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
    assert peak == pytest.approx(int(line.split()[1]) * 1024 / 1e6, rel=0.05)  # the kernel counts in pages, lazily
