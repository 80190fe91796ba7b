"""Which precision is the faster one, as it is timed once a machine."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from generators import device
from generators.device import LIMIT, ROUNDS, SHAPES, bf16_share, has_bf16
from tests.conftest import ROOT

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A processor with units, whose bf16 takes half of the time; how often it was timed."""
    timed = []
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path))
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({"avx2", "amx_bf16"}))
    monkeypatch.setattr(device, "bf16_share", lambda on: timed.append(on) or 0.5)
    has_bf16.cache_clear()
    yield timed
    has_bf16.cache_clear()


def timer(monkeypatch, *, half, whole):
    """A clock by which each convolution takes so many seconds, and all that were made."""
    now, made = [0.0], []

    def convolution(on, channels, size, bf16, clock):
        made.append((channels, size, bf16))
        seconds = 5.0 if len(made) <= 2 * len(SHAPES) else half if bf16 else whole
        now[0] += seconds
        return seconds

    monkeypatch.setattr(device, "convolution", convolution)
    return lambda: now[0], made


@pytest.mark.parametrize("half, whole, share", [(0.001, 0.002, 0.5), (0.008, 0.001, 8.0), (0.001, 0.001, 1.0)])
def test_the_share_is_that_of_the_best_times_after_a_warm_up(monkeypatch, half, whole, share):
    clock, made = timer(monkeypatch, half=half, whole=whole)
    assert bf16_share(CPU, lambda: 0.0) == pytest.approx(share)
    assert len(made) == 2 * len(SHAPES) * ROUNDS and set(made) == {(*s, b) for s in SHAPES for b in (False, True)}
    made.clear()
    assert bf16_share(CPU, clock) == pytest.approx(share)
    assert len(made) == 2 * len(SHAPES) * 2  # on a slow machine there is one round after the warm-up


def test_the_rounds_end_in_time(monkeypatch):
    clock, made = timer(monkeypatch, half=LIMIT / 40, whole=LIMIT / 40)
    made += [None] * 2 * len(SHAPES)  # it is warm
    bf16_share(CPU, clock)
    assert clock() <= LIMIT


def test_a_real_convolution_is_timed_in_both(monkeypatch):
    monkeypatch.setattr(device, "SHAPES", ((2, 4),))
    ticks = iter(range(1000))
    with torch.inference_mode():
        assert bf16_share(CPU, lambda: float(next(ticks))) == 1.0
        assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize("share, wanted", [(0.5, True), (0.79, True), (0.81, False), (8.0, False)])
def test_bf16_where_it_is_clearly_faster(monkeypatch, share, wanted):
    monkeypatch.setattr(device, "bf16_share", lambda on: share)
    assert has_bf16(CPU) is wanted


@pytest.mark.parametrize(
    "flag, wanted", [("avx512_bf16", True), ("amx_bf16", True), ("bf16", True), ("avx512f", False)]
)
def test_nothing_is_timed_where_there_are_no_units(monkeypatch, machine, flag, wanted):
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({"fpu", flag}))
    assert has_bf16(CPU) is wanted and len(machine) == wanted


def test_a_machine_is_timed_once(monkeypatch, machine, tmp_path):
    for _ in range(3):
        assert has_bf16(CPU)
    has_bf16.cache_clear()  # as in the next process
    assert has_bf16(CPU) and len(machine) == 1
    (key,) = json.loads((tmp_path / "probes" / "bf16.json").read_bytes())
    assert torch.__version__ in key and device.processor(CPU) in key and "cpu" in key


@pytest.mark.parametrize("what", ["processor", "version"])
def test_another_machine_or_torch_is_timed_anew_beside_the_first(monkeypatch, machine, tmp_path, what):
    has_bf16(CPU)
    has_bf16.cache_clear()
    if what == "processor":
        monkeypatch.setattr(device, "processor", lambda on: "another")
    else:
        monkeypatch.setattr(torch, "__version__", "99.0")
    has_bf16(CPU)
    assert len(machine) == 2 and len(json.loads((tmp_path / "probes" / "bf16.json").read_bytes())) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"other": 1}', b"[" * 100_000, None])
def test_a_damaged_cache_is_timed_anew(machine, tmp_path, content):
    path = tmp_path / "probes" / "bf16.json"
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_bytes(content)
    assert has_bf16(CPU) and len(machine) == 1
    if content is not None:
        has_bf16.cache_clear()
        assert has_bf16(CPU) and len(machine) == 1  # and is whole again


@pytest.mark.parametrize("value", ["fast", None, [0.5], {}])
def test_a_share_that_is_no_number_is_timed_anew(machine, tmp_path, value):
    has_bf16(CPU)
    path = tmp_path / "probes" / "bf16.json"
    path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_bytes()), value)))
    has_bf16.cache_clear()
    assert has_bf16(CPU) and len(machine) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(monkeypatch, machine):
    monkeypatch.setenv("LATENT_CACHE", "/dev/null/cache")
    assert has_bf16(CPU) and len(machine) == 1


def test_memory_is_kept_unless_the_environment_says_how():
    code = "from generators.device import keep_pages; print(keep_pages())"
    glibc = platform.libc_ver()[0] == "glibc"
    for more, kept in (({}, glibc), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)):
        plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        done = subprocess.run([sys.executable, "-c", code], env=plain | more, cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.split() == [str(kept)], done.stderr
