import copy
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import count

import pytest
import torch
from PIL import Image
from torch import nn

from generators import load
from generators.checkpoints.ours import save_model
from generators.pictures.image import to_pil, to_tensor
from generators.storage import cache_folder, sha256_of
from generators.stylegan2 import StyleGAN2, StyleGAN2Config
from inversion import inverter, loop
from inversion.config import RECIPES, InvertConfig, LatentSpace, recipe
from inversion.errors import SettingsError
from inversion.guess import first_guess
from inversion.inverter import Inversion, Inverter, invert
from inversion.latent import at_a_time, mean_latent, sample_latent, synthesize
from inversion.loop import best_start, steps_of
from inversion.metrics import psnr
from inversion.target import Target, load_target, stacked
from tests.conftest import ROOT, picture


class Features(nn.Module):
    """The part of a discriminator that the default recipe looks through."""

    def features(self, image):
        return (image * 2, nn.functional.avg_pool2d(image, 2))


@pytest.fixture(scope="module")
def astronaut():
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for its photograph")
    return Image.fromarray(data.astronaut())


def settings(**changes):
    return InvertConfig(**({"steps": 10, "bf16": False} | changes))


def pictures(generator, batch=2):
    return synthesize(generator, sample_latent(generator, batch=batch, seed=1))


def last(steps):
    *_, step = steps
    return step


def test_the_best_of_several_random_starts_is_each_images_own(generator):
    images = pictures(generator, 4)
    config = settings(start="random", restarts=3, steps=9, loss={"pixel": 1.0})  # a tenth of 9: the guesses themselves
    guesses = [first_guess(generator, images, "random", config.space, seed=seed).code for seed in range(3)]
    noise = generator.fixed_noise(4)
    errors = torch.stack([(generator.synthesis(g, noise) - images).square().mean(dim=(1, 2, 3)) for g in guesses])
    best = best_start(generator, images, config)
    assert len(set(errors.argmin(dim=0).tolist())) > 1  # or the test would show little
    for i, winner in enumerate(errors.argmin(dim=0).tolist()):
        assert torch.equal(best.code[i], guesses[winner][i])


# recipes


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_ask_for_discriminator_features_only_where_there_are_some(generator, name):
    fitted = recipe(generator, name).loss
    assert "features" not in fitted and fitted
    with_features = copy.deepcopy(generator)
    with_features.discriminator = Features()
    assert recipe(with_features, name) == RECIPES[name]


def test_recipes_by_name(generator):
    with pytest.raises(SettingsError, match="no recipe named 'mine'; known recipes: projector"):
        recipe(generator, "mine")
    projector = recipe(generator, "projector")
    assert projector.space is LatentSpace.W and projector.optimize_noise and projector.steps == 1000


def test_every_published_recipe_runs_without_a_download():
    assert RECIPES["projector-offline"].loss == {"perceptual": 1.0, "noise-code": 1e5}
    for name, config in RECIPES.items():
        if any("lpips" in term for term in config.loss):
            other = RECIPES[f"{name}-offline"]
            assert [*other.loss.values()] == [*config.loss.values()] and replace(other, loss=config.loss) == config
    assert RECIPES["projector-w-plus"] == replace(RECIPES["projector"], space=LatentSpace.W_PLUS)


# the steps


def test_steps_start_where_they_are_told(generator):
    images, config = pictures(generator), settings(steps=0, loss={"pixel": 1.0})
    init = sample_latent(generator, batch=2, seed=1)
    step = last(steps_of(generator, images, config, init=init))
    rendered = generator.synthesis(init.code, init.noise)  # beyond [-1, 1] here and there, which the loss sees
    assert torch.equal(step.latent.code, init.code)
    torch.testing.assert_close(step.total, (rendered - images).square().mean(dim=(1, 2, 3)))
    with pytest.raises(SettingsError, match="the start is in w_plus, the inversion in w"):
        next(steps_of(generator, images, replace(config, space=LatentSpace.W), init=init))
    with pytest.raises(SettingsError, match="2 starts came for 1 images"):
        next(steps_of(generator, images[:1], config, init=init))


def test_steps_check_their_budget_and_their_terms(generator):
    with pytest.raises(SettingsError, match="budget"):
        next(steps_of(generator, pictures(generator), settings(), budget=0.0))
    with pytest.raises(SettingsError, match="no loss named 'likeness'"):
        next(steps_of(generator, pictures(generator), settings(loss={"likeness": 1.0})))


def test_the_budget_counts_from_the_first_guess(generator, monkeypatch):
    clock = count()  # a second at each look, in both modules
    for module in (loop, inverter):
        monkeypatch.setattr(module, "monotonic", lambda: float(next(clock)))
    config = settings(start="random", restarts=2, steps=100, loss={"pixel": 1.0})
    steps = list(steps_of(generator, pictures(generator), config, budget=20.0))
    # Looks: 1 at the start; 6 a restart (a fourth of 20 s); 1 afterwards, at 13 s; so 7 s are left.
    assert steps[-1].index == 6
    assert len(list(steps_of(generator, pictures(generator), config, budget=0.1))) == 1


def test_measure_tells_each_image_apart(generator):
    images = pictures(generator)
    targets = [Target(images[:1], "a.jpg", "00"), Target(images[1:])]
    config = settings(loss={"pixel": 1.0}, steps=3)
    step = last(steps_of(generator, stacked(targets), config))
    inverter = Inverter(generator, config, "mine")
    found = [inverter.measured(target, step, i, 1.5) for i, target in enumerate(targets)]
    for i, result in enumerate(found):
        assert torch.equal(result.image, synthesize(generator, result.latent))
        assert torch.equal(result.latent.code, step.latent.code[i : i + 1])
        assert result.metrics["psnr_db"] == pytest.approx(psnr(result.image, images[i : i + 1]).item())
        assert result.losses == {"pixel": pytest.approx(step.losses["pixel"][i].item())}
        assert result.metrics["identity"] is None and -1 <= (result.metrics["ssim"] or -2) <= 1
        assert (result.seconds, result.steps, result.history["recipe"]) == (1.5, 3, "mine")
    assert [result.history["photograph"] for result in found] == ["a.jpg", None]


# all of it


def test_invert_a_photograph(generator, astronaut, tmp_path):
    astronaut.save(tmp_path / "me.png")
    result = invert(generator, tmp_path / "me.png", config=replace(recipe(generator, "default"), steps=60))
    assert result.latent.code.shape == (1, generator.num_ws, generator.w_dim)
    assert result.latent.space is LatentSpace.W_PLUS and result.steps == 60 and result.seconds > 0
    assert torch.equal(result.image, synthesize(generator, result.latent))

    mean = synthesize(generator, mean_latent(generator, LatentSpace.W_PLUS))
    assert (result.metrics["psnr_db"] or 0) > psnr(mean, result.target.image).item() + 1
    history = json.loads(json.dumps(result.history, allow_nan=False))
    assert history["photograph_sha256"] == sha256_of(tmp_path / "me.png")
    assert history["alignment"]["photo_size"] == [512, 512] and history["alignment"]["faces"] == 1
    assert history["settings"] == result.history["settings"] and history["settings"]["space"] == "w_plus"
    assert history["losses"].keys() == {"pixel", "laplacian", "ms_ssim", "anchor", "detail"}
    assert history["recipe"] == "custom" and history["metrics"] == result.metrics


def test_invert_takes_a_picture_or_a_tensor(generator):
    picture = to_pil(pictures(generator, 1))
    config = settings(loss={"l1": 1.0})
    one = invert(generator, picture, config=config, align=False)
    two = invert(generator, to_tensor(picture), config=config)
    assert torch.equal(one.latent.code, two.latent.code) and one.metrics == two.metrics


def test_invert_by_recipe_seed_and_loss(generator):
    image = pictures(generator, 1)
    first = invert(generator, image, recipe="encode", seed=3)
    assert (first.steps, first.history["recipe"]) == (0, "encode")
    assert torch.equal(first.latent.code, mean_latent(generator, LatentSpace.W_PLUS).code)
    found = invert(generator, image, recipe="encode", seed=3, loss={"l1": 2.0})
    rendered = generator.synthesis(first.latent.code, first.latent.noise)
    assert found.losses == {"l1": pytest.approx(2 * (rendered - image).abs().mean().item(), rel=0.05)}  # bf16
    assert found.history["settings"]["seed"] == 3  # type: ignore[index]
    with pytest.raises(SettingsError, match="no recipe"):
        invert(generator, image, recipe="best")


def test_the_default_objective_looks_through_the_models_discriminator(generator):
    generator = copy.deepcopy(generator)
    generator.discriminator = Features()
    config = replace(recipe(generator, "default"), steps=2)
    assert invert(generator, pictures(generator, 1), config=config).losses.keys() == config.loss.keys()


def test_a_grey_generator(astronaut):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        grey = StyleGAN2(StyleGAN2Config(img_resolution=16, img_channels=1, z_dim=8, w_dim=8, channels=(8, 8, 8)))
    grey.eval().requires_grad_(False)
    target = load_target(grey, astronaut, align=False)
    luma = to_tensor(astronaut.resize((16, 16), Image.Resampling.LANCZOS).convert("L").convert("RGB"))[:, :1]
    assert (target.image - luma).abs().max() < 0.1  # rounded to 8 bits at another size
    result = invert(grey, astronaut, align=False, config=replace(recipe(grey, "default"), steps=2))
    assert result.image.shape == (1, 1, 16, 16) and math.isfinite(result.metrics["psnr_db"] or math.nan)


@pytest.mark.parametrize("size, most, wanted", [(16, 8, 8), (256, 8, 8), (512, 8, 2), (1024, 8, 1), (1024, 32, 2)])
def test_fewer_large_pictures_at_a_time(generator, monkeypatch, size, most, wanted):
    monkeypatch.setattr(generator, "img_resolution", size)
    assert at_a_time(generator, most) == wanted


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_grad_mode_changes_nothing(generator, tmp_path, mode):
    picture(1).save(tmp_path / "a.png")
    config = InvertConfig(steps=3, loss={"pixel": 1.0})
    save_model(generator, tmp_path / "m.safetensors")
    wanted = invert(load(tmp_path / "m.safetensors"), tmp_path / "a.png", config=config, align=False)
    with mode():
        found = invert(load(tmp_path / "m.safetensors"), tmp_path / "a.png", config=config, align=False)
        image = wanted.target.image.clone()
        again = invert(generator, image, config=config, align=False)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode) and not torch.is_grad_enabled()
    assert torch.equal(found.latent.code, wanted.latent.code) and torch.equal(again.latent.code, wanted.latent.code)
    assert (
        wanted.losses["pixel"] < invert(generator, image, config=replace(config, steps=0), align=False).losses["pixel"]
    )


NUMPY = """
import sys, numpy as np
from pathlib import Path
from generators import load
from inversion.config import InvertConfig
from inversion.errors import SettingsError
from inversion.files.latent_file import read_bundle, save
from inversion.inverter import Inverter

folder = sys.argv[1]
config = InvertConfig(steps=np.int64(2), lr=np.float32(0.5), bf16=np.bool_(False), loss={"pixel": np.float64(1)})
assert [type(v) for v in (config.steps, config.lr, config.bf16, config.loss["pixel"])] == [int, float, bool, float]
generator = load(folder + "/m.safetensors")
how = {"batch": np.int64(1), "face": np.int64(1), "cache": Path(folder)}
(found,) = Inverter(generator, config, align=False, **how).run([folder + "/a.png"])
save(found.latent, folder + "/a.latent.safetensors", generator, found.history | {"more": np.float32(0.5)})
history = read_bundle(folder + "/a.latent.safetensors").history
assert history["settings"]["steps"] == 2 and history["settings"]["lr"] == history["more"] == 0.5
for wrong in ({"steps": np.int64(-1)}, {"steps": 2.5}, {"steps": "3"}, {"lr": "0.1"}, {"steps": True}, {"lr": np.nan}):
    try:
        raise AssertionError(InvertConfig(**wrong))
    except SettingsError as error:
        assert "wanted a" in str(error)
"""


def test_numpys_numbers_are_settings_and_can_be_saved(generator, tmp_path):  # in a process that checks no types
    picture(1).save(tmp_path / "a.png")
    save_model(generator, tmp_path / "m.safetensors")
    done = subprocess.run([sys.executable, "-c", NUMPY, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_cached_latents_are_for_their_owner_alone(generator, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    picture(1).save(tmp_path / "a.png")
    inverter = Inverter(generator, InvertConfig(steps=0), align=False, cache=cache_folder("inversions"))
    list(inverter.run([tmp_path / "a.png"]))
    (entry,) = (tmp_path / "cache" / "inversions").iterdir()
    assert (entry.stat().st_mode & 0o777, entry.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert str(tmp_path).encode() not in entry.read_bytes()
    entry.unlink()
    os.mkfifo(entry)  # nobody waits for what comes through it
    assert isinstance(next(inverter.run([tmp_path / "a.png"])), Inversion)


@pytest.mark.parametrize("cache", ["n" * 300, "file/below"])
def test_a_cache_that_cannot_be_is_gone_on_without(generator, tmp_path, cache):
    (tmp_path / "file").write_bytes(b"")
    picture(1).save(tmp_path / "a.png")
    inverter = Inverter(generator, InvertConfig(steps=0), align=False, cache=tmp_path / cache)
    assert isinstance(next(inverter.run([tmp_path / "a.png"])), Inversion)
