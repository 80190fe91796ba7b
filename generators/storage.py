"""Whole files on disk, their hashes, the cache folder, and JSON that any reader takes."""

import errno
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError

from generators.errors import WriteError

ELSEWHERE = "choose another place, or make room"  # what to do where the disk refuses
MARK = ".tmp"  # stands in the name of every file that is not whole yet


PRIVATE = ("inversions", "indexes")  # kinds of the cache that tell of people's faces


def cache_folder(kind: str) -> Path:
    """The folder of this kind (downloads, models, inversions, indexes) in $LATENT_CACHE, or else in ~/.cache/latent.

    Where nobody has a home it is one below the null device, which holds nothing, and takes nothing.
    """
    if given := os.environ.get("LATENT_CACHE"):
        return Path(given) / kind
    try:
        return Path.home() / ".cache" / "latent" / kind
    except RuntimeError:
        return Path(os.devnull) / kind


def is_file(path: str | Path) -> bool:
    """Tell a regular file, or a link to one; what cannot be looked at, for whatever reason, is none."""
    return os.path.isfile(path)


def write_kept(path: Path, data: bytes, *, private: bool = True) -> None:
    """Write a file of a cache; WriteError also where something that is no file stands in its place.

    private: for its owner's eyes alone, and so are the folders that are made for it, and those of people's faces.
    """
    if os.path.lexists(path) and not is_file(path):
        raise WriteError(f"{path} is no file; remove it")
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
        if private and folder.name in PRIVATE and folder == cache_folder(folder.name):
            folder.chmod(0o700)
    except OSError as error:
        raise WriteError(f"{folder} cannot be written to ({reason(error)}); {ELSEWHERE}") from error
    with replacing(path, private=private) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(
    path: str | Path, *, advice: str = ELSEWHERE, sync: bool = False, private: bool = False
) -> Iterator[Path]:
    """A temporary name beside path, with its suffix, that becomes path when the block ends well, or else is removed.

    Makes parent folders; a link stays a link. sync: the content is on the disk before the name is, so that a power cut
    leaves no empty file. private: no other user may read it. WriteError, with advice for its last words, for what the
    disk refuses.
    """
    temporary = None
    try:
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name[:40]}.{uuid4().hex[:12]}{MARK}{target.suffix[:12]}")
        temporary.touch(mode=0o600 if private else 0o666)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(mode)  # some writers make the file anew, for its owner alone
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if not of_the_disk(error):
            raise
        raise WriteError(f"{path} cannot be written ({reason(error)}); {advice}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # most often it has been renamed; Ctrl-C too


def of_the_disk(error: Exception) -> bool:
    """Tell a disk that refuses from other errors of a writer; torch has no kind of its own for that."""
    if isinstance(error, RuntimeError):
        return "inline_container" in str(error) or "PytorchStreamWriter" in str(error)
    return isinstance(error, OSError | SafetensorError) or "null byte" in str(error)


def reason(error: Exception) -> str:
    """Say in a few words why the disk refused."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename} is no folder"
    if isinstance(error, RuntimeError):
        return "the disk may be full"
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def write_bytes(data: bytes, path: str | Path, *, advice: str = ELSEWHERE) -> None:
    """Write a file that no reader ever sees half of; "-" is standard output. WriteError where the disk refuses it."""
    try:
        if str(path) == "-":
            to = standard_output()
            to.write(data)
            to.flush()
            return
        if os.path.exists(path) and not os.path.isfile(path):  # a folder, which fails, or a device, which has no rename
            Path(path).write_bytes(data)
            return
    except (OSError, ValueError) as error:
        raise WriteError(f"{path} cannot be written ({reason(error)}); {advice}") from error
    with replacing(path, advice=advice) as temporary:
        temporary.write_bytes(data)


def standard_output() -> Any:  # a binary stream
    """Standard output for bytes; WriteError where there is none."""
    if sys.stdout is None or sys.stdout.closed:
        raise WriteError("standard output is closed; name a file, or open it")
    return sys.stdout.buffer


def remove_unfinished(folder: Path, name: str = "") -> None:
    """Remove what a killed process left half written: of the file of this name, or of all of them in the folder."""
    start = f".{name[:40]}." if name else "."
    for left in folder.glob(f".*{MARK}*"):
        if left.name.startswith(start):
            left.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block on this folder; the end of a process ends its block.

    Where folders know no locks, as on some network disks, nobody waits.
    """
    descriptor = None
    try:
        import fcntl  # not on Windows

        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def check_folder(folder: Path) -> None:
    """Make the folder where it is missing; WriteError unless a file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WriteError(f"{folder} cannot be written to ({reason(error)}); choose another folder") from error


def check_apart(writes: Iterable[str | Path], reads: Iterable[str | Path]) -> None:
    """WriteError where a file that is to be written is one that is read, under whatever name."""
    written = {key: path for path in writes if (key := file_key(path)) is not None}
    for path in reads if written else ():
        if (key := file_key(path)) in written:
            raise WriteError(f"{written[key]} is also what is read ({path}), and would be replaced; name another file")


def file_key(path: str | Path) -> tuple[int, int] | None:
    """The mark that tells one file of a disk from all others, by whatever name; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if is_file(path) else None


def check_file(path: str | Path) -> None:
    """Make the folder of a file; WriteError unless a file of that name can be written there."""
    place = Path(path)
    check_folder(place.parent)
    try:
        is_folder = stat.S_ISDIR(os.stat(place).st_mode)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # a name too long
        raise WriteError(f"{path} cannot be written ({reason(error)}); {ELSEWHERE}") from error
    if is_folder:
        raise WriteError(f"{path} is a folder; name a file, or remove it")


def sha256_of(path: str | Path) -> str:
    """The hash of a file's bytes, in hexadecimal; OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_order(content: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library shuffles it, and equal files want equal bytes."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(from_json(content[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # so that the tensors stay aligned
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def as_json(value: object, indent: int | None = None) -> str:
    """JSON that any reader takes: a number that is not finite becomes null."""
    return json.dumps(finite(value), indent=indent, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """Read JSON from outside; ValueError for what is none, is no UTF-8, or is nested too deep to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def finite(value: Any) -> Any:
    """The value with None for every number in it that is not finite, and lists for tuples."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a number of numpy or torch
        value = value.item()
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value
