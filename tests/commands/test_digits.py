"""The command line with a generator that is no StyleGAN2, of one channel, 8 px, and without faces."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from generators import load
from generators.pictures.digits import digits
from tests.conftest import objects, pixels, refused


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("two")
    for digit in (digits("test")[0], digits("test")[11]):
        Image.fromarray(digit.pixels).save(folder / f"{digit.label}.png")
    return sorted(str(path) for path in folder.iterdir())


def test_invert_and_render_a_digit(latent, two, tmp_path):
    result = latent("invert", *two, "-g", "digits", "-o", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    for record in objects(result):
        assert record["identity"] is None and record["steps"] == 100 and record["psnr_db"] > 15
    stem = tmp_path / os.path.basename(two[0]).removesuffix(".png")
    assert latent("render", f"{stem}.latent.safetensors", "-g", "digits", "-o", tmp_path / "r.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "r.png"), pixels(f"{stem}.png"))


def test_the_pca_of_the_digits_is_trained_and_inverts_at_once(latent, two, tmp_path):
    out = tmp_path / "pca.safetensors"
    result = latent("train", "digits", "--kind", "pca", "--dim", 8, "-o", out)
    assert result.exit_code == 0, result.output
    result = latent("invert", two[0], "-g", out, "-o", tmp_path, "--json")
    assert result.exit_code == 0 and objects(result)[0]["steps"] == 0
    g = load(out)
    assert (g.w_dim, g.img_resolution, g.img_channels, g.card["pictures"]) == (8, 8, 1, 1438)


@pytest.mark.parametrize("kind", ["ae", "sparse", "contractive", "denoising", "vae"])
def test_every_kind_is_trained_and_resumed(latent, tmp_path, kind):
    out = tmp_path / "m.safetensors"
    args = ["train", "digits", "--kind", kind, "--dim", 4, "--widths", 16, "-o", out, "--json"]
    result = latent(*args, "--images", 192)
    assert result.exit_code == 0, result.output
    assert objects(result)[-1]["images_seen"] == 192
    result = latent(*args, "--images", 320, "--resume")
    assert result.exit_code == 0, result.output
    assert objects(result)[-1]["images_seen"] == 320 and load(out).w_dim == 4


def test_settings_of_another_kind_are_refused(latent, tmp_path):
    refused(latent("train", "digits", "--kind", "ae", "--beta", 2, "-o", tmp_path / "m.safetensors"), "ae", "beta")


def test_a_folder_of_that_name_goes_before_the_word(latent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    for i in range(6):
        Image.fromarray(np.full((8, 8), 40 * i, np.uint8)).save(tmp_path / "digits" / f"{i}.png")
    sizes = ["--resolution", 8, "--img-channels", 1, "--dim", 1]
    result = latent("train", "digits", "--kind", "pca", *sizes, "-o", tmp_path / "m.safetensors")
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "m.safetensors").card["pictures"] == 6


@pytest.mark.parametrize("name", ["digits", "digits-gan"])
def test_sample_blend_and_interpolate(latent, two, tmp_path, name):
    model = ["-g", name, "--steps", 2]
    assert latent("sample", "-g", name, "-n", 4, "-o", tmp_path / "s.png").exit_code == 0
    for args in (["blend", *two, "-o", tmp_path / "b.png"], ["blend", *two, "--children", 2, "-o", f"{tmp_path}/c/"]):
        result = latent(*args, *model)
        assert result.exit_code == 0, result.output
    assert pixels(tmp_path / "b.png").shape == (8, 8, 3)
    assert latent("interpolate", *two, *model, "--frames", 5, "-o", tmp_path / "i.png").exit_code == 0
    assert pixels(tmp_path / "i.png").shape == (8, 40, 3)
    assert latent("interpolate", *two, *model, "--frames", 5, "--scale", 3, "-o", tmp_path / "i.png").exit_code == 0
    assert pixels(tmp_path / "i.png").shape == (24, 120, 3)


def test_one_style_has_no_layers_to_mix(latent, two, tmp_path):
    refused(latent("mix", *two, "-g", "digits", "--steps", 0, "-o", tmp_path / "m.png"), "one style", "use blend")


def test_evaluate_has_no_identity(latent, two):
    result = latent("evaluate", os.path.dirname(two[0]), "-g", "digits", "--recipe", "encode", "--json")
    assert result.exit_code == 0, result.output
    *records, summary = objects(result)
    assert [record["identity"] for record in records] == [None, None] and summary["same_person"] is None


def test_the_models_are_listed(latent):
    listed = {record["name"]: record for record in map(json.loads, latent("generators", "--json").stdout.splitlines())}
    assert listed["digits"]["resolution"] == listed["digits-gan"]["resolution"] == 8
