"""State dicts of NVIDIA's code, models that are not square, and colours that are neither grey nor RGB."""

import numpy as np
import pytest
import torch

from generators.checkpoints.nvidia import walk
from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.ours import save_model
from generators.checkpoints.rosinality import to_state
from generators.unpickle.allowed import StandIn
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import Persistent, dumped, nvidia, saved, tensorflow
from tests.generators.checkpoints.reading import refused, same, with_mean, write


def standing(thing):
    """A persistent module as our reader gives it."""
    if isinstance(thing, Persistent):
        return StandIn(thing.meta["class_name"], standing(thing.meta["state"]))
    return {key: standing(value) for key, value in thing.items()} if isinstance(thing, dict) else thing


def state_of(generator):
    """The state dict of the module that NVIDIA's code has for this generator."""
    return {name: value.data for name, value in walk(standing(nvidia(generator)["G_ema"]))[1].items()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"architecture": "resnet", "conv_clamp": 256.0},
        {"architecture": "orig"},
        {"c_dim": 3, "embed_dim": 5, "mapping_width": 12, "mapping_layers": 3, "z_dim": 6},
        {"img_resolution": 4, "channels": (8,), "img_channels": 1},
    ],
)
@pytest.mark.parametrize("wrap", [dict, lambda state: {"G": {}, "step": 1, "G_ema": state}])
def test_state_dicts_tell_their_settings(tmp_path, settings, wrap):
    wanted = with_mean(tiny_generator(**settings))
    found = read_checkpoint(write(tmp_path / "m.pt", saved(wrap(state_of(wanted)))))
    same(found, wanted, torch.eye(3)[:2] if wanted.c_dim else None)
    assert found.config.conv_clamp == 256 and "conv_clamp" in found.card["notes"][0]


def test_the_average_is_taken_where_both_are_there(tmp_path):
    wanted, other = with_mean(tiny_generator()), tiny_generator(seed=1)
    tree = {"G": state_of(other), "D": {"b4.conv.weight": torch.zeros(1)}, "G_ema": state_of(wanted)}
    same(read_checkpoint(write(tmp_path / "m.pt", saved(tree))), wanted)


def test_one_search_finds_either_under_any_prefix(tmp_path):
    wanted, other = with_mean(tiny_generator()), tiny_generator(seed=1)
    flat = {f"{way}.{key}": v for way, g in (("G", other), ("G_ema", wanted)) for key, v in state_of(g).items()}
    same(read_checkpoint(write(tmp_path / "m.pt", saved({"weights": flat}))), wanted)
    third = {"model": {"module.synthesis.input.freqs": torch.zeros(2, 2)}}
    refused(write(tmp_path / "3.pt", saved(third)), "StyleGAN3 without the settings")


def test_state_dicts_that_do_not_tell_enough(tmp_path):
    state = state_of(tiny_generator())
    bare = {key: value for key, value in state.items() if not key.startswith("mapping.fc")}
    refused(write(tmp_path / "a", saved(bare)), "has no mapping.fc0.weight")
    refused(
        write(tmp_path / "b", saved({"synthesis.input.freqs": torch.zeros(2, 2)})), "StyleGAN3 without the settings"
    )
    refused(write(tmp_path / "c", saved({"synthesis.b4.const": torch.zeros(8, 4, 4)})), "has no mapping.fc0.weight")


def test_pictures_that_are_not_square_are_named(tmp_path):
    words = r"draws pictures that are not square \(grown from 2 x 4 px\)"
    g = tiny_generator()
    state = to_state(g) | {"input.input": torch.zeros(1, 8, 4, 2)}
    refused(write(tmp_path / "a", saved({"g_ema": state, "latent_avg": g.w_avg})), words)
    refused(write(tmp_path / "b", saved(state_of(g) | {"synthesis.b4.const": torch.zeros(8, 4, 2)})), words)
    tree = tensorflow(g)
    variables = tree[2].components["synthesis"].variables
    variables[0] = (variables[0][0], np.zeros((1, 8, 4, 2), np.float32))
    refused(write(tmp_path / "c", dumped(tree)), words)


def test_only_grey_and_colours_are_read(tmp_path):
    g = tiny_generator(img_channels=4)
    words = r"draws 4 channels; grey \(1\) and RGB \(3\) are read, RGBA is not"
    save_model(g, tmp_path / "ours")
    data = dumped(nvidia(g)), saved({"g_ema": to_state(g), "latent_avg": g.w_avg}), dumped(tensorflow(g))
    for one in (*data, saved(state_of(g)), (tmp_path / "ours").read_bytes()):
        refused(write(tmp_path / "m", one), words)
