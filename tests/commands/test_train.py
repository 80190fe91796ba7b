import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch

from generators import load
from generators.settings import settings_of
from generators.training.config import ADVERSARY, ENCODER, GENERATOR, SIZE
from generators.training.config_codes import CODES
from generators.training.settings import KINDS, config_of
from inversion.commands.training import stoppable, train
from tests.conftest import ROOT, objects, picture, refused

TINY = [
    "--resolution",
    8,
    "--channels",
    "8,8",
    "--w-dim",
    8,
    "--mapping-layers",
    1,
    "--linear",
    0,
    "--batch",
    4,
    "--precision",
    "fp32",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for i in range(10):
        picture(i, 20).save(folder / f"{i}.png")
    return folder


BARE = """
import sys
others = "dlib sklearn matplotlib imageio scipy torchvision lpips face_recognition_models skimage jaxtyping filelock"
for name in others.split():
    sys.modules[name] = None
from cli import main
main(sys.argv[1:], prog_name="latent")
"""


def start(*args) -> subprocess.Popen:
    """A run of its own, in a process that has torch, numpy, pillow, click, tqdm and safetensors alone."""
    command = [sys.executable, "-c", BARE, "train", *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def until(process: subprocess.Popen, images: int) -> list[dict]:
    """What the process tells, up to a report of so many images or more."""
    told = []
    assert process.stdout is not None
    for line in process.stdout:
        told.append(json.loads(line))
        if told[-1]["images_seen"] >= images:
            return told
    pytest.fail(f"ended early: {process.stderr.read()}")  # type: ignore[union-attr]


def same(a: Path, b: Path) -> bool:
    x, y = load(a).state_dict(), load(b).state_dict()
    return x.keys() == y.keys() and all(torch.equal(v, y[k]) for k, v in x.items())


# Options


def test_every_setting_is_an_option():
    """The help of each comes from the setting itself; settings without help are those of one step."""
    options = {parameter.name for parameter in train.params}
    wanted = {name for kind in KINDS for name in config_of(kind).__dataclass_fields__}
    assert wanted <= options and not {name for name in wanted if settings_without_help(name)}


def settings_without_help(name: str) -> bool:
    return not any(name in settings_of(config_of(kind)) for kind in KINDS)


def test_the_help_tells_the_default_of_each_kind():
    (record,) = (
        p.get_help_record(click.Context(train)) for p in train.params if isinstance(p, click.Option) and p.name == "dim"
    )
    assert record is not None and record[1] == "Numbers of a code.  [16; sparse 64]"


def test_values_out_of_range_are_wrong_usage(latent, data, tmp_path):
    for given in (["--batch", 0], ["--lr", -1], ["--precision", "int8"], ["--channels", "8,x"], ["--kind", "magic"]):
        result = latent("train", data, "-o", tmp_path / "m.safetensors", *given)
        assert result.exit_code == 2, given
    assert not list(tmp_path.glob("*.run"))


def test_the_help_is_in_groups():
    text = train.get_help(click.Context(train, info_name="train"))
    heads = [line[:-1] for line in text.splitlines() if re.fullmatch(r"\S.*:", line)]
    assert heads == ["Options", "The run", SIZE, GENERATOR, ADVERSARY, ENCODER, CODES]


# A run


@pytest.mark.slow
def test_a_run_is_told_and_goes_on(latent, data, tmp_path):
    (tmp_path / "data").mkdir()
    for path in data.iterdir():
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "data" / "bad.png").write_text("text")
    out = tmp_path / "m.safetensors"
    args = ["train", tmp_path / "data", "-o", out, "--licence", "CC0", "--subject", "noise", "--snapshot-every", 8]
    result = latent(*args, *TINY, "--images", 16, "--json")
    assert result.exit_code == 0, result.output
    told = objects(result)
    assert [t["images_seen"] for t in told] == [4, 8, 12, 16] and told[-1]["psnr"] is not None is not told[0]["losses"]
    assert set(told[0]) == {"images_seen", "images", "images_per_second", "seconds_left", "losses", "psnr"}
    for word in ("10 pictures of 8 px", "bad.png", "another size", "under 100"):
        assert word in result.stderr
    assert load(out).card == {"data": ["data"], "pictures": 10, "licence": "CC0", "subject": "noise"}
    refused(latent(*args, *TINY), "--resume")
    result = latent(*args, "--images", 24, "--resume", "--lr", 0.001)  # the sizes stand as they were
    assert result.exit_code == 0 and "images was 16, now 24; lr was 0.002, now 0.001" in " ".join(result.stderr.split())
    assert "24 of 24 images" in result.stderr and "dB" in result.stderr and result.stdout == ""
    result = latent(*args, "--resume", "--w-dim", 16)
    refused(result, "w_dim was 8, now 16")


@pytest.mark.slow
def test_a_run_from_a_model_and_one_for_its_encoder(latent, model, data, tmp_path):
    out = tmp_path / "m.safetensors"
    result = latent("train", data, "-o", out, "--init", model, "--batch", 4, "--images", 4, "--precision", "fp32")
    assert result.exit_code == 0, result.output
    assert load(out).img_resolution == 16 and load(out).card["init"] == "tiny"
    given = ["--kind", "encoder", "--init", model, "--batch", 4, "--images", 8, "--precision", "fp32"]
    result = latent("train", data, "-o", tmp_path / "e.safetensors", *given)
    assert result.exit_code == 0, result.output
    made = load(tmp_path / "e.safetensors")
    assert made.sha256() == load(model).sha256() and made.card["licence"] == "CC0"  # the generator is as it was
    assert not torch.equal(made.encoder.shared.weight, load(model).encoder.shared.weight)  # type: ignore[union-attr]
    result = latent("train", data, "-o", tmp_path / "x.safetensors", "--kind", "encoder")
    assert result.exit_code == 1 and "give --init MODEL" in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_model(latent, data, tmp_path):
    args = [*TINY, "--images", 48, "--snapshot-every", 16, "--augment-kind", "ada", "--json"]
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert latent("train", data, "-o", whole, *args).exit_code == 0
    process = start(data, "-o", parts, *args, "--every", 0.001)
    until(process, 20)
    process.kill()
    process.communicate()
    folder = tmp_path / "parts.run"
    seen = torch.load(folder / "checkpoint.pt", weights_only=True)["images_seen"]
    assert 16 <= seen < 48  # a checkpoint comes after every step, so that one step at most is lost
    assert (folder / "curve.png").exists() and load(folder / "latest.safetensors").img_resolution == 8
    result = latent("train", data, "-o", parts, *args, "--resume")
    assert result.exit_code == 0, result.stderr
    assert same(whole, parts)
    assert same(*(tmp_path / f"{name}.run" / "latest.safetensors" for name in ("whole", "parts")))
    assert not list(tmp_path.rglob(".*.tmp*"))


@pytest.mark.slow
def test_a_signal_keeps_the_last_whole_step(data, tmp_path):
    args = [*TINY, "--images", 100_000, "--snapshot-every", 40, "--json"]
    process = start(data, "-o", tmp_path / "m.safetensors", *args)
    until(process, 4)
    process.send_signal(signal.SIGTERM)
    rest, words = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM and "Traceback" not in words
    assert words.splitlines()[-1].startswith("stopped; the same command with --resume goes on from")
    last = json.loads(rest.splitlines()[-1])["images_seen"] if rest else 4
    state = torch.load(tmp_path / "m.run" / "checkpoint.pt", weights_only=True)
    assert last <= state["images_seen"] < last + 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(number):
    with stoppable() as stopped:
        assert stopped() == 0
        os.kill(os.getpid(), number)
        assert stopped() == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
