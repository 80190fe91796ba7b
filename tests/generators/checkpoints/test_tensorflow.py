import re

import numpy as np
import pytest
import torch

from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.ours import load_model, save_model
from generators.checkpoints.tensorflow import layer
from generators.parts.ops import fir, fir_kernel, modulated_conv2d
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import (
    EasyDict,
    dumped,
    network,
    tensorflow,
)
from tests.generators.checkpoints.reading import refused, rendered, same, with_mean, write

TENSORFLOW = [
    {},
    {"architecture": "resnet"},
    {"architecture": "orig", "conv_clamp": 1.0},
    {"c_dim": 3, "embed_dim": 4},
    {"mapping_width": 12, "mapping_layers": 3},
]


@pytest.mark.parametrize("settings", TENSORFLOW)
def test_tensorflow_pickles_render_what_they_were_made_of(tmp_path, settings):
    wanted = with_mean(tiny_generator(**settings))
    c = torch.eye(3)[:2] if wanted.c_dim else None
    for scoped in (False, True):
        found = read_checkpoint(write(tmp_path / "m", dumped(tensorflow(wanted, scoped))))
        same(found, wanted, c)
        assert "TensorFlow" in found.card["format"]


def test_a_tensorflow_kernel_is_a_correlation_between_zeros():
    # As its code states the enlargement: zeros between the pixels, correlation, low-pass filter.
    rng = torch.Generator().manual_seed(0)
    theirs, x = torch.randn(3, 3, 2, 4, generator=rng), torch.randn(1, 2, 5, 5, generator=rng)
    between = torch.zeros(1, 2, 9, 9)
    between[:, :, ::2, ::2] = x
    wide = torch.nn.functional.conv2d(between, theirs.permute(3, 2, 0, 1), padding=2)
    wanted = fir(wide, 4 * fir_kernel(), (1, 1))
    ours = layer("conv0", "weight", theirs)["conv0.weight"]
    found = modulated_conv2d(x, ours, torch.ones(1, 2), demodulate=False, up_kernel=fir_kernel())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_tensorflow_without_a_mean(tmp_path):
    found = read_checkpoint(write(tmp_path / "m", dumped(tensorflow(tiny_generator(), average=False))))
    assert found.w_avg.any() and "estimated" in found.card["notes"][0]


def test_tensorflow_without_noise_or_with_the_names_of_growing_networks(tmp_path):
    wanted = with_mean(tiny_generator(architecture="orig"))
    whole = tensorflow(wanted)
    held = whole[2].components["synthesis"].variables
    held[:] = [(re.sub("16x16/ToRGB/", "ToRGB_lod0/", name), value) for name, value in held]
    held += [("ToRGB_lod1/weight", np.zeros((1, 1, 8, 3))), ("ToRGB_lod1/bias", np.ones(3))]
    same(read_checkpoint(write(tmp_path / "grown", dumped(whole))), wanted)
    held[:] = [(name, value) for name, value in held if "noise" not in name]
    found = read_checkpoint(write(tmp_path / "plain", dumped(whole)))
    ws = rendered(wanted)[0]
    torch.testing.assert_close(found.synthesis(ws, found.sample_noise(2, 0)), wanted.synthesis(ws, wanted.no_noise(2)))
    whole[2].static_kwargs["nonlinearity"] = "relu"
    refused(write(tmp_path / "relu", dumped(whole)), "'relu' as its nonlinearity; lrelu is wanted")


def test_labels_as_the_code_of_2019_has_them(tmp_path):
    wanted = with_mean(tiny_generator(c_dim=3, embed_joint=True, mapping_layers=1))
    whole, table = tensorflow(wanted), torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    held = whole[2].components["mapping"].variables
    held[:] = [("LabelConcat/weight", table.numpy()), *(pair for pair in held if "LabelEmbed" not in pair[0])]
    found = read_checkpoint(write(tmp_path / "m", dumped(whole)))
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    x = torch.cat([z, table], dim=1)  # class i for image i
    x = x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    layer = wanted.map.layers[0]
    y = x @ layer.weight.T * (0.01 / 16**0.5) + layer.bias * 0.01
    torch.testing.assert_close(found.mapping(z, torch.eye(3))[:, 0], torch.where(y < 0, 0.2 * y, y) * 2**0.5)
    wanted.map.embed.weight.copy_(table.T * 3**0.5)
    wanted.map.embed.bias.zero_()
    same(found, wanted, torch.eye(3)[:2])
    save_model(found, tmp_path / "ours")
    same(load_model(tmp_path / "ours"), wanted, torch.eye(3)[:2])


def test_older_generators_are_named(tmp_path):
    zero, settings = np.zeros((3, 3, 2, 2), np.float32), EasyDict()
    style = [("4x4/Const/const", zero), ("4x4/Const/StyleMod/weight", zero)]
    tree = network("Gs", [], {"synthesis": network("s", style, {}, settings)}, settings)
    refused(
        write(tmp_path / "a", dumped((tree, tree, tree))), r"StyleGAN \(first version\).*not supported.*adapter.adapt"
    )
    tree = network("Gs", [("4x4/Dense/weight", zero)], {}, settings)
    refused(write(tmp_path / "b", dumped((tree, tree, tree))), "progressive GAN.*not supported.*pytorch_GAN_zoo")
    refused(write(tmp_path / "c", dumped(network("D", [("Output/w", zero)], {}, settings))), "no StyleGAN2 generator")
