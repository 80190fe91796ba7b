import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from generators import load
from generators.checkpoints.ours import save_model
from generators.checkpoints.rosinality import to_state
from tests.conftest import objects, pixels, refused, tiny_generator


@pytest.fixture
def checkpoint(tmp_path):
    """A training checkpoint of stylegan2-pytorch, under a name that says nothing."""
    generator = tiny_generator(seed=2)
    torch.save({"g_ema": to_state(generator), "latent_avg": generator.w_avg, "d": {}}, tmp_path / "download")
    return tmp_path / "download"


def test_convert_says_what_it_made(latent, checkpoint, tmp_path):
    out = tmp_path / "new" / "faces.safetensors"
    result = latent("convert", checkpoint, out, "--json")
    assert result.exit_code == 0, result.output
    (record,) = objects(result)
    parameters = sum(p.numel() for p in tiny_generator().parameters())
    wanted = {"file": str(out), "architecture": "StyleGAN2", "resolution": 16, "parameters": parameters, "labels": 0}
    assert record == record | wanted and record["licence"] == "not stated in the file" and record["left_out"] == ["d"]
    assert "left out: d" in result.stderr
    assert load(out).sha256() == load(checkpoint).sha256() == tiny_generator(seed=2).sha256()


def test_convert_in_words_and_in_half(latent, checkpoint, tmp_path):
    result = latent("convert", checkpoint, tmp_path / "m.safetensors", "--half", "--licence", "CC-BY")
    assert (
        "StyleGAN2  16 px" in result.stdout
        and "licence: CC-BY" in result.stdout
        and "stylegan2-pytorch" in result.stdout
    )
    whole, half = tmp_path / "whole.safetensors", tmp_path / "m.safetensors"
    latent("convert", checkpoint, whole)
    assert half.stat().st_size < 0.75 * whole.stat().st_size
    assert load(half).card["licence"] == "CC-BY"
    again = latent("convert", half, tmp_path / "again.safetensors", "--json")
    assert objects(again)[0]["licence"] == "CC-BY"
    assert load(tmp_path / "again.safetensors").sha256() == load(half).sha256()


def test_other_peoples_files_are_taken_as_they_are(latent, checkpoint, tmp_path):
    save_model(tiny_generator(seed=2), tmp_path / "ours.safetensors")
    for name, model in (("a", checkpoint), ("b", checkpoint), ("c", tmp_path / "ours.safetensors")):
        result = latent("sample", "-g", model, "-o", tmp_path / f"{name}.png", "--seed", 4)
        assert result.exit_code == 0, result.output
    a, b, c = (pixels(tmp_path / f"{name}.png") for name in "abc")
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)
    assert len(list((tmp_path / "cache" / "models").iterdir())) == 1


def test_somebody_elses_terms_are_told_before_use(latent, checkpoint, tmp_path):
    result = latent("sample", "-g", checkpoint, "-o", tmp_path / "a.png")
    assert result.stderr == "download: StyleGAN2, 16 px, licence: not stated in the file\n"
    latent("convert", checkpoint, tmp_path / "m.safetensors")
    assert latent("sample", "-g", tmp_path / "m.safetensors", "-o", tmp_path / "a.png").stderr == ""


def test_classes(latent, model, tmp_path):
    save_model(tiny_generator(c_dim=3), tmp_path / "classes.safetensors")
    folder = ("sample", "-g", tmp_path / "classes.safetensors", "-o", f"{tmp_path}/out/")
    refused(latent(*folder), "no label came", "0 to 2")
    refused(latent(*folder, "--label", 3), "label 3 came", "0 to 2")
    refused(latent("sample", "--label", 1, "-o", tmp_path / "a.png"), "label 1 came; tiny knows no classes")
    drawn = []
    for label in (0, 2):
        (record,) = objects(latent(*folder, "--label", label, "--json"))
        assert record["label"] == label
        drawn.append(pixels(record["file"]))
    assert (drawn[0] != drawn[1]).any()
    result = latent(
        "invert",
        record["file"],
        *folder[1:3],
        "--no-align",
        "--start",
        "random",
        "--steps",
        1,
        "-o",
        tmp_path / "inverted",
    )
    assert result.exit_code == 0, result.output


def test_files_that_are_something_else(latent, checkpoint, latents, model, tmp_path):
    """As generators and as latents: one line that says what they are."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.pkl").write_bytes(b"")
    (tmp_path / "text.pkl").write_text("hello")
    whole = checkpoint.read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("photo.txt", "x")
    np.savez(tmp_path / "me.npz", w=np.zeros((6, 8), np.float32))
    torch.save({"me": {"latent": torch.zeros(6, 8)}}, tmp_path / "me.pt")
    torch.save({"g_ema": {}, "args": {"rate": Path("x")}}, tmp_path / "path.pt")
    torch.save({"g_ema": {}, "args": [torch.nn.Parameter]}, tmp_path / "class.pt")
    models = {
        "folder": "is a folder; give the model file in it",
        "empty.pkl": "an empty file",
        "cut.pt": "cut short",
        "text.pkl": "no model file that is read here",
        "a.zip": "is a zip, and not of torch.save",
        "me.npz": "holds arrays, as a latent does",
        "me.pt": "is it a latent",
        latents[0]: "a latent goes where",
        "path.pt": "holds no generator that is read here",  # a path beside it is no matter
        "class.pt": "holds no generator that is read here",
    }
    for name, words in models.items():
        refused(latent("sample", "-g", tmp_path / name, "-o", tmp_path / "x.png"), name, words)
    (tmp_path / "model.pt").write_bytes(whole)
    taken = {
        "folder": "not a file",
        "empty.pkl": "not a readable latent",
        "cut.pt": "damaged",
        "text.pkl": "not a readable latent",
        "a.zip": "not a readable latent",
        "model.pt": "is a model, not a latent",
        model: "is a model, not a latent",
    }
    for name, words in taken.items():
        refused(latent("render", tmp_path / name, "-o", tmp_path / "x.png"), name, words)


def test_what_cannot_be_converted_is_one_line(latent, checkpoint, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (tmp_path / "evil2.pkl").write_bytes(b"\x80\x02cos\nsystem\n(S'touch ran'\ntR.")
    (tmp_path / "page.pkl").write_text("<html>")
    out = tmp_path / "m.safetensors"
    for evil in ("evil.pkl", "evil2.pkl"):
        refused(latent("convert", tmp_path / evil, out), "'os.system'", "nothing of it was run")
    refused(latent("convert", tmp_path / "page.pkl", out), "a web page")
    refused(latent("convert", tmp_path / "missing.pkl", out), "no model file at")
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "m.safetensors"
    refused(latent("convert", checkpoint, below), "cannot be written", "file is no folder")
    assert not out.exists() and not list(tmp_path.glob(".*tmp*"))
    assert latent("convert", checkpoint).exit_code == 2
