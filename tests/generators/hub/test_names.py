import hashlib
import json
import multiprocessing
import random
import sys
import threading
import tomllib
import types
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from generators import load
from generators.checkpoints.ours import save_model
from generators.errors import DownloadError, GeneratorError
from generators.hub import names as hub
from generators.hub import wheels
from generators.hub.catalogue import Checkpoint, checkpoints
from generators.hub.download import DownloadConfig, Progress
from tests.conftest import tiny_generator
from tests.generators.hub.fileserver import serving

ROOT = Path(__file__).resolve().parents[3]
QUICK = DownloadConfig(timeout=0.5, attempts=2, backoff=0.001, longest_wait=0.002, chunk=4096)
CONTENT = random.Random(1).randbytes(30_000)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing that forbids to download."""
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LATENT_OFFLINE", raising=False)
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of packaged models: `b` with its card, `a` without."""
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)  # whatever is installed
    folder = tmp_path / "pretrained"
    for name in ("b", "a"):
        save_model(tiny_generator(), folder / f"{name}.safetensors")
    (folder / "b.md").write_text("# b\n")
    monkeypatch.setattr(hub, "PRETRAINED", folder)
    return folder


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


@pytest.fixture
def server(monkeypatch):
    """A server of one public checkpoint, `public`, and its catalogue."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files["/public.pkl"] = CONTENT
        one = Checkpoint("public", (f"{server.address}/public.pkl",), 64, "faces", "CC BY-NC 4.0")
        monkeypatch.setattr(hub, "checkpoints", lambda: {"public": one})
        yield server


def test_what_is_not_here_is_told_with_its_terms(server, shelf):
    assert hub.entries()[-1] == hub.Entry("public", None, None, "downloadable", hub.checkpoints()["public"])
    with pytest.raises(GeneratorError) as caught:
        load("public")
    words = ["public is not here yet", "64 px", "faces", "CC BY-NC 4.0", "`latent generators --fetch public`"]
    assert all(word in str(caught.value) for word in words) and server.asked == []


def test_a_fetched_file_is_found_and_noted(server, cache):
    steps: list[Progress] = []
    path = hub.fetch("public", config=QUICK, watch=steps.append)
    assert path == cache / "public.pkl" == hub.find("public") and path.read_bytes() == CONTENT
    assert steps[-1].done == steps[-1].total == len(CONTENT)
    note = json.loads((cache / "public.pkl.json").read_text())
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert (note["name"], note["sha256"], note["bytes"]) == ("public", sha256, len(CONTENT))
    entry = hub.entries()[-1]
    assert (entry.name, entry.source, entry.path) == ("public", "cached", path)
    assert hub.fetch("public", config=QUICK) == path and len(server.asked) == 1
    left = {file.name for file in cache.iterdir()} - {".public.pkl.lock"}
    assert left == {"public.pkl", "public.pkl.json"}


def test_a_file_that_was_put_there_by_hand_is_noted_at_first_use(server, cache):
    cache.mkdir(parents=True)
    (cache / "public.pkl").write_bytes(CONTENT)
    assert hub.find("public") == cache / "public.pkl" and (cache / "public.pkl.json").exists()
    (cache / "public.pkl").write_bytes(CONTENT[::-1])
    with pytest.raises(DownloadError, match=f"has sha256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}, but") as caught:
        hub.find("public")
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value) and server.asked == []
    hub.fetch("public", config=QUICK)  # the right bytes come back
    assert hub.find("public").read_bytes() == CONTENT


def test_other_bytes_than_before_are_refused_and_kept_aside(server, cache):
    hub.fetch("public", config=QUICK).unlink()
    server.files["/public.pkl"] = CONTENT[::-1]
    with pytest.raises(DownloadError, match="it is kept aside as .*public.pkl.refused; if its makers") as caught:
        hub.fetch("public", config=QUICK)
    for content in (CONTENT, CONTENT[::-1]):
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert not (cache / "public.pkl").exists() and "\n" not in str(caught.value)
    assert (cache / "public.pkl.refused").read_bytes() == CONTENT[::-1]
    (cache / "public.pkl.json").unlink()  # as the message says
    assert hub.fetch("public", config=QUICK).read_bytes() == CONTENT[::-1]


def test_a_note_that_cannot_be_read_stops_before_the_download(server, cache):
    hub.fetch("public", config=QUICK)
    (cache / "public.pkl.json").write_text("{")
    for act in (hub.find, hub.fetch):
        with pytest.raises(DownloadError, match="public.pkl.json cannot be read .*delete it if you trust"):
            act("public")
    assert len(server.asked) == 1


def test_an_unfinished_file_never_has_the_name(server, cache):
    server.script[:] = ["cut 9000", "cut 0", "cut 0"]
    with pytest.raises(DownloadError, match="cannot fetch public: .* what came is kept"):
        hub.fetch("public", config=QUICK)
    assert not (cache / "public.pkl").exists() and (cache / "public.pkl.part").stat().st_size == 9000
    with pytest.raises(GeneratorError, match="not here yet"):
        hub.find("public")
    hub.fetch("public", config=QUICK)
    assert server.asked[-1][1] == "bytes=9000-" and hub.find("public").read_bytes() == CONTENT


@pytest.mark.parametrize("value", ["1", "yes"])
def test_offline(server, cache, monkeypatch, value):
    monkeypatch.setenv("LATENT_OFFLINE", value)
    with pytest.raises(DownloadError, match="public is not here; leave out --offline and LATENT_OFFLINE, or"):
        hub.fetch("public")
    monkeypatch.setenv("LATENT_OFFLINE", "0")
    path = hub.fetch("public", config=QUICK)
    monkeypatch.setenv("LATENT_OFFLINE", value)
    assert hub.fetch("public") == hub.find("public") == path and len(server.asked) == 1
    monkeypatch.delenv("LATENT_OFFLINE")
    path.unlink()
    with pytest.raises(DownloadError, match="public is not here"):
        hub.fetch("public", offline=True)


def test_addresses(server, cache):
    address = f"{server.address}/public.pkl?a=1"
    with pytest.raises(GeneratorError, match="is not here yet; `latent generators --fetch http"):
        hub.find(address)
    path = hub.fetch(address, config=QUICK)
    assert hub.find(address) == path and path.name.startswith("public-") and path.suffix == ".pkl"
    assert [entry.name for entry in hub.entries() if entry.source == "cached"] == [address]
    assert hub.fetch(f"{server.address}/public.pkl", config=QUICK) != path


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


def test_a_cache_that_cannot_be_made(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="cannot write .*set LATENT_CACHE"):
        hub.fetch("public")


def fetch_in_process(address: str, ready) -> None:
    ready.wait(10)
    assert hub.fetch(address, config=QUICK).read_bytes() == CONTENT


def test_processes_that_fetch_one_name_do_not_disturb_each_other(server, cache):
    address, context = f"{server.address}/public.pkl", multiprocessing.get_context("fork")
    server.script[:] = ["drip", "drip", "drip", "drip"]
    ready = context.Event()
    all_of_them = [context.Process(target=fetch_in_process, args=(address, ready)) for _ in range(4)]
    for process in all_of_them:
        process.start()
    ready.set()
    for process in all_of_them:
        process.join(20)
    assert [process.exitcode for process in all_of_them] == [0] * 4
    assert len(server.asked) == 1  # the others waited


def test_waiting_is_told(server):
    steps: list[Progress] = []
    hub.place("public").parent.mkdir(parents=True)
    target, entered, leave = hub.place("public"), threading.Event(), threading.Event()

    def hold() -> None:
        with hub.alone(target):
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)

    def watch(step: Progress) -> None:
        steps.append(step)
        leave.set()

    assert hub.fetch("public", config=QUICK, watch=watch).read_bytes() == CONTENT
    holder.join()
    assert steps[0].note == "another process is fetching public.pkl; waiting for it"


# Hugging Face


@pytest.fixture
def hugging_face(monkeypatch, tmp_path):
    """A stand-in for huggingface_hub: `files` of owner/name, of which `here` are downloaded."""
    fake = types.ModuleType("huggingface_hub")
    fake.files, fake.here, fake.asked = ["README.md", "a.pkl"], [], []

    def hf_hub_download(repo_id, filename, revision=None, local_files_only=False):
        fake.asked.append((repo_id, filename, revision, local_files_only))
        if filename not in fake.files or (local_files_only and filename not in fake.here):
            raise RuntimeError(f"{filename} is not there\nand more words")
        fake.here.append(filename)
        return str(tmp_path / filename)

    def snapshot_download(repo_id, revision=None, local_files_only=False):
        assert local_files_only
        folder = tmp_path / "snapshot"
        folder.mkdir(exist_ok=True)
        for file in fake.here:
            (folder / file).touch()
        return str(folder)

    fake.hf_hub_download, fake.snapshot_download = hf_hub_download, snapshot_download
    fake.HfApi = lambda: types.SimpleNamespace(list_repo_files=lambda repo_id, revision=None: fake.files)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_hugging_face(hugging_face, tmp_path):
    for name in ("hf:owner/name", "hf:owner/name/a.pkl"):
        hugging_face.here.clear()
        (tmp_path / "snapshot" / "a.pkl").unlink(missing_ok=True)
        with pytest.raises(GeneratorError, match="latent generators --fetch hf:owner/name|no model file"):
            hub.find(name)
        assert hub.fetch(name) == tmp_path / "a.pkl" == hub.find(name)
    hub.fetch("hf:owner/name@v1.0/a.pkl")
    assert hugging_face.asked[-1] == ("owner/name", "a.pkl", "v1.0", False)


def test_hugging_face_refusals(hugging_face, monkeypatch):
    hugging_face.files = ["a.pkl", "b.pt", "c.txt"]
    with pytest.raises(DownloadError, match=r"holds 2 model files \(a.pkl, b.pt\); name one, as in hf:.*/a.pkl"):
        hub.fetch("hf:owner/name")
    hugging_face.files = ["c.txt"]
    with pytest.raises(DownloadError, match="holds no model file"):
        hub.fetch("hf:owner/name")
    with pytest.raises(DownloadError, match=r"cannot be had \(x.pkl is not there\); check the name and the connection"):
        hub.fetch("hf:owner/name/x.pkl")
    for name in ("hf:", "hf:owner", "hf:owner/name@", "hf:/name"):
        with pytest.raises(DownloadError, match="write hf:owner/repository"):
            hub.fetch(name)
    monkeypatch.setenv("LATENT_OFFLINE", "1")
    with pytest.raises(DownloadError, match="x.pkl is not here yet; .* unless it is told to stay offline"):
        hub.fetch("hf:owner/name/x.pkl")
    assert hugging_face.asked[-1][-1] is True


def test_hugging_face_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DownloadError, match="needs huggingface_hub, which is not installed; run pip install"):
        load("hf:owner/name")
