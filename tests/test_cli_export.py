import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from conftest import ROOT, objects, refused

from generators import load
from generators.autoencoder import Autoencoder, AutoencoderConfig
from generators.files import save_model


def test_export_to_stylegan2_pytorch_and_back(latent, model, tmp_path):
    out = tmp_path / "tiny.pt"
    result = latent("export", model, out, "--json")
    (record,) = objects(result)
    assert record == {"file": str(out), "format": "stylegan2-pytorch", "generator": "tiny", "resolution": 16}
    assert result.stderr.splitlines() == ["left out: the encoder", "left out: the discriminator"]
    g, again = load(model), load(out)
    ws = g.mapping(torch.ones(1, 8))
    torch.testing.assert_close(again.synthesis(ws, again.fixed_noise(1)), g.synthesis(ws, g.fixed_noise(1)))
    assert latent("sample", "-g", out, "-o", tmp_path / "s.png").exit_code == 0
    assert (tmp_path / "s.png").exists()


def test_the_ending_names_the_format(latent, model, tmp_path):
    refused_usage = latent("export", model, tmp_path / "tiny.bin")
    assert refused_usage.exit_code == 2 and "add --format onnx or stylegan2-pytorch" in refused_usage.stderr
    result = latent("export", model, tmp_path / "tiny.bin", "--format", "stylegan2-pytorch")
    assert result.stdout.strip() == f"{tmp_path / 'tiny.bin'}  stylegan2-pytorch  16 px"


def test_what_does_not_fit_is_refused(latent, tmp_path):
    small = Autoencoder(AutoencoderConfig(img_resolution=8, dim=4, widths=(8,)))
    save_model(small, tmp_path / "small.safetensors")
    result = latent("export", tmp_path / "small.safetensors", tmp_path / "small.pt")
    refused(result, "small is a Autoencoder model; stylegan2-pytorch holds StyleGAN2")
    refused(latent("export", "nobody", tmp_path / "x.pt"), "no generator named 'nobody'")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs onnx and onnxscript")
def test_onnx_keeps_the_exporters_words_to_itself(tmp_path):
    small = Autoencoder(AutoencoderConfig(img_resolution=8, dim=4, widths=(8,)))
    save_model(small, tmp_path / "small.safetensors")
    command = [sys.executable, "-m", "cli", "export", tmp_path / "small.safetensors", tmp_path / "small.onnx"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'small.onnx'}  onnx  8 px\n"
    assert done.stderr == "left out: the encoder\n"
    assert (tmp_path / "small.onnx").stat().st_size > 1000
