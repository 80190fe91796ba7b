"""What was fetched, and when: a note beside each file, against which its sha256 is checked from then on."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from generators.errors import DownloadError, WriteError
from generators.hub.download import guarded
from generators.storage import from_json, is_file, sha256_of, write_kept


@dataclass(frozen=True)
class Note:
    """The facts that are kept of a fetched file."""

    name: str  # or address
    sha256: str  # of the file that came first
    bytes: int
    date: str  # of that day, as 2025-12-31


def noted(path: Path) -> Note | None:
    """The note of the day when a file first came, None where there is none; DownloadError where it cannot be read."""
    if not os.path.lexists(ledger(path)):
        return None
    try:
        if not is_file(ledger(path)):  # a pipe would be waited for
            raise ValueError("no file")
        about = from_json(ledger(path).read_text())
        return Note(str(about["name"]), str(about["sha256"]), int(about["bytes"]), str(about["date"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DownloadError(f"{ledger(path)} cannot be read ({error}); delete it if you trust {path}") from error


def note(name: str, path: Path, sha256: str) -> None:
    """Write down what came; a folder that cannot be written to, as on shared machines, is left as it is."""
    about = Note(name, sha256, path.stat().st_size, date.today().isoformat())
    with suppress(WriteError):
        write_kept(ledger(path), (json.dumps(asdict(about), indent=1) + "\n").encode(), private=False)


def check(name: str, path: Path) -> Path:
    """The path, if its file is the one that came first under this name; noted where none was."""
    sha256, first = hash_of(path), noted(path)
    if first is None:
        note(name, path, sha256)
    elif first.sha256 != sha256:
        raise DownloadError(
            f"{path} has sha256 {sha256}, but {first.sha256} was noted for {name} on {first.date}; fetch it again with "
            f"`latent generators --fetch {name}`, or delete {ledger(path)} if you trust the file"
        )
    return path


def accept(name: str, part: Path, path: Path) -> None:
    """Give a whole download its name, if it is what came first under this name; keep it aside if not."""
    sha256, first = hash_of(part), noted(path)
    if first is not None and first.sha256 != sha256:
        aside = path.with_name(f"{path.name}.refused")
        with guarded(aside):
            part.replace(aside)
        raise DownloadError(
            f"{name} came with sha256 {sha256}, but {first.sha256} was noted on {first.date}; it is kept aside as "
            f"{aside}; if its makers have replaced it, delete {ledger(path)} and fetch again"
        )
    with guarded(path):
        part.replace(path)
    if first is None:
        note(name, path, sha256)


def ledger(path: Path) -> Path:
    """Where the note about a file is."""
    return path.with_name(f"{path.name}.json")


def hash_of(path: Path) -> str:
    """The file's sha256; DownloadError where it cannot be read."""
    with guarded(path):
        return sha256_of(path)
