import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from generators import load
from generators.autoencoder import Autoencoder, AutoencoderConfig
from generators.checkpoints.ours import save_model
from inversion.files.latent_file import load_latent
from tests.conftest import ROOT, objects, refused, tiny_generator


def test_export_to_stylegan2_pytorch_and_back(latent, model, tmp_path):
    out = tmp_path / "tiny.pt"
    result = latent("export", model, out, "--json")
    (record,) = objects(result)
    assert record == {"file": str(out), "format": "stylegan2-pytorch", "generator": "tiny", "resolution": 16}
    sizes = "its channels are (8, 8, 8); stylegan2-pytorch makes (512, 512, 512), so change its table to load it"
    assert result.stderr.splitlines() == ["left out: the encoder", "left out: the discriminator", sizes]
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


# Latents


@pytest.mark.parametrize("suffix", ["npz", "npy", "pt"])
def test_a_latent_goes_out_and_comes_back(latent, latents, model, tmp_path, suffix):
    out, back = tmp_path / f"me.{suffix}", tmp_path / "back.latent.safetensors"
    result = latent("export", latents[0], out, "--json")
    wanted = {"file": str(out), "format": suffix, "generator": "tiny", "space": "w_plus", "images": 1}
    assert objects(result) == [wanted], result.output
    assert [line.split(",")[0] for line in result.stderr.splitlines()] == ["left out: the noise"] * (suffix != "pt")
    g = load(model)
    assert torch.equal(load_latent(out, g).code, load_latent(latents[0], g).code)
    if suffix == "pt":
        result = latent("render", out, "-o", tmp_path / "me.png")
        assert result.exit_code == 0 and (tmp_path / "me.png").exists(), result.output
    else:
        result = latent("export", out, back)
        assert result.exit_code == 0 and result.stdout == f"{back}  w_plus  1 image\n", result.output
        assert torch.equal(load_latent(back, g).code, load_latent(out, g).code)


def test_a_latent_is_told_by_its_content(latent, latents, model, tmp_path):
    for name in ("faces.bin", "model.pt"):
        Path(tmp_path / name).write_bytes(Path(latents[1]).read_bytes())
        assert latent("export", tmp_path / name, tmp_path / "me.npz").exit_code == 0
        assert np.load(tmp_path / "me.npz")["w"].shape == (1, 6, 8)
    wrong = latent("export", latents[0], tmp_path / "x.npz", "--format", "onnx")
    assert wrong.exit_code == 2 and "is a latent" in wrong.stderr
    refused(latent("export", latents[0], tmp_path / "x.onnx"), "x.onnx should end in", ".npz")
    refused(latent("export", tmp_path / "missing.npz", tmp_path / "x.npy"), "missing.npz is not a file")
    refused(latent("export", model, tmp_path / "x.npz"), "is a model, not a latent")
    save_model(tiny_generator(seed=9), tmp_path / "other.safetensors")
    refused(latent("export", latents[0], tmp_path / "x.npz", "-g", tmp_path / "other.safetensors"), "tiny", "other")
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs onnx and onnxscript")
def test_onnx_in_a_process_of_its_own(tmp_path):
    """Which keeps the exporter's words to itself."""
    small = Autoencoder(AutoencoderConfig(img_resolution=8, dim=4, widths=(8,))).eval().requires_grad_(False)
    save_model(small, tmp_path / "small.safetensors")
    command = [sys.executable, "-m", "cli", "export", tmp_path / "small.safetensors", tmp_path / "small.onnx"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'small.onnx'}  onnx  8 px\n"
    assert done.stderr == "left out: the encoder\n"
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "small.onnx")
    for batch in (1, 3):
        ws = small.mapping(torch.randn(batch, 4, generator=torch.Generator().manual_seed(0)))
        (found,) = session.run(None, {"ws": ws.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), small.synthesis(ws, ()), rtol=0, atol=1e-5)
