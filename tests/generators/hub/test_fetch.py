import hashlib
import json
import multiprocessing
import os
import threading

import pytest

from generators import load
from generators.errors import DownloadError, GeneratorError
from generators.hub import names as hub
from generators.hub.download import DownloadConfig, Progress
from generators.hub.ledger import noted
from tests.generators.hub.fileserver import CONTENT

QUICK = DownloadConfig(timeout=0.5, attempts=2, backoff=0.001, longest_wait=0.002, chunk=4096)


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
    for damaged in ("{", "[" * 100_000):
        (cache / "public.pkl.json").write_text(damaged)
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


@pytest.mark.parametrize("text", ["[" * 100_000, '{"name": "a", "sha256": "b", "bytes": Infinity, "date": ""}'])
def test_a_ledger_that_cannot_be_read_is_one_line(tmp_path, text):
    (tmp_path / "model.pkl").write_bytes(b"")
    (tmp_path / "model.pkl.json").write_text(text)
    with pytest.raises(DownloadError, match="cannot be read"):
        noted(tmp_path / "model.pkl")


def test_a_pipe_in_the_place_of_a_ledger_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.pkl.json")
    with pytest.raises(DownloadError, match="cannot be read"):
        noted(tmp_path / "model.pkl")
