from pathlib import Path

import numpy as np
import pytest
import torch

from generators.stylegan2 import StyleGAN2, StyleGAN2Config

CHECKPOINTS = Path(__file__).resolve().parents[3] / "shared" / "checkpoints"


def convolution(state, theirs, ours):
    return {
        f"{ours}.weight": state[f"{theirs}.conv.weight"][0],
        f"{ours}.affine.weight": state[f"{theirs}.conv.modulation.weight"],
        f"{ours}.affine.bias": state[f"{theirs}.conv.modulation.bias"],
    }


def styled(state, theirs, ours, index):
    return convolution(state, theirs, ours) | {
        f"{ours}.noise_strength": state[f"{theirs}.noise.weight"][0],
        f"{ours}.bias": state[f"{theirs}.activate.bias"],
        f"{ours}.noise_const": state[f"noises.noise_{index}"][0, 0],
    }


def rgb(state, theirs, ours):
    return convolution(state, theirs, ours) | {f"{ours}.bias": state[f"{theirs}.bias"].flatten()}


def from_rosinality(state, w_avg):
    """The names of stylegan2-pytorch -> ours, for 64 px and four mapping layers."""
    ours = {"start": state["input.input"], "w_avg": w_avg}
    for i in range(4):
        ours |= {f"map.layers.{i}.{p}": state[f"style.{i + 1}.{p}"] for p in ("weight", "bias")}
        ours |= rgb(state, f"to_rgbs.{i}", f"blocks.{i + 1}.torgb")
    for i in range(8):
        ours |= styled(state, f"convs.{i}", f"blocks.{i // 2 + 1}.conv{i % 2}", i + 1)
    return ours | styled(state, "conv1", "blocks.0.conv1", 0) | rgb(state, "to_rgb1", "blocks.0.torgb")


@pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason="needs ../shared/checkpoints beside the repository")
def test_renders_what_the_reference_implementation_renders():
    saved = torch.load(CHECKPOINTS / "rosinality.pt", weights_only=True)
    golden = {k: torch.from_numpy(v) for k, v in np.load(CHECKPOINTS / "rosinality.golden.npz").items()}
    with torch.random.fork_rng():
        g = StyleGAN2(
            StyleGAN2Config(img_resolution=64, z_dim=32, w_dim=32, mapping_layers=4, channels=(32, 32, 32, 32, 24))
        )
    g.load_state_dict(from_rosinality(saved["g_ema"], saved["latent_avg"]))  # strict: every weight has its place
    g.eval().requires_grad_(False)
    ws, image = g.mapping(golden["z"]), golden["image"]
    torch.testing.assert_close(ws, golden["w"][:, None].expand_as(ws), rtol=0, atol=1e-5)
    found = g.synthesis(ws, g.fixed_noise(3))
    torch.testing.assert_close(found, image, rtol=0, atol=1e-4 * float(image.max() - image.min()))
