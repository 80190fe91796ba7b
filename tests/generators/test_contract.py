"""What every generator keeps: smaller pictures, checked inputs, samples of W and their statistics, its hash."""

import copy

import pytest
import torch

from generators import base
from generators.adapter import adapt
from generators.autoencoder import Autoencoder, AutoencoderConfig
from generators.base import Generator, averaged
from generators.errors import GeneratorError
from generators.pca import PCA, PCAConfig
from generators.stylegan3 import StyleGAN3, StyleGAN3Config
from tests.conftest import tiny_generator, tiny_mobile
from tests.plain_generator import Flat


def stylegan3():
    sizes = {"img_resolution": 16, "z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8, "num_layers": 4}
    return StyleGAN3(StyleGAN3Config(**sizes)).eval().requires_grad_(False)


def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 3 * 16 * 16), torch.nn.Tanh(), torch.nn.Unflatten(1, (3, 16, 16)))


ALL = {
    "stylegan2": tiny_generator,
    "resnet": lambda: tiny_generator(architecture="resnet"),
    "subpixel": lambda: tiny_generator(img_resolution=32, subpixel=2),
    "stylegan3": stylegan3,
    "mobilestylegan": tiny_mobile,
    "autoencoder": lambda: Autoencoder(AutoencoderConfig(img_resolution=16, img_channels=3, dim=4)),
    "pca": lambda: PCA(PCAConfig(img_resolution=16, img_channels=3, dim=4)),
    "adapter": lambda: adapt(network(), z_dim=4),
}


@pytest.mark.parametrize("name", ALL)
def test_a_smaller_picture_is_what_it_is_said_to_be(name):
    g = ALL[name]().requires_grad_(False)
    ws, noise = g.styles_of(g.sample_w(2, 1)), g.fixed_noise(2)
    size = g.img_resolution // 2
    full = g.synthesis(ws, noise)
    assert torch.equal(g.synthesis(ws, noise, resolution=g.img_resolution), full)
    assert g.rendering(g.img_resolution) == "full"
    small = g.synthesis(ws, noise, resolution=size)
    assert small.shape == (2, g.img_channels, size, size)
    if g.rendering(size) == "averaged":
        torch.testing.assert_close(small, averaged(full, size), atol=1e-5, rtol=1e-4)
    else:
        assert name in ("stylegan2", "subpixel") and g.rendering(size) == "skip"


def test_skip_outputs_add_up_to_the_early_picture():
    g = tiny_generator()
    ws, noise = g.styles_of(g.sample_w(1)), g.fixed_noise(1)
    with torch.no_grad():
        for block in g.blocks[2:]:
            block.torgb.weight.zero_()
            block.torgb.bias.zero_()
    from generators.parts.ops import fir_kernel, upsample2d

    early = g.synthesis(ws, noise, resolution=8)
    torch.testing.assert_close(upsample2d(early, fir_kernel()), g.synthesis(ws, noise), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [0, -8, 3, 12, 32, 64])
def test_other_sizes_are_refused(size):
    g = tiny_generator()
    with pytest.raises(GeneratorError, match=f"resolution is {size} px; tiny renders 16 px, and a half"):
        g.render(g.sample_w(1), resolution=size)


def test_samples_of_w_depend_on_their_seed_and_know_classes():
    g = tiny_generator(c_dim=3)
    a, state = g.sample_w(5, seed=1), torch.random.get_rng_state()
    assert torch.equal(a, g.sample_w(5, seed=1)) and not torch.equal(a, g.sample_w(5, seed=2))
    assert a.shape == (5, 8) and torch.equal(state, torch.random.get_rng_state())


def test_classes_are_drawn_evenly():
    g = tiny_generator(c_dim=3)
    z, c = g.sample_z(600, torch.Generator().manual_seed(0))
    assert z.shape == (600, 8) and c is not None and c.sum(dim=1).eq(1).all()
    assert (c.mean(dim=0) - 1 / 3).abs().max() < 0.06
    assert tiny_generator().sample_z(2, torch.Generator())[1] is None


@pytest.mark.parametrize("name", ALL)
def test_a_picture_of_w_is_that_of_its_styles_with_the_fixed_noise(name):
    g = ALL[name]()
    w = g.sample_w(2)
    wanted = g.synthesis(g.styles_of(w), g.fixed_noise(2))
    assert torch.equal(g.render(w), wanted) and torch.equal(g.render(g.styles_of(w)), wanted)
    half = g.img_resolution // 2
    assert torch.equal(g.render(w, resolution=half), g.synthesis(g.styles_of(w), g.fixed_noise(2), resolution=half))


@pytest.mark.parametrize("name", ALL)
def test_the_truncation_trick_moves_w_towards_its_mean(name):
    g = ALL[name]()
    g.w_avg += torch.linspace(-1, 1, g.w_dim)
    z, _ = g.sample_z(3, torch.Generator().manual_seed(0))
    w, mean = g.mapping(z), g.w_avg.expand(3, g.num_ws, -1)
    torch.testing.assert_close(g.mapping(z, None, 0.7), mean + 0.7 * (w - mean), atol=1e-6, rtol=1e-5)
    assert torch.equal(g.mapping(z, truncation_psi=0.0), mean)


# Generators that define mapping and synthesis themselves


def test_a_generator_of_a_kind_of_its_own_keeps_the_contract_too():
    g = Flat()
    w = g.sample_w(4)
    assert torch.equal(g.render(w), g.synthesis(w[:, None], ()))
    torch.testing.assert_close(g.statistics().spread, 3**0.5, atol=0.02, rtol=0)


def test_a_generator_without_its_two_functions_says_so():
    class Empty(Flat):
        mapping, synthesis = Generator.mapping, Generator.synthesis

    with pytest.raises(NotImplementedError, match="Empty defines neither map_z nor mapping"):
        Empty().mapping(torch.zeros(1, 3))
    with pytest.raises(NotImplementedError, match="Empty defines neither draw nor synthesis"):
        Empty().render(torch.zeros(1, 3))


def test_noise_of_a_network_that_is_none_of_the_generators_is_left_alone():
    g = Flat()
    g.register_buffer("noise_const", torch.ones(4, 4))
    assert g.fixed_noise(2) == ()


# Statistics


@pytest.mark.parametrize("make", [tiny_generator, tiny_mobile])
@pytest.mark.parametrize("unbent", [False, True])
def test_samples_are_white_in_their_own_measure(make, unbent):
    g = make()
    found, w = g.statistics(unbent=unbent), g.sample_w(4000, seed=9)
    w = g.unbent(w) if unbent else w
    u = found.enter(w)
    torch.testing.assert_close(u.T.cov(), torch.eye(g.w_dim), atol=0.15, rtol=0)
    assert u.mean(dim=0).abs().max() < 0.1
    torch.testing.assert_close(found.leave(u), w, atol=1e-4, rtol=0)
    lengths = found.outward.norm(dim=1)
    assert (lengths.diff() >= 0).all()
    assert found.spread == pytest.approx(float(lengths.square().sum().sqrt()), rel=0.01)


def test_what_is_measured_depends_on_the_seed_alone():
    state = torch.random.get_rng_state()
    a, b, c = (tiny_generator().statistics(samples=100, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.inward, b.inward) and not torch.equal(a.inward, c.inward)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_direction_without_spread_still_moves_a_little():
    g = Flat()
    g.mapping = lambda z, c=None: (z * torch.tensor([1.0, 2.0, 0.0]))[:, None]  # type: ignore[method-assign]
    found = g.statistics()
    torch.testing.assert_close(found.outward.norm(dim=1), torch.tensor([0.002, 1.0, 2.0]), rtol=0.02, atol=0)
    assert found.inward.isfinite().all()


def test_a_mapping_that_ends_linearly_has_no_leaky_relu_to_undo():
    g, bent = Flat(), tiny_generator()
    assert torch.equal(g.statistics(unbent=True).mean, g.statistics().mean)
    assert not torch.equal(bent.statistics(unbent=True).mean, bent.statistics().mean)


def test_statistics_are_measured_once_for_the_same_weights(monkeypatch):
    g, asked = tiny_generator(), []
    sample = g.sample_w
    monkeypatch.setattr(g, "sample_w", lambda *args: asked.append(args) or sample(*args))
    first = g.statistics(samples=100)
    assert g.statistics(samples=100) is first and asked == [(100, 0, None)]
    assert g.statistics(samples=200) is not first
    with torch.no_grad():
        g.map.layers[0].weight.mul_(2)
    assert not torch.equal(g.statistics(samples=100).mean, first.mean)


# The hash


def tuned(optimizer):
    def tune(g):
        weight = g.blocks[0].conv1.weight.requires_grad_()
        weight.square().sum().backward()
        optimizer([weight]).step()

    return tune


def assigned(g):
    g.load_state_dict({key: value + 1 for key, value in g.state_dict().items()}, assign=True)


def copied(g):
    g.load_state_dict(tiny_generator(seed=1).state_dict())


def in_place(g):
    with torch.no_grad():
        g.start.add_(1)


CHANGES = {
    "adam": tuned(lambda weights: torch.optim.Adam(weights, lr=0.1)),
    "foreach": tuned(lambda weights: torch.optim.Adam(weights, lr=0.1, foreach=True)),
    "fused": tuned(lambda weights: torch.optim.Adam(weights, lr=0.1, fused=True)),
    "sgd": tuned(lambda weights: torch.optim.SGD(weights, lr=0.1)),
    "assigned": assigned,
    "copied": copied,
    "in place": in_place,
    "buffer": lambda g: setattr(g, "w_avg", g.w_avg + 1),
    "data": lambda g: g.start.data.add_(1),
    "new data": lambda g: setattr(g.start, "data", g.start + 1),
    "turned": lambda g: g.start.neg_(),  # which leaves the norm as it was
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_the_weights_leaves_the_hash_as_it_was(change):
    g = tiny_generator()
    before = g.sha256()
    CHANGES[change](g)
    after = g.sha256()
    assert after != before and after == copy.deepcopy(g).sha256()
    with torch.no_grad():
        g.w_avg.sub_(2)
    assert g.sha256() not in (before, after)


def test_the_hash_is_not_computed_again_for_the_same_weights(monkeypatch):
    g, asked = tiny_generator(), []
    hash_of = base.hash_of
    monkeypatch.setattr(base, "hash_of", lambda weights: asked.append(1) or hash_of(weights))
    first = g.sha256()
    assert g.sha256() == first and asked == [1]
    assert g.double().sha256() == first and asked == [1, 1]  # of what is float32
    with torch.inference_mode():
        other = tiny_generator()
        assert other.sha256() == other.sha256() == first
