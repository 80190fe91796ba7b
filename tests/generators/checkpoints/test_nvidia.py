import pickle

import numpy as np
import pytest
import torch

from generators.checkpoints.nvidia import read_nvidia
from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.ours import load_model, save_model
from generators.checkpoints.tensorflow import read_tensorflow
from generators.errors import ModelFileError
from generators.unpickle.allowed import StandIn
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import (
    EasyDict,
    Reference,
    dumped,
    embedded,
    module,
    nvidia,
    rewritten,
    tensorflow,
)
from tests.generators.checkpoints.reading import halved, refused, rendered, same, with_mean, write

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


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path, protocol):
    wanted = tiny_generator()
    same(read_checkpoint(write(tmp_path / "a", dumped(nvidia(wanted), protocol))), wanted)
    same(read_checkpoint(write(tmp_path / "b", dumped(tensorflow(wanted), protocol))), wanted)


def test_protocol_0_of_python_2_is_named(tmp_path):
    refused(write(tmp_path / "a", b"(S'\\xff'\np0\ntp1\n."), "is a pickle of protocol 0 by Python 2; load it there")
    refused(write(tmp_path / "b", b"(a note in brackets)"), "is no model file that is read here")


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
