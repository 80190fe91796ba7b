import pytest

from generators.errors import TrainingError
from generators.training.config import RunConfig, TrainConfig
from generators.training.settings import KINDS, config_of, train_config, trainer_of
from generators.training.trainer import Trainer
from tests.conftest import tiny_generator


def test_settings_fit_their_resolution_and_length():
    config = train_config(resolution=256, images=1000)
    assert config.channels == (256, 256, 192, 96, 48, 24, 16) and config.warmup == 200
    assert train_config(resolution=128, subpixel=2).channels == TrainConfig().channels
    assert train_config(images=10**6).warmup == 12_000 and train_config(images=10**6, warmup=5).warmup == 5
    assert train_config() == TrainConfig()


def test_a_run_from_a_model_has_its_sizes():
    g = tiny_generator(mapping_layers=4, w_dim=16)
    config = train_config(init=g)
    assert (config.resolution, config.channels, config.w_dim, config.mapping_layers) == (16, (8, 8, 8), 16, 4)
    assert config.linear == 0
    grown = train_config(init=g, resolution=32, subpixel=2)
    assert (grown.resolution, grown.channels, grown.w_dim) == (32, (8, 8, 8), 16)
    assert train_config("encoder", init=g).resolution == 16 and train_config("encoder", init=g).channels is None


def test_unknown_kinds_and_settings_are_refused():
    with pytest.raises(TrainingError, match="nothing trains the kind 'diffusion'; give one of stylegan2, encoder"):
        train_config("diffusion")
    with pytest.raises(TrainingError, match="the kind encoder has no r1"):
        train_config("encoder", r1=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_found(kind):
    assert issubclass(config_of(kind), RunConfig) and issubclass(trainer_of(kind), Trainer)
