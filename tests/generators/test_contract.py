"""What every generator keeps: smaller pictures, checked inputs, samples of W."""

import pytest
import torch

from generators.adapter import adapt
from generators.autoencoder import Autoencoder, AutoencoderConfig
from generators.base import averaged
from generators.errors import GeneratorError
from generators.pca import PCA, PCAConfig
from generators.stylegan3 import StyleGAN3, StyleGAN3Config
from tests.conftest import tiny_generator, tiny_mobile


def stylegan3():
    sizes = {"img_resolution": 16, "z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8, "num_layers": 4}
    return StyleGAN3(StyleGAN3Config(**sizes)).eval().requires_grad_(False)


def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 3 * 16 * 16), torch.nn.Tanh(), torch.nn.Unflatten(1, (3, 16, 16)))


ALL = {
    "stylegan2": tiny_generator,
    "resnet": lambda: tiny_generator(architecture="resnet"),
    "subpixel": lambda: tiny_generator(img_resolution=32, subpixel=2),
    "stylegan3": stylegan3,
    "mobilestylegan": tiny_mobile,
    "autoencoder": lambda: Autoencoder(AutoencoderConfig(img_resolution=16, img_channels=3, dim=4)),
    "pca": lambda: PCA(PCAConfig(img_resolution=16, img_channels=3, dim=4)),
    "adapter": lambda: adapt(network(), z_dim=4),
}


@pytest.mark.parametrize("name", ALL)
def test_a_smaller_picture_is_what_it_is_said_to_be(name):
    g = ALL[name]().requires_grad_(False)
    ws, noise, size = g.sample_w(2, 1)[:, None].expand(-1, g.num_ws, -1), g.fixed_noise(2), g.img_resolution // 2
    full = g.synthesis(ws, noise)
    assert torch.equal(g.synthesis(ws, noise, resolution=g.img_resolution), full)
    assert g.rendering(g.img_resolution) == "full"
    small = g.synthesis(ws, noise, resolution=size)
    assert small.shape == (2, g.img_channels, size, size)
    if g.rendering(size) == "averaged":
        torch.testing.assert_close(small, averaged(full, size), atol=1e-5, rtol=1e-4)
    else:
        assert name in ("stylegan2", "subpixel") and g.rendering(size) == "skip"


def test_skip_outputs_add_up_to_the_early_picture():
    g = tiny_generator()
    ws, noise = g.sample_w(1)[:, None].expand(-1, g.num_ws, -1), g.fixed_noise(1)
    with torch.no_grad():
        for block in g.blocks[2:]:
            block.torgb.weight.zero_()
            block.torgb.bias.zero_()
    from generators.parts.ops import fir_kernel, upsample2d

    early = g.synthesis(ws, noise, resolution=8)
    torch.testing.assert_close(upsample2d(early, fir_kernel()), g.synthesis(ws, noise), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [0, -8, 3, 12, 32, 64])
def test_other_sizes_are_refused(size):
    g = tiny_generator()
    ws = g.sample_w(1)[:, None].expand(-1, g.num_ws, -1)
    with pytest.raises(GeneratorError, match=f"resolution is {size} px; tiny renders 16 px, and a half"):
        g.synthesis(ws, g.fixed_noise(1), resolution=size)


def test_samples_of_w_depend_on_their_seed_and_know_classes():
    g = tiny_generator(c_dim=3)
    a, state = g.sample_w(5, seed=1), torch.random.get_rng_state()
    assert torch.equal(a, g.sample_w(5, seed=1)) and not torch.equal(a, g.sample_w(5, seed=2))
    assert a.shape == (5, 8) and torch.equal(state, torch.random.get_rng_state())
