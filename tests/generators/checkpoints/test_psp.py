"""Checkpoints of pSp, e4e and ReStyle, and what their encoders see."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate

from generators.checkpoints import open as opening
from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.ours import load_model, save_model
from generators.checkpoints.rosinality import to_state
from generators.parts.pyramid import Pyramid, PyramidConfig, shrunk
from generators.unpickle.torch_save import load_torch
from inversion.config import recipe
from inversion.inverter import Inverter
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import saved
from tests.generators.checkpoints.reading import same, with_mean, write

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
        ("BackboneEncoderUsingLastLayerIntoW", {"whole": "w"}),
        ("SingleStyleCodeEncoder", {"whole": "w"}),
        ("BackboneEncoderUsingLastLayerIntoWPlus", {"whole": "w_plus"}),
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
        torch.testing.assert_close(found.encoder.other, mean[0].repeat_interleave(16, 1).repeat_interleave(16, 2))
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(found.encoder(image), encoder(image))
    assert (encoder(image) - encoder.offset).abs().max() > 1e-3
    save_model(found, tmp_path / "ours.safetensors")
    again = load_model(tmp_path / "ours.safetensors").encoder
    assert isinstance(again, Pyramid)
    torch.testing.assert_close(again(image), encoder(image))


def test_weights_are_held_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(opening, "load_torch", lambda file: read.append(load_torch(file)) or read[0])
    wanted = with_mean(tiny_generator())
    data = psp_file(wanted, encoded(wanted, halvings=(4,) * 6))
    found = read_checkpoint(write(tmp_path / "m", data))
    there = {value.untyped_storage().data_ptr() for value in read[0]["state_dict"].values()}
    own = {name for name, value in found.named_parameters() if value.untyped_storage().data_ptr() not in there}
    assert len(list(found.named_parameters())) > 100 and not own


def test_encoders_that_stay_behind(tmp_path):
    wanted = tiny_generator()
    encoder = encoded(wanted, halvings=(4, 4, 4, 5, 5, 6))
    found = read_checkpoint(write(tmp_path / "a", psp_file(wanted, encoder, encoder_type="ResNetBackboneEncoder")))
    assert found.encoder is None and "'ResNetBackboneEncoder' is not read" in found.card["left_out"][0]
    same(found, wanted)
    seven = encoded(tiny_generator(img_resolution=32, channels=(8,) * 4), halvings=(4,) * 8)
    found = read_checkpoint(write(tmp_path / "b", psp_file(wanted, seven)))
    assert found.encoder is None and "do not fit" in found.card["left_out"][0]


def test_one_style_is_the_mean_of_the_last_map(tmp_path):
    wanted = with_mean(tiny_generator())
    encoder = encoded(wanted, whole="w")
    found = read_checkpoint(write(tmp_path / "m", psp_file(wanted, encoder, encoder_type="SingleStyleCodeEncoder")))
    image = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean = encoder.maps(image)[4].mean((2, 3))
    style = mean @ encoder.linear.weight.T / 16**0.5 + encoder.linear.bias + wanted.w_avg
    torch.testing.assert_close(found.encoder(image), style[:, None].expand(-1, 6, -1))


def test_a_style_a_layer_from_seven_by_seven_pixels(tmp_path):
    wanted = with_mean(tiny_generator())
    encoder, kind = encoded(wanted, whole="w_plus"), "BackboneEncoderUsingLastLayerIntoWPlus"
    found = read_checkpoint(write(tmp_path / "m", psp_file(wanted, encoder, encoder_type=kind)))
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    norm, flat, x = encoder.output_layer_2[0], encoder.output_layer_2[3], encoder.maps(image)[4][0]
    x = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
    x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
    edges = [(i * 16 // 7, -(-(i + 1) * 16 // 7)) for i in range(7)]  # each of seven cells, with all pixels it touches
    cells = torch.stack([x[:, a:b, c:d].mean((1, 2)) for a, b in edges for c, d in edges], dim=1)
    small = flat.weight @ cells.flatten() + flat.bias
    styles = (encoder.linear.weight @ small / 8**0.5 + encoder.linear.bias).reshape(6, 8) + wanted.w_avg
    torch.testing.assert_close(found.encoder(image)[0], styles, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("px", [16, 512])
def test_renderings_are_averaged_to_what_the_encoder_sees(px):
    image = torch.rand(1, 3, px, px, generator=torch.Generator().manual_seed(0))
    small = image.reshape(1, 3, 256, 2, 256, 2).mean((3, 5)) if px == 512 else image.repeat_interleave(16, 2)
    torch.testing.assert_close(shrunk(image, 256), small if px == 512 else small.repeat_interleave(16, 3))


@pytest.mark.parametrize("kind", ["BackboneEncoder", "ProgressiveBackboneEncoder"])
def test_restyle_takes_five_steps(tmp_path, kind):
    wanted = with_mean(tiny_generator())
    encoder = encoded(wanted, halvings=(4,) * 6, shared=kind != "BackboneEncoder", feedback=True)
    most = encoder.found(torch.ones(1, 6, 256, 256)).abs().max()
    for head in encoder.styles:
        head.linear.weight.div_(most)  # so that five steps stay where floats are fine
    g = read_checkpoint(write(tmp_path / "m", psp_file(wanted, encoder, encoder_type=kind)))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    network, ws = g.encoder, wanted.w_avg.expand(2, 6, -1)
    large = interpolate(images, (256, 256), mode="bilinear", antialias=True)
    codes = []
    for _ in range(5):
        rendered = wanted.synthesis(ws, wanted.fixed_noise(2)).repeat_interleave(16, 2).repeat_interleave(16, 3)
        ws = ws + network.found(torch.cat([large, rendered], dim=1))
        codes.append(ws)
    *_, step = Inverter(g, recipe(g, "restyle"), "restyle").steps(images)
    torch.testing.assert_close(step.latent.code, codes[4], rtol=1e-4, atol=1e-4)
    assert (codes[4] - codes[3]).abs().max() > 1e-2
    *_, first = Inverter(g, replace(recipe(g, "restyle"), looks=0)).steps(images)
    torch.testing.assert_close(first.latent.code, codes[0], rtol=1e-4, atol=1e-4)
