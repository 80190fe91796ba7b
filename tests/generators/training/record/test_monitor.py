import csv
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from generators.pictures.sheet import grid
from generators.training.record.curve import PANEL, PLOT, draw_curves, pale, short, ticks
from generators.training.record.monitor import Log, contact_sheet
from tests.conftest import tiny_generator


def rows(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


# --- the log


def test_columns_come_as_they_are_met(tmp_path):
    log = Log(tmp_path / "log.csv")
    log.add({"images": 10, "a": 1.0})
    log.add({"images": 20, "a": 0.5, "b": 2.0})
    first, second = rows(tmp_path / "log.csv")
    assert (first["images"], first["a"], first["b"]) == ("10", "1.0", "")
    assert (second["images"], second["a"], second["b"]) == ("20", "0.5", "2.0")
    assert float(second["seconds"]) >= float(first["seconds"]) >= 0
    assert [f.name for f in tmp_path.iterdir()] == ["log.csv"]


def test_a_resumed_log_drops_what_comes_again(tmp_path):
    log = Log(tmp_path / "log.csv")
    for images in (10, 20, 30):
        log.add({"images": images, "a": float(images)})
    log.began -= 100  # as if it had taken so long
    log.add({"images": 40, "a": 0.0})
    log = Log(tmp_path / "log.csv", images_seen=40)
    log.add({"images": 50, "b": 7.0})
    assert float(rows(tmp_path / "log.csv")[-1]["seconds"]) >= 100  # of all stretches
    log = Log(tmp_path / "log.csv", images_seen=20)
    log.add({"images": 30, "a": 3.5})
    assert [(r["images"], r["a"]) for r in rows(tmp_path / "log.csv")] == [
        ("10", "10.0"),
        ("20", "20.0"),
        ("30", "3.5"),
    ]


def test_a_log_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "log.csv").write_text("images,a\n10,1.0\n20,2.0\n3")
    log = Log(tmp_path / "log.csv", images_seen=100)
    assert [row["a"] for row in log.rows[:2]] == [1.0, 2.0]
    (tmp_path / "log.csv").write_bytes(b"\x00\xff")
    assert Log(tmp_path / "log.csv", images_seen=100).rows == []


def test_tensorboard_gets_the_same_rows_where_it_is_installed(tmp_path, monkeypatch):
    told = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            told.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            told.append((name, value, step))

        def close(self):
            told.append("closed")

    fake = ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    log = Log(tmp_path / "log.csv", images_seen=5)
    log.add({"images": 10, "psnr": None, "a": 1.0})
    log.close()
    assert told == [(str(tmp_path / "tensorboard"), 5), ("a", 1.0, 10), "closed"]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where it is not
    Log(tmp_path / "log.csv").add({"images": 10})


# --- the curves


def test_a_falling_line_falls_in_the_picture():
    points = [{"images": i * 10.0, "loss": 5.0 - i / 10} for i in range(40)]
    pixels = np.asarray(draw_curves(points)).astype(int)
    assert pixels.shape == (PANEL[1] + 30, 3 * PANEL[0], 3)
    left, top, right, bottom = PLOT
    line = np.abs(pixels[top:bottom, left:right] - [0, 114, 178]).sum(axis=2) < 30  # the first colour
    heights = [np.flatnonzero(column).mean() for column in line.T[45:-45:20]]  # not where the mean is one-sided
    assert all(a < b for a, b in zip(heights, heights[1:], strict=False))  # down is a larger row
    slope = np.polyfit(np.arange(len(heights)), heights, 1)
    assert np.abs(np.polyval(slope, np.arange(len(heights))) - heights).max() < 2  # and straight


def test_panels_are_as_many_as_columns_that_say_something():
    points = [{"images": 1.0, "a": 1.0, "b": None, "c": 2.0, "d": 3.0, "e": -1.0, "skipped": 0.0}]
    assert draw_curves(points).size == (3 * PANEL[0], 2 * PANEL[1] + 30)
    assert draw_curves([]).size == (3 * PANEL[0], PANEL[1] + 30)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 10, [0, 5, 10]), (0, 100_000, [0, 50_000, 100_000]), (19.7, 25.2, [20, 22, 24]), (-1.5, 0.5, [-1, 0])],
)
def test_ticks_are_round_and_few(low, high, wanted):
    found = ticks(low, high)
    assert set(wanted) <= {round(t, 9) for t in found} and 2 <= len(found) <= 6
    assert all(low <= t <= high for t in found)


def test_numbers_are_short():
    assert [short(v) for v in (0.25, 40_000, 2_500_000, -1500, 0)] == ["0.25", "40k", "2.5M", "-1.5k", "0"]
    assert pale("#000000") == (170, 170, 170) and pale("#ffffff") == (255, 255, 255)


# --- the sheets


def test_a_grid_puts_rows_below_each_other():
    images = torch.linspace(-1, 1, 6).reshape(2, 3, 1, 1, 1).expand(2, 3, 3, 4, 4)
    pixels = np.asarray(grid(images))
    assert pixels.shape == (8, 12, 3)
    np.testing.assert_array_equal(pixels[::4, ::4, 0], [[0, 51, 102], [153, 204, 255]])
    assert np.asarray(grid(images[:, :, :1])).shape == (8, 12)  # one channel


def test_sheets_show_the_same_samples_each_time():
    g = tiny_generator()
    held = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    sheet = contact_sheet(g, held)
    assert sheet.size == (12 * 64, 2 * 64)  # four times as large; no encoder: samples alone, at two truncations
    assert sheet.tobytes() == contact_sheet(g, held + 9).tobytes()
    assert contact_sheet(tiny_generator(seed=1), held).tobytes() != sheet.tobytes()


def test_a_sheet_shows_photographs_and_what_becomes_of_them(model):
    from generators import load

    g = load(model)
    held = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    large = np.asarray(contact_sheet(g, held))
    pixels = large[::4, ::4]
    assert pixels.shape == (5 * 16, 3 * 16, 3)
    np.testing.assert_array_equal(large, pixels.repeat(4, axis=0).repeat(4, axis=1))
    np.testing.assert_array_equal(pixels[:16, :16].transpose(2, 0, 1), held[0].numpy())
    drawn = g.synthesis(g.encoder(held / 127.5 - 1), g.fixed_noise(3))  # type: ignore[misc]
    assert np.abs(pixels[16:32, 32:].transpose(2, 0, 1) - (drawn[2].numpy() * 127.5 + 127.5).clip(0, 255)).max() < 1.01
