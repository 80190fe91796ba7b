import copy
import math
import warnings

import pytest
import torch
from torch import nn

from generators.parts.ops import laplacian_pyramid
from inversion import losses
from inversion.config import parse_weights
from inversion.errors import FeatureError, SettingsError
from inversion.features import Lpips
from inversion.losses import (
    TERMS,
    Candidate,
    TermContext,
    check_weights,
    laplacian_l1,
    layer_spread,
    noise_autocorrelation,
    objective,
    pixel_l1,
    pixel_l2,
)

BATCH = 3


class FakeDiscriminator(nn.Module):
    """Two levels of features out of fixed random convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 7, 3, stride=2)

    def features(self, image):
        first = self.a(image).relu()
        return first, self.b(first)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def candidate_of(image=None, ws=None, noise=()):
    batch = next(len(t) for t in (image, ws, *noise) if t is not None)
    image = torch.zeros(batch, 3, 16, 16) if image is None else image
    ws = torch.zeros(batch, 4, 8) if ws is None else ws
    return Candidate(image, ws, noise)


@pytest.fixture(scope="module")
def perceptual():
    """LPIPS on an untrained backbone."""
    import lpips

    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return Lpips(lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)).eval().requires_grad_(False)


@pytest.fixture
def context(generator, perceptual, monkeypatch):
    monkeypatch.setattr(losses, "lpips_network", lambda net, device: perceptual)
    generator = copy.deepcopy(generator)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator.discriminator = FakeDiscriminator().requires_grad_(False)
    return TermContext(
        generator=generator,
        target=draw(BATCH, 3, 16, 16, seed=1).tanh(),
        init_ws=draw(BATCH, generator.num_ws, generator.w_dim, seed=2),
        init_noise=generator.sample_noise(BATCH, 6),
    )


@pytest.fixture
def candidate(context):
    generator = context.generator
    ws = draw(BATCH, generator.num_ws, generator.w_dim, seed=3)
    # Near enough the target that no part of MS-SSIM is cut off at zero.
    image = 0.7 * context.target + 0.3 * draw(BATCH, 3, 16, 16, seed=4).tanh()
    return Candidate(image, ws, generator.sample_noise(BATCH, 5))


@pytest.mark.parametrize("name", TERMS)
def test_an_image_scores_in_a_batch_as_alone(name, context, candidate):
    together = TERMS[name](context)(candidate)
    assert together.shape == (BATCH,)
    for i in range(BATCH):
        start = {"init_ws": context.init_ws[i : i + 1], "init_noise": tuple(n[i : i + 1] for n in context.init_noise)}
        alone = TermContext(generator=context.generator, target=context.target[i : i + 1], **start)
        noise = tuple(n[i : i + 1] for n in candidate.noise)
        one = Candidate(candidate.image[i : i + 1], candidate.ws[i : i + 1], noise)
        torch.testing.assert_close(TERMS[name](alone)(one), together[i : i + 1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(TERMS.keys() - {"identity", "face"}))  # which want a face: test_identity.py
def test_every_term_pulls_on_something(name, context, candidate):
    image, ws = candidate.image.clone().requires_grad_(), candidate.ws.clone().requires_grad_()
    noise = tuple(n.clone().requires_grad_() for n in candidate.noise)
    leaves = (image, ws, *noise)
    loss = TERMS[name](context)(Candidate(image, ws, noise))
    grads = [g for g in torch.autograd.grad(loss.sum(), leaves, allow_unused=True) if g is not None]
    assert (loss > 0).all() and grads
    assert all(g.isfinite().all() and g.abs().amax() > 0 for g in grads)


ZERO = ["pixel", "l2", "l1", "laplacian", "ms_ssim", "lpips", "features", "perceptual", "anchor", "detail"]


@pytest.mark.parametrize("name", ZERO)
def test_the_target_itself_scores_nothing(name, context):
    found = Candidate(context.target, context.init_ws, context.init_noise)
    torch.testing.assert_close(TERMS[name](context)(found), torch.zeros(BATCH), rtol=0, atol=1e-5)


def test_a_black_image_has_a_finite_gradient(context):
    for name in ("lpips", "features", "perceptual", "ms_ssim", "laplacian"):
        image = torch.zeros(BATCH, 3, 16, 16, requires_grad=True)
        term = TERMS[name](context)
        (grad,) = torch.autograd.grad(term(Candidate(image, context.init_ws, ())).sum(), image)
        assert grad.isfinite().all(), name


def test_pixel_errors_of_a_known_offset():
    target = draw(2, 3, 16, 16)
    found = candidate_of(target + torch.tensor([0.5, -0.25])[:, None, None, None])
    torch.testing.assert_close(pixel_l2(target)(found), torch.tensor([0.25, 0.0625]))
    torch.testing.assert_close(pixel_l1(target)(found), torch.tensor([0.5, 0.25]))


def test_an_offset_shows_in_the_coarsest_band_alone():
    target = draw(2, 3, 16, 16)  # bands at 16, 8 and 4 px
    torch.testing.assert_close(laplacian_l1(target)(candidate_of(target + 0.6)), torch.full((2,), 0.2))


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (13, 17)])
def test_a_laplacian_pyramid_adds_up_to_its_image(size):
    x = draw(2, 3, *size)
    bands = laplacian_pyramid(x, 3)
    total = bands[-1]
    for band in reversed(bands[:-1]):
        total = band + nn.functional.interpolate(total, band.shape[-2:], mode="bilinear")
    torch.testing.assert_close(total, x)


def test_a_constant_has_no_bands():
    bands = laplacian_pyramid(torch.full((1, 3, 32, 32), 0.7), 4)
    assert [band.shape[-1] for band in bands] == [32, 16, 8, 4]
    assert all(band.abs().amax() < 1e-6 for band in bands[:-1])
    torch.testing.assert_close(bands[-1], torch.full((1, 3, 4, 4), 0.7))


def test_a_ramp_is_low_pass_away_from_the_edges():
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    fine = laplacian_pyramid(ramp, 2)[0]
    assert fine[..., 3:-3].abs().amax() < 1e-6  # a half-pixel shift between the sizes would leave 1/31 here


def test_autocorrelation_of_a_constant_map():
    # One scale of 8 px, two axes, each shifted product 1.
    found = noise_autocorrelation(candidate_of(noise=(torch.ones(1, 1, 8, 8),)))
    torch.testing.assert_close(found, torch.tensor([2.0]))
    # At 16 px, and at 8 px where the average is doubled: 2 + 2 * 4^2.
    found = noise_autocorrelation(candidate_of(noise=(torch.ones(1, 1, 16, 16),)))
    torch.testing.assert_close(found, torch.tensor([34.0]))


def test_autocorrelation_as_the_authors_programs_have_it():
    # At 32, 16 and 8 px, where averages are not doubled: 3 * 2 for ones; as the paper has it, 2 + 2 * 4^2 + 2 * 16^2.
    candidate = candidate_of(noise=(torch.ones(1, 1, 32, 32),))
    assert [TERMS[name](None)(candidate).item() for name in ("noise-code", "noise")] == [6.0, 546.0]


def test_white_noise_has_next_to_no_autocorrelation():
    white = draw(4, 1, 64, 64)
    blurred = nn.functional.avg_pool2d(white, 3, stride=1, padding=1) * 3
    quiet, loud = (noise_autocorrelation(candidate_of(noise=(n,))) for n in (white, blurred))
    assert (quiet < 0.15).all() and (loud > 0.5).all()


def test_no_noise_costs_nothing():
    assert noise_autocorrelation(candidate_of(torch.ones(2, 3, 16, 16))).tolist() == [0, 0]


def test_layer_spread():
    ws = torch.zeros(2, 4, 8)
    ws[1, :2] = 1.0  # two layers at 1, two at 0: each 0.5 from the mean
    torch.testing.assert_close(layer_spread(candidate_of(ws=ws)), torch.tensor([0.0, 0.25]))


def test_prior_is_one_for_samples_and_none_at_the_centre(context):
    term = TERMS["prior"](context)
    ws = context.generator.mapping(draw(2000, context.generator.z_dim, seed=9))
    assert term(candidate_of(ws=ws)).mean() == pytest.approx(1, abs=0.05)
    mean = context.generator.statistics(unbent=True).mean
    centre = nn.functional.leaky_relu(mean, 0.2).expand(1, context.generator.num_ws, -1)
    assert term(candidate_of(ws=centre)) == pytest.approx(0, abs=1e-5)
    assert term(candidate_of(ws=ws * 3)).mean() > 2


def test_objective_leaves_out_what_weighs_nothing(context, candidate):
    built = objective({"l1": 2.0, "pixel": 0.0, "lpips-vgg": 0.5}, context)
    assert {name: weight for name, (weight, _) in built.items()} == {"l1": 2.0, "lpips-vgg": 0.5}
    torch.testing.assert_close(built["l1"][1](candidate), pixel_l1(context.target)(candidate))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"vgg": 1.0}, "no loss named 'vgg'; known losses: pixel, l2, "),
        ({"pixel": -1.0}, "pixel has weight -1.0"),
        ({"pixel": math.nan}, "pixel has weight nan"),
        ({"pixel": math.inf}, "pixel has weight inf"),
        ({"pixel": 0.0}, "no loss has a weight above 0"),
        ({}, "no loss has a weight above 0"),
    ],
)
def test_weights_that_are_refused(weights, message, context):
    with pytest.raises(SettingsError, match=message):
        objective(weights, context)


def test_a_target_of_another_size_is_refused(context):
    wrong = TermContext(generator=context.generator, target=torch.zeros(1, 1, 16, 16))
    with pytest.raises(SettingsError, match=r"\(1, 1, 16, 16\); resize it to \(batch, 3, 16, 16\)"):
        objective({"pixel": 1.0}, wrong)


def test_anchor_needs_a_start(context):
    with pytest.raises(SettingsError, match="anchor needs a start"):
        objective({"anchor": 1.0}, TermContext(generator=context.generator, target=context.target))


def test_features_need_a_discriminator(generator):
    context = TermContext(generator=generator, target=torch.zeros(1, 3, 16, 16))
    with pytest.raises(FeatureError, match="tiny has no discriminator features; use --loss pixel=1,laplacian=1"):
        objective({"features": 1.0}, context)


def test_parse_weights():
    assert parse_weights("lpips=0.8,pixel=1") == {"lpips": 0.8, "pixel": 1.0}
    assert parse_weights(" noise = 1e5 , l1=0.5 ") == {"noise": 1e5, "l1": 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pixel", "cannot read the loss 'pixel'; write NAME=WEIGHT"),
        ("pixel=", "cannot read"),
        ("pixel=much", "cannot read the loss 'pixel=much'"),
        ("pixel=1,", "cannot read the loss ''"),
        ("", "cannot read"),
        ("pixel=1,l1=2,pixel=3", "the loss pixel came twice"),
        ("pixels=1", "no loss named 'pixels'"),
        ("pixel=-1", "weight -1.0"),
        ("pixel=nan", "weight nan"),
    ],
)
def test_text_that_is_refused(text, message):
    with pytest.raises(SettingsError, match=message):
        check_weights(parse_weights(text))
