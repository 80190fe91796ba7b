import sys
import types

import pytest

from generators import load
from generators.errors import DownloadError, GeneratorError
from generators.hub import names as hub


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
