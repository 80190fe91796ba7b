import pytest

from generators.checkpoints.ours import save_model
from generators.hub import names as hub
from generators.hub import wheels
from generators.hub.catalogue import Checkpoint
from tests.conftest import tiny_generator
from tests.generators.hub.fileserver import CONTENT, serving


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


@pytest.fixture
def server(monkeypatch):
    """A server of one public checkpoint, `public`, and its catalogue."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files["/public.pkl"] = CONTENT
        one = Checkpoint("public", (f"{server.address}/public.pkl",), 64, "faces", "CC BY-NC 4.0")
        monkeypatch.setattr(hub, "checkpoints", lambda: {"public": one})
        yield server
