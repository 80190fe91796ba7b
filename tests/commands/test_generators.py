import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from generators.checkpoints.ours import load_model
from generators.hub import names as hub
from generators.hub import wheels
from generators.hub.catalogue import Checkpoint
from tests.conftest import ROOT, objects, refused
from tests.generators.hub.fileserver import serving

CONTENT = random.Random(2).randbytes(50_000)


@pytest.fixture
def server(monkeypatch, model):
    """A server of one public checkpoint, `public`: the tiny model; and its catalogue."""
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)  # whatever is installed
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("LATENT_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "PRETRAINED", Path(model).parent)
    with serving() as server:
        server.files["/public.safetensors"] = Path(model).read_bytes()
        one = Checkpoint("public", (f"{server.address}/public.safetensors",), 16, "noise", "CC BY-NC 4.0")
        monkeypatch.setattr(hub, "checkpoints", lambda: {"public": one})
        yield server


def test_the_list(latent, server, model):
    tiny, ffhq, public = objects(latent("generators", "--json"))
    assert ffhq["name"] == "ffhq" and "non-commercial" in ffhq["licence"] and "Apache-2.0" in ffhq["licence"]
    assert (tiny["name"], tiny["source"], tiny["resolution"], tiny["licence"]) == ("tiny", "packaged", 16, "CC0")
    assert public == {
        "name": "public",
        "resolution": 16,
        "parameters": None,
        "source": "downloadable",
        "licence": "CC BY-NC 4.0",
        "data": "noise",
        "file": None,
        "card": None,
        "addresses": [f"{server.address}/public.safetensors"],
    }
    lines = latent("generators").stdout.splitlines()
    assert lines[2] == "public  16 px  downloadable  licence: CC BY-NC 4.0  data: noise"
    assert latent("generators", "--offline").stdout.splitlines() == lines[:1]


def test_fetch_shows_the_licence_first_and_then_the_file(latent, server, model, tmp_path):
    refused(latent("sample", "-n", 1, "-g", "public", "-o", tmp_path / "a.png"), "CC BY-NC 4.0", "--fetch public")
    result = latent("generators", "--fetch", "public", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == ["public: 16 px, noise; licence: CC BY-NC 4.0"]
    (record,) = objects(result)
    path, content = Path(record["file"]), Path(model).read_bytes()
    assert path == tmp_path / "cache" / "downloads" / "public.safetensors" and path.read_bytes() == content
    assert record["sha256"] == hashlib.sha256(content).hexdigest() and record["bytes"] == len(content)
    assert record["licence"] == "CC BY-NC 4.0"
    assert objects(latent("generators", "--json"))[2]["source"] == "cached"
    result = latent("sample", "-n", 1, "-g", "public", "-o", tmp_path / "a.png")
    assert result.exit_code == 0 and (tmp_path / "a.png").exists(), result.output
    again = latent("generators", "--fetch", "public", "--offline")
    assert again.exit_code == 0 and record["sha256"] in again.stdout and len(server.asked) == 1
    assert load_model(path).name == "public"


def test_fetch_of_what_is_packaged_or_a_path(latent, server, model):
    for name in ("tiny", model):
        (record,) = objects(latent("generators", "--fetch", name, "--json"))
        assert record["file"] == model and server.asked == []


def test_fetch_refusals(latent, server, monkeypatch):
    refused_last(latent("generators", "--fetch", "public", "--offline"), "public is not here; leave out --offline")
    refused_last(latent("generators", "--fetch", "publik"), "no generator named 'publik'", "did you mean public?")
    refused_last(latent("generators", "--fetch", f"{server.address}/gone.pkl"), "does not have it (404)")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused_last(latent("generators", "--fetch", "hf:owner/name"), "needs huggingface_hub")
    monkeypatch.setenv("LATENT_OFFLINE", "1")
    refused_last(latent("generators", "--fetch", "public"), "is not here")


def test_what_happens_on_the_way_is_told(latent, server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.script[:] = ["cut 5000"]
    result = latent("generators", "--fetch", "public")
    assert result.exit_code == 0
    total = len(server.files["/public.safetensors"])
    assert result.stderr.splitlines()[1] == f"the connection ended after 5000 of {total} bytes; trying again in 1 s"


def refused_last(result, *words: str) -> None:
    """One line of error, after those that tell the terms."""
    assert result.exit_code == 1, result.output
    assert [line.startswith("error: ") for line in result.stderr.splitlines()].count(True) == 1
    assert all(word in result.stderr.splitlines()[-1] for word in words), result.stderr


def test_ctrl_c_keeps_the_part_and_the_real_command_goes_on(tmp_path):
    """In processes of their own: the second is served what the first did not get."""
    with serving() as server:
        server.files["/a.pkl"] = CONTENT
        server.script[:] = ["stall 20000"]
        address, env = f"{server.address}/a.pkl", os.environ | {"LATENT_CACHE": str(tmp_path), "no_proxy": "127.0.0.1"}
        env.pop("LATENT_OFFLINE", None)
        command = [sys.executable, "-m", "cli", "generators", "--fetch", address, "--json"]
        first = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(server, tmp_path, first)
        first.send_signal(2)
        _, words = first.communicate(timeout=20)
        assert first.returncode == 130
        assert words.splitlines()[-1] == "stopped; the same command goes on from there"
        (part,) = (tmp_path / "downloads").glob("*.part")
        assert part.read_bytes() == CONTENT[:20_000]
        second = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=20)
        assert second.returncode == 0, second.stderr
        assert Path(json.loads(second.stdout)["file"]).read_bytes() == CONTENT
        assert [asked for _, asked in server.asked] == [None, "bytes=20000-"]


def wait_for(server, folder: Path, process: subprocess.Popen) -> None:
    """Until the first bytes lie on the disk."""
    while process.poll() is None:
        if any(part.stat().st_size == 20_000 for part in folder.glob("downloads/*.part")):
            return
        server.over.wait(0.01)
    raise AssertionError(process.communicate()[1])
