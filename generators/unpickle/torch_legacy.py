"""What torch.save wrote before version 1.6: five pickles, and the bytes of the storages after them."""

from io import BufferedIOBase
from typing import Any

import torch
from torch import Tensor

from generators.unpickle.allowed import AGAIN, Budget, Name, Refused
from generators.unpickle.machine import Bounded, Machine, budget
from generators.unpickle.tensors import declared, storage_of

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that such a file begins with


class Storages:
    """The storages that the object refers to: made empty as it is built, filled from the bytes after it."""

    def __init__(self, left: int) -> None:
        self.left = left  # bytes of the file that may still be some storage's
        self.raw: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.truths: set[str] = set()  # those of bool

    def refer(self, pid: object) -> object:
        if type(pid) is tuple and len(pid) == 4 and pid[0] == "module" and isinstance(pid[1], Name):
            return pid[1]  # a class with its source text, which stays where it is
        wanted = declared(pid)
        if wanted.key not in self.raw:
            self.left -= wanted.size
            if self.left < 0:
                raise Refused("declares more bytes than it holds", AGAIN)
            self.raw[wanted.key] = torch.zeros(wanted.size, dtype=torch.uint8)
            self.counts[wanted.key] = wanted.count
        if wanted.dtype is torch.bool:
            self.truths.add(wanted.key)
        return storage_of(wanted, self.raw[wanted.key])

    def fill(self, file: BufferedIOBase, keys: object) -> None:
        """Read the bytes of each storage, in the order of keys."""
        if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != self.raw.keys():
            raise Refused("has other storages than it declares")
        if len(keys) != len(self.raw):
            raise Refused("has a storage twice")
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            raw = memoryview(self.raw[key].numpy())  # type: ignore[arg-type] - numpy's arrays are buffers
            if count != self.counts[key]:
                raise Refused(f"declares {self.counts[key]} values for a storage and holds {count}", AGAIN)
            if len(raw) and file.readinto(raw) != len(raw):
                raise Refused("declares more bytes than it holds", AGAIN)
            if key in self.truths:
                self.raw[key].clamp_(max=1)  # torch takes anything else for neither true nor false


def read_legacy(file: BufferedIOBase, given: Budget | None = None) -> Any:
    """Magic number, protocol, system, the object, the keys of its storages; then each one's length and bytes."""
    source = Bounded(file)
    allowed = budget(source.size) if given is None else given
    for _ in range(3):
        Machine(allowed).run(source)
    storages = Storages(source.size - source.tell())
    found = Machine(allowed, storages.refer).run(source)
    storages.fill(file, Machine(allowed).run(source))
    return found
