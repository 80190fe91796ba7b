import subprocess
import sys

import pytest
import torch

import generators
from generators import convert, load
from generators.checkpoints.ours import save_model
from generators.errors import GeneratorError
from generators.hub import load as home
from generators.hub import names as hub
from generators.hub import wheels
from generators.hub.catalogue import Checkpoint
from tests.conftest import ROOT, tiny_generator
from tests.generators.checkpoints.foreign import dumped, nvidia
from tests.generators.checkpoints.reading import write


def test_importing_the_packages_loads_no_torch():
    code = "import sys, generators, inversion; print(*sorted({'torch', 'numpy', 'PIL', 'dlib'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_names_of_the_package_load_on_first_use():
    assert generators.load is home.load and generators.convert is home.convert
    assert generators.GeneratorError is GeneratorError
    with pytest.raises(AttributeError, match="module 'generators' has no attribute 'lode'"):
        generators.lode  # noqa: B018 - asking is the test


@pytest.mark.parametrize("name", hub.packaged())
def test_packaged_models_work(name):
    entry = next(entry for entry in hub.entries() if entry.name == name)
    assert entry.card is not None and entry.card.read_text().strip()
    g = load(entry.name)
    assert g.name == entry.name and g.card
    image = g.synthesis(g.mapping(torch.zeros(1, g.z_dim)), g.fixed_noise(1))
    assert image.shape == (1, g.img_channels, g.img_resolution, g.img_resolution) and image.isfinite().all()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A public checkpoint, `public`, that has been fetched already; its path."""
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    one = Checkpoint("public", ("https://example.org/public.pkl",), 16, "faces", "CC BY-NC 4.0")
    for module in (hub, home):
        monkeypatch.setattr(module, "checkpoints", lambda: {"public": one})
    hub.downloads().mkdir(parents=True)
    return write(hub.downloads() / "public.pkl", dumped(nvidia(tiny_generator())))


def test_the_terms_of_a_public_checkpoint_are_those_of_the_catalogue(published, tmp_path):
    assert load("public").card["licence"] == "CC BY-NC 4.0"
    assert load(published).card["licence"] == "not stated in the file"
    assert convert("public", tmp_path / "a.safetensors")["licence"] == "CC BY-NC 4.0"
    assert convert("public", tmp_path / "b.safetensors", licence="mine")["licence"] == "mine"
    assert convert(published, tmp_path / "c.safetensors", dtype=torch.float16)["licence"] == "not stated in the file"
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in "ac"]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_model_of_a_package_has_its_name(tmp_path, monkeypatch):
    path = tmp_path / "SynthesisNetwork.safetensors"
    save_model(tiny_generator(), path)
    monkeypatch.setattr(hub, "find_wheel", lambda name, folder: path)
    assert "ffhq" in wheels.WHEELS and load("ffhq").name == "ffhq" and load(path).name == "SynthesisNetwork"
