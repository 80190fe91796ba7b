"""What is written is never what is read, and what cannot be written is refused before the search."""

import os
from pathlib import Path

import pytest
import torch

from generators.checkpoints.ours import save_model
from generators.checkpoints.rosinality import to_state
from inversion.inverter import Inverter
from tests.conftest import picture, refused, tiny_generator


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder, as the current one, with photographs, a model, a checkpoint and links; no search is allowed."""
    for seed, name in enumerate("abcd"):
        picture(seed).save(tmp_path / f"{name}.png")
    save_model(tiny_generator(), tmp_path / "m.safetensors")
    torch.save({"g_ema": to_state(tiny_generator()), "latent_avg": torch.zeros(8)}, tmp_path / "m.pt")  # type: ignore[arg-type]
    (tmp_path / "link.png").symlink_to("a.png")
    os.link(tmp_path / "m.pt", tmp_path / "other.pt")
    for name in ("child-0001.png", "midpoints.png"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Inverter, "run", lambda *args, **more: pytest.fail("a photograph was searched"))
    return tmp_path


COMMANDS = (
    "blend a.png b.png -o a.png",
    "blend a.png b.png -o ./link.png",
    "blend . -o a.png",
    "blend child-0001.png a.png -o ./ --children 2",
    "mix a.png b.png -o b.png",
    "interpolate a.png b.png -o a.png",
    "plot a.png b.png c.png -o a.png",
    "plot . -o b.png",
    "plot a.png b.png c.png d.png --grid -o d.png",
    "search a.png . -o b.png",
    "search a.png . -o a.png",
    "convert m.pt m.pt",
    "convert m.pt other.pt",
    "export m.pt m.pt",
    "export m.safetensors m.safetensors --format onnx",
    "train . -o a.png",
    "evaluate-model a.png b.png --data c.png --memorised c.png",
    "evaluate-model . --data . --memorised link.png",
    "evaluate-model midpoints.png a.png -o ./",
    "train . --init m.safetensors -o m.safetensors",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_an_input_is_refused(latent, place, command):
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    refused(latent(*command.split()), "is also what is read")
    assert {path: path.read_bytes() for path in before} == before


def test_saved_latents_do_not_replace_those_that_are_read(latent, place, latents):
    Path("a.latent.safetensors").write_bytes(Path(latents[0]).read_bytes())
    refused(latent("blend", "a.latent.safetensors", latents[1], "-o", "a.gif", "--save-latents"), "also what is read")
    refused(latent("export", "a.latent.safetensors", "a.latent.safetensors"), "also what is read")


@pytest.mark.parametrize(
    "command, words",
    [
        ("interpolate a.png b.png -o -", "name it with one of"),
        ("interpolate a.png b.png -o x.mp4 --fps 0.0001", "fps is 0.0001"),
        ("interpolate a.png b.png -o x.mp4 --fps nan", "fps is nan"),
        ("interpolate a.png b.png -o x.mp4 --scale 1000000", "give 512 at most"),
        ("blend a.png missing.png -o x.png --no-align", "missing.png does not exist"),
        ("blend a.png m.pt -o x.png --no-align", "m.pt"),
        (f"blend a.png b.png -o {'n' * 300}.png", "cannot be written"),
        (f"blend a.png b.png -o {'n' * 245}.png --save-latents", "cannot be written"),
        ("blend a.png b.png -o folder.png/x.png", "is no folder"),
        ("plot a.png b.png -o x.png --method umap", "umap is not installed"),
        ("plot a.png b.png -o x.png --no-align", "2 codes of 48 numbers came; pca in 2 dimensions needs 3"),
        ("plot . -o x.png --limit 4 --method tsne", "4 codes of 48 numbers came; tsne"),
        ("sample -o x.png --truncation 1e30", "truncation is 1e+30"),
        ("sample -o x.png --truncation nan", "truncation is nan"),
    ],
)
def test_what_cannot_be_made_is_refused_before_the_search(latent, place, command, words):
    Path("folder.png").write_text("a file")
    refused(latent(*command.split()), words)
