import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from generators import load
from inversion.directions.direction import direction_of
from inversion.directions.store import load_directions, save_directions
from inversion.files.latent_file import load_latent
from tests.conftest import ROOT, objects, pixels, refused, tiny_generator


@pytest.fixture
def axes(model, tmp_path):
    """A file of two directions, along the first two axes of w."""
    generator, path = load(model), tmp_path / "axes.directions.safetensors"
    rows = torch.eye(generator.w_dim)
    save_directions([direction_of(generator, name, rows[i : i + 1]) for i, name in enumerate(["age", "smile"])], path)
    return path


def test_set_moves_by_standard_deviations(latent, model, latents, axes, tmp_path):
    args = ["--set", "age=+1.5,smile=-1", "--directions", axes, "--save-latents", "--json"]
    (record,) = objects(latent("edit", latents[0], "-o", tmp_path / "o.png", *args))
    assert record["set"] == {"age": 1.5, "smile": -1.0}
    end, start = (load(model).unbent(load_latent(path).code) for path in (record["latent"], latents[0]))
    moved = end - start
    known = load_directions(axes)
    expected = 1.5 * known["age"].shift - known["smile"].shift
    torch.testing.assert_close(moved, expected.expand_as(moved), atol=1e-5, rtol=1e-4)


def test_layers_are_named_by_resolution(latent, latents, axes, tmp_path):
    args = ["--set", "age=1", "--directions", axes, "--layers", "8-16", "--save-latents"]
    assert latent("edit", latents[0], "-o", tmp_path / "o.png", *args).exit_code == 0
    moved = load_latent(tmp_path / "o.latent.safetensors").code != load_latent(latents[0]).code
    assert moved.any(dim=2)[0].tolist() == [False, True, True, True, True, True]
    refused(latent("edit", latents[0], "-o", tmp_path / "x.png", *args[:4], "--layers", "64"), "has no layer at 64")


def test_several_go_into_a_folder_and_zero_changes_nothing(latent, latents, axes, tmp_path):
    records = objects(
        latent("edit", *latents, "-o", f"{tmp_path}/e/", "--set", "age=0", "--directions", axes, "--json")
    )
    assert len(records) == 3
    latent("render", latents[1], "-o", tmp_path / "same.png")
    np.testing.assert_array_equal(pixels(records[1]["file"]), pixels(tmp_path / "same.png"))


def test_a_strip_shows_both_ways(latent, latents, axes, tmp_path):
    args = ["--strip", "age=2", "--frames", 5, "--directions", axes]
    result = latent("edit", *latents[:2], "-o", tmp_path / "strip.png", *args)
    assert result.exit_code == 0, result.output
    high, wide, _ = pixels(tmp_path / "strip.png").shape
    assert wide > 5 * 192 and high > 2 * 192


def test_what_cannot_be_is_one_line(latent, latents, axes, tmp_path):
    out = ["-o", tmp_path / "x.png"]
    refused(latent("edit", latents[0], *out, "--set", "agee=1", "--directions", axes), "no direction named 'agee'")
    refused(latent("edit", latents[0], *out, "--set", "age=1"), "comes without directions")
    for args, words in [
        ((), "say what to change"),
        (("--set", "age"), "'age' is no setting"),
        (("--set", "age=nan"), "no finite number"),
        (("--set", "age=1", "--layers", "8-4"), "no resolutions"),
    ]:
        result = latent("edit", latents[0], *out, *args)
        assert result.exit_code == 2 and words in result.output
    refused(latent("edit", latents[0], *out, "--set", "age=1e9", "--directions", axes), "age is 1000000000.0; give")
    other = tiny_generator(seed=9)
    foreign = tmp_path / "foreign.directions.safetensors"
    save_directions([direction_of(other, "age", torch.eye(8)[:1])], foreign)
    refused(latent("edit", latents[0], *out, "--set", "age=1", "--directions", foreign), "has another W")
    assert not (tmp_path / "x.png").exists()


# Directions


def test_discovered_directions_can_be_listed_and_used(latent, latents, tmp_path):
    file = tmp_path / "found.directions.safetensors"
    args = ["-n", 3, "-o", file, "--sheet", tmp_path / "sheet.png", "--json"]
    (record,) = objects(latent("directions", "discover", *args))
    assert record["directions"] == ["sefa-1", "sefa-2", "sefa-3"] and pixels(tmp_path / "sheet.png").shape[1] > 7 * 192
    listed = objects(latent("directions", "list", "--directions", file, "--json"))
    assert [one["name"] for one in listed] == record["directions"] and listed[0]["made"]["method"] == "sefa"
    args = ["--set", "sefa-1=1", "--directions", file]
    assert latent("edit", latents[0], "-o", tmp_path / "o.png", *args).exit_code == 0
    assert "name the file FILE.directions" in latent("directions", "discover", "-o", tmp_path / "x.npy").output


def test_a_published_file_is_imported_by_a_process(model, tmp_path):
    np.save(tmp_path / "smile.npy", np.eye(8, dtype=np.float32)[:1])
    file = tmp_path / "smile.directions.safetensors"
    command = [sys.executable, "-m", "cli", "directions", "import", str(tmp_path / "smile.npy"), "-g", model]
    done = subprocess.run(
        [*command, "-o", str(file), "--anyway", "--json"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["directions"] == ["smile"]
    assert load_directions(file)["smile"].made["file"] == "smile.npy"


def test_a_mask_keeps_all_else_as_it_was(latent, latents, axes, tmp_path):
    half = np.zeros((16, 16), np.uint8)
    half[:, :4] = 255
    Image.fromarray(half).save(tmp_path / "left.png")
    args = ["--set", "age=3", "--directions", axes, "--mask", tmp_path / "left.png", "--save-latents"]
    assert latent("edit", latents[0], "-o", tmp_path / "o.png", *args).exit_code == 0
    latent("render", latents[0], "-o", tmp_path / "same.png")
    changed = (pixels(tmp_path / "o.png") != pixels(tmp_path / "same.png")).any(axis=(0, 2))
    assert changed[:4].all() and not changed[12:].any()
    latent("render", tmp_path / "o.latent.safetensors", "-o", tmp_path / "again.png")
    np.testing.assert_array_equal(pixels(tmp_path / "again.png"), pixels(tmp_path / "o.png"))
    refused(latent("edit", latents[0], "-o", tmp_path / "x.png", *args[:4], "--region", "ears"), "no region is called")
    Image.new("L", (10, 10), 255).save(tmp_path / "small.png")
    other = [*args[:4], "--mask", tmp_path / "small.png"]
    refused(latent("edit", latents[0], "-o", tmp_path / "x.png", *other), "small.png is 10 x 10 px")


def test_before_and_after_are_one_picture(latent, latents, axes, tmp_path):
    args = ["--set", "age=1", "--directions", axes, "--cmp"]
    assert latent("edit", latents[0], "-o", tmp_path / "both.png", *args).exit_code == 0
    high, wide, _ = pixels(tmp_path / "both.png").shape
    assert wide > 2 * 192 and high < 2 * 192
    result = latent("edit", latents[0], "-o", f"{tmp_path}/folder/", *args)
    assert result.exit_code == 2 and "--cmp makes one picture" in result.output


def test_what_moves_besides_is_undone_by_its_effects(latent, model, latents, tmp_path):
    generator, rows = load(model), torch.eye(8)
    age = direction_of(generator, "age", rows[:1], effects={"age": 1.0, "smile": 0.5})
    smile = direction_of(generator, "smile", rows[1:2], effects={"age": 0.0, "smile": 1.0})
    save_directions([age, smile], file := tmp_path / "two.directions.safetensors")
    args = ["--set", "age=1", "--undo", "smile", "--directions", file, "--save-latents"]
    assert latent("edit", latents[0], "-o", tmp_path / "o.png", *args).exit_code == 0
    ends = (generator.unbent(load_latent(path).code) for path in (tmp_path / "o.latent.safetensors", latents[0]))
    moved = torch.sub(*ends)[0, 0]
    ratio = moved[1] / moved[0]
    torch.testing.assert_close(ratio, -0.5 * smile.shift[0, 1] / age.shift[0, 0], rtol=1e-3, atol=1e-4)


def test_an_aim_needs_something_that_measures_it(latent, latents, tmp_path, model):
    generator = load(model)
    save_directions([direction_of(generator, "odd", torch.eye(8)[:1])], file := tmp_path / "odd.directions.safetensors")
    result = latent("edit", latents[0], "-o", tmp_path / "x.png", "--to", "odd=3", "--directions", file)
    refused(result, "nothing measures 'odd'")
