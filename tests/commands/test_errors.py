import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inversion.files.latent_file import save
from inversion.latent import sample_latent
from tests.conftest import objects, picture, refused

# Bad photographs


def bad_files(folder: Path) -> dict[str, str]:
    """Name -> a word of the message."""
    whole = io.BytesIO()
    picture(0, 200).save(whole, "JPEG")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:-900])
    picture(0).resize((1, 1)).save(folder / "pixel.png")
    picture(0, 200).save(folder / "faceless.png")
    return {
        "empty.jpg": "is empty",
        "text.jpg": "is not a JPEG",
        "cut.jpg": "cut off",
        "pixel.png": "no face",
        "faceless.png": "--no-align",
        "missing.jpg": "does not exist",
    }


def test_a_bad_photograph_is_reported_and_the_others_go_on(latent, photos, tmp_path):
    words = bad_files(tmp_path)
    names = [str(tmp_path / name) for name in words]
    result = latent("invert", *names, "-o", tmp_path / "out", "--steps", 0, "--json")
    assert result.exit_code == 1 and "6 of 6 photographs failed" in result.stderr
    for record, name, word in zip(objects(result), names, words.values(), strict=True):
        assert record["file"] == name and word in record["error"] and name in record["error"]

    result = latent("invert", names[0], photos[0], names[1], "-o", tmp_path / "more", "--steps", 0, "--no-align")
    assert result.exit_code == 1 and "a.png" in result.stdout
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["objective", "error", "error", "error"]
    assert ["error" in r for r in json.loads((tmp_path / "more" / "report.json").read_text())] == [True, False, True]


# Bad settings, places and models


@pytest.mark.parametrize(
    "given, words",
    [
        (["--recipe", "magic"], ["'magic'", "image2stylegan"]),
        (["--loss", "beauty=1"], ["'beauty'", "laplacian"]),
        (["--loss", "pixel=-1"], ["-1"]),
        (["--batch", 0], ["batch is 0"]),
        (["--restarts", 3, "--start", "mean"], ["restarts"]),
        (["--init", "missing.safetensors"], ["missing.safetensors"]),
    ],
)
def test_bad_settings(latent, photos, tmp_path, given, words):
    refused(latent("invert", photos[0], "--no-align", "-o", tmp_path / "out", *given), *words)


@pytest.mark.parametrize(
    "args",
    [
        "invert",
        "invert a.jpg",
        "invert a.jpg -o x --budget 0s",
        "invert a.jpg -o x --steps -1",
        "invert a.jpg -o x --lr 0",
        "invert a.jpg -o x --start somewhere",
        "blend a.jpg -o x.png",
        "sample -o - --json",
        "sample -o a.png --seed -1",
        "mix a.png b.png --fine c -o x.png",
        "interpolate a b -o x.mp4 --fps 0",
        "nonsense",
    ],
)
def test_wrong_usage_exits_2(latent, args):
    result = latent(*args.split())
    assert result.exit_code == 2 and "Usage:" in result.stderr


def test_a_place_that_cannot_be_written_is_refused_before_the_work(latent, photos, latents, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    refused(latent("invert", "missing.jpg", "-o", out), "out cannot be written")
    for end in ("x.png", ""):
        refused(latent("blend", "missing.jpg", "missing.jpg", "-o", f"{out}/{end}"), "cannot be written")
    refused(latent("interpolate", *latents, "-o", out / "x.mp4"), "cannot be written")
    refused(latent("interpolate", *latents, "-o", tmp_path / "x.avi"), "'avi'", "mp4")
    refused(latent("sample", "-o", tmp_path / "x.exe"), "'exe'", "png")
    refused(latent("sample", "-n", 2, "--no-sheet", "-o", tmp_path / "x.png"), "2 pictures", "folder")


def test_a_full_disk_is_one_line(latent, tmp_path, monkeypatch):
    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("generators.pictures.image.write_image", full)
    refused(latent("sample", "-o", tmp_path / "x.png"), "No space left")


def test_bad_models(latent, model, tmp_path):
    def attempt(name):
        return latent("sample", "-g", name, "-o", tmp_path / "x.png")

    refused(attempt("nobody"), "'nobody'", "known names")
    data = Path(model).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    refused(attempt(tmp_path / "cut.safetensors"), "not a readable model file")
    tensors, header = load_file(model), metadata_of(model)
    tensors["w_avg"] = torch.zeros(9)
    save_file(tensors, tmp_path / "shapes.safetensors", metadata=header)
    refused(attempt(tmp_path / "shapes.safetensors"), "w_avg", "(9,)", "(8,)")


def metadata_of(path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def test_bad_latents(latent, generator, latents, tmp_path):
    other = copy.deepcopy(generator)
    other.w_avg = other.w_avg + 1
    other.name = "other"
    save(sample_latent(other), tmp_path / "other.latent.safetensors", other)
    refused(latent("render", tmp_path / "other.latent.safetensors", "-o", tmp_path / "x.png"), "other", "tiny")
    tensors = load_file(latents[0])
    tensors["code"][0, 0, 0] = torch.nan
    save_file(tensors, tmp_path / "nan.latent.safetensors", metadata=metadata_of(latents[0]))
    refused(latent("blend", latents[1], tmp_path / "nan.latent.safetensors", "-o", tmp_path / "x.png"), "not finite")
    refused(latent("render", "missing.npz", "-o", tmp_path / "x.png"), "missing.npz")
    np.savez(tmp_path / "two.npz", w=np.zeros((2, 8), np.float32))
    refused(latent("blend", latents[0], tmp_path / "two.npz", "-o", tmp_path / "x.png"), "2 latents")


def test_bad_training_data(latent, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(latent("train", tmp_path / "empty", "-o", tmp_path / "m.safetensors"), "holds no picture")
    refused(latent("train", tmp_path / "missing", "-o", tmp_path / "m.safetensors"), "does not exist")
