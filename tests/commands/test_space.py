import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inversion.library.index import INDEX
from tests.conftest import ROOT, objects, picture, pixels, refused


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Thirty pictures in two folders, and one file that is none."""
    home = tmp_path_factory.mktemp("pictures")
    for i in range(30):
        path = home / ("left" if i % 2 else "right") / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        picture(i).save(path)
    (home / "bad.png").write_text("no picture")
    return home


# Plot


def test_plot_writes_a_picture_and_a_page(latent, folders, tmp_path):
    out, page = tmp_path / "new" / "plot.png", tmp_path / "plot.html"
    result = latent("plot", folders, "--no-align", "-o", out, "--html", page, "--thumbnails", "--dims", 3, "--json")
    assert result.exit_code == 0, result.output
    assert [record["file"] for record in objects(result)] == [str(out), str(page)]
    assert objects(result)[0]["codes"] == 30 and len(objects(result)[0]["axes"]) == 3
    assert "skipped bad.png: " in result.stderr and "is not a JPEG" in result.stderr
    assert pixels(out).shape[1] > 1000
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])  # type: ignore[index]
    assert [group["label"] for group in data["groups"]] == ["left", "right"] and len(data["where"]) == 30


def test_plot_of_saved_latents_and_of_a_limit(latent, latents, folders, tmp_path):
    result = latent("plot", *latents, "-o", tmp_path / "plot.png", "--json")
    assert result.exit_code == 0, result.output
    assert objects(result)[0]["codes"] == 3
    result = latent("plot", Path(latents[0]).parent, "--html", tmp_path / "plot.html", "--json")
    assert objects(result)[0]["codes"] == 3
    assert '"a", "b", "c"' in (tmp_path / "plot.html").read_text()
    result = latent(
        "plot",
        folders / "left",
        folders / "right",
        "--no-align",
        "--limit",
        10,
        "--html",
        tmp_path / "plot.html",
        "--method",
        "tsne",
        "--json",
    )
    assert objects(result)[0]["codes"] == 10 and '"label": "left"' in (tmp_path / "plot.html").read_text()


def test_plot_grid_has_the_sources_at_its_corners(latent, latents, tmp_path):
    out = tmp_path / "grid.png"
    result = latent("plot", "--grid", *latents, latents[0], "-o", out, "--tiles", 3)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    grid = pixels(out)
    assert grid.shape == (3 * 64 + 2 * 2,) * 2 + (3,)
    for i, (row, column) in enumerate([(0, 0), (0, 132), (132, 0)]):
        latent("render", latents[i], "-o", tmp_path / "one.png")
        np.testing.assert_array_equal(grid[row : row + 64 : 4, column : column + 64 : 4], pixels(tmp_path / "one.png"))


def test_plot_refuses(latent, latents, folders, tmp_path):
    for args in (["plot", folders], ["plot", "--grid", *latents, "-o", "x.png"]):
        assert latent(*args).exit_code == 2
    refused(latent("plot", folders, "-o", tmp_path / "plot.bmp"), ".png, .svg, .pdf")
    refused(latent("plot", tmp_path / "nowhere", "-o", tmp_path / "plot.png"), "does not exist")
    assert not (tmp_path / "plot.png").exists()


# Search


def test_search_tells_the_nearest_and_draws_a_sheet(latent, folders, tmp_path):
    query, out = folders / "left" / "01.png", tmp_path / "nearest.png"
    result = latent("search", query, folders, "--no-align", "-n", 5, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    bad, *hits = objects(result)
    assert bad["file"] == "bad.png" and "is not a" in bad["error"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5] and "left/01.png" not in [hit["file"] for hit in hits]
    distances = [hit["distance"] for hit in hits]
    assert distances == sorted(distances) and distances[0] > 0
    assert (folders / INDEX).is_file() and pixels(out).shape[1] > 3 * 192
    again = latent("search", query, folders, "--no-align", "-n", 5)
    assert [line.split()[2] for line in again.stdout.splitlines()] == [hit["file"] for hit in hits]
    white = latent("search", query, folders, "--no-align", "-n", 5, "--metric", "whitened", "--json")
    assert [hit["distance"] for hit in objects(white)[1:]] != distances


def test_search_for_a_latent(latent, latents, folders, tmp_path):
    result = latent("search", latents[0], folders, "--no-align", "-n", 1, "--json")
    assert result.exit_code == 0 and len(objects(result)) == 2


def test_search_refuses(latent, folders, tmp_path):
    refused(latent("search", tmp_path / "nobody.png", folders, "--no-align"), "nobody.png does not exist")
    refused(latent("search", folders / "left" / "01.png", tmp_path / "none", "--no-align"), "none does not exist")
    query = folders / "left" / "01.png"
    refused(latent("search", query, folders, "-o", tmp_path / "a.xyz", "--no-align"), "suffix 'xyz'")
    refused(latent("search", query, folders), "no face found")


# Evaluate


def test_evaluate_space_tells_a_row_for_each_model(latent, model, folders):
    result = latent("evaluate-space", folders, "-g", model, "-g", model, "--samples", 20, "--json")
    assert result.exit_code == 0, result.output
    one, two = objects(result)
    assert one == two and one["model"] == "tiny" and (one["pictures"], one["held_out"]) == (24, 6)
    for share in ("between", "completeness", "coverage", "nearest_label", "same_label"):
        assert 0 <= one[share] <= 1
    assert one["worst_to_mean"] >= 1 and one["detour"] >= 1
    text = latent("evaluate-space", folders, "-g", model, "--samples", 20).stdout
    assert text.splitlines()[0].split()[:2] == ["model", "numbers"] and f"{one['mse']:.4f}" in text
    assert "Plausible: as near to a data picture as 95% of the held-out ones are" in text


def test_spaces_need_no_other_generator(latent, model, monkeypatch):
    monkeypatch.setenv("LATENT_GENERATOR", "nobody")
    result = latent("evaluate-space", "digits", "-g", "digits", "--json")
    assert result.exit_code == 0, result.output
    (one,) = objects(result)
    assert (one["pictures"], one["held_out"], one["numbers"]) == (1438, 359, 16)
    assert one["mse"] < 0.03 and one["nearest_label"] > 0.95 and one["same_label"] > 0.95
    assert one["between"] > 0.95 and one["completeness"] > 0.8 and one["coverage"] > 0.8


def test_evaluate_space_with_data_of_its_own(latent, model, folders):
    result = latent("evaluate-space", folders / "left", "-g", model, "--data", folders / "right", "--json")
    assert result.exit_code == 0, result.output
    (one,) = objects(result)
    assert (one["pictures"], one["held_out"]) == (15, 15) and one["same_label"] is None


def test_the_three_evaluations_do_not_mix(latent, model, folders):
    result = latent("evaluate", folders / "left", "--space", "w", "--recipe", "encode", "--limit", 1, "--json")
    assert result.exit_code == 0 and objects(result)[-1]["n"] == 1  # the space of the settings
    assert latent("evaluate", folders, "--space", model).exit_code == 2
    assert latent("evaluate-space", folders).exit_code == 2  # which generator?
    assert latent("evaluate-space", folders, "-g", model, "--lr", 1).exit_code == 2
    refused(latent("evaluate-space", folders / "left", "-g", "nobody"), "nobody")
    refused(latent("evaluate-space", folders / "left", "-g", model, "--limit", 7), "needs 6")


@pytest.mark.slow
def test_plot_and_search_by_the_real_command(model, folders, tmp_path):
    def run(*args):
        return subprocess.run(
            [sys.executable, "-m", "cli", *map(str, args)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"LATENT_GENERATOR": model, "LATENT_CACHE": str(tmp_path)},
        )

    done = run("search", folders / "right" / "00.png", folders, "--no-align", "-n", 2, "--metric", "raw")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done.stderr
    done = run("plot", folders, "--no-align", "-o", tmp_path / "plot.svg")
    assert done.returncode == 0 and done.stdout == f"{tmp_path / 'plot.svg'}\n", done.stderr
