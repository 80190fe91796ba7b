import json
import os
import random
import subprocess
import sys
import urllib.request
from email.message import Message
from pathlib import Path
from urllib.request import Request

import pytest

from generators.errors import DownloadError
from generators.hub.download import (
    DownloadConfig,
    Progress,
    SafeRedirects,
    download,
    remember,
    resumable,
)
from tests.generators.hub.fileserver import serving

ROOT = Path(__file__).resolve().parents[3]
QUICK = DownloadConfig(timeout=0.2, attempts=3, backoff=0.001, longest_wait=0.002, chunk=4096)
CONTENT = random.Random(0).randbytes(20_000)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files["/a.pkl"] = CONTENT
        yield server


@pytest.fixture
def bring(server, tmp_path):
    """Download /a.pkl with a script; gives what came and the steps that were seen."""

    def bring(*script: str, config: DownloadConfig = QUICK) -> tuple[bytes, list[Progress]]:
        server.script[:] = script
        steps: list[Progress] = []
        download([f"{server.address}/a.pkl"], tmp_path / "part", config, watch=steps.append)
        return (tmp_path / "part").read_bytes(), steps

    return bring


@pytest.mark.parametrize("tag", ['"a\r\n b"', '"\xe9\xff"', '"\x01"'])
def test_a_tag_that_cannot_be_sent_back_means_a_new_start(server, bring, tag):
    server.tag = tag
    content, _ = bring("cut 5000")
    assert content == CONTENT and [span for _, span in server.asked] == [None, None]


@pytest.mark.parametrize(
    "note", ["[" * 100_000, '{"address": "A", "version": "a\\r\\nX: y"}', '{"address": "A", "version": "\xe9"}']
)
def test_a_damaged_note_of_a_part_means_a_new_start(tmp_path, note):
    (tmp_path / "part").write_bytes(b"half")
    remember(tmp_path / "part", "A", Message())
    (beside,) = (path for path in tmp_path.iterdir() if path.name != "part")
    beside.write_text(note)
    assert resumable("A", tmp_path / "part") == (0, "")


@pytest.mark.parametrize("to", ["http://[", "http://127.0.0.1:port/", "https://a\xe9.example:99999/"])
def test_a_redirect_to_no_address_is_one_line(server, tmp_path, to):
    server.script[:] = [f"redirect {to}"] * 3
    with pytest.raises(DownloadError) as caught:
        download([f"{server.address}/a.pkl"], tmp_path / "part", QUICK)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("wait", ["\xb2", "9" * 5000, "-1"])
def test_a_wait_that_is_no_number_counts_as_none(bring, wait):
    assert bring(f"retry {wait}")[0] == CONTENT


def test_a_file_comes_whole_and_its_progress_is_told(bring):
    content, steps = bring()
    assert content == CONTENT and {s.total for s in steps} == {20_000} and not any(s.note for s in steps)
    done = [s.done for s in steps]
    assert done == sorted(done) and done[0] == 0 and done[-1] == 20_000 and len(done) > 5


@pytest.mark.parametrize(
    "script, ranges",
    [
        (["cut 5000"], [None, "bytes=5000-"]),
        (["cut 0", "cut 0"], [None, None, None]),
        (["stall 7000"], [None, "bytes=7000-"]),
        (["cut 6000", "cut 6000", "cut 6000"], [None, "bytes=6000-", "bytes=12000-", "bytes=18000-"]),
        (["status 500", "status 503"], [None] * 3),
        (["status 429"], [None] * 2),
        (["retry 3"], [None] * 2),
        (["cut 5000", "status 502"], [None, "bytes=5000-", "bytes=5000-"]),
        (["cut 5000", "whole"], [None, "bytes=5000-"]),  # the server ignores Range: what comes replaces what was there
        (["cut 5000", "shifted"], [None, "bytes=5000-", None]),
        (["drip"], [None]),
        (["nolength"], [None]),
    ],
)
def test_failures_that_pass(bring, server, script, ranges):
    content, steps = bring(*script)
    assert content == CONTENT
    assert [asked for _, asked in server.asked] == ranges
    assert sum(s.note is not None for s in steps) == len(ranges) - 1
    assert all("trying again" in s.note for s in steps if s.note)


def test_attempts_end(bring, server, tmp_path):
    with pytest.raises(DownloadError, match=r"/a.pkl failed 3 times: the server answered 500"):
        bring(*["status 500"] * 3)
    with pytest.raises(DownloadError, match=r"failed 3 times: the connection was lost \(no answer in time\)"):
        bring(*["stall 0"] * 3, config=DownloadConfig(timeout=0.02, attempts=3, backoff=0.001))
    with pytest.raises(DownloadError, match="ended after 100 of 20000 bytes; what came is kept"):
        bring(*["cut 100", "cut 0", "cut 0"])
    assert (tmp_path / "part").read_bytes() == CONTENT[:100]
    assert len(server.asked) == 9


def test_a_server_that_always_cuts_at_one_place_is_given_up(bring, server):
    with pytest.raises(DownloadError, match="failed 3 times"):
        server.tagged = False  # so that each attempt begins anew
        bring(*["cut 9000"] * 30)
    assert len(server.asked) == 4  # the first brought something new


@pytest.mark.parametrize(
    "line, words",
    [
        ("status 404", "does not have it (404)"),
        ("status 403", "forbids it (403)"),
        ("status 401", "wants a login (401)"),
        ("status 400", "refuses (400)"),
        ("html", "answered with text/html, not with a file"),
        ("redirect ftp://127.0.0.1/a.pkl", "from http to ftp"),
        ("redirect file:///etc/hostname", "refuses (302)"),
    ],
)
def test_refusals_are_not_tried_again(bring, server, tmp_path, line, words):
    with pytest.raises(DownloadError) as caught:
        bring(line)
    assert words in str(caught.value) and "\n" not in str(caught.value) and len(server.asked) == 1
    assert not (tmp_path / "part").exists()


def test_redirects(bring, server):
    server.files["/b.pkl"] = CONTENT[::-1]
    assert bring(f"redirect {server.address}/b.pkl?signature=secret")[0] == CONTENT[::-1]
    with pytest.raises(DownloadError, match="failed 3 times|refuses"):
        bring(*[f"redirect {server.address}/a.pkl"] * 60)


def test_redirects_do_not_lose_encryption():
    with pytest.raises(DownloadError, match="from https to http"):
        request = Request("https://example.org/a")
        SafeRedirects().redirect_request(request, None, 302, "", {}, "http://example.org/a")  # type: ignore[arg-type]


def test_the_address_of_a_redirect_is_not_told(bring, server):
    with pytest.raises(DownloadError) as caught:
        bring(f"redirect {server.address}/gone?signature=secret")
    assert "secret" not in str(caught.value)


def test_the_next_address_is_taken_where_one_refuses(server, tmp_path):
    addresses = [f"{server.address}/gone.pkl", f"{server.address}/a.pkl"]
    assert download(addresses, tmp_path / "part", QUICK) == addresses[1]
    assert (tmp_path / "part").read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"gone.pkl does not have it \(404\); .*other.pkl does not"):
        download([addresses[0], f"{server.address}/other.pkl"], tmp_path / "part", QUICK)


def test_the_next_address_is_left_where_one_has_begun(server, tmp_path):
    server.files["/b.pkl"] = CONTENT
    server.script[:] = ["cut 100", "cut 0", "cut 0", "cut 0"]
    with pytest.raises(DownloadError, match="a.pkl failed"):
        download([f"{server.address}/a.pkl", f"{server.address}/b.pkl"], tmp_path / "part", QUICK)
    assert {path for path, _ in server.asked} == {"/a.pkl"}


def test_no_server(tmp_path):
    with serving() as server:
        address = f"{server.address}/a.pkl"
    with pytest.raises(DownloadError, match=r"failed 3 times: no connection \(Connection refused\)"):
        download([address], tmp_path / "part", QUICK)
    with pytest.raises(DownloadError, match="is no http address"):
        download(["file:///etc/hostname"], tmp_path / "part", QUICK)


# Going on where another run stopped


def test_a_stopped_download_is_resumed_by_the_next(bring, server, tmp_path):
    def stop(step: Progress) -> None:
        if step.done > 9000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download([f"{server.address}/a.pkl"], tmp_path / "part", QUICK, watch=stop)
    have = (tmp_path / "part").read_bytes()
    assert 9000 < len(have) < 20_000 and CONTENT.startswith(have)
    content, steps = bring()
    assert content == CONTENT and steps[0].done == len(have)
    assert server.asked[1][1] == f"bytes={len(have)}-"


@pytest.mark.parametrize("change", ["file", "address", "no notes", "broken notes", "no tag"])
def test_what_cannot_be_trusted_is_not_resumed(bring, server, tmp_path, change):
    server.tagged = change != "no tag"
    with pytest.raises(DownloadError):
        bring("cut 3000", "cut 0", "cut 0", "cut 0")
    if change == "file":
        server.files["/a.pkl"] = CONTENT[::-1]
    notes = tmp_path / "part.json"
    if change == "address":
        notes.write_text(json.dumps(json.loads(notes.read_text()) | {"address": "https://example.org"}))
    if change == "no notes":
        notes.unlink()
    if change == "broken notes":
        notes.write_text("[{")
    assert bring()[0] == server.files["/a.pkl"]


def test_a_part_that_is_longer_than_the_file(bring, server, tmp_path):
    bring()
    (tmp_path / "part").write_bytes(CONTENT + b"more")
    assert bring()[0] == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=20004-", None]


# The disk


def test_too_little_room_is_told_before_anything_is_written(bring, monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5_000_000}))
    bring()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    (tmp_path / "part").unlink()
    with pytest.raises(DownloadError, match="room for 0 MB, 0 MB are missing; free space, or set LATENT_CACHE"):
        bring()
    assert not (tmp_path / "part").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up(server, tmp_path):
    (tmp_path / "part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="the disk is full; free space") as caught:
        download([f"{server.address}/a.pkl"], tmp_path / "part", QUICK)
    assert "\n" not in str(caught.value) and len(server.asked) == 1


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="nothing is forbidden to root")
def test_a_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / "part").mkdir()
    with pytest.raises(DownloadError, match="cannot write .*part: Is a directory"):
        download([f"{server.address}/a.pkl"], tmp_path / "part", QUICK)


def test_ctrl_c_in_a_process_keeps_what_came(server, tmp_path):
    server.script[:] = ["stall 8000"]
    code = (
        "import sys, signal, threading, os\n"
        "from pathlib import Path\n"
        "from generators.hub.download import download\n"
        "def stop(step):\n"
        "    if step.done == 8000: threading.Timer(0, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "download([sys.argv[1]], Path(sys.argv[2]), watch=stop)\n"
    )
    command = [sys.executable, "-c", code, f"{server.address}/a.pkl", str(tmp_path / "part")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert result.returncode != 0 and "KeyboardInterrupt" in result.stderr
    assert (tmp_path / "part").read_bytes() == CONTENT[:8000]


def test_no_opener_is_installed_for_others(bring):
    before = urllib.request._opener
    bring()
    assert urllib.request._opener is before
