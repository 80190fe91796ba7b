"""An encoder for MobileStyleGAN, trained on a small one."""

import pytest
import torch

from generators.checkpoints.ours import load_model, save_model
from generators.errors import TrainingError
from generators.parts.feature_encoder import FeatureEncoder
from generators.training.config import EncodeConfig
from generators.training.data import Pictures
from generators.training.methods.encoder import EncoderTrainer
from generators.training.methods.feature_encode import build_feature_encoder, with_feature_encoder
from tests.conftest import tiny_generator, tiny_mobile

SETTINGS = {"resolution": 32, "images": 96, "batch": 8, "lr": 0.002, "precision": "fp32", "warmup": 0}


@pytest.fixture(scope="module")
def pictures():
    g = tiny_mobile()
    ws = g.sample_w(16, seed=5)[:, None].expand(-1, g.num_ws, -1)
    images = g.synthesis(ws, g.fixed_noise(16)).clamp(-1, 1)
    return Pictures((images * 127.5 + 127.5).to(torch.uint8), torch.full((16,), 1 / 16), (), 0)


@pytest.fixture(scope="module")
def ready():
    """A generator with a preview and an untrained encoder, which runs then need not make."""
    return with_feature_encoder(tiny_mobile(), EncodeConfig(**SETTINGS))


def test_an_untrained_encoder_gives_about_the_mean():
    g = tiny_mobile()
    e = build_feature_encoder(g, seed=0)
    w = g.sample_w(20_000, seed=1)
    coordinates = (w - e.mean) @ torch.linalg.inv(e.axes)
    torch.testing.assert_close(coordinates.T.cov(), torch.eye(g.w_dim), atol=0.05, rtol=0)
    assert e.axes.norm(dim=1).diff().max() <= 1e-6  # the longest first


@pytest.mark.slow
def test_training_lowers_what_it_descends_and_leaves_the_generator(pictures, ready):
    trainer = EncoderTrainer(EncodeConfig(**SETTINGS), pictures, init=ready)
    losses = [step.losses for step in trainer.run()]
    assert losses[0].keys() == {"reconstruction", "perceptual", "penalty", "known", "skipped"}
    first, last = (sum(one["reconstruction"] + one["known"] for one in part) for part in (losses[:3], losses[-3:]))
    assert last < first
    assert isinstance(trainer.ema.encoder, FeatureEncoder) and trainer.ema.sha256() == ready.sha256()


@pytest.mark.slow
def test_a_resumed_run_is_the_unbroken_one(pictures, ready):
    config = EncodeConfig(**(SETTINGS | {"images": 32}))
    whole = EncoderTrainer(config, pictures, init=ready)
    for _ in whole.run():
        pass
    half = EncoderTrainer(config, pictures, init=ready)
    steps = half.run()
    next(steps), next(steps)
    again = EncoderTrainer(config, pictures, init=ready)
    again.restore(half.state())
    for _ in again.run():
        pass
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[key], value, rtol=0, atol=0)


def test_an_encoder_that_is_there_goes_on(tmp_path):
    g = tiny_mobile()
    g.encoder = build_feature_encoder(g, seed=0)
    save_model(g, tmp_path / "m.safetensors")
    model = with_feature_encoder(load_model(tmp_path / "m.safetensors"), EncodeConfig(**SETTINGS))
    torch.testing.assert_close(model.encoder.shared.weight, g.encoder.shared.weight)


@pytest.mark.parametrize(
    "source, resolution, words",
    [(tiny_mobile, 24, "not rendered at 24 px"), (tiny_generator, 32, "is no MobileStyleGAN")],
)
def test_what_cannot_be(source, resolution, words):
    with pytest.raises(TrainingError, match=words):
        with_feature_encoder(source(), EncodeConfig(**(SETTINGS | {"resolution": resolution})))
