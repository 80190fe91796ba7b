import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.ours import load_model, save_model
from generators.checkpoints.rosinality import to_state
from generators.parts.pyramid import Pyramid, PyramidConfig
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import saved
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


# pSp, e4e, ReStyle

FACES = {"widths": (4, 8, 12, 16), "units": (1, 2, 1, 1), "stem": 4, "squeeze": 2, "img_resolution": 256}


def encoded(generator, **settings):
    config = PyramidConfig(num_ws=generator.num_ws, w_dim=8, **FACES | settings)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        encoder = Pyramid(config)
        for value in encoder.state_dict().values():
            if value.dtype == torch.float32:
                value.normal_().mul_(0.5).abs_()
    return encoder.eval().requires_grad_(False)


def psp_file(generator, encoder, **options):
    inner = {k: v for k, v in encoder.state_dict().items() if k not in ("offset", "other")}
    state = {f"encoder.{k}": v for k, v in inner.items()} | {f"decoder.{k}": v for k, v in to_state(generator).items()}
    average = generator.w_avg.repeat(generator.num_ws, 1)
    return saved({"state_dict": state, "latent_avg": average, "opts": {"start_from_latent_avg": True} | options})


@pytest.mark.parametrize(
    "kind, settings",
    [
        ("GradualStyleEncoder", {"halvings": (4, 4, 4, 5, 5, 6)}),
        ("Encoder4Editing", {"halvings": (4, 4, 4, 5, 5, 6), "shared": True}),
        ("BackboneEncoder", {"halvings": (4,) * 6, "feedback": True}),
        ("ProgressiveBackboneEncoder", {"halvings": (4,) * 6, "shared": True, "feedback": True}),
    ],
)
def test_the_encoder_becomes_the_first_guess(tmp_path, kind, settings):
    wanted = with_mean(tiny_generator())
    encoder = encoded(wanted, **settings)
    found = read_checkpoint(write(tmp_path / "m", psp_file(wanted, encoder, encoder_type=kind)))
    same(found, wanted)
    assert isinstance(found.encoder, Pyramid) and found.encoder.config == encoder.config
    encoder.offset.copy_(wanted.w_avg.expand(6, -1))
    if encoder.config.feedback:
        encoder.other.copy_(found.encoder.other)
        mean = wanted.synthesis(wanted.w_avg.expand(1, 6, -1), wanted.fixed_noise(1))
        assert (found.encoder.other.mean((1, 2)) - mean[0].mean((1, 2))).abs().max() < 0.1
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(found.encoder(image), encoder(image))
    assert (encoder(image) - encoder.offset).abs().max() > 1e-3
    save_model(found, tmp_path / "ours.safetensors")
    again = load_model(tmp_path / "ours.safetensors").encoder
    assert isinstance(again, Pyramid)
    torch.testing.assert_close(again(image), encoder(image))


def test_encoders_that_stay_behind(tmp_path):
    wanted = tiny_generator()
    encoder = encoded(wanted, halvings=(4, 4, 4, 5, 5, 6))
    found = read_checkpoint(write(tmp_path / "a", psp_file(wanted, encoder, encoder_type="ResNetBackboneEncoder")))
    assert found.encoder is None and "'ResNetBackboneEncoder' is not read" in found.card["left_out"][0]
    same(found, wanted)
    seven = encoded(tiny_generator(img_resolution=32, channels=(8,) * 4), halvings=(4,) * 8)
    found = read_checkpoint(write(tmp_path / "b", psp_file(wanted, seven)))
    assert found.encoder is None and "do not fit" in found.card["left_out"][0]
