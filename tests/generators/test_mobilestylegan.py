import pytest
import torch
import torch.nn.functional as F

from generators.base import averaged
from generators.checkpoints.ours import load_model, save_model
from generators.errors import GeneratorError
from generators.mobilestylegan import MobileStyleGAN, MobileStyleGANConfig, Preview
from generators.parts.channels_last import inverse_haar
from generators.training.methods.preview import PreviewConfig, fit_preview, mixed_styles, start_at_block
from tests.conftest import tiny_mobile


def draw(generator, count, seed=0):
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(z).contiguous()


@pytest.fixture(scope="module")
def g():
    return tiny_mobile()


def test_the_inverse_haar_transform_by_hand():
    a, b, c, d = 1.0, 2.0, 4.0, 8.0
    x = torch.tensor([a, b, c, d]).reshape(1, 4, 1, 1)
    wanted = torch.tensor([[a + b + c + d, a + b - c - d], [a - b + c - d, a - b - c + d]]) / 2
    assert torch.equal(inverse_haar(x)[0, 0], wanted)


def test_the_inverse_haar_transform_keeps_energy_and_averages():
    x = torch.randn(2, 12, 5, 5)
    y = inverse_haar(x)
    assert y.shape == (2, 3, 10, 10)
    torch.testing.assert_close(y.square().sum(), x.square().sum())
    torch.testing.assert_close(F.avg_pool2d(y, 2), x[:, :3] / 2)


def test_styles_and_noise_stand_at_their_resolutions(g):
    assert g.ws_resolutions == (4, 8, 8, 8, 16, 16, 16, 32) and g.num_ws == 8
    assert g.noise_shapes == ((4, 4), (8, 8), (8, 8), (16, 16), (16, 16))
    whole = MobileStyleGANConfig()
    assert len(whole.resolutions()) == 8 and whole.resolutions()[-1] == 512


def test_every_style_and_every_noise_map_draws(g):
    ws, noise = draw(g, 1).requires_grad_(), tuple(n.clone().requires_grad_() for n in g.fixed_noise(1))
    g.synthesis(ws, noise).square().sum().backward()
    assert (ws.grad.abs().amax(dim=2) > 0).all()
    assert all(n.grad.abs().amax() > 0 for n in noise)


def test_an_image_of_a_batch_is_what_it_is_alone(g):
    ws = draw(g, 3)
    together = g.synthesis(ws, g.fixed_noise(3))
    torch.testing.assert_close(g.synthesis(ws[1:2], g.fixed_noise(1)), together[1:2], rtol=1e-4, atol=1e-5)


def test_half_the_size_is_the_exact_average(g):
    ws, noise = draw(g, 2), g.sample_noise(2, seed=1)
    full = g.synthesis(ws, noise)
    for size in (16, 8, 1):
        torch.testing.assert_close(g.synthesis(ws, noise, resolution=size), averaged(full, size), atol=1e-5, rtol=1e-4)
    assert [g.rendering(size) for size in (32, 16, 8)] == ["full", "averaged", "averaged"]


def test_a_fitted_preview_is_near_the_average_and_said_to_be_fitted(g):
    g = tiny_mobile(seed=3)
    ws, noise = mixed_styles(g, 8, torch.Generator().manual_seed(9), 0.15), g.fixed_noise(8)
    wanted = averaged(g.synthesis(ws, noise), 8)
    g.preview = start_at_block(g)
    begun = g.synthesis(ws, noise, resolution=8)
    *_, (steps, rms) = fit_preview(g, PreviewConfig(samples=24, steps=300, crop=8, lr=0.02))
    small = g.synthesis(ws, noise, resolution=8)
    assert steps == 300 and small.shape == wanted.shape and rms < float(wanted.std())
    assert (small - wanted).square().mean() < 0.6 * (begun - wanted).square().mean()
    assert g.rendering(8) == g.rendering(4) == "fitted" and g.rendering(16) == "averaged"
    torch.testing.assert_close(g.synthesis(ws, g.fixed_noise(8), resolution=4), averaged(small, 4))


def test_the_preview_is_saved_and_is_no_part_of_what_the_model_is(tmp_path):
    g = tiny_mobile(seed=3)
    before = g.sha256()
    g.preview, g.config = Preview(*g.config.channels[-2:]), MobileStyleGANConfig(**{**vars(g.config), "preview": True})
    save_model(g, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert isinstance(again, MobileStyleGAN) and again.preview is not None and again.sha256() == before
    ws = draw(g, 1)
    noise, near = g.fixed_noise(1), {"atol": 1e-6, "rtol": 1e-6}  # rounding: files lay tensors out in another way
    for size in (None, 8):
        first, second = (model.synthesis(ws, noise, resolution=size) for model in (again, g))
        torch.testing.assert_close(first, second, **near)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"img_resolution": 48}, "48 px with 3 channels"),
        ({"channels": (8, 8)}, "32 px with 2 channels"),
        ({"channels": (8, 6, 4)}, "6 channels"),
    ],
)
def test_settings_that_do_not_fit(settings, words):
    with pytest.raises(GeneratorError, match=words):
        MobileStyleGAN(MobileStyleGANConfig(**({"img_resolution": 32, "channels": (8, 8, 4)} | settings)))
