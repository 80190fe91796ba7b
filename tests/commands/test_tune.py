"""latent invert --tune, and the commands that draw what it found."""

import json
import shutil

import pytest

from generators import load
from inversion.files.deltas import tuned_for
from inversion.files.latent_file import load_latent, read_bundle
from inversion.latent import synthesize
from inversion.metrics import psnr
from tests.conftest import objects, pixels, refused

FAST = ("--steps", "2", "--no-align")
TUNE = ("--tune", "--tune-steps", "6", "--tune-loss", "pixel=1", *FAST)


@pytest.fixture
def pair(latent, photos, tmp_path):
    """Two photographs, tuned together: the folder, and the records."""
    result = latent("invert", *photos[:2], "-o", tmp_path / "pair", "--json", *TUNE)
    assert result.exit_code == 0, result.output
    return tmp_path / "pair", objects(result)


def test_people_of_one_call_share_a_delta(pair, model):
    folder, records = pair
    deltas = [*folder.glob("*.delta.safetensors")]
    assert {record["delta"] for record in records} == {str(deltas[0])} and len(deltas) == 1
    generator, sources = load(model), [record["latent"] for record in records]
    tuned = tuned_for(generator, sources)
    for record in records:
        bundle = read_bundle(record["latent"])
        assert tuned.delta is not None
        assert bundle.history["tuning"]["delta"] == tuned.delta.sha256 == bundle.delta_sha256
        assert bundle.history["metrics"]["psnr_db"] == record["psnr_db"]
        assert bundle.history["tuning"]["untuned"]["psnr_db"] < record["psnr_db"]
    report = json.loads((folder / "report.json").read_text())
    assert {record["delta"] for record in report} == {deltas[0].name}


def test_the_picture_beside_a_latent_is_the_tuned_one(latent, pair, tmp_path):
    folder, records = pair
    again = latent("render", records[0]["latent"], "-o", tmp_path / "again.png")
    assert again.exit_code == 0, again.output
    assert (pixels(tmp_path / "again.png") == pixels(folder / "a.png")).all()


def test_every_edit_draws_by_the_delta(latent, pair, photos, model, tmp_path):
    folder, records = pair
    a, b = (record["latent"] for record in records)
    out = tmp_path / "out"
    calls = [
        ("blend", a, b, "-o", out / "child.png", "--save-latents"),
        ("interpolate", a, b, "-o", out / "walk.png", "--frames", "2"),
        ("mix", a, b, "-o", out / "mix.png"),
        ("search", a, *photos, "--no-align", "-o", out / "near.png"),
    ]
    for call in calls:
        result = latent(*call)
        assert result.exit_code == 0, result.output
    child = out / "child.latent.safetensors"
    assert len([*out.glob("*.delta.safetensors")]) == 1
    shutil.rmtree(folder)
    assert latent("render", child, "-o", tmp_path / "again.png").exit_code == 0
    assert (pixels(tmp_path / "again.png") == pixels(out / "child.png")).all()
    tuned = tuned_for(load(model), [child])
    drawn = [synthesize(generator, load_latent(child)) for generator in (tuned, load(model))]
    assert float(psnr(*drawn)[0]) < 60


def test_two_tunings_in_one_command_are_refused(latent, photos, tmp_path):
    for photo, name in zip(photos, "ab", strict=False):
        assert latent("invert", photo, "-o", tmp_path / name, *TUNE).exit_code == 0
    both = [tmp_path / "a" / "a.latent.safetensors", tmp_path / "b" / "b.latent.safetensors"]
    refused(latent("blend", *both, "-o", tmp_path / "c.png"), "two tunings", "--tune")
    mixed = latent("blend", both[0], photos[1], "-o", tmp_path / "c.png", *FAST)  # by the delta of the first
    assert mixed.exit_code == 0, mixed.output


def test_a_latent_whose_delta_is_gone_is_refused(latent, pair, tmp_path):
    folder, records = pair
    next(folder.glob("*.delta.safetensors")).unlink()
    for call in (("render",), ("interpolate", records[1]["latent"])):
        refused(latent(*call, records[0]["latent"], "-o", tmp_path / "c.png"), "needs its delta", "copy it there")


def test_a_folder_of_tuned_latents_does_not_tune_what_is_inverted_beside_it(latent, pair, photos, model):
    folder, _ = pair
    shutil.copy(photos[2], folder / "c.png")
    result = latent("invert", folder / "c.png", "-o", folder, "--json", *FAST)
    assert result.exit_code == 0 and "delta" not in objects(result)[0]
    (folder / "d.latent.safetensors").write_bytes((folder / "a.latent.safetensors").read_bytes())
    next(folder.glob("*.delta.safetensors")).unlink()
    assert latent("evaluate", folder, *FAST[:2], "--limit", "1").exit_code == 0
    assert read_bundle(objects(result)[0]["latent"]).delta_sha256 is None


def test_what_does_not_go_together_is_one_line(latent, pair, photos, tmp_path):
    _, records = pair
    call = ("invert", photos[0], "-o", tmp_path / "x", "--no-align")
    refused(latent(*call, "--init", records[0]["latent"], "--tune"), "tuned already")
    wrong = latent(*call, "--tune-steps", "3")
    assert wrong.exit_code == 2 and "--tune-steps came without --tune" in wrong.output
    refused(latent(*call, *FAST[:2], "--tune", "--tune-loss", "nothing=1"), "no loss named 'nothing'")


def test_a_photograph_that_fails_does_not_stop_the_tuning(latent, photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = latent("invert", tmp_path / "broken.png", photos[0], "-o", tmp_path / "out", "--json", *TUNE)
    broken, good = objects(result)
    assert result.exit_code == 1 and "error" in broken and good["delta"].endswith(".delta.safetensors")
    result = latent("invert", tmp_path / "broken.png", "-o", tmp_path / "out", "--json", *TUNE)
    assert result.exit_code == 1 and "error" in objects(result)[0]


def test_pivotal_tuning_as_published_is_a_recipe(latent, photos, tmp_path):
    own = ("--loss", "pixel=1", "--tune-loss", "pixel=1", "--tune-steps", "2")
    result = latent("invert", photos[0], "-o", tmp_path / "pti", "--json", "--recipe", "pti-offline", *own, *FAST)
    assert result.exit_code == 0, result.output
    (record,) = objects(result)
    settings = record["tuning"]["settings"]
    assert settings["patience"] == 350 and settings["steps"] == 2 == record["tuning"]["steps"]
    assert read_bundle(record["latent"]).latent.space == "w"
