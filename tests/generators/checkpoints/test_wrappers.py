"""The same weights in the wrappings that people have them in."""

import argparse
import collections
import datetime
import pathlib

import pytest
import torch
from safetensors.torch import save_file

from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.rosinality import to_state
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import foreign_modules, nvidia, saved
from tests.generators.checkpoints.reading import refused, same, with_mean, write

HOW = pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])


def renamed(state, prefix):
    return collections.OrderedDict((prefix + key, value) for key, value in state.items())


@HOW
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state, mean: {"state_dict": state, "latent_avg": mean, "epoch": 3},
        lambda state, mean: {"params_ema": state, "latent_avg": mean},
        lambda state, mean: {"ema": state, "step": 1, "latent_avg": mean},
        lambda state, mean: {"G_ema": renamed(state, "_orig_mod."), "latent_avg": mean},
        lambda state, mean: {"anything": {"inside": renamed(state, "module._orig_mod.")}, "latent_avg": mean},
        lambda state, mean: {"model": renamed(state, "net.generator.") | {"latent_avg": mean}},
        lambda state, mean: {"state_dict": renamed(state, "module.decoder."), "latent_avg": mean, "opts": {}},
        lambda state, mean: {"ema": {"shadow": state, "latent_avg": mean}},
    ],
)
def test_weights_are_found_by_what_they_are(tmp_path, wrap, how):
    wanted = with_mean(tiny_generator())
    same(read_checkpoint(write(tmp_path / "m", saved(wrap(to_state(wanted), wanted.w_avg), **how))), wanted)


def test_the_average_goes_before_what_is_trained(tmp_path):
    wanted, other = with_mean(tiny_generator()), tiny_generator(mapping_layers=1)
    tree = {"a": to_state(other), "model_ema": to_state(wanted), "latent_avg": wanted.w_avg}
    found = read_checkpoint(write(tmp_path / "m", saved(tree)))
    same(found, wanted)
    assert found.card["left_out"] == ["a"]


def test_what_scripts_save_beside_weights_is_left_alone(tmp_path):
    wanted = with_mean(tiny_generator())
    beside = {
        "args": argparse.Namespace(path=pathlib.PurePosixPath("data")),
        "log": collections.defaultdict(list, loss=[1.0]),
        "seen": collections.Counter("ab"),
        "when": datetime.datetime(2020, 1, 1),
    }
    tree = {"g_ema": to_state(wanted), "latent_avg": wanted.w_avg} | beside
    found = read_checkpoint(write(tmp_path / "m", saved(tree)))
    same(found, wanted)
    assert found.card["left_out"] == sorted(beside)


def test_weights_of_others_as_safetensors(tmp_path):
    wanted = tiny_generator()
    state = {key: value.contiguous() for key, value in to_state(wanted).items()}
    for metadata in ({"format": "pt"}, None):
        save_file(state, tmp_path / "m.safetensors", metadata=metadata)
        found = read_checkpoint(tmp_path / "m.safetensors")
        assert "estimated" in found.card["notes"][0]
        found.w_avg.copy_(wanted.w_avg)
        same(found, wanted)
    save_file({"x": torch.zeros(2)}, tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors", "holds no generator that is read here, but x")


def flat(tree, before=""):
    """The state dict of a module as persistence has it."""
    state = tree.meta["state"]
    held = state["_parameters"] | {name: value for name, value in state["_buffers"].items() if value is not None}
    found = {before + name: value.data for name, value in held.items()}
    for name, inner in state["_modules"].items():
        found |= flat(inner, f"{before}{name}.")
    return found


@HOW
@pytest.mark.parametrize("settings", [{}, {"architecture": "resnet"}, {"architecture": "orig"}, {"c_dim": 3}])
def test_nvidias_modules_and_state_dicts_by_torch_save(tmp_path, settings, how):
    wanted = with_mean(tiny_generator(**settings))
    state, c = flat(nvidia(wanted)["G_ema"]), torch.eye(3)[:2] if settings.get("c_dim") else None
    with foreign_modules():
        whole = [saved(thing, **how) for thing in (nvidia(wanted)["G_ema"], nvidia(wanted))]
    states = [saved(thing, **how) for thing in (state, {"G_ema": state}, {"G": renamed(state, "module.")})]
    for data in (*whole, *states):
        same(read_checkpoint(write(tmp_path / "m", data)), wanted, c)
