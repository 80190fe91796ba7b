import copy
import pickle
import re

import numpy as np
import pytest
import torch

from generators.checkpoints.nvidia import read_nvidia
from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.ours import load_model, save_model
from generators.checkpoints.tensorflow import layer, read_tensorflow
from generators.errors import ModelFileError
from generators.parts.ops import fir, fir_kernel, modulated_conv2d
from generators.unpickle.allowed import StandIn
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import (
    EasyDict,
    Reference,
    dumped,
    embedded,
    module,
    network,
    nvidia,
    nvidia3,
    refused,
    rendered,
    rewritten,
    same,
    tensorflow,
    with_mean,
    write,
)
from tests.generators.test_stylegan3 import R, tiny

SHAPES = [
    {},
    {"architecture": "resnet"},
    {"architecture": "orig", "conv_clamp": 1.0},
    {"c_dim": 3, "embed_dim": 5, "mapping_width": 12, "mapping_layers": 3},
    {"c_dim": 3, "mapping_layers": 1, "architecture": "resnet"},
    {"img_resolution": 4, "channels": (8,), "mapping_layers": 8, "img_channels": 1},
    {"resample": (1.0, 5.0, 10.0, 10.0, 5.0, 1.0), "img_resolution": 32, "channels": (12, 8, 8, 4), "z_dim": 16},
    {"mapping_lr": 0.1, "mapping_layers": 2, "w_dim": 16},
]


@pytest.mark.parametrize("settings", SHAPES)
def test_nvidia_pickles_render_what_they_were_made_of(tmp_path, settings):
    wanted = with_mean(tiny_generator(**settings))
    path = write(tmp_path / "model.bin", dumped(nvidia(wanted)))
    found = read_checkpoint(path)
    c = torch.eye(3)[:2] if wanted.c_dim else None
    same(found, wanted, c)
    assert found.card["data"] == ["faces.zip"] and found.card["left_out"] == ["the discriminator (D)"]
    save_model(found, tmp_path / "ours.safetensors")
    same(load_model(tmp_path / "ours.safetensors"), wanted, c)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(tmp_path, protocol):
    wanted = tiny_generator()
    same(read_checkpoint(write(tmp_path / "a", dumped(nvidia(wanted), protocol))), wanted)
    same(read_checkpoint(write(tmp_path / "b", dumped(tensorflow(wanted), protocol))), wanted)


def halved(generator):
    """With weights as float16 rounds them."""
    found = copy.deepcopy(generator)
    found.load_state_dict({key: value.half() for key, value in generator.state_dict().items()})
    return found


def test_tensors_however_torch_wrote_them(tmp_path):
    wanted = with_mean(tiny_generator(c_dim=3))
    for name, write_one, made_of in (
        ("legacy", embedded, wanted),
        ("zip", lambda t: embedded(t, legacy=False), wanted),
        ("of a graphics card", lambda t: embedded(t, place=b"cuda:1"), wanted),
        ("half precision", lambda t: embedded(t.half()), halved(wanted)),
    ):
        tree = rewritten(nvidia(wanted), write_one)
        same(read_checkpoint(write(tmp_path / name, dumped(tree, 3))), made_of, torch.eye(3)[:2])


@pytest.mark.parametrize("version", [1, 6])
def test_snapshots_of_a_training_run(tmp_path, version):
    """Both networks apart from their average, an augmentation, settings, and sources as long as they are."""
    wanted, other = with_mean(tiny_generator()), tiny_generator(seed=4)
    source = "raise SystemExit('source was run')\n" + "# training.networks_stylegan2.Generator\n" * 2000
    tree = nvidia(wanted, source) | {"G": nvidia(other, source)["G"]}
    tree["training_set_kwargs"] |= EasyDict(use_labels=False, xflip=True, max_size=70000)
    for part in ("G", "G_ema", "D", "augment_pipe"):
        tree[part].meta["version"] = version
    found = read_checkpoint(write(tmp_path / "network-snapshot-000000.pkl", dumped(tree)))
    same(found, wanted)
    left = ["the discriminator (D)", "the generator without averaging (G)"]
    assert found.card["left_out"] == left and found.card["data"] == ["faces.zip"]


@pytest.mark.parametrize("settings", [{"c_dim": 3, "mapping_layers": 3}, {**R, "img_resolution": 16, "num_layers": 5}])
def test_stylegan3_pickles_render_what_they_were_made_of(tmp_path, settings):
    wanted = with_mean(tiny(**settings))
    c = torch.eye(3)[:2] if wanted.c_dim else None
    same(read_checkpoint(write(tmp_path / "m", dumped(nvidia3(wanted)))), wanted, c)
    rounded = rewritten(nvidia3(wanted), lambda t: embedded(t.half()))
    same(read_checkpoint(write(tmp_path / "half", dumped(rounded))), halved(wanted), c)


def test_source_text_stays_where_it_is(tmp_path):
    sentinel = tmp_path / "ran"
    source = f"open({str(sentinel)!r}, 'w')\nimport os\nos.system('touch {sentinel}')\n"
    wanted = tiny_generator()
    same(read_checkpoint(write(tmp_path / "m", dumped(nvidia(wanted, source)))), wanted)
    assert not sentinel.exists()


def test_a_generator_without_a_mean_gets_an_estimate(tmp_path):
    wanted = tiny_generator(c_dim=3)
    tree = nvidia(wanted)
    del tree["G_ema"].meta["state"]["_modules"]["mapping"].meta["state"]["_buffers"]["w_avg"]
    found = read_checkpoint(write(tmp_path / "m", dumped(tree)))
    z = torch.randn(4000, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.eye(3)[torch.arange(4000) % 3]
    w = wanted.mapping(z, labels)[:, 0]
    assert (found.w_avg - w.mean(0)).norm() < 0.1 * (w - w.mean(0)).norm(dim=1).mean()
    assert "estimated from 10,000 samples" in found.card["notes"][0]
    assert torch.equal(read_checkpoint(tmp_path / "m").w_avg, found.w_avg)


def test_layers_trained_without_noise(tmp_path):
    wanted = tiny_generator()
    tree = nvidia(wanted)
    for block in tree["G_ema"].meta["state"]["_modules"]["synthesis"].meta["state"]["_modules"].values():
        for name, conv in block.meta["state"]["_modules"].items():
            if name.startswith("conv"):
                del conv.meta["state"]["_parameters"]["noise_strength"], conv.meta["state"]["_buffers"]["noise_const"]
    found = read_checkpoint(write(tmp_path / "m", dumped(tree)))
    ws = rendered(wanted)[0]
    torch.testing.assert_close(found.synthesis(ws, found.sample_noise(2, 0)), wanted.synthesis(ws, wanted.no_noise(2)))


def test_pickles_that_hold_something_else(tmp_path):
    g = tiny_generator()
    refused(write(tmp_path / "a", dumped({"G": None})), "without a generator")
    refused(write(tmp_path / "b", dumped([1, 2])), "without a generator")
    refused(
        write(tmp_path / "c", dumped({"G_ema": module("TriPlaneGenerator")})), "'TriPlaneGenerator', which is neither"
    )
    tree = nvidia(g)
    tree["G_ema"].meta["state"]["_modules"]["mapping"].meta["state"]["_modules"]["fc0"].meta["state"]["activation"] = (
        "x"
    )
    refused(write(tmp_path / "d", dumped(tree)), "'x' in mapping.fc0; lrelu is wanted")
    tree = nvidia(g)
    tree["G_ema"].meta["state"]["_modules"]["synthesis"].meta["state"]["_modules"].pop("b8")
    refused(write(tmp_path / "e", dumped(tree)), "damaged")
    refused(write(tmp_path / "f", pickle.dumps({"w": np.zeros(3)})), "without a generator")


def test_one_tensor_under_many_names_takes_no_memory(tmp_path):
    tree = nvidia(tiny_generator(w_dim=256, mapping_layers=1, z_dim=256))
    layers = tree["G_ema"].meta["state"]["_modules"]["mapping"].meta["state"]["_modules"]
    layers |= {f"fc{i}": layers["fc0"] for i in range(1, 4000)}
    refused(write(tmp_path / "m", dumped(tree)), "far more than it holds")


def test_one_array_under_many_names_takes_no_memory(tmp_path):
    whole = tensorflow(tiny_generator(w_dim=256, mapping_layers=1, z_dim=256))
    held = whole[2].components["mapping"].variables
    held += [(f"Dense{i}/weight", held[0][1]) for i in range(1, 4000)]
    refused(write(tmp_path / "m", dumped(whole)), "far more than it holds")


def test_values_without_end_are_not_looked_into(tmp_path):
    endless = (0,)
    for _ in range(60):  # 2^60 zeros for anyone who shows, hashes, copies or counts them
        endless = (endless, endless)
    for place, name in (
        ("", "z_dim"),
        ("mapping.fc0", "activation"),
        ("mapping.fc0", "bias_gain"),
        ("synthesis.b16", "architecture"),
        ("synthesis.b16.conv1", "conv_clamp"),
    ):
        tree = nvidia(tiny_generator())
        inner = tree["G_ema"]
        for part in filter(None, place.split(".")):
            inner = inner.meta["state"]["_modules"][part]
        inner.meta["state"][name] = endless
        refused(write(tmp_path / "m", dumped(tree)), "tuple")
    whole = tensorflow(tiny_generator())
    vars(whole[2])["static_kwargs"] = EasyDict(resample_kernel=list(endless), conv_clamp=endless)
    same(read_checkpoint(write(tmp_path / "m", dumped(whole))), tiny_generator())
    refused(write(tmp_path / "m", dumped({"G_ema": Reference(np.ndarray)})), "without a generator")
    refused(write(tmp_path / "m", dumped({"G_ema": Reference(endless)})), "array of a tuple")


def test_modules_that_hold_themselves():
    loop = StandIn("Generator", {"_modules": {}})
    loop.state["_modules"]["again"] = loop
    with pytest.raises(ModelFileError, match="modules without end"):
        read_nvidia({"G_ema": loop}, {})
    circle = StandIn("Network", {"components": {}})
    circle.state["components"] |= {"a": circle, "b": circle}
    with pytest.raises(ModelFileError, match="networks without end"):
        read_tensorflow((circle,), {})


# TensorFlow's pickles


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


def test_stylegan3_settings_beyond_its_weights(tmp_path):
    sizes = {"z_dim": 8, "c_dim": 0, "w_dim": 8, "img_resolution": 64, "img_channels": 3}
    for more, words in (
        ({"channel_max": 4096, "channel_base": 2**20}, "holds nothing for .*, its settings want"),
        ({"num_critical": 99}, "has settings that do not fit together .num_critical is 99; no StyleGAN3"),
        ({"channel_max": 2**20}, "channel_max 1048576"),
        ({"img_resolution": 2**30}, "img_resolution"),
        ({"freqs": 3}, "sets freqs, which StyleGAN3 does not know"),
    ):
        parts = {"synthesis": module("SynthesisNetwork", modules={"input": module("SynthesisInput")})}
        whole = module("Generator", modules=parts, _init_kwargs=EasyDict(sizes | more))
        refused(write(tmp_path / "m", dumped({"G_ema": whole})), words)
