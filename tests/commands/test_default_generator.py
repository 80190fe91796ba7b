"""Which generator is taken where none is named."""

import pytest
from click.testing import CliRunner

from cli import main
from generators.hub import names as hub
from generators.hub import wheels
from tests.conftest import objects, refused


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """The command line where nothing is set, and no package brings a model."""
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LATENT_GENERATOR", raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(main, [str(a) for a in args])


def test_portraits_is_taken_and_one_line_says_how_to_get_ffhq(bare):
    result = bare("sample", "-o", "a.png")
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("generator: portraits, 128 px;") and "`latent generators --fetch ffhq`" in line
    assert "non-commercial" in line


def test_a_name_is_taken_without_a_word(bare, monkeypatch):
    assert bare("sample", "-g", "digits", "-o", "a.png").stderr == ""
    monkeypatch.setenv("LATENT_GENERATOR", "digits")
    assert bare("sample", "-o", "a.png").stderr == ""


def test_ffhq_is_taken_where_it_is_here(bare, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "is_here", lambda name, folder: True)
    monkeypatch.setattr(hub, "find_wheel", lambda name, folder: asked.append(name))
    refused(bare("sample", "-o", "a.png"), "ffhq is not here yet", "pip install --no-deps random-face")
    assert asked == ["ffhq"] and hub.default_generator() == "ffhq"


def test_saved_latents_bring_their_generator(bare):
    assert bare("sample", "-g", "digits", "-n", 2, "-o", "d/", "--save-latents").exit_code == 0
    two = [f"d/sample-000{i}.latent.safetensors" for i in (1, 2)]
    result = bare("blend", *two, "-o", "b.png", "--json")
    assert result.exit_code == 0 and result.stderr == "", result.output
    assert objects(result)[0]["file"] == "b.png"
    result = bare("export", "d/sample-0001.latent.safetensors", "d.npz", "--json")
    assert objects(result)[0]["generator"] == "digits"


def test_latents_of_two_generators_are_refused(bare):
    for name in ("digits", "digits-gan"):
        assert bare("sample", "-g", name, "-o", f"{name}.png", "--save-latents").exit_code == 0
    result = bare("blend", "digits.latent.safetensors", "digits-gan.latent.safetensors", "-o", "b.png")
    refused(result, "several generators", "digits.latent.safetensors with digits", "give those of one")


def test_a_latent_of_a_model_that_has_no_name_says_so(bare, latents):
    refused(bare("render", latents[0], "-o", "a.png"), "was made with tiny, give that with -g", "no generator named")


def test_help_does_not_look_for_it(bare, monkeypatch):
    monkeypatch.setattr(hub, "is_here", lambda name, folder: 1 / 0)
    assert bare("sample", "--help").exit_code == 0
