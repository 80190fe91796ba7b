import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from generators import load
from inversion.files.latent_file import load_latent
from inversion.latent import sample_latent
from tests.conftest import ROOT, objects, pixels, refused

# Edits


def test_blend_is_the_weighted_mean(latent, model, latents, tmp_path):
    args = ["--weights", "3,1", "--save-latents", "--json"]
    result = latent("blend", *latents[:2], "-o", tmp_path / "child.png", *args)
    (record,) = objects(result)
    assert record["weights"] == [0.75, 0.25] and pixels(tmp_path / "child.png").shape == (16, 16, 3)
    a, b = (load_latent(path).code for path in latents[:2])
    torch.testing.assert_close(load_latent(record["latent"]).code, 0.75 * a + 0.25 * b)
    refused(latent("blend", *latents[:2], "-o", tmp_path / "x.png", "--weights", "1,-1"), "weights are 1.0, -1.0")
    refused(latent("blend", *latents[:2], "-o", tmp_path / "x.png", "--weights", "1"), "1 weights came for 2")


def test_children_in_a_folder_and_on_a_sheet(latent, latents, tmp_path):
    args = ["--children", 3, "--seed", 1]
    records = objects(latent("blend", *latents, "-o", f"{tmp_path}/kids/", *args, "--json", "--save-latents"))
    assert [Path(r["file"]).name for r in records] == [f"child-000{i}.png" for i in (1, 2, 3)]
    for record in records:
        assert set(record["weights"]) == {"4", "8", "16"}
        assert all(sum(shares) == pytest.approx(1) for shares in record["weights"].values())
        again = tmp_path / "again.png"
        latent("render", record["latent"], "-o", again)
        np.testing.assert_array_equal(pixels(again), pixels(record["file"]))
    codes = [load_latent(record["latent"]).code for record in records]
    assert not torch.allclose(codes[0], codes[1])

    result = latent("blend", *latents, "-o", tmp_path / "sheet.png", *args)
    assert result.stdout.splitlines() == [str(tmp_path / "sheet.png")]
    height, width, _ = pixels(tmp_path / "sheet.png").shape  # three parents and three children, in rows of three
    assert width > 3 * 192 and height > 2 * 192


def test_mix_takes_layers_by_letter(latent, latents, tmp_path):
    args = ["--coarse", "b", "--middle", "a", "--fine", "a", "--save-latents"]
    result = latent("mix", *latents[:2], "-o", tmp_path / "m.png", *args)
    assert result.exit_code == 0, result.output
    a, b, mixed = (load_latent(p).code[0] for p in (*latents[:2], tmp_path / "m.latent.safetensors"))
    torch.testing.assert_close(mixed, torch.cat([b[:3], a[3:]]))  # 4, 8, 8 px | 16, 16, 16 px


def test_interpolate_writes_a_film(latent, latents, tmp_path):
    result = latent("interpolate", *latents, "-o", tmp_path / "m.gif", "--frames", 9, "--loop", "--json")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "m.gif") as film:
        assert film.n_frames == 9  # type: ignore[attr-defined]
    for kind in ("linear", "spherical"):
        strip = tmp_path / f"{kind}.png"
        latent("interpolate", *latents[:2], "-o", strip, "--frames", 5, "--kind", kind, "--no-ease")
        ends = [pixels(strip)[:, :16], pixels(strip)[:, -16:]]
        for end, path in zip(ends, latents, strict=False):
            latent("render", path, "-o", tmp_path / "end.png")
            np.testing.assert_allclose(end, pixels(tmp_path / "end.png"), atol=1)


def test_sample_is_drawn_from_its_seed(latent, model, tmp_path):
    args = ["--truncation", 0.5, "-o", f"{tmp_path}/s/", "--save-latents", "--json"]
    result, g = latent("sample", "-n", 3, "--seed", 4, *args), load(model)
    wanted = sample_latent(g, batch=3, seed=4, truncation_psi=0.5).code
    found = torch.cat([load_latent(record["latent"], g).code for record in objects(result)])
    assert torch.equal(found, wanted)
    latent("sample", "-n", 3, "--seed", 4, "-o", tmp_path / "page.png")
    assert pixels(tmp_path / "page.png").shape[1] > 2 * 192


@pytest.mark.slow
def test_a_picture_on_standard_output(model, tmp_path):
    command = [sys.executable, "-m", "cli", "sample", "-g", model, "-o", "-"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert Image.open(io.BytesIO(done.stdout)).size == (16, 16) and done.stderr == b""


# Photographs on the way


def test_a_photograph_is_inverted_once(latent, photos, tmp_path, monkeypatch):
    args = ["blend", *photos[:2], "--no-align", "--steps", 1, "-o"]
    assert latent(*args, tmp_path / "1.png").exit_code == 0
    kept = sorted((tmp_path / "cache" / "inversions").iterdir())
    assert len(kept) == 2

    def never(*args, **more):
        raise AssertionError("inverted again")

    with monkeypatch.context() as patch:
        patch.setattr("inversion.inverter.steps_of", never)
        assert latent(*args, tmp_path / "2.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "1.png"), pixels(tmp_path / "2.png"))
    whole = kept[0].read_bytes()
    kept[0].write_bytes(whole[:100])
    assert latent(*args, tmp_path / "3.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "1.png"), pixels(tmp_path / "3.png"))
    load_latent(kept[0])  # whole again
    latent(*args, tmp_path / "4.png", "--recipe", "encode")
    assert len(list((tmp_path / "cache" / "inversions").iterdir())) == 4


def test_a_cache_that_cannot_be_written_does_no_harm(latent, photos, latents, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "file"))
    result = latent("blend", photos[0], latents[0], "--no-align", "--steps", 0, "-o", tmp_path / "x.png")
    assert result.exit_code == 0, result.output
