import pytest
import torch

from generators.checkpoints.companion import attach, save_companion
from generators.checkpoints.ours import load_model, save_model
from generators.errors import GeneratorError, ModelFileError
from generators.mobilestylegan import MobileStyleGANConfig, Preview
from generators.parts.feature_encoder import FeatureEncoder, FeatureEncoderConfig
from tests.conftest import tiny_generator, tiny_mobile


def encoder(g):
    sizes = {"num_ws": g.num_ws, "w_dim": g.w_dim, "channels": (4, 4, 4), "hidden": 8, "offset_axes": 3}
    return FeatureEncoder(FeatureEncoderConfig(**sizes)).eval().requires_grad_(False)


@pytest.fixture
def whole():
    g = tiny_mobile()
    g.encoder, g.preview = encoder(g), Preview(*g.config.channels[-2:]).requires_grad_(False)
    g.config = MobileStyleGANConfig(**{**vars(g.config), "preview": True})
    return g


def test_the_encoder_sees_any_size_and_starts_from_the_mean():
    g = tiny_mobile()
    e = encoder(g)
    e.mean.copy_(g.w_avg)
    e.axes.copy_(torch.eye(g.w_dim) * torch.arange(g.w_dim, 0, -1)[:, None])
    image = torch.rand(2, 3, 512, 512) * 2 - 1
    ws = e(image)
    assert ws.shape == (2, g.num_ws, g.w_dim)
    torch.testing.assert_close(ws, e(torch.nn.functional.avg_pool2d(image, 2)), atol=1e-4, rtol=1e-3)
    u, o = torch.zeros(1, g.w_dim), torch.zeros(1, g.num_ws, 3)
    u[0, 0], o[0, 2, 1] = 1.0, 1.0
    found = e.styles(u, o) - g.w_avg
    assert torch.equal(found[0, 0], e.axes[0]) and torch.equal(found[0, 2], e.axes[0] + e.axes[1])


def test_parts_are_attached_to_their_generator_alone(whole, tmp_path):
    save_companion(whole, tmp_path / "m.safetensors")
    found = attach(tiny_mobile(), tmp_path)
    assert isinstance(found.encoder, FeatureEncoder) and found.rendering(8) == "fitted"
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(found.encoder(image), whole.encoder(image), atol=1e-2, rtol=1e-2)  # float16 on disk
    assert attach(tiny_mobile(seed=1), tmp_path).encoder is None
    assert attach(tiny_generator(), tmp_path).encoder is None


def test_an_encoder_of_its_own_stays(whole, tmp_path):
    save_companion(whole, tmp_path / "m.safetensors")
    g = tiny_mobile()
    g.encoder = mine = encoder(g)
    assert attach(g, tmp_path).encoder is mine


def test_a_model_file_holds_encoder_and_preview_too(whole, tmp_path):
    save_model(whole, tmp_path / "m.safetensors")
    again, image = load_model(tmp_path / "m.safetensors"), torch.rand(1, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(again.encoder(image), whole.encoder(image), atol=1e-6, rtol=1e-6)


def test_nothing_to_write_and_nothing_to_read(tmp_path):
    with pytest.raises(GeneratorError, match="has no parts"):
        save_companion(tiny_mobile(), tmp_path / "m.safetensors")
    (tmp_path / "m.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelFileError, match="is damaged"):
        attach(tiny_mobile(), tmp_path)
