import pytest
import torch

from generators import GeneratorError
from generators.autoencoder import Autoencoder, AutoencoderConfig
from generators.checkpoints.ours import load_model, save_model
from generators.errors import TrainingError
from generators.training.config_codes import AutoencodeConfig, SparseConfig
from generators.training.methods.autoencode import networks


def tiny(seed: int = 0, **settings) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Autoencoder(AutoencoderConfig(**{"img_resolution": 8, "dim": 3, "widths": (8, 4)} | settings))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "layers", "widths"),
    [
        (8, "dense", (8,)),
        (8, "dense", ()),
        (8, "conv", (4, 8)),
        (9, "conv", (4, 8)),
        (13, "conv", (4, 8, 8)),
        (28, "conv", (4, 8, 8)),
        (64, "conv", (4, 4, 4, 4, 4)),
        (11, "conv", (4,)),
    ],
)
def test_any_size_goes_in_and_comes_out(channels, size, layers, widths):
    model = tiny(img_resolution=size, img_channels=channels, layers=layers, widths=widths, dim=5)
    assert model.encoder is not None
    image = torch.rand(2, channels, size, size) * 2 - 1
    ws = model.encoder(image)
    assert ws.shape == (2, model.num_ws, 5) == (2, 1, model.w_dim)
    assert model.synthesis(ws, model.fixed_noise(2)).shape == image.shape
    assert len(model.ws_resolutions) == model.num_ws


def test_a_file_gives_the_same_model_back(tmp_path):
    model = tiny(variational=True, output="bernoulli").requires_grad_(False)
    model.w_avg.normal_()
    save_model(model, tmp_path / "a.safetensors")
    again = load_model(tmp_path / "a.safetensors")
    image = torch.rand(2, 1, 8, 8)
    assert isinstance(again, Autoencoder) and again.config == model.config and again.sha256() == model.sha256()
    assert again.encoder(image).equal(model.encoder(image))


def test_bernoulli_pixels_stay_between_black_and_white():
    model = tiny(output="bernoulli")
    image = model.synthesis(torch.full((1, 1, 3), 1e6), ())
    assert image.abs().max() <= 1
    torch.testing.assert_close((image + 1) / 2, model.logits(torch.full((1, 3), 1e6)).sigmoid())


def test_wrong_shapes_and_settings_are_refused():
    with pytest.raises(GeneratorError, match=r"takes \(batch, 1, 3\)"):
        tiny().synthesis(torch.zeros(1, 4, 3), ())
    with pytest.raises(GeneratorError, match="conv a width"):
        AutoencoderConfig(img_resolution=8, layers="conv", widths=())
    with pytest.raises(TrainingError, match="takes sigmoid"):
        SparseConfig(code="linear")
    with pytest.raises(TrainingError, match="linear layers have none"):
        networks(AutoencodeConfig(layers="linear", widths=(4,)))
    with pytest.raises(TrainingError, match="resolution is 4"):
        AutoencodeConfig(resolution=4)
