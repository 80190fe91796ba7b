import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from conftest import tiny_generator

from generators import hub, load
from generators.errors import GeneratorError
from generators.files import save_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of packaged models: `b` with its card, `a` without."""
    folder = tmp_path / "pretrained"
    for name in ("b", "a"):
        save_model(tiny_generator(), folder / f"{name}.safetensors")
    (folder / "b.md").write_text("# b\n")
    monkeypatch.setattr(hub, "PRETRAINED", folder)
    return folder


def test_entries_are_the_packaged_files(shelf):
    a, b = hub.entries()
    assert (a.name, a.path, a.card, a.source) == ("a", shelf / "a.safetensors", None, "packaged")
    assert (b.name, b.card) == ("b", shelf / "b.md")


def test_find_by_name_and_by_path(shelf, tmp_path):
    assert hub.find("a") == shelf / "a.safetensors"
    other = tmp_path / "mine.safetensors"
    save_model(tiny_generator(seed=1), other)
    assert hub.find(str(other)) == other
    assert load("a").sha256 == tiny_generator().sha256 != load(other).sha256
    assert load("b").name == "b" and load(other, device="cpu").name == "mine"


def test_a_name_wins_over_a_file_of_that_name(shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("something else")
    assert hub.find("a") == shelf / "a.safetensors"


def test_unknown_names_list_the_known(shelf):
    with pytest.raises(GeneratorError, match="no generator named 'portrait'; known names: a, b; or give the path"):
        hub.find("portrait")


def test_an_empty_shelf(shelf, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "PRETRAINED", tmp_path / "nothing")
    assert hub.entries() == []
    with pytest.raises(GeneratorError, match="known names: none"):
        load("portraits")


@pytest.mark.parametrize("name", ["missing.safetensors", "folder/missing.pkl", "."])
def test_paths_that_hold_no_file(shelf, name):
    with pytest.raises(GeneratorError, match="no model file at .*; give a .safetensors file or a name"):
        hub.find(name)


@pytest.mark.parametrize("entry", hub.entries(), ids=lambda e: e.name)
def test_packaged_models_work(entry):
    assert entry.card is not None and entry.card.read_text().strip()
    g = load(entry.name)
    assert g.name == entry.name and g.card
    image = g.synthesis(g.mapping(torch.zeros(1, g.z_dim)), g.fixed_noise(1))
    assert image.shape == (1, g.img_channels, g.img_resolution, g.img_resolution) and image.isfinite().all()


def test_the_wheel_holds_the_models():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    ignored = (ROOT / ".gitignore").read_text().split()  # hatchling leaves out what git ignores
    assert hub.PRETRAINED == ROOT / "generators" / "pretrained"
    for target in build["targets"].values():
        assert "/generators" in target["include"] and not target.get("exclude")
    for name in ("portraits.safetensors", "portraits.md", "pretrained", "generators"):
        assert not any(fnmatch(name, pattern.strip("/")) for pattern in ignored)


def test_importing_the_packages_loads_no_torch():
    code = "import sys, generators, inversion; print(*sorted({'torch', 'numpy', 'PIL', 'dlib'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
