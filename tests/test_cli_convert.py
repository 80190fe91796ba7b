import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, objects, pixels, refused, tiny_generator

from generators import load
from generators.checkpoints.rosinality import to_state
from generators.files import save_model


@pytest.fixture
def checkpoint(tmp_path):
    """A training checkpoint of stylegan2-pytorch, under a name that says nothing."""
    generator = tiny_generator(seed=2)
    torch.save({"g_ema": to_state(generator), "latent_avg": generator.w_avg, "d": {}}, tmp_path / "download")
    return tmp_path / "download"


def test_convert_says_what_it_made(latent, checkpoint, tmp_path):
    out = tmp_path / "new" / "faces.safetensors"
    result = latent("convert", checkpoint, out, "--json")
    assert result.exit_code == 0, result.output
    (record,) = objects(result)
    parameters = sum(p.numel() for p in tiny_generator().parameters())
    wanted = {"file": str(out), "architecture": "StyleGAN2", "resolution": 16, "parameters": parameters, "labels": 0}
    assert record == record | wanted and record["licence"] == "not stated in the file" and record["left_out"] == ["d"]
    assert "left out: d" in result.stderr
    assert load(out).sha256 == load(checkpoint).sha256 == tiny_generator(seed=2).sha256


def test_convert_in_words_and_in_half(latent, checkpoint, tmp_path):
    result = latent("convert", checkpoint, tmp_path / "m.safetensors", "--half", "--licence", "CC-BY")
    assert (
        "StyleGAN2  16 px" in result.stdout
        and "licence: CC-BY" in result.stdout
        and "stylegan2-pytorch" in result.stdout
    )
    whole, half = tmp_path / "whole.safetensors", tmp_path / "m.safetensors"
    latent("convert", checkpoint, whole)
    assert half.stat().st_size < 0.75 * whole.stat().st_size
    assert load(half).card["licence"] == "CC-BY"
    again = latent("convert", half, tmp_path / "again.safetensors", "--json")
    assert objects(again)[0]["licence"] == "CC-BY" and load(tmp_path / "again.safetensors").sha256 == load(half).sha256


def test_other_peoples_files_are_taken_as_they_are(latent, checkpoint, tmp_path):
    save_model(tiny_generator(seed=2), tmp_path / "ours.safetensors")
    for name, model in (("a", checkpoint), ("b", checkpoint), ("c", tmp_path / "ours.safetensors")):
        result = latent("sample", "-g", model, "-o", tmp_path / f"{name}.png", "--seed", 4)
        assert result.exit_code == 0, result.output
    a, b, c = (pixels(tmp_path / f"{name}.png") for name in "abc")
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)
    assert len(list((tmp_path / "cache" / "models").iterdir())) == 1


def test_what_cannot_be_converted_is_one_line(latent, checkpoint, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (tmp_path / "evil2.pkl").write_bytes(b"\x80\x02cos\nsystem\n(S'touch ran'\ntR.")
    (tmp_path / "page.pkl").write_text("<html>")
    out = tmp_path / "m.safetensors"
    refused(latent("convert", tmp_path / "evil.pkl", out), "no model file that is read here")
    refused(latent("convert", tmp_path / "evil2.pkl", out), "'os.system'", "nothing of it was run")
    refused(latent("convert", tmp_path / "page.pkl", out), "a web page")
    refused(latent("convert", tmp_path / "missing.pkl", out), "no model file at")
    (tmp_path / "file").write_text("")
    refused(latent("convert", checkpoint, tmp_path / "file" / "m.safetensors"), "cannot write")
    assert not out.exists() and not list(tmp_path.glob(".*tmp"))
    assert latent("convert", checkpoint).exit_code == 2


@pytest.mark.slow
def test_in_a_process_of_its_own(checkpoint, tmp_path):
    command = [sys.executable, "-m", "cli", "convert", str(checkpoint), str(tmp_path / "m.safetensors")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"LATENT_CACHE": str(tmp_path / "cache")})  # fmt: skip
    assert done.returncode == 0 and "16 px" in done.stdout, done.stderr
    assert load(tmp_path / "m.safetensors").sha256 == tiny_generator(seed=2).sha256
