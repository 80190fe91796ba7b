import numpy as np
import pytest
import torch

from generators.checkpoints.nvidia import config_of, from_nvidia
from generators.checkpoints.open import read_checkpoint
from generators.errors import ModelFileError
from tests.generators.checkpoints.foreign import (
    EasyDict,
    dumped,
    embedded,
    module,
    nvidia3,
    nvidia3_state,
    rewritten,
)
from tests.generators.checkpoints.reading import halved, refused, same, with_mean, write
from tests.generators.test_stylegan3 import R, tiny

KWARGS = {
    "z_dim": 8,
    "c_dim": 2,
    "w_dim": 8,
    "img_resolution": 32,
    "img_channels": 3,
    "channel_base": 256,
    "channel_max": 16,
    "num_layers": 6,
    "num_fp16_res": 4,
    "conv_clamp": 256,
    "magnitude_ema_beta": 0.999,
    "margin_size": np.int64(10),
    "mapping_kwargs": {"num_layers": 3, "w_avg_beta": 0.998, "lr_multiplier": 0.02},
}


def test_names_and_arguments_of_the_pickles():
    config = config_of(KWARGS)
    assert (config.mapping_layers, config.mapping_lr, config.num_layers, config.c_dim) == (3, 0.02, 6, 2)
    assert type(config.margin_size) is int
    g = tiny(c_dim=2, mapping_layers=3, mapping_lr=0.02)
    read = from_nvidia(KWARGS, nvidia3_state(g), {})
    assert read.config == config and read.sha256() == g.sha256()
    assert not any(p.requires_grad for p in read.parameters()) and not read.training


def test_files_that_do_not_fit_are_refused():
    state = nvidia3_state(tiny(c_dim=2, mapping_layers=3, mapping_lr=0.02))
    with pytest.raises(
        ModelFileError, match="sets mapping_kwargs.depth, which StyleGAN3 does not know; .* a changed one"
    ):
        from_nvidia(KWARGS | {"mapping_kwargs": {"depth": 3}}, state, {})
    with pytest.raises(ModelFileError, match="sets blur, which"):
        from_nvidia(KWARGS | {"blur": 3}, state, {})
    for wrong in ({"channel_max": 8}, {"num_layers": 7}, {"conv_kernel": 1}):
        with pytest.raises(ModelFileError, match="holds .* for .*, its settings want"):
            from_nvidia(KWARGS | wrong, state, {})
    with pytest.raises(ModelFileError, match="holds a layers.0.up_taps that its settings do not make"):
        from_nvidia(KWARGS | {"filter_size": 8}, state, {})
    part = {k: v for k, v in state.items() if k != "synthesis.input.phases"}
    with pytest.raises(ModelFileError, match="input.phases"):
        from_nvidia(KWARGS, part, {})


@pytest.mark.parametrize("settings", [{"c_dim": 3, "mapping_layers": 3}, {**R, "img_resolution": 16, "num_layers": 5}])
def test_stylegan3_pickles_render_what_they_were_made_of(tmp_path, settings):
    wanted = with_mean(tiny(**settings))
    c = torch.eye(3)[:2] if wanted.c_dim else None
    same(read_checkpoint(write(tmp_path / "m", dumped(nvidia3(wanted)))), wanted, c)
    rounded = rewritten(nvidia3(wanted), lambda t: embedded(t.half()))
    same(read_checkpoint(write(tmp_path / "half", dumped(rounded))), halved(wanted), c)


def test_stylegan3_settings_beyond_its_weights(tmp_path):
    sizes = {"z_dim": 8, "c_dim": 0, "w_dim": 8, "img_resolution": 64, "img_channels": 3}
    for more, words in (
        ({"channel_max": 4096, "channel_base": 2**20}, "holds nothing for .*, its settings want"),
        ({"num_critical": 99}, "has settings that do not fit together .num_critical is 99; no StyleGAN3"),
        ({"channel_max": 2**20}, "channel_max 1048576"),
        ({"img_resolution": 2**30}, "img_resolution"),
        ({"freqs": 3}, "sets freqs, which StyleGAN3 does not know"),
    ):
        parts = {"synthesis": module("SynthesisNetwork", modules={"input": module("SynthesisInput")})}
        whole = module("Generator", modules=parts, _init_kwargs=EasyDict(sizes | more))
        refused(write(tmp_path / "m", dumped({"G_ema": whole})), words)
