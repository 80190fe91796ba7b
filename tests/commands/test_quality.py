import json

import pytest

from tests.conftest import objects, picture, refused

FEW = ("--steps-list", "0,1", "--samples", 3, "--pairs", 2)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for seed in range(3):
        picture(seed).save(folder / f"{seed}.png")
    return folder


def test_the_table_names_each_convention_once(latent, source):
    result = latent("evaluate-model", source, *FEW)
    assert result.exit_code == 0, result.output
    for measure in ("real", "reconstruction", "midpoints", "path length", "samples", "memorised"):
        assert sum(line.startswith(f"{measure}: ") for line in result.stdout.splitlines()) == 1
    assert "  default, 1 steps " in result.stdout and "  truncation 0.7 " in result.stdout
    assert "no faces: no picture of" in result.stdout


def test_json_ends_with_one_object_of_all(latent, source, tmp_path):
    result = latent(
        "evaluate-model", source, *FEW, "--data", source, "--data-limit", 2, "-o", tmp_path / "out", "--json"
    )
    assert result.exit_code == 0, result.output
    *records, summary = objects(result)
    assert [{k: v for k, v in r.items() if k != "measure"} for r in records if r["measure"] == "samples"] == (
        summary["samples"]
    )
    assert summary["settings"]["steps"] == [0, 1] and summary["settings"]["search"] == {"seed": 0}
    assert summary["real"][1]["pictures"] == 2
    assert json.loads((tmp_path / "out" / "quality.json").read_text()) == summary
    made = {"quality.json", "midpoints.png", "samples-0.5.png", "samples-0.7.png", "samples-1.png"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == made


def test_steps_alone_are_one_inversion(latent, source):
    result = latent("evaluate-model", source, "--steps", 2, "--samples", 1, "--pairs", 1, "--lr", 0.3, "--json")
    assert [line["steps"] for line in objects(result)[-1]["reconstruction"]] == [0, 2]
    assert objects(result)[-1]["settings"]["search"] == {"lr": 0.3, "seed": 0}


def test_a_bad_picture_is_counted_and_told(latent, source, tmp_path):
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    result = latent("evaluate-model", tmp_path, *FEW)
    assert result.exit_code == 1 and "1 failed" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("error: some pictures")


def test_memorised_faces_want_data(latent, source, tmp_path):
    result = latent("evaluate-model", source, *FEW, "--memorised", tmp_path / "m.png")
    assert result.exit_code == 2 and "--data" in result.stderr


def test_bad_places_and_settings(latent, source, tmp_path):
    (tmp_path / "file").write_text("")
    refused(latent("evaluate-model", source, *FEW, "-o", tmp_path / "file" / "x"), "cannot be written")
    bad = tmp_path / "m.jpg"
    refused(latent("evaluate-model", source, *FEW, "--data", source, "--memorised", bad), "'jpg'", "png")
    assert latent("evaluate-model", source, "--samples", 0).exit_code == 2
    refused(latent("evaluate-model", source, *FEW, "--data", tmp_path / "nowhere"), "does not exist")
