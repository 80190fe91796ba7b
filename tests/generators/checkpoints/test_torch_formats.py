import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.ours import save_model
from generators.checkpoints.rosinality import to_state
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import dumped, nvidia, saved
from tests.generators.checkpoints.reading import refused, rendered, same, with_mean, write

CHECKPOINTS = Path(__file__).resolve().parents[4] / "shared" / "checkpoints"


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("settings", [{}, {"img_resolution": 32, "channels": (12, 8, 8, 4), "mapping_layers": 8}])
def test_state_dicts_go_both_ways(tmp_path, settings, how):
    wanted = with_mean(tiny_generator(**settings))
    state = to_state(wanted)
    found = read_checkpoint(write(tmp_path / "m", saved({"g_ema": state, "latent_avg": wanted.w_avg}, **how)))
    same(found, wanted)
    again = to_state(found)
    assert again.keys() == state.keys() and all(torch.equal(again[k], state[k]) for k in state)


@pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason="needs ../shared/checkpoints beside the repository")
def test_the_state_dict_that_we_write_is_the_one_that_was_read():
    theirs = torch.load(CHECKPOINTS / "rosinality.pt", weights_only=True)["g_ema"]
    ours = to_state(read_checkpoint(CHECKPOINTS / "rosinality.pt"))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].shape == value.shape, key
        torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-6, msg=key)


def test_training_checkpoints(tmp_path):
    wanted = tiny_generator()
    state, args = to_state(wanted), argparse.Namespace(size=16, path="faces", p=np.float64(0.5), n=np.int64(3))
    tree = {"g": state, "d": {"a": torch.zeros(2)}, "g_ema": state, "g_optim": {"state": {}}, "args": args}
    found = read_checkpoint(write(tmp_path / "m", saved(tree)))
    assert found.card["left_out"] == ["args", "d", "g", "g_optim"]
    assert "estimated" in found.card["notes"][0] and found.w_avg.any()
    found.w_avg.copy_(wanted.w_avg)
    same(found, wanted)
    assert "estimated" in read_checkpoint(write(tmp_path / "n", saved(state))).card["notes"][0]


def test_state_dicts_without_noise(tmp_path):
    wanted = tiny_generator()
    state = {key: value for key, value in to_state(wanted).items() if not key.startswith("noises.")}
    found = read_checkpoint(write(tmp_path / "m", saved({"g_ema": state, "latent_avg": wanted.w_avg})))
    assert "no fixed noise" in found.card["notes"][0]
    ws = rendered(wanted)[0]
    torch.testing.assert_close(found.synthesis(ws, found.fixed_noise(2)), wanted.synthesis(ws, wanted.no_noise(2)))


def test_state_dicts_without_filters(tmp_path):
    wanted = tiny_generator()
    state = {key: value for key, value in to_state(wanted).items() if not key.endswith(".kernel")}
    same(read_checkpoint(write(tmp_path / "m", saved({"g_ema": state, "latent_avg": wanted.w_avg}))), wanted)


def test_state_dicts_that_do_not_fit(tmp_path):
    state = to_state(tiny_generator())
    refused(
        write(tmp_path / "a", saved({"g_ema": state | {"extra.weight": torch.zeros(2)}})), "'extra.weight'.*a variant"
    )
    refused(write(tmp_path / "b", saved({"g_ema": state, "latent_avg": torch.zeros(5)})), r"latent_avg of \(5,\)")
    refused(write(tmp_path / "c", saved({"model": {}})), "holds no generator.*model")
    refused(write(tmp_path / "d", saved(torch.zeros(1, 18, 512))), "holds a Tensor.*a latent")
    state["convs.0.conv.weight"] = torch.full_like(state["convs.0.conv.weight"], torch.nan)
    refused(write(tmp_path / "e", saved({"g_ema": state})), "not finite")


OWN = {
    "resample_conv": ((1.0, 2.0, 3.0, 1.0), (1.0, 1.0)),
    "resample_rgb": ((1.0, 3.0, 3.0, 1.0), (2.0, 1.0, 3.0, 2.0)),
}


def test_each_enlargement_has_its_own_filter(tmp_path):
    wanted = with_mean(tiny_generator())
    state, ones = to_state(wanted), torch.tensor([1.0, 2.0, 3.0, 1.0])
    kernel = 4 * torch.outer(ones, ones) / 49  # of the convolutions alone, as their Generator(blur_kernel=...) makes it
    state |= {key: kernel for key in state if key.endswith("blur.kernel")}
    found = read_checkpoint(write(tmp_path / "m", saved({"g_ema": state, "latent_avg": wanted.w_avg})))
    for block in list(found.blocks)[1:]:
        torch.testing.assert_close(4 * block.conv0.up_kernel, kernel)
        torch.testing.assert_close(block.up_kernel, wanted.blocks[1].up_kernel)
    again = to_state(found)
    assert all(torch.allclose(again[key], state[key]) for key in state)


@pytest.mark.parametrize("how", ["ours", "stylegan2-pytorch", "nvidia"])
def test_filters_of_all_layers_go_through_files(tmp_path, how):
    wanted = with_mean(tiny_generator(**OWN))
    torch.testing.assert_close(wanted.blocks[1].conv0.up_kernel[1], torch.tensor([2.0, 4.0, 6.0, 2.0]) / 49)
    data = {
        "ours": lambda: save_model(wanted, tmp_path / "m") or (tmp_path / "m").read_bytes(),
        "stylegan2-pytorch": lambda: saved({"g_ema": to_state(wanted), "latent_avg": wanted.w_avg}),
        "nvidia": lambda: dumped(nvidia(wanted)),
    }[how]()
    found = read_checkpoint(write(tmp_path / "m", data))
    same(found, wanted)
    for one, two in zip(list(found.blocks)[1:], list(wanted.blocks)[1:], strict=True):
        torch.testing.assert_close(one.up_kernel, two.up_kernel)


def test_conditional_generators_of_this_layout_are_refused(tmp_path):
    state = to_state(tiny_generator())
    state["style.1.weight"] = torch.randn(8, 16)
    refused(write(tmp_path / "m", saved({"g_ema": state})), "maps 16 numbers to a w of 8.*may be a class embedding")
