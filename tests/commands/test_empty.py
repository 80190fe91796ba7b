"""An empty argument, as an unset variable of the shell leaves it, is told, and never means the current folder."""

import pytest

from tests.conftest import refused

COMMANDS = {
    "invert": (["invert", "", "-o", "out"], "PHOTO"),
    "invert among others": (["invert", "a.png", "", "-o", "out"], "PHOTO"),
    "its folder": (["invert", "a.png", "-o", ""], "--out"),
    "its start": (["invert", "a.png", "-o", "out", "--init", ""], "--init"),
    "its generator": (["invert", "a.png", "-o", "out", "-g", ""], "--generator"),
    "blend": (["blend", "a.png", "", "-o", "b.png"], "SOURCE"),
    "blend's picture": (["blend", "a.png", "b.png", "-o", ""], "--out"),
    "interpolate": (["interpolate", "", "a.png", "-o", "b.gif"], "SOURCE"),
    "mix": (["mix", "", "a.png", "-o", "b.png"], "A B [C]"),
    "render": (["render", "", "-o", "b.png"], "LATENT"),
    "evaluate": (["evaluate", ""], "SOURCE"),
    "evaluate-model": (["evaluate-model", "", "-o", "q"], "SOURCE"),
    "its data": (["evaluate-model", "a.png", "--data", ""], "--data"),
    "plot": (["plot", "", "-o", "b.png"], "SOURCE"),
    "query": (["search", "", "photos"], "QUERY"),
    "folder": (["search", "a.png", ""], "FOLDER"),
    "train": (["train", "", "-o", "m.safetensors"], "SOURCE"),
    "convert": (["convert", "", "m.safetensors"], "CHECKPOINT"),
    "convert to": (["convert", "m.pt", ""], "MODEL"),
    "export": (["export", "portraits", ""], "OUT"),
    "generators": (["generators", "--fetch", ""], "--fetch"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_empty_names_are_told(latent, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    args, label = COMMANDS[case]
    refused(latent(*args), f"{label} is empty")
    assert not list(tmp_path.iterdir())
