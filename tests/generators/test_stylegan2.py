from dataclasses import replace

import pytest
import torch

from generators.base import layers_between
from generators.errors import GeneratorError
from generators.parts.encoder import Encoder, EncoderConfig
from generators.parts.ops import fir_kernel, upsample2d
from generators.stylegan2 import StyleGAN2, StyleGAN2Config
from tests.conftest import tiny_generator


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw_ws(generator, batch=2):
    return draw(batch, generator.num_ws, generator.w_dim)


@pytest.mark.parametrize("k", range(1, 9))
def test_one_style_a_convolution_and_one_for_the_last_rgb(k):
    resolution = 4 * 2**k
    with torch.device("meta"):  # shapes need no numbers
        g = StyleGAN2(StyleGAN2Config(img_resolution=resolution, z_dim=8, w_dim=8, channel_max=8, mapping_layers=1))
    assert g.num_ws == len(g.ws_resolutions) == 2 * k + 2
    assert g.ws_resolutions == tuple(sorted([4, *2 * [4 * 2**i for i in range(1, k + 1)], resolution]))
    assert g.noise_shapes == tuple((r, r) for r in g.ws_resolutions[:-1])


def test_published_size():
    # The generator of "config F" at 1024 px has 30,370,060 weights, mapping network included.
    config = StyleGAN2Config()
    assert [config.channels_at(r) for r in config.resolutions()] == [512] * 5 + [256, 128, 64, 32]
    with torch.device("meta"):
        g = StyleGAN2(config)
    assert sum(p.numel() for p in g.parameters()) == 30_370_060
    assert g.num_ws == 18


@pytest.mark.parametrize("spatial", [(), (0, 2, 3)])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_each_image_renders_as_it_would_alone(architecture, spatial):
    g = tiny_generator(architecture=architecture, spatial=spatial, img_channels=1)
    ws, noise = draw_ws(g, 3), g.sample_noise(3, 0)
    image = g.synthesis(ws, noise)
    assert image.shape == (3, 1, 16, 16) and image.dtype == torch.float32 and image.isfinite().all()
    assert image.std() > 0.01
    alone = g.synthesis(ws[1:2], tuple(n[1:2] for n in noise))
    torch.testing.assert_close(alone, image[1:2], rtol=1e-4, atol=1e-5)


def test_architectures_differ_where_they_should():
    skip, resnet, orig = (tiny_generator(architecture=a).state_dict() for a in ("skip", "resnet", "orig"))
    assert {k.split(".")[2] for k in resnet.keys() - orig.keys()} == {"skip"}
    assert {k.split(".")[2] for k in skip.keys() - orig.keys()} == {"torgb"}


def test_labels_choose_the_style():
    g = tiny_generator(c_dim=3)
    z, labels = draw(3, 8)[:1].expand(3, -1), torch.eye(3)
    w = g.mapping(z, labels)[:, 0]
    assert (w[0] - w[1]).abs().max() > 0.01 and (w[1] - w[2]).abs().max() > 0.01
    torch.testing.assert_close(g.mapping(z[:1], labels[1:2])[0, 0], w[1])
    with pytest.raises(GeneratorError, match="conditional; pass c"):
        g.mapping(z)


def test_clamp_bounds_what_it_should():
    free, tight, wide = (tiny_generator(architecture="orig", conv_clamp=c) for c in (None, 0.05, 256.0))
    ws, noise = draw_ws(free), free.fixed_noise(2)
    assert free.synthesis(ws, noise).abs().max() > 0.05 >= tight.synthesis(ws, noise).abs().max()
    assert torch.equal(free.synthesis(ws, noise), wide.synthesis(ws, noise))


def test_truncation_moves_towards_the_mean():
    g = tiny_generator()
    g.w_avg.copy_(draw(8, seed=5))
    z = draw(3, 8)
    w = g.mapping(z)
    assert w.shape == (3, g.num_ws, 8)
    assert torch.equal(g.mapping(z, truncation_psi=1.0), w)
    torch.testing.assert_close(g.mapping(z, truncation_psi=0.0), g.w_avg.expand(3, g.num_ws, 8))
    torch.testing.assert_close(g.mapping(z, truncation_psi=0.5), (w + g.w_avg) / 2)


def test_mapping_looks_at_the_direction_of_z_alone(generator):
    z = draw(2, 8)
    torch.testing.assert_close(generator.mapping(3 * z), generator.mapping(z))


def block_maps(generator, ws, noise):
    """What leaves each block, by resolution, and the image."""
    maps, hooks = {}, []
    for block in generator.blocks:
        hooks.append(block.register_forward_hook(lambda _m, _i, out: maps.update({out[0].shape[-1]: out[0]})))
    image = generator.synthesis(ws, noise)
    for hook in hooks:
        hook.remove()
    return maps, image


@pytest.mark.parametrize("layer", range(6))
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_a_style_acts_at_its_resolution_and_above(architecture, layer):
    g = tiny_generator(architecture=architecture)
    ws, noise, resolution = draw_ws(g), g.fixed_noise(2), g.ws_resolutions[layer]
    changed = ws.clone()
    changed[:, layer] += 1
    before, image = block_maps(g, ws, noise)
    after, other = block_maps(g, changed, noise)
    assert not torch.equal(image, other)
    rgb_only = layer == g.num_ws - 1
    for size in (4, 8, 16):
        assert torch.equal(before[size], after[size]) == (size < resolution or rgb_only)


def test_fine_styles_leave_the_coarse_image_alone(generator):
    ws, noise = draw_ws(generator), generator.fixed_noise(2)
    fine = ws.clone()
    fine[:, layers_between(generator, 16, 16)] += 1
    images = []  # the RGB sum as it leaves the 4 px and the 8 px block, before it is enlarged
    hooks = [b.register_forward_hook(lambda _m, _i, out: images.append(out[1])) for b in generator.blocks[:2]]
    for styles in (ws, fine):
        generator.synthesis(styles, noise)
    for hook in hooks:
        hook.remove()
    assert torch.equal(images[0], images[2])
    # The RGB output at 8 px takes the style of the next convolution, as published; it is the first that may move.
    assert not torch.equal(images[1], images[3])


def test_noise_is_an_input(generator):
    ws, noise = draw_ws(generator), generator.sample_noise(2, 0)
    image = generator.synthesis(ws, noise)
    assert torch.equal(generator.synthesis(ws, noise), image)
    for i in range(len(noise)):  # every map counts
        assert not torch.equal(generator.synthesis(ws, (*noise[:i], noise[i] + 1, *noise[i + 1 :])), image)
    assert not torch.equal(generator.synthesis(ws, generator.no_noise(2)), image)


def test_noise_of_no_strength_has_no_effect():
    g = tiny_generator()
    for key, value in g.state_dict().items():
        if key.endswith("noise_strength"):
            value.zero_()
    ws = draw_ws(g)
    assert torch.equal(g.synthesis(ws, g.sample_noise(2, 0)), g.synthesis(ws, g.no_noise(2)))


def test_fixed_noise_is_what_the_file_holds(generator):
    noise = generator.fixed_noise(3)
    assert [n.shape for n in noise] == [(3, 1, h, w) for h, w in generator.noise_shapes]
    for n, key in zip(noise, ("0.conv1", "1.conv0", "1.conv1", "2.conv0", "2.conv1"), strict=True):
        assert torch.equal(n[2, 0], generator.state_dict()[f"blocks.{key}.noise_const"])
    assert all(n.eq(0).all() for n in generator.no_noise(1))


def test_sampled_noise_depends_on_its_seed_alone(generator):
    before = torch.get_rng_state()
    a, b, c = (generator.sample_noise(2, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, a, b)) and not any(map(torch.equal, a, c))
    assert torch.cat([n.flatten() for n in a]).std().item() == pytest.approx(1, rel=0.1)


def test_gradient_reaches_styles_and_noise(generator):
    ws = draw_ws(generator).requires_grad_()
    noise = tuple(n.requires_grad_() for n in generator.sample_noise(2, 0))
    generator.synthesis(ws, noise)[0].square().sum().backward()
    assert ws.grad is not None
    assert (ws.grad[0].abs().amax(dim=1) > 0).all() and (ws.grad[1] == 0).all()
    for n in noise:
        assert n.grad is not None and n.grad[0].abs().max() > 0 and (n.grad[1] == 0).all()


def test_gradient_is_the_slope(generator):
    ws, noise = draw_ws(generator, 1).requires_grad_(), generator.fixed_noise(1)
    step = 1e-4 * draw(*ws.shape, seed=1)  # short, for the kinks of many leaky ReLUs lie near
    weight = draw(1, 3, 16, 16, seed=2)

    def f(styles):
        return (generator.synthesis(styles, noise) * weight).double().sum()

    (gradient,) = torch.autograd.grad(f(ws), ws)
    slope = (f(ws.detach() + step) - f(ws.detach() - step)) / 2
    torch.testing.assert_close((gradient * step).double().sum(), slope, rtol=0.01, atol=0)


def test_bfloat16_renders_nearly_the_same(generator):
    ws, noise = draw_ws(generator), generator.fixed_noise(2)
    image = generator.synthesis(ws, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = generator.synthesis(ws, noise)
    assert half.dtype == torch.float32  # RGB is summed in full
    assert (half - image).square().mean() < 1e-3 * image.square().mean()


def test_wrong_styles_are_named(generator):
    noise = generator.no_noise(1)
    for shape in ((1, 5, 8), (1, 7, 8), (1, 6, 9)):
        with pytest.raises(GeneratorError, match=rf"ws is \({shape[0]}, .*tiny takes \(batch, 6, 8\)"):
            generator.synthesis(torch.zeros(shape), noise)


def test_wrong_noise_is_named(generator):
    ws, noise = torch.zeros(1, 6, 8), generator.no_noise(1)
    for wrong in ((), noise[:-1], (*noise, noise[-1])):
        with pytest.raises(GeneratorError, match=f"{len(wrong)} noise maps came; tiny takes 5"):
            generator.synthesis(ws, wrong)


def test_noise_of_a_wrong_size_is_named(generator):
    noise = generator.no_noise(1)
    with pytest.raises(GeneratorError, match="noise"):
        generator.synthesis(torch.zeros(1, 6, 8), (noise[1], *noise[1:]))


@pytest.mark.parametrize("resolution", [0, -4, 1, 2, 3, 12, 24, 1000])
def test_resolutions_that_cannot_be(resolution):
    with pytest.raises(GeneratorError, match=f"img_resolution is {resolution}; StyleGAN2 needs 4, 8, 16"):
        StyleGAN2(StyleGAN2Config(img_resolution=resolution, z_dim=8, w_dim=8, channel_max=8))


def test_one_number_of_channels_a_resolution():
    with pytest.raises(GeneratorError, match="channels has 2 numbers; 16 px needs 3"):
        tiny_generator(channels=(8, 8))


def test_the_last_doubling_can_be_drawn_in_place():
    """With subpixel 2 each last feature draws 2 x 2 pixels, which add to the enlarged picture of the features."""
    one = StyleGAN2(StyleGAN2Config(img_resolution=8, z_dim=8, w_dim=8, channels=(8, 8), mapping_layers=1))
    two = StyleGAN2(replace(one.config, img_resolution=16, subpixel=2))
    two.load_state_dict(one.state_dict() | {k: v for k, v in two.state_dict().items() if "patch" in k})
    assert (two.num_ws, two.noise_shapes) == (one.num_ws, one.noise_shapes) and two.ws_resolutions[-1] == 16
    ws, noise = one.mapping(torch.randn(2, 8, generator=torch.Generator().manual_seed(0))), one.fixed_noise(2)
    drawn = two.synthesis(ws, noise) - upsample2d(one.synthesis(ws, noise), fir_kernel())
    assert drawn.shape == (2, 3, 16, 16) and drawn.abs().max() > 0.1
    with torch.no_grad():
        two.blocks[-1].patch.weight[1:] = 0  # of the first channel's four pixels, the upper left one alone
        two.blocks[-1].patch.bias.zero_()
    drawn = two.synthesis(ws, noise) - upsample2d(one.synthesis(ws, noise), fir_kernel())
    assert drawn[:, 0, ::2, ::2].abs().max() > 0.1
    drawn[:, 0, ::2, ::2] = 0
    torch.testing.assert_close(drawn, torch.zeros_like(drawn), rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings, said", [({"subpixel": 3}, "subpixel is 3"), ({"img_resolution": 4}, "8, 16, 32")])
def test_patches_that_cannot_be(settings, said):
    with pytest.raises(GeneratorError, match=said):
        StyleGAN2Config(**({"img_resolution": 16, "subpixel": 2} | settings)).resolutions()


def test_hash_names_what_renders():
    first = tiny_generator().sha256()
    assert first == tiny_generator().sha256() != tiny_generator(seed=1).sha256()
    for key in ("blocks.2.torgb.bias", "blocks.0.conv1.noise_const", "w_avg", "map.layers.1.weight"):
        g = tiny_generator()
        g.state_dict()[key].view(-1)[0].add_(1e-3)
        assert g.sha256() != first, key
    g = tiny_generator()
    g.encoder = Encoder(EncoderConfig(img_resolution=16, num_ws=6, w_dim=8, channels=(8, 8, 8), hidden=16))
    assert g.sha256() == first


def test_layers_are_named_by_resolution(generator):
    assert layers_between(generator, 4, 4) == (0,)
    assert layers_between(generator, 5, 16) == (1, 2, 3, 4, 5)
    assert layers_between(generator, 16, 1024) == (3, 4, 5)
    with pytest.raises(GeneratorError, match="tiny has no layer at 32 to 64 px; its layers act at 4, 8, 16 px"):
        layers_between(generator, 32, 64)
