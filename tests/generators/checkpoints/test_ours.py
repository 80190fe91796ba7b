import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from generators import load
from generators.checkpoints import ours as files
from generators.checkpoints.ours import FORMAT, assemble, load_model, read_file, save_model, undrawn
from generators.errors import GeneratorError, ModelFileError, WriteError
from generators.parts.discriminator import Discriminator, DiscriminatorConfig, features_alone
from generators.parts.encoder import Encoder, EncoderConfig
from generators.parts.ops import EqualLinear
from tests.conftest import tiny_generator


def complete(**settings):
    """A tiny generator with the parts that a model file may carry."""
    g = tiny_generator(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        g.encoder = Encoder(EncoderConfig(img_resolution=16, num_ws=6, w_dim=8, channels=(8, 8, 8), hidden=16))
        g.discriminator = Discriminator(DiscriminatorConfig(img_resolution=16, channels=(8, 8, 8)))
    g.card = {"licence": "MIT", "data": ["faces", 47], "psnr_db": 21.5}
    return g.eval().requires_grad_(False)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(complete(), path)
    return path


def rewrite(path, *, header=None, metadata=None, tensors=None):
    """The file again with other tensors, another header (a string as it is, anything else as JSON) or metadata."""
    before, weights = read_file(path)
    text = header if isinstance(header, str) else json.dumps(before if header is None else header)
    meta = {"format": FORMAT, "header": text} if metadata is None else metadata
    save_file(weights if tensors is None else tensors, path, metadata=meta)


def refused(path, words):
    """load_model refuses the file with one line that names it."""
    with pytest.raises(ModelFileError, match=words) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and message.count(str(path)) == 1 and "\n" not in message
    return message


def test_a_file_is_built_without_drawing_weights_or_copying_its_own():
    wanted = tiny_generator()
    tensors, state = dict(wanted.state_dict()), torch.random.get_rng_state()
    found = assemble("stylegan2", wanted.config, tensors, {})
    assert all(value.data_ptr() == tensors[key].data_ptr() for key, value in found.state_dict().items())
    with undrawn():
        nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 3), EqualLinear(4, 4))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_round_trip_is_exact(saved):
    a, b = complete(), load_model(saved)
    assert b.name == "tiny" and b.card == a.card and b.config == a.config and b.sha256() == a.sha256()
    assert a.state_dict().keys() == b.state_dict().keys()
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert not b.training and not any(p.requires_grad for p in b.parameters())
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    image = a.synthesis(a.mapping(z), a.fixed_noise(2))
    assert torch.equal(b.synthesis(b.mapping(z), b.fixed_noise(2)), image)
    assert a.encoder is not None and b.encoder is not None
    torch.testing.assert_close(b.encoder(image), a.encoder(image))


@pytest.mark.parametrize(
    "settings", [{"architecture": "resnet"}, {"spatial": (0, 0, 3)}, {"c_dim": 2}, {"conv_clamp": 9.0}]
)
def test_every_kind_of_generator(tmp_path, settings):
    g = tiny_generator(**settings)
    save_model(g, tmp_path / "new" / "folder" / "g.safetensors")
    back = load_model(tmp_path / "new" / "folder" / "g.safetensors")
    assert back.config == g.config and back.sha256() == g.sha256()
    assert back.encoder is None and back.discriminator is None and back.card == {}


def test_float16_halves_the_size(saved, tmp_path):
    half, g = tmp_path / "half.safetensors", complete()
    save_model(g, half, dtype=torch.float16)
    back = load_model(half)
    assert half.stat().st_size < 0.7 * saved.stat().st_size  # the header does not shrink
    for key, value in back.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, g.state_dict()[key], rtol=2**-11, atol=1e-7)


def test_loading_and_saving_leave_the_random_numbers_alone(saved):
    before = torch.get_rng_state()
    save_model(load_model(saved), saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_load_takes_a_path(saved):
    assert load(saved).name == load(str(saved)).name == "tiny"


def test_only_the_file_stays(saved):
    save_model(complete(), saved)
    assert [f.name for f in saved.parent.iterdir()] == [saved.name]


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(WriteError, match="tiny.safetensors cannot be written .the disk is full.; .*make room"):
        save_model(complete(), saved)
    assert saved.read_bytes() == before and [f.name for f in saved.parent.iterdir()] == [saved.name]


def test_a_read_only_folder(tmp_path, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "save_file", denied)
    with pytest.raises(WriteError, match="cannot be written .Permission denied.; choose another place"):
        save_model(tiny_generator(), tmp_path / "g.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(WriteError, match="cannot be written .*taken is no folder"):
        save_model(tiny_generator(), tmp_path / "taken" / "g.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_files(saved, keep):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    refused(saved, "not a readable model file")


def test_things_that_are_no_model(tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("These are not weights. " * 10)
    refused(text, "not a readable model file")
    refused(tmp_path, "not a readable model file")
    refused(tmp_path / "missing.safetensors", "is no file; `latent generators` lists")


def test_files_of_another_format(saved):
    weights = load_file(saved)
    save_file(weights, saved)
    refused(saved, "has format None, wanted 'latent-model-1'")
    save_file(weights, saved, metadata={"format": "latent-1"})
    refused(saved, "has format 'latent-1', wanted 'latent-model-1'")


@pytest.mark.parametrize("text", ["", "{", "not JSON", '{"architecture": }', "[" * 100_000])
def test_headers_that_are_not_json(saved, text):
    rewrite(saved, header=text)
    refused(saved, "a header that is not JSON")


def test_a_missing_header(saved):
    rewrite(saved, metadata={"format": FORMAT})
    refused(saved, "a header that is not JSON .*header")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"stylegan2"'])
def test_headers_that_are_no_object(saved, text):
    rewrite(saved, header=text)
    refused(saved, "a header that is no JSON object")


@pytest.mark.parametrize(
    "header", [{}, {"architecture": ["stylegan2"]}, {"architecture": "stylegan9"}, {"architecture": "stylegan2"}]
)
def test_headers_without_settings(saved, header):
    rewrite(saved, header=header)
    refused(saved, "settings that no architecture here takes")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("settings", {"img_resolution": 12}),
        ("settings", {"img_resolution": "sixteen"}),
        ("settings", {"img_resolution": None}),
        ("settings", {"channels": [8, 8]}),
        ("settings", {"channels": [8, 8, -8]}),
        ("settings", {"w_dim": 0.5}),
        ("settings", {"colour": True}),
        ("settings", "StyleGAN2"),
        ("settings", None),
        ("encoder", {"channels": []}),
        ("encoder", {"img_resolution": 0}),
        ("encoder", [16]),
        ("discriminator", {"patches": 16}),
        ("discriminator", {"groups": 2}),
        ("card", "MIT"),
    ],
)
def test_settings_that_cannot_be(saved, part, change):
    header, _ = read_file(saved)
    header[part] = header[part] | change if isinstance(change, dict) else change
    rewrite(saved, header=header)
    refused(saved, "settings that no architecture here takes")


def test_settings_that_would_fill_the_memory(saved):
    header, _ = read_file(saved)
    header["settings"]["w_dim"] = 10**9  # 4 exabytes for the first layer alone
    rewrite(saved, header=header)
    refused(saved, "they hold 1000000000, where")


def test_weights_of_other_shapes(saved):
    _, tensors = read_file(saved)
    rewrite(saved, tensors=tensors | {"w_avg": torch.zeros(9)})
    assert "holds (9,) for w_avg, its settings want (8,)" in refused(saved, "damaged")


def test_missing_and_extra_weights(saved):
    _, tensors = read_file(saved)
    rewrite(saved, tensors={k: v for k, v in tensors.items() if k != "encoder.shared.bias"})
    refused(saved, "holds nothing for encoder.shared.bias, its settings want")
    rewrite(saved, tensors=tensors | {"blocks.7.bias": torch.zeros(3)})
    refused(saved, "for blocks.7.bias, its settings want nothing")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(saved, value):
    _, tensors = read_file(saved)
    tensors["blocks.1.conv0.weight"][0, 0, 0, 0] = value
    rewrite(saved, tensors=tensors)
    refused(saved, "not finite in blocks.1.conv0.weight")


def test_model_file_errors_are_generator_errors():
    assert issubclass(ModelFileError, GeneratorError)


def test_a_discriminator_can_be_stored_without_what_judges(tmp_path):
    generator, before = complete(), torch.get_rng_state()
    whole = generator.discriminator
    generator.discriminator = slim = features_alone(whole)
    assert torch.equal(torch.get_rng_state(), before)
    assert not {key.split(".")[0] for key in slim.state_dict()} & {"heads", "last", "last_conv", "last_hidden"}
    save_model(generator, tmp_path / "slim.safetensors")
    again = load_model(tmp_path / "slim.safetensors")
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert all(map(torch.equal, again.discriminator.features(image), whole.features(image)))
