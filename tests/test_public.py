"""The paths that other people's programs import stay, whatever moves behind them."""

import subprocess
import sys

import pytest

import generators
import inversion
from tests.conftest import tiny_generator
from tests.layers import ROOT


def test_old_paths_stand():
    from generators.adapter import adapt
    from inversion.edit import blend
    from inversion.errors import ImageError, InversionError

    assert callable(adapt) and callable(generators.load) and callable(generators.convert)
    assert inversion.edit.blend is blend is inversion.blend
    for name in ("invert", "save", "load_latent", "synthesize", "children", "interpolate", "optimize", "export"):
        assert callable(getattr(inversion, name)), name
    assert issubclass(ImageError, InversionError) and inversion.InversionError is InversionError
    assert issubclass(generators.GeneratorError, inversion.LatentError)


def test_every_public_name_loads_and_only_those_are_listed():
    for name in inversion.__all__:
        assert getattr(inversion, name) is not None
    with pytest.raises(AttributeError):
        _ = inversion.nonsense
    names = [line.split(" as ")[1] for line in (ROOT / "inversion" / "__init__.pyi").read_text().splitlines() if line]
    assert sorted(names) == sorted(inversion.__all__)  # they stand there, and nowhere else


def test_importing_both_packages_loads_no_torch():
    code = "import sys, generators, inversion; print([n for n in ('torch', 'numpy', 'PIL') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_latent_is_saved_and_loaded_by_its_old_call(tmp_path):
    g = tiny_generator()
    latent = inversion.sample_latent(g, seed=3)
    inversion.save(latent, tmp_path / "a.latent.safetensors", g)
    again = inversion.load_latent(tmp_path / "a.latent.safetensors", g)
    assert again.code.equal(latent.code) and inversion.synthesize(g, again).shape == (1, 3, 16, 16)
