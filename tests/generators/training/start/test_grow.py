from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from generators.base import Generator
from generators.errors import TrainingError
from generators.parts.discriminator import Discriminator, DiscriminatorConfig
from generators.parts.encoder import Encoder, EncoderConfig
from generators.parts.ops import fir_kernel, upsample2d
from generators.training.config import TrainConfig
from generators.training.data import Pictures
from generators.training.methods.stylegan2 import StyleGAN2Trainer
from generators.training.start.grow import check_source
from tests.conftest import tiny_generator

SMALL = TrainConfig(
    resolution=16, channels=(8, 8, 8), w_dim=8, mapping_layers=2, batch=4, images=8, warmup=0, precision="fp32"
)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(size=16, channels=3):
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, channels, size, size), generator=rng).to(torch.uint8)
    return Pictures(images=images, weights=torch.full((8,), 1 / 8), skipped=(), resized=0)


def source(*, encoder=True, discriminator=True, linear=0, **settings):
    """A tiny generator with its parts, each number of it other than it starts."""
    g = tiny_generator(**settings)
    channels = tuple(g.config.channels_at(r) for r in g.config.resolutions())
    sizes = {"img_resolution": g.img_resolution, "img_channels": g.img_channels, "channels": channels}
    sizes["subpixel"] = g.config.subpixel
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if encoder:
            g.encoder = Encoder(EncoderConfig(num_ws=g.num_ws, w_dim=8, hidden=16, linear=linear, **sizes))
        if discriminator:
            g.discriminator = Discriminator(DiscriminatorConfig(patches=(8,), **sizes))
    for i, p in enumerate(g.parameters()):
        p.data += 0.3 * draw(*p.shape, seed=i)
    g.w_avg.copy_(draw(8, seed=99))
    return g.eval().requires_grad_(False)


def started(init, **settings):
    config = replace(SMALL, **settings)
    return StyleGAN2Trainer(config, pictures(config.resolution, config.img_channels), init=init)


def rendered(model, z, seed=5):
    return model.synthesis(model.mapping(z), model.sample_noise(len(z), seed))


@torch.no_grad()
def assert_alike(model, init, scores=5e-5):
    """The same pictures, codes and scores; the last to an error of their own."""
    z, x = draw(3, 8), draw(4, init.img_channels, 16, 16, seed=1)
    torch.testing.assert_close(rendered(model, z), rendered(init, z), rtol=0, atol=1e-5)
    assert torch.equal(model.w_avg, init.w_avg)
    if init.encoder is not None and model.encoder is not None:
        torch.testing.assert_close(model.encoder(x), init.encoder(x), rtol=0, atol=2e-5)
    if init.discriminator is not None:
        for a, b in zip(model.discriminator(x), init.discriminator(x), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=scores)


@pytest.mark.parametrize("settings", [{}, {"joint": False}, {"linear": 0}], ids=["joint", "plain", "no linear part"])
def test_a_start_at_equal_size_keeps_everything(settings):
    init = source(linear=8 if not settings else 0)
    trainer = started(init, **settings)
    assert_alike(trainer.model, init)
    assert_alike(trainer.ema, init)


def test_a_grey_model_is_a_start_for_a_grey_run():
    init = source(img_channels=1, linear=8)
    trainer = started(init, img_channels=1)
    assert_alike(trainer.model, init)
    assert len(list(trainer.run())) == 2


def test_wider_networks_render_the_same():
    init = source()
    trainer = started(init, channels=(12, 10, 16))
    assert trainer.model.config.channels == (12, 10, 16)
    assert_alike(trainer.model, init, scores=0.05)  # the deviation within a minibatch is a mean over more features


def test_a_linear_part_that_is_new_says_nothing_at_first():
    init = source()
    model = started(init, linear=8).model
    assert model.encoder.linear is not None and model.config.spatial == (12, 0, 0)
    assert_alike(model, init)


@torch.no_grad()
@pytest.mark.parametrize("channels", [(8, 8, 8), (8, 12, 10)])
def test_twice_the_resolution_draws_the_picture_enlarged(channels):
    init, z, x = source(linear=8), draw(3, 8), draw(2, 3, 32, 32, seed=1)
    model = started(init, resolution=32, subpixel=2, channels=channels).model
    assert model.img_resolution == 32 and model.num_ws == init.num_ws
    enlarged = upsample2d(rendered(init, z), fir_kernel())
    torch.testing.assert_close(rendered(model, z), enlarged, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.encoder(x), init.encoder(F.avg_pool2d(x, 2)), rtol=0, atol=2e-5)
    assert torch.equal(model.w_avg, init.w_avg)


def test_what_was_grown_learns():
    trainer = started(source(), resolution=32, subpixel=2)
    patch = trainer.model.blocks[-1].patch
    assert not patch.weight.any()
    list(trainer.run())
    assert patch.weight.any() and all(v.isfinite().all() for v in trainer.model.state_dict().values())


@torch.no_grad()
def test_a_model_without_encoder_and_discriminator_gets_new_ones():
    init = source(encoder=False, discriminator=False)
    trainer = started(init)
    assert_alike(trainer.model, init)
    codes = trainer.model.encoder(draw(2, 3, 16, 16))
    torch.testing.assert_close(codes, init.w_avg.expand_as(codes))  # that see the mean everywhere


def test_the_run_takes_what_the_model_fixes():
    init = source(mapping_layers=3, architecture="resnet", conv_clamp=256.0, encoder=False, discriminator=False)
    trainer = started(init, w_dim=512, mapping_layers=8, channels=(4, 4, 16))
    assert (trainer.config.w_dim, trainer.config.mapping_layers) == (8, 3)
    assert trainer.config.channels == (8, 8, 16)
    assert trainer.model.config.architecture == "resnet" and trainer.model.config.conv_clamp == 256.0
    assert_alike(trainer.model, init)
    assert len(list(trainer.run())) == 2  # its mapping network ends in a leaky ReLU, and all works


@pytest.mark.parametrize(
    ("settings", "run", "words"),
    [
        ({}, {"resolution": 32, "channels": (8,) * 4}, "tiny renders 16 px from features of 16 px; a run at 32 px has"),
        ({}, {"resolution": 32, "channels": (8,) * 4}, "give --resolution 16, or 32 with --subpixel 2"),
        ({"subpixel": 2, "channels": (8, 8)}, {"resolution": 8, "channels": (8, 8)}, "features of 8 px"),
        ({}, {"channels": (8, 8)}, "channels has 2 numbers; a run from tiny needs 3, for 4, 8, 16 px"),
        ({"c_dim": 3}, {}, "tiny takes 3 class labels; a run can start from an unconditional model alone"),
        ({"img_channels": 1}, {}, "tiny renders 1 channel, the run 3; give --img-channels 1"),
        ({}, {"img_channels": 1}, "tiny renders 3 channels, the run 1; give --img-channels 3"),
    ],
)
def test_models_that_a_run_cannot_start_from(settings, run, words):
    with pytest.raises(TrainingError, match=words):
        started(source(encoder=False, discriminator=False, **settings), **run)


def test_parts_that_are_larger_are_refused():
    init = source(encoder=False)
    init.encoder = Encoder(EncoderConfig(img_resolution=16, num_ws=6, w_dim=8, channels=(8, 8, 20)))
    with pytest.raises(
        TrainingError, match="encoder.* in the model to start from, and .* give sizes that are no smaller"
    ):
        started(init)


def test_other_kinds_are_refused():
    class Other(Generator):
        name = "digits"
        mapping = synthesis = None  # type: ignore[assignment]

    with pytest.raises(TrainingError, match="digits is of the class Other; a run can start from a StyleGAN2 alone"):
        check_source(Other(), 3)
