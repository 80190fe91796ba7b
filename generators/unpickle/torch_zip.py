"""What torch.save writes: a zip of one pickle and the bytes of its storages, none of them packed.

The zip is read by its central directory alone, and only where that can be read in one way: no name twice, in no other
case, with no odd sign; one folder that holds all; each entry where it says it is, with the name that it says.
"""

import io
import struct
import sys
import zipfile
import zlib
from io import BufferedIOBase
from typing import Any

import torch
from torch import Tensor

from generators.unpickle.allowed import AGAIN, Budget, Name, Refused
from generators.unpickle.machine import Bounded, Machine, budget
from generators.unpickle.tensors import declared, storage_of

ZIP = b"PK\x03\x04"
DIRECTORY = 8 << 20  # bytes of a central directory, some 100,000 names; a model has 500
LOCAL = struct.Struct("<4s5H3I2H")  # what stands before an entry's bytes: its name's and its extra field's lengths last
AMBIGUOUS = "could be read in more than one way, which no honest file can"


class Sparing:
    """A file that gives no more at a time than a central directory may have."""

    def __init__(self, file: BufferedIOBase) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, n: int = -1) -> bytes:
        data = self.file.read(min(n, DIRECTORY) if n >= 0 else DIRECTORY)
        if n > DIRECTORY or len(data) == DIRECTORY:
            raise Refused("is a zip of more names than any model has")
        return data


def directory(file: BufferedIOBase) -> dict[str, zipfile.ZipInfo]:
    """The entries of a zip by their names, folders left out; Refused where two readers could see different ones."""
    with zipfile.ZipFile(Sparing(file)) as archive:  # type: ignore[call-overload] - it is a file as far as is needed
        entries = archive.infolist()
    folded = {entry.filename.casefold() for entry in entries}
    if len(folded) != len(entries):
        raise Refused(f"is a zip that has a name twice, and so {AMBIGUOUS}")
    if entries and min(entry.header_offset for entry in entries):
        raise Refused(f"is a zip behind something else, and so {AMBIGUOUS}")
    for entry in entries:
        name, parts = entry.orig_filename, entry.filename.removesuffix("/").split("/")
        odd = name != entry.filename or not name.isprintable() or "\\" in name
        if odd or {"", ".", ".."} & set(parts):
            raise Refused(f"is a zip with the name {name[:80]!r:.80}, and so {AMBIGUOUS}")
    return {entry.filename: entry for entry in entries if not (entry.filename.endswith("/") and not entry.file_size)}


class Archive:
    """The files in a zip of torch.save, by their names in its one folder."""

    def __init__(self, file: BufferedIOBase) -> None:
        self.file, self.size = file, file.seek(0, 2)
        entries = directory(file)
        roots = {name.partition("/")[0] for name in entries}
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if not pickles and any(name.endswith(".npy") for name in entries):
            raise Refused("holds arrays, as a latent does", "a latent goes where a photograph goes, a generator here")
        if not pickles:
            raise Refused("is a zip, and not of torch.save", "if a model is in it, unpack it first")
        if len(roots) != 1 or pickles != [f"{next(iter(roots))}/data.pkl"]:
            raise Refused(f"is a zip of more than one folder with data, and so {AMBIGUOUS}")
        self.entries = {name.partition("/")[2]: entry for name, entry in entries.items()}
        if "constants.pkl" in self.entries:
            raise Refused("is TorchScript, which is a program", "load it yourself, and hand it to generators.adapter")
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values())
        if packed or sum(entry.file_size for entry in entries.values()) > self.size:
            raise Refused("declares more bytes than it holds", AGAIN)

    def read(self, name: str) -> Tensor:
        """The bytes of a file, as they lie in the zip."""
        entry = self.entries[name]
        self.file.seek(entry.header_offset)
        local = LOCAL.unpack(self.file.read(LOCAL.size))
        flags, extra = local[2], local[10]
        there = self.file.read(local[9]).decode("utf-8" if flags & 0x800 else "cp437")
        if local[0] != ZIP or flags & 0x61 or local[3] != zipfile.ZIP_STORED or there != entry.filename:
            raise Refused(f"is a zip whose {name[:80]!r:.80} is told in two ways, and so {AMBIGUOUS}")
        if entry.compress_size != entry.file_size or self.file.tell() + extra + entry.file_size > self.size:
            raise Refused("declares more bytes than it holds", AGAIN)
        self.file.seek(extra, 1)
        raw = torch.empty(entry.file_size, dtype=torch.uint8)
        data = memoryview(raw.numpy())  # type: ignore[arg-type] - numpy's arrays are buffers
        if entry.file_size and self.file.readinto(data) != entry.file_size:
            raise Refused("declares more bytes than it holds", AGAIN)
        if entry.CRC and zlib.crc32(data) != entry.CRC:  # 0 where torch was told to leave it out
            raise Refused(f"has other bytes for {name[:80]!r:.80} than it was saved with", AGAIN)
        return raw

    def text(self, name: str) -> bytes:
        """The bytes of a small file; none where it is not there."""
        return self.read(name).numpy().tobytes() if name in self.entries else b""


class Storages:
    """The storages that the object refers to, each read once."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.raw: dict[str, Tensor] = {}
        order = archive.text("byteorder") if "byteorder" in archive.entries else b"little"
        if order not in (b"little", b"big"):
            raise Refused(f"has bytes in the order {order[:20]!r:.40}; little or big is wanted")
        self.swapped = order.decode() != sys.byteorder

    def refer(self, pid: object) -> object:
        if type(pid) is tuple and len(pid) == 4 and pid[0] == "module" and isinstance(pid[1], Name):
            return pid[1]
        wanted = declared(pid)
        if f"data/{wanted.key}" not in self.archive.entries:
            raise Refused(f"declares {wanted.size} bytes for a storage and holds 0")
        if wanted.key not in self.raw:
            raw = self.archive.read(f"data/{wanted.key}")
            if self.swapped and wanted.dtype.itemsize > 1:
                whole = raw[: len(raw) - len(raw) % wanted.dtype.itemsize].numpy()
                raw = torch.from_numpy(whole.view(f"u{wanted.dtype.itemsize}").byteswap().view("u1"))
            self.raw[wanted.key] = raw
        if wanted.dtype is torch.bool:
            self.raw[wanted.key].clamp_(max=1)  # torch takes anything else for neither true nor false
        return storage_of(wanted, self.raw[wanted.key])


def read_zip(file: BufferedIOBase, given: Budget | None = None) -> Any:
    """The object in a zip of torch.save, with its tensors."""
    archive = Archive(file)
    allowed = budget(archive.size) if given is None else given
    pickled = Bounded(io.BytesIO(archive.text("data.pkl")))
    return Machine(allowed, Storages(archive).refer).run(pickled)
