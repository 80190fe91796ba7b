import json
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cli import main
from generators import load
from generators.errors import ImageError
from generators.pictures.image import read_image
from generators.pictures.sources import pictures
from inversion.config import recipe
from inversion.files.latent_file import load_latent, read_bundle
from inversion.guess import encode
from tests.conftest import ROOT, objects, picture, pixels, refused

PARTS = ("encoder", "discriminator")


def in_report(records: list[dict]) -> list[dict]:
    """Records as report.json has them: by names, without folders."""
    return [record | {key: Path(record[key]).name for key in ("file", "latent")} for record in records]


# Start


def test_help_loads_no_torch():
    code = """
import sys
from click.testing import CliRunner
from cli import main
for args in [["--help"], *([name, "--help"] for name in main.commands)]:
    assert CliRunner().invoke(main, args).exit_code == 0
print([name for name in ("torch", "numpy", "PIL", "dlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_list_of_commands_tells_what_each_tells_itself():
    lines = CliRunner().invoke(main, ["--help"], terminal_width=100).output.partition("Commands:")[2].splitlines()
    told = dict(line.split(maxsplit=1) for line in lines if line)
    context = click.Context(main)
    wanted = {name: main.get_command(context, name).get_short_help_str(100) for name in main.list_commands(context)}
    assert {name: text.removesuffix("...") for name, text in told.items()}.keys() == wanted.keys()
    assert all(wanted[name].startswith(text.removesuffix("...")) for name, text in told.items())


def test_the_list_of_commands_imports_none_of_them():
    code = """
import sys
from click.testing import CliRunner
from cli import COMMANDS, main
CliRunner().invoke(main, ["--help"])
print([name for name in set(COMMANDS.values()) if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_loads_without_torchs_compiler():  # whose import takes longer than all the rest
    code = "import sys, generators; generators.load('portraits'); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_an_example_that_parses(name):
    text = CliRunner().invoke(main, [name, "--help"]).output
    example = re.search(r"Example: latent (.*)", text, re.S)
    assert example is not None
    first, *args = example[1].split()
    assert first == name
    main.commands[name].make_context(name, args)


# Invert


def test_invert_writes_what_it_reports(latent, photos, tmp_path):
    out = tmp_path / "new" / "out"
    result = latent("invert", *photos, "-o", out, "--no-align", "--steps", 3, "--batch", 2, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    records = objects(result)
    assert report == in_report(records) and [r["file"] for r in records] == photos
    for record, name in zip(records, "abc", strict=True):
        assert record["latent"] == str(out / f"{name}.latent.safetensors")
        assert record["steps"] == 3 and record["seconds"] > 0 and record["peak_memory_mb"] > 10
        assert record["identity"] is None
        assert set(record["losses"]) == {"pixel", "laplacian", "features", "anchor", "detail"}
        difference = (pixels(out / f"{name}.png") - pixels(out / f"{name}.target.png").astype(float)) / 127.5
        assert record["psnr_db"] == pytest.approx(10 * np.log10(4 / np.mean(difference**2)), abs=0.1)
        assert read_bundle(record["latent"]).history["photograph"] == f"{name}.png"
    assert result.stderr.count("objective:") == 1 and "the model's discriminator; LPIPS not needed" in result.stderr
    assert not list(out.glob(".*"))


def test_a_rendered_latent_is_the_reconstruction_bit_for_bit(latent, photos, tmp_path):
    latent("invert", photos[0], "-o", tmp_path, "--no-align", "--steps", 1, "--noise")
    assert latent("render", tmp_path / "a.latent.safetensors", "-o", tmp_path / "again.png").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again.png"), pixels(tmp_path / "a.png"))


def test_no_steps_is_the_first_guess(latent, model, photos, tmp_path):
    latent("invert", photos[0], "-o", tmp_path, "--no-align", "--steps", 0)
    g = load(model)
    target = torch.from_numpy(pixels(tmp_path / "a.target.png") / 127.5 - 1).float().permute(2, 0, 1)[None]
    guess = encode(g, target, looks=recipe(g, "default").looks)
    assert guess is not None
    found = load_latent(tmp_path / "a.latent.safetensors", g).code
    torch.testing.assert_close(found, guess.code, atol=1e-3, rtol=1e-3)


def test_settings_reach_the_inversion(latent, photos, latents, tmp_path):
    given = ["--lr", 0.02, "--space", "w", "--loss", "l1=2", "--restarts", 2, "--patience", 9, "--optimizer", "sgd"]
    given += ["--detail", 0.5]
    result = latent("invert", photos[0], "-o", tmp_path, "--no-align", "--steps", 2, *given, "--budget", "2m")
    assert result.exit_code == 0, result.output
    settings = read_bundle(tmp_path / "a.latent.safetensors").history["settings"]
    wanted = {"lr": 0.02, "space": "w", "loss": {"l1": 2.0}, "restarts": 2, "start": "random", "patience": 9}
    wanted |= {"steps": 2, "optimizer": "sgd", "optimize_noise": False, "detail": 0.5, "seed": 0}
    assert settings == settings | wanted
    result = latent("invert", *photos, "-o", tmp_path, "--no-align", "--steps", 0, "--init", latents[0])
    assert result.exit_code == 0, result.output
    for name in "abc":
        torch.testing.assert_close(
            read_bundle(tmp_path / f"{name}.latent.safetensors").latent.code, read_bundle(latents[0]).latent.code
        )


def test_equal_stems_are_numbered_and_no_photograph_is_replaced(latent, photos, tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("me.png", "b/me.jpg", "b/me.bmp"):
        picture(3).save(tmp_path / name)
    before = (tmp_path / "me.png").read_bytes()
    result = latent("invert", tmp_path / "me.png", tmp_path / "b", "-o", tmp_path, "--no-align", "--steps", 0, "--json")
    stems = [Path(record["latent"]).name.split(".")[0] for record in objects(result)]
    assert len(set(stems)) == 3 and stems[0] == "me-2"
    assert (tmp_path / "me.png").read_bytes() == before


def test_a_photograph_from_standard_input(latent, photos, tmp_path):
    data = Path(photos[0]).read_bytes()
    assert latent("invert", "-", "-o", tmp_path, "--no-align", "--steps", 0, input=data).exit_code == 0
    assert (tmp_path / "stdin.png").is_file()


def test_standard_input_that_is_closed_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ImageError, match="standard input is closed"):
        pictures("-")
    with pytest.raises(ImageError, match="standard input is closed"):
        read_image("-")


def test_ctrl_c_keeps_the_best_so_far(latent, photos, tmp_path, monkeypatch):
    from inversion import inverter

    whole = inverter.steps_of

    def interrupted(*args, **more):
        for step in whole(*args, **more):
            yield step
            if step.index == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(inverter, "steps_of", interrupted)
    result = latent("invert", *photos, "-o", tmp_path, "--no-align", "--batch", 2, "--steps", 50, "--json")
    assert result.exit_code == 130 and "stopped early: 2 of 3" in result.stderr
    assert [record["steps"] for record in objects(result)] == [2, 2]
    assert json.loads((tmp_path / "report.json").read_text()) == in_report(objects(result))
    assert (tmp_path / "b.latent.safetensors").is_file() and not (tmp_path / "c.png").exists()


def test_ctrl_c_elsewhere_is_one_line(latent, tmp_path, monkeypatch):
    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("inversion.latent.sample_latent", stop)
    result = latent("sample", "-o", tmp_path / "a.png")
    assert result.exit_code == 130 and result.stderr == "stopped\n"


@pytest.mark.slow
def test_a_real_face_is_found_and_kept(latent, tmp_path):
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for its photograph")
    Image.fromarray(data.astronaut()).save(tmp_path / "me.png")
    result = latent("invert", tmp_path / "me.png", "-o", tmp_path / "out", "--steps", 1, "--json")
    assert result.exit_code == 0, result.output
    assert read_bundle(objects(result)[0]["latent"]).history["alignment"]["faces"] == 1
    refused(latent("blend", tmp_path / "me.png", tmp_path / "me.png", "--face", 3, "-o", tmp_path / "x.png"), "face 3")


# Measuring, training, listing


def test_evaluate_ends_with_a_summary(latent, photos, tmp_path):
    result = latent("evaluate", Path(photos[0]).parent, "--recipe", "encode", "--json")
    *records, summary = objects(result)
    assert result.exit_code == 0 and [r["file"] for r in records] == ["a.png", "b.png", "c.png"]
    middle = sorted(r["psnr_db"] for r in records)[1]
    assert summary["n"] == 3 and summary["median"]["psnr_db"] == pytest.approx(middle)
    text = latent("evaluate", Path(photos[0]).parent, "--recipe", "encode", "--limit", 1).stdout
    assert "median" in text and "1 pictures, 0 of them failed" in text


def test_generators_lists_the_packaged_models(latent, model, monkeypatch):
    monkeypatch.setattr("generators.hub.names.PRETRAINED", Path(model).parent)
    record, *others = objects(latent("generators", "--offline", "--json"))
    assert {other["name"] for other in others} <= {"ffhq"}  # where its package is installed
    assert (record["name"], record["resolution"], record["licence"]) == ("tiny", 16, "CC0")
    state = load(model).state_dict()
    assert record["parameters"] == sum(v.numel() for k, v in state.items() if k.split(".")[0] not in PARTS)
    assert "16 px" in latent("generators").stdout


def test_own_results_are_no_photographs_of_the_next_call(latent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(1).save("me.png")
    picture(2).save("you.jpg")
    for asked in (["."], ["."], ["me.png", "you.jpg", "you.png", "you.target.png"]):
        result = latent("invert", *asked, "-o", ".", "--no-align", "--steps", 0, "--json")
        assert [Path(record["latent"]).name.split(".")[0] for record in objects(result)] == ["me-2", "you"]
    assert "left out: 2 pictures" in result.stderr
    assert len(list(tmp_path.glob("*.png"))) == 5
