from dataclasses import replace

import pytest
import torch

from generators.checkpoints.ours import load_model, save_model
from generators.errors import TrainingError
from generators.parts.discriminator import Discriminator, DiscriminatorConfig
from generators.parts.encoder import Encoder
from generators.training.config import EncodeConfig
from generators.training.data import Pictures
from generators.training.methods.encoder import EncoderTrainer
from tests.conftest import tiny_generator

TINY = EncodeConfig(resolution=16, channels=(16, 16, 16), batch=8, images=80, warmup=16, precision="fp32", lr=0.01)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def frozen(**settings):
    g = tiny_generator(**settings)
    g.w_avg.copy_(g.map(draw(1000, 8), None).mean(dim=0))
    return g


@torch.no_grad()
def rendered(g, count=64):
    """Pictures that the generator can draw."""
    images = g.synthesis(g.mapping(draw(count, 8, seed=3)), g.fixed_noise(count))
    pixels = (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return Pictures(images=pixels, weights=torch.full((count,), 1 / count), skipped=(), resized=0)


def test_only_the_encoder_is_trained(tmp_path):
    g = frozen()
    before = {k: v.clone() for k, v in g.state_dict().items()}
    trainer = EncoderTrainer(TINY, rendered(g), init=g)
    first = [v.clone() for v in trainer.ema.encoder.state_dict().values()]
    steps = list(trainer.run())
    assert all(s.losses.keys() == {"reconstruction", "penalty", "known", "skipped"} for s in steps)
    for model in (g, trainer.model, trainer.ema):
        assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert g.encoder is None and trainer.ema.sha256() == g.sha256()  # its latents still render
    assert all(not torch.equal(a, b) for a, b in zip(first, trainer.ema.encoder.state_dict().values(), strict=True))
    save_model(trainer.ema, tmp_path / "model.safetensors")
    assert isinstance(load_model(tmp_path / "model.safetensors").encoder, Encoder)


def test_codes_start_at_the_mean_and_get_better():
    g = frozen()
    config = replace(TINY, images=8 * 60, warmup=200, lr=0.02, w_penalty=0.0)
    trainer = EncoderTrainer(config, rendered(g), init=g)
    target = rendered(g, 16).images.float() / 127.5 - 1
    codes = trainer.model.encoder(target)
    torch.testing.assert_close(codes, g.w_avg.expand_as(codes))
    losses = [s.losses for s in trainer.run()]
    for name in ("reconstruction", "known"):
        early, late = (sum(s[name] for s in part) / 10 for part in (losses[:10], losses[-10:]))
        assert late < 0.75 * early, name
    image = trainer.ema.synthesis(trainer.ema.encoder(target), g.fixed_noise(16))
    mean = g.synthesis(g.w_avg.expand(16, g.num_ws, 8), g.fixed_noise(16))
    assert (image - target).square().mean() < 0.5 * (mean - target).square().mean()


def test_offsets_are_released_coarse_to_fine():
    g = frozen()
    method = EncoderTrainer(replace(TINY, images=100, warmup=20, released=0.8), rendered(g), init=g).method
    seen = {n: method.released(n)[:, 0].tolist() for n in (0, 20, 50, 80, 100)}
    assert seen[0] == seen[20] == [0] * 6
    assert seen[50] == [1, 1, 1, 0, 0, 0] and seen[80] == seen[100] == [1] * 6


def test_offsets_that_are_not_released_stay_nothing():
    g = frozen()
    trainer = EncoderTrainer(replace(TINY, images=40, warmup=40), rendered(g), init=g)
    for _ in trainer.run():
        pass
    _, offsets = trainer.model.encoder.parts(draw(2, 3, 16, 16))
    assert not offsets.any()
    more = EncoderTrainer(TINY, rendered(g), init=trainer.ema)  # an encoder that was trained before has them all
    assert more.method.released(0).all()
    assert torch.equal(more.model.encoder.hidden.weight, trainer.ema.encoder.hidden.weight)


def test_discriminator_features_are_matched_where_there_are_any():
    g = frozen()
    with torch.random.fork_rng():
        g.discriminator = Discriminator(DiscriminatorConfig(img_resolution=16, channels=(8, 8, 8)))
    trainer = EncoderTrainer(TINY, rendered(g), init=g)
    assert next(trainer.run()).losses["matching"] > 0
    assert all(torch.equal(v, g.state_dict()[k]) for k, v in trainer.model.state_dict().items() if "encoder" not in k)


def test_no_samples_no_supervision():
    g = frozen()
    losses = next(EncoderTrainer(replace(TINY, samples=0.0), rendered(g), init=g).run()).losses
    assert losses.keys() == {"reconstruction", "penalty", "skipped"}


@pytest.mark.parametrize(
    "settings", [{"architecture": "resnet"}, {"conv_clamp": 256.0}, {"img_resolution": 32, "subpixel": 2}]
)
def test_encoders_for_other_generators(settings):
    g = frozen(**settings)
    trainer = EncoderTrainer(replace(TINY, images=8, resolution=g.img_resolution, channels=None), rendered(g), init=g)
    assert next(trainer.run()).losses["reconstruction"] > 0
    assert trainer.model.encoder.config.channels == (8, 8, 8)


def test_generators_that_an_encoder_cannot_be_trained_for():
    g = frozen()
    data = rendered(g)
    with pytest.raises(TrainingError, match="needs the generator that it is for; give --init MODEL"):
        EncoderTrainer(TINY, data)
    with pytest.raises(TrainingError, match="tiny renders 16 px, and this run is at 32 px; give --resolution 16"):
        EncoderTrainer(replace(TINY, resolution=32), data, init=g)
    with pytest.raises(TrainingError, match="channels has 1 numbers; tiny needs 3"):
        EncoderTrainer(replace(TINY, channels=(8,)), data, init=g)
    with pytest.raises(TrainingError, match="tiny takes 3 class labels"):
        EncoderTrainer(TINY, data, init=tiny_generator(c_dim=3))
