"""The process of a command: signals, streams, and names that no console shows."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inversion import loop
from inversion.commands.process import printable, ready_streams
from inversion.files.latent_file import read_bundle
from tests.conftest import ROOT, picture


def run(*args: object, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "cli.py", *map(str, args)], capture_output=True, **more)


@pytest.fixture
def interrupted(monkeypatch):
    """Searches in which the process gets a signal after the third step."""

    def at_third_step(number: int) -> None:
        optimize = loop.optimize

        def steps(*args, **more):
            for step in optimize(*args, **more):
                if step.index == 3:
                    os.kill(os.getpid(), number)
                yield step

        monkeypatch.setattr(loop, "optimize", steps)

    return at_third_step


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_that_asks_to_stop_keeps_the_best(latent, photos, tmp_path, interrupted, number):
    interrupted(number)
    result = latent("invert", *photos, "-o", tmp_path, "--no-align", "--steps", 50, "--batch", 2)
    assert result.exit_code == 128 + number and "stopped early: 2 of 3 photographs" in result.stderr
    assert [read_bundle(tmp_path / f"{name}.latent.safetensors").history["steps"] for name in "ab"] == [3, 3]
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_commands_end_in_one_line(latent, photos, tmp_path, interrupted, number):
    interrupted(number)
    result = latent("blend", *photos, "-o", tmp_path / "x.png", "--no-align", "--steps", 50)
    assert result.exit_code == 128 + number and result.stderr.splitlines()[-1] == "stopped"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_between_two_batches_keeps_what_is_found(latent, photos, tmp_path, monkeypatch):
    from inversion import batch

    write = batch.write_image

    def write_and_be_told(image, path):
        write(image, path)
        if path.name == "a.png":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(batch, "write_image", write_and_be_told)
    result = latent("invert", *photos, "-o", tmp_path, "--no-align", "--steps", 1, "--batch", 2)
    assert result.exit_code == 143 and {path.name for path in tmp_path.glob("?.png")} == {"a.png", "b.png"}


def test_what_nohup_ignores_stays_ignored(latent, photos, tmp_path, interrupted):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupted(signal.SIGHUP)
        result = latent("invert", photos[0], "-o", tmp_path, "--no-align", "--steps", 5)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.exit_code == 0 and read_bundle(tmp_path / "a.latent.safetensors").history["steps"] == 5


def test_names_outside_of_the_consoles_encoding_are_escaped_and_the_batch_goes_on(model, tmp_path):
    for name in ("1日", "2\n3", "4"):
        picture(1).save(tmp_path / f"{name}.png")
    strange = os.fsencode(tmp_path) + b"/5\xff.png"
    Path(os.fsdecode(strange)).write_bytes((tmp_path / "4.png").read_bytes())
    (tmp_path / "6日.png").write_bytes(b"")
    env = os.environ | {"PYTHONIOENCODING": "cp1252", "LATENT_CACHE": str(tmp_path / "cache")}
    done = run("invert", tmp_path, "-o", tmp_path / "out", "-g", model, "--steps", 0, "--no-align", env=env)
    lines = done.stdout.decode("cp1252").splitlines()
    assert done.returncode == 1 and len(lines) == 4 and len(list((tmp_path / "out").glob("*.safetensors"))) == 4
    for line, name in zip(lines, ("1\\u65e5.png", "2\\n3.png", "4.png", "5\\udcff.png"), strict=True):
        assert name in line
    assert b"6\\u65e5.png is empty" in done.stderr


def test_standard_streams_that_are_closed_take_nothing(model, tmp_path):
    command = f"exec {sys.executable} {ROOT}/cli.py sample -g {model} -o {tmp_path}/x.png >&- 2>&- <&-"
    assert subprocess.run(command, shell=True).returncode == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_for_a_standard_output_that_is_closed_is_refused(model):
    done = subprocess.run(
        f"exec {sys.executable} {ROOT}/cli.py sample -g {model} -o - >&-", shell=True, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: standard output is closed")


def test_streams_that_are_none_are_none_again(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with ready_streams():
        print("nothing", file=sys.stderr)
    assert sys.stderr is None


def test_escapes_stand_for_what_would_break_or_colour_a_line():
    assert printable("a\nb\x1b[31m\u2028\udcff é日👩‍👩") == "a\\nb\\x1b[31m\\u2028\\udcff é日👩‍👩"
