import pytest
import torch

from generators import load
from generators.base import layers_between
from generators.checkpoints.ours import save_model
from generators.errors import GeneratorError
from generators.stylegan3 import StyleGAN3, StyleGAN3Config, placement, signals
from inversion.config import InvertConfig, LatentSpace
from inversion.inverter import invert
from inversion.latent import Latent, sample_latent, stack

R = {"use_radial_filters": True, "conv_kernel": 1}


def tiny(seed=0, **settings):
    """Of 32 px, in a few milliseconds."""
    sizes = {"img_resolution": 32, "z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 16, "num_layers": 6}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        g = StyleGAN3(StyleGAN3Config(**(sizes | settings)))
    g.name = "tiny3"
    return g.eval().requires_grad_(False)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_ws(g, batch=2):
    return draw(batch, g.num_ws, g.w_dim)


# The table of layers


def test_published_layers():
    # The layers of the published generators at 1024 px say their size and channels by their names: L0_36_512, ...
    t, r = signals(StyleGAN3Config()), signals(StyleGAN3Config(channel_base=65536, channel_max=1024, **R))
    sizes = [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert [s.size for s in t] == [s.size for s in r] == sizes
    assert [s.channels for s in t] == [512] * 7 + [323, 203, 128, 81, 51, 32, 32, 3]
    assert [s.channels for s in r] == [1024] * 7 + [645, 406, 256, 161, 102, 64, 64, 3]
    assert t[0].cutoff == 2 and t[0].half_width == 6 and t[12].cutoff == t[14].cutoff == 512
    with torch.device("meta"):
        g = StyleGAN3(StyleGAN3Config())
    assert g.ws_resolutions == (4, 4, 8, 8, 16, 32, 32, 64, 128, 128, 256, 512, 512, 1024, 1024, 1024)
    assert g.num_ws == 16 and g.noise_shapes == () and layers_between(g, 4, 8) == (0, 1, 2, 3)


# The generator


@pytest.mark.parametrize("settings", [{}, R, {"img_channels": 1, "num_critical": 0}, {"lrelu_upsampling": 4}])
def test_each_image_renders_as_it_would_alone(settings):
    g = tiny(**settings)
    ws = draw_ws(g, 3)
    image = g.synthesis(ws, ())
    assert image.shape == (3, g.img_channels, 32, 32) and image.dtype == torch.float32 and image.isfinite().all()
    assert image.std() > 0.01
    torch.testing.assert_close(g.synthesis(ws[1:2], ()), image[1:2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("resolution", [16, 32, 64, 48])
@pytest.mark.parametrize("settings", [{}, R, {"margin_size": 4, "filter_size": 4}, {"conv_kernel": 5}])
def test_any_size_comes_out_as_it_should(resolution, settings):
    g = tiny(img_resolution=resolution, channel_max=4, **settings)
    assert g.synthesis(draw_ws(g, 1), ()).shape == (1, 3, resolution, resolution)
    assert g.ws_resolutions[0] == 4 and list(g.ws_resolutions) == sorted(g.ws_resolutions)
    assert len(g.ws_resolutions) == g.num_ws == 8


@pytest.mark.parametrize("settings", [{}, R])
def test_moving_the_input_moves_the_image(settings):
    g = tiny(**settings)
    ws = draw_ws(g)
    image = g.synthesis(ws, ())
    for pixels in (1, 3, 8):
        right = g.synthesis(ws, (), placement(right=pixels / 32))
        down = g.synthesis(ws, (), placement(down=pixels / 32))
        for moved, kept in (
            (right[..., pixels:], image[..., :-pixels]),
            (down[..., pixels:, :], image[..., :-pixels, :]),
        ):
            assert (moved - kept).square().mean() < 1e-6 * image.var()  # 60 dB
    assert (right - image).square().mean() > 0.01 * image.var()


def test_turning_the_input_turns_the_image():
    t, r = tiny(), tiny(**R)
    errors = []
    for g in (t, r):
        ws = draw_ws(g)
        turned, image = g.synthesis(ws, (), placement(degrees=90.0)), g.synthesis(ws, ())
        errors.append(float((turned - image.rot90(-1, (2, 3))).square().mean() / image.var()))  # clockwise
    assert errors[1] < 1e-6 < 0.01 < errors[0]  # what only the radial filters give


def test_transform_is_set_or_passed():
    g, ws = tiny(), draw_ws(tiny())
    first, other = placement(right=0.2, degrees=30.0), placement(down=-0.1)
    passed = g.synthesis(ws, (), torch.stack([first, other]))
    torch.testing.assert_close(g.synthesis(ws[1:], (), other), passed[1:], rtol=1e-4, atol=1e-6)
    g.input.transform.copy_(first)
    torch.testing.assert_close(g.synthesis(ws, ())[0], passed[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(g.synthesis(ws, (), torch.eye(3)), tiny().synthesis(ws, ()))


def test_placement_acts_on_the_image_as_it_says():
    there = torch.linalg.inv(placement(right=0.25, down=0.5, degrees=90.0))
    torch.testing.assert_close(there @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.25, 0.5, 1.0]))
    torch.testing.assert_close(there @ torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.25, 1.5, 1.0]))  # right -> down
    assert torch.equal(placement(), torch.eye(3))


def test_a_style_turns_and_moves_the_input():
    g = tiny()
    layer, ws = g.input, draw_ws(g, 1)
    still = g.synthesis(ws, ())
    for values, same in (([0.0, 2.0, 0.0, 0.0], None), ([2.0, 0.0, 0.0, 0.0], None), ([1.0, 0.0, 0.25, 0.0], 8)):
        layer.affine.bias.copy_(torch.tensor(values))
        place = layer.placed_by_style(torch.zeros(1, 8))[0]
        torch.testing.assert_close(place[:2, :2] @ place[:2, :2].T, torch.eye(2))  # a turn alone, at any length
        image = g.synthesis(ws, ())
        if same:  # a quarter of the side
            torch.testing.assert_close(image[..., same:], still[..., :-same], rtol=0, atol=1e-3 * float(still.std()))


def test_frequencies_fade_out_beyond_the_band():
    g = tiny()
    signal, zoom = g.input.signal, torch.diag(torch.tensor([8.0, 8.0, 1.0]))  # all waves eight times as short
    assert g.input.freqs.norm(dim=1).max() <= signal.cutoff
    g.input.freqs.copy_(g.input.freqs / g.input.freqs.norm(dim=1, keepdim=True) * signal.cutoff)
    assert g.input(torch.zeros(1, 8), None).abs().max() > 0.1
    assert g.input(torch.zeros(1, 8), zoom).abs().max() == 0


def test_magnitude_ema_sets_the_gain():
    g, ws = tiny(conv_clamp=None), draw_ws(tiny(), 1)
    image, last = g.synthesis(ws, ()), g.layers[-1]
    assert all(layer.magnitude_ema.shape == () for layer in g.layers)
    last.magnitude_ema.fill_(4.0)
    torch.testing.assert_close(g.synthesis(ws, ()), image / 2)  # the last bias is zero
    for layer in g.layers:
        layer.magnitude_ema.fill_(4.0)
    torch.testing.assert_close(g.synthesis(ws, ()), image / 2**7)  # homogeneous: no bias and no clamp


def test_clamp_bounds_what_it_should():
    ws = draw_ws(tiny(), 1)
    tight = tiny(conv_clamp=0.1).synthesis(ws, ())
    assert tight.abs().max() <= 0.1 * 0.25 < tiny().synthesis(ws, ()).abs().max()


def test_mapping():
    g, z = tiny(c_dim=3), draw(3, 8)
    labels = torch.eye(3)
    w = g.mapping(z, labels)
    assert w.shape == (3, g.num_ws, 8) and (w[:, :1] == w).all()
    assert not torch.allclose(g.mapping(z[:1], labels[:1]), g.mapping(z[:1], labels[1:2]))
    g.w_avg.copy_(draw(8, seed=5))
    torch.testing.assert_close(g.mapping(z, labels, 0.0), g.w_avg.expand(3, g.num_ws, 8))
    torch.testing.assert_close(g.mapping(z, labels, 0.5), (w + g.w_avg) / 2)
    with pytest.raises(GeneratorError, match="conditional; pass c"):
        g.mapping(z)


@pytest.mark.parametrize("settings", [{}, R])
def test_gradient_reaches_every_style(settings):
    g = tiny(**settings)
    with torch.no_grad():
        g.input.affine.weight.normal_(generator=torch.Generator().manual_seed(0))
    ws = draw_ws(g).requires_grad_()
    g.synthesis(ws, ())[0].square().sum().backward()
    assert ws.grad is not None
    assert (ws.grad[0].abs().amax(dim=1) > 0).all() and (ws.grad[1] == 0).all()


def test_bfloat16_renders_nearly_the_same():
    g = tiny()
    ws = draw_ws(g)
    image = g.synthesis(ws, ())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = g.synthesis(ws, ())
    assert half.dtype == torch.float32
    assert (half - image).square().mean() < 1e-3 * image.square().mean()


def test_wrong_inputs_are_named():
    g = tiny()
    with pytest.raises(GeneratorError, match=r"ws is \(1, 5, 8\); tiny3 takes \(batch, 8, 8\)"):
        g.synthesis(torch.zeros(1, 5, 8), ())
    with pytest.raises(GeneratorError, match="1 noise maps came; tiny3 takes 0"):
        g.synthesis(torch.zeros(1, 8, 8), (torch.zeros(1, 1, 4, 4),))


@pytest.mark.parametrize(
    "wrong",
    [
        {"img_resolution": 4},
        {"num_layers": 0},
        {"num_critical": 6},
        {"first_cutoff": 16.0},
        {"first_stopband": 2.0},
        {"last_stopband_rel": 1.0},
        {"conv_kernel": 2},
        {"filter_size": 10**6},
        {"lrelu_upsampling": 1},
        {"margin_size": -1},
    ],
)
def test_settings_that_cannot_be(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(GeneratorError, match=f"{name} is {value}; no StyleGAN3"):
        tiny(**wrong)


# Inversion, which may not count on noise


def test_file_gives_back_the_generator(tmp_path):
    g = tiny(**R, c_dim=2)
    g.input.transform.copy_(placement(right=0.1))
    save_model(g, tmp_path / "t3.safetensors")
    again = load(tmp_path / "t3.safetensors")
    assert isinstance(again, StyleGAN3) and again.config == g.config and again.sha256() == g.sha256()
    ws = draw_ws(g)
    assert torch.equal(again.synthesis(ws, ()), g.synthesis(ws, ()))


@pytest.mark.parametrize("space", LatentSpace)
def test_inversion_finds_an_image_of_its_own(space):
    g = tiny()
    wanted = g.synthesis(g.mapping(draw(1, 8, seed=3)), ()) * 4
    loss = {"pixel": 1.0, "noise": 1e5}  # as the projector's recipe has it
    config = InvertConfig(space=space, steps=30, lr=0.1, optimize_noise=True, loss=loss, bf16=False)
    found = invert(g, wanted.clamp(-1, 1), config=config, align=False)
    start = invert(g, wanted.clamp(-1, 1), config=InvertConfig(space=space, steps=0, loss={"pixel": 1.0}), align=False)
    assert found.latent.noise == () and found.losses["pixel"] < start.losses["pixel"]


def test_latents_without_noise_stack_and_split():
    g = tiny()
    latent = sample_latent(g, batch=3, seed=0)
    assert latent.noise == ()
    again = stack(latent.split())
    assert isinstance(again, Latent) and torch.equal(again.code, latent.code)
