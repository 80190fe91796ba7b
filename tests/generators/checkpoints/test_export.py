from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from generators import load
from generators.autoencoder import Autoencoder, AutoencoderConfig
from generators.checkpoints import export as export_module
from generators.checkpoints.export import export, strange_to_stylegan2_pytorch
from generators.errors import GeneratorError, WriteError
from generators.stylegan2 import StyleGAN2Config
from generators.stylegan3 import StyleGAN3, StyleGAN3Config
from tests.conftest import tiny_generator

CHECKPOINTS = Path(__file__).resolve().parents[4] / "shared" / "checkpoints"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny_stylegan3():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        g = StyleGAN3(
            StyleGAN3Config(img_resolution=16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, num_layers=3)
        )
    g.name = "tiny3"
    return g.eval().requires_grad_(False)


def autoencoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        g = Autoencoder(AutoencoderConfig(img_resolution=8, dim=4, widths=(8,)))
    g.name = "small"
    return g.eval().requires_grad_(False)


# stylegan2-pytorch


@pytest.mark.parametrize("settings", [{}, {"mapping_lr": 0.3}, {"resample": (1.0, 1.0), "img_channels": 1}])
def test_stylegan2_pytorch_reads_back_equal(settings, tmp_path):
    g = tiny_generator(**settings)
    g.w_avg.copy_(draw(8, seed=3))
    export(g, tmp_path / "new" / "tiny.pt", "stylegan2-pytorch")
    again, z = load(tmp_path / "new" / "tiny.pt"), draw(3, 8)
    for psi in (1.0, 0.5):
        torch.testing.assert_close(again.mapping(z, None, psi), g.mapping(z, None, psi))
    images = [model.synthesis(g.mapping(z), model.fixed_noise(3)) for model in (g, again)]
    assert (images[0] - images[1]).abs().max() < 1 / 255 * float(images[0].max() - images[0].min()) / 100
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tiny.pt"]  # no temporary is left


def test_stylegan2_pytorch_holds_tensors_alone(tmp_path):
    export(tiny_generator(), tmp_path / "tiny.pt", "stylegan2-pytorch")
    whole = torch.load(tmp_path / "tiny.pt", weights_only=True)
    assert whole.keys() == {"g_ema", "latent_avg"} and whole["latent_avg"].shape == (8,)
    shapes = {key: tuple(value.shape) for key, value in whole["g_ema"].items()}
    assert shapes["conv1.conv.weight"] == (1, 8, 8, 3, 3) and shapes["input.input"] == (1, 8, 4, 4)
    assert shapes["to_rgbs.1.bias"] == (1, 3, 1, 1) and shapes["noises.noise_4"] == (1, 1, 16, 16)
    assert shapes["convs.0.noise.weight"] == (1,) and shapes["style.2.weight"] == (8, 8)
    torch.testing.assert_close(whole["g_ema"]["convs.0.conv.blur.kernel"].sum(), torch.tensor(4.0))


@pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason="needs ../shared/checkpoints beside the repository")
def test_what_was_imported_goes_out_as_it_came(tmp_path):
    export(load(CHECKPOINTS / "rosinality.pt"), tmp_path / "again.pt", "stylegan2-pytorch")
    came, went = (torch.load(p, weights_only=True) for p in (CHECKPOINTS / "rosinality.pt", tmp_path / "again.pt"))
    assert went["g_ema"].keys() == came["g_ema"].keys()
    for key, value in came["g_ema"].items():
        torch.testing.assert_close(went["g_ema"][key], value, msg=key)
    torch.testing.assert_close(went["latent_avg"].flatten(), came["latent_avg"].flatten())


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"spatial": (0, 2)}, "spatial style maps"),
        ({"subpixel": 2, "channels": (8, 8)}, "sub-pixel patches"),
        ({"architecture": "resnet"}, "the resnet architecture"),
        ({"c_dim": 2}, "class labels"),
        ({"z_dim": 4}, "z of 4 and w of 8 numbers"),
        ({"mapping_linear": True}, "ends in a linear layer"),
        ({"mapping_width": 16}, "mapping layers of another width"),
        ({"flow_steps": 2}, "a flow in place of"),
    ],
)
def test_what_stylegan2_pytorch_cannot_hold_is_named(settings, what, tmp_path):
    with pytest.raises(GeneratorError, match=f"tiny has .*{what}.* stylegan2-pytorch knows no such thing; choose onnx"):
        export(tiny_generator(**settings), tmp_path / "tiny.pt", "stylegan2-pytorch")
    assert not list(tmp_path.glob("*.pt"))


def test_a_bound_that_acts_is_no_plain_stylegan2(tmp_path):
    g = tiny_generator(conv_clamp=1.0)
    with pytest.raises(GeneratorError, match=r"tiny draws other pictures without .* bound of 1 .* choose onnx"):
        export(g, tmp_path / "g.pt", "stylegan2-pytorch")
    g = tiny_generator(conv_clamp=256.0)
    export(g, tmp_path / "g.pt", "stylegan2-pytorch")
    again, w = load(tmp_path / "g.pt"), g.sample_w(2, 5)
    torch.testing.assert_close(again.render(w), g.render(w))


def test_sizes_that_its_code_does_not_make_are_told():
    def told(**settings):
        return strange_to_stylegan2_pytorch(StyleGAN2Config(**settings))

    assert told() == [] and told(img_resolution=32, channel_base=16384) == []
    assert told(channel_base=16384) == ["stylegan2-pytorch loads it with channel_multiplier=1"]
    assert "256, 128, 64, 32), so change" in told(channel_max=256)[0] and len(told(channel_max=256)) == 1
    assert [line.partition(";")[0] for n in (1, 4) for line in told(img_channels=n)] == [
        "it draws 1 channel of colour",
        "it draws 4 channels of colour",
    ]


def test_other_architectures_are_refused(tmp_path):
    with pytest.raises(GeneratorError, match="tiny3 is a StyleGAN3 model; stylegan2-pytorch holds StyleGAN2"):
        export(tiny_stylegan3(), tmp_path / "t.pt", "stylegan2-pytorch")
    with pytest.raises(GeneratorError, match="no format is named 'tflite'; known formats: stylegan2-pytorch, onnx"):
        export(tiny_stylegan3(), tmp_path / "t.pt", "tflite")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="tiny.pt cannot be written .*file is no folder.*choose another place"):
        export(tiny_generator(), tmp_path / "file" / "tiny.pt", "stylegan2-pytorch")


# ONNX


def run(path, ws, noise):
    """What onnxruntime makes of a file."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = ["ws", *(f"noise{i}" for i in range(len(noise)))]
    assert [i.name for i in session.get_inputs()] == names and [o.name for o in session.get_outputs()] == ["image"]
    (image,) = session.run(None, {name: x.numpy() for name, x in zip(names, (ws, *noise), strict=True)})
    return torch.from_numpy(np.asarray(image))


needs_onnx = pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs onnx and onnxscript")
MODELS = {
    "stylegan2": lambda: tiny_generator(spatial=(0, 2), subpixel=2, channels=(8, 8), conv_clamp=256.0),
    "stylegan3": tiny_stylegan3,
}  # an autoencoder goes through tests/commands/test_export.py


@pytest.mark.slow
@needs_onnx
@pytest.mark.parametrize("name", MODELS)
def test_onnx_renders_the_same(name, tmp_path):
    g = MODELS[name]()
    export(g, tmp_path / "g.onnx", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]  # one file, weights and all
    for batch in (1, 3):
        ws, noise = draw(batch, g.num_ws, g.w_dim), g.sample_noise(batch, 1)
        wanted = g.synthesis(ws, noise)
        found = run(tmp_path / "g.onnx", ws, noise)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.max() - wanted.min()))


@pytest.mark.slow
@needs_onnx
def test_a_model_that_fixes_its_batch_is_refused(tmp_path, monkeypatch):
    g = autoencoder()
    monkeypatch.setattr(g, "synthesis", lambda ws, noise: ws[:, 0, :3].reshape(2, 3, 1, 1))
    with pytest.raises(GeneratorError, match="small (fixes its batch size|does what onnx cannot express)"):
        export(g, tmp_path / "g.onnx", "onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "find_spec", lambda name: None)
    with pytest.raises(GeneratorError, match=r"needs onnx and onnxscript; pip install 'latent-inversion\[export\]'"):
        export(tiny_generator(), tmp_path / "g.onnx", "onnx")
