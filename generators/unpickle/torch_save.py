"""Files of `torch.save`, through `torch.load(weights_only=True)`, after a look at what they declare.

The look runs our own machine over the pickle inside, with tensors that have no values: so names are refused as they are
in any pickle, and sizes are compared with the bytes that are there before anything is allocated.
"""

import argparse
import io
import re
import zipfile
from functools import partial
from io import BufferedIOBase
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generators.unpickle.allowed import AGAIN, NUMBERS, SLACK, STORAGES, Budget, Name, Refused
from generators.unpickle.machine import Bounded, Machine, refusals

ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch wrote first before version 1.6


def load_torch(file: BufferedIOBase) -> Any:
    """The content of a file of `torch.save`, on the CPU. ModelFileError where it is damaged or refused.

    argparse.Namespace is let through, which holds settings and is made without a call, and so are numpy's numbers and
    arrays, as the file has been looked through.
    """
    with refusals():
        check(file)
        file.seek(0)
        with torch.serialization.safe_globals(let_through()):
            try:
                return torch.load(file, map_location="cpu", weights_only=True)  # type: ignore[arg-type]
            except UnpicklingError as error:  # its own words advise to load the file without a look
                named = re.search(r"GLOBAL (\S+)", str(error))
                what = f"wants {named[1]!r:.100}" if named else "holds something"
                raise Refused(f"{what}, which torch.load does not take as weights") from error


def let_through() -> list[Any]:
    """The names that `torch.load` may build besides its own."""
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    functions = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("_reconstruct", "scalar")
        for core in ("core", "_core")
    ]
    kinds = [type(np.dtype(text)) for text in sorted(NUMBERS - {"O", "O8"})]
    return [argparse.Namespace, *functions, np.ndarray, np.dtype, *kinds]


def load_storage(data: bytes) -> Tensor:
    """A storage that was pickled by itself, as the vector of its values."""
    file = io.BytesIO(data)
    check(file)
    file.seek(0)
    found = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(found, torch.storage.TypedStorage):
        raise Refused(f"embeds a {type(found).__name__} where a torch storage is wanted")
    values = torch.empty(0, dtype=found.dtype)
    return values.set_(found._untyped_storage)  # type: ignore[call-overload] - the public way warns


def check(file: BufferedIOBase) -> None:
    """Refused unless the file declares only what it holds, and names only what is known."""
    head = file.read(len(LEGACY))
    file.seek(0)
    if head.startswith(ZIP):
        check_zip(file)
    elif head == LEGACY:
        check_legacy(Bounded(file))
    else:
        raise Refused("is no file of torch.save", "give a model's file")


def check_zip(file: BufferedIOBase) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        size = file.seek(0, 2)
        root = next((key.removesuffix("data.pkl") for key in entries if key.endswith("/data.pkl")), None)
        if root is None and any(key.endswith(".npy") for key in entries):
            raise Refused("holds arrays, as a latent does", "a latent goes where a photograph goes, a generator here")
        if root is None:
            raise Refused("is a zip, and not of torch.save", "if a model is in it, unpack it first")
        if f"{root}constants.pkl" in entries:
            raise Refused("is TorchScript, which is a program", "load it yourself, and hand it to generators.adapter")
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values())
        if packed or sum(entry.file_size for entry in entries.values()) > size:
            raise Refused("declares more bytes than it holds", AGAIN)
        there = {k.removeprefix(f"{root}data/"): e.file_size for k, e in entries.items()}
        pickle = Bounded(io.BytesIO(archive.read(f"{root}data.pkl")))
    Machine(Budget(2 * size + SLACK), partial(declared, there)).run(pickle)


def check_legacy(file: Bounded) -> None:
    """Magic number, protocol, system, the object, the keys of its storages; then each one's length and bytes."""
    sizes: dict[str, int] = {}
    for _ in range(3):
        Machine(Budget(SLACK)).run(file)
    Machine(Budget(2 * file.size + SLACK), partial(declared, None, seen=sizes)).run(file)
    keys = Machine(Budget(SLACK)).run(file)
    if type(keys) is not list or sorted(map(str, keys)) != sorted(sizes):
        raise Refused("has other storages than it declares")
    for key in keys:
        wanted, count = sizes[key], int.from_bytes(file.read(8), "little")
        if file.tell() + wanted > file.size or count > wanted:
            raise Refused("declares more bytes than it holds", AGAIN)
        file.file.seek(wanted, 1)


def declared(there: dict[str, int] | None, pid: object, seen: dict[str, int] | None = None) -> Tensor:
    """A vector without values for ("storage", type, key, device, count, ...); there: bytes by key, None if unknown."""
    if type(pid) is not tuple or not 5 <= len(pid) <= 6 or pid[0] != "storage" or not isinstance(pid[1], Name):
        raise Refused("refers to something else than a storage")
    _, kind, key, _, count = pid[:5]
    if kind not in STORAGES or type(key) is not str or type(count) is not int or not 0 <= count < 2**48:
        raise Refused("refers to a storage without its type or its size")
    dtype = STORAGES[kind]
    needed = count * dtype.itemsize
    if there is not None and needed > there.get(key, -1):
        raise Refused(f"declares {needed} bytes for a storage and holds {max(there.get(key, 0), 0)}")
    if seen is not None:
        seen[key] = max(needed, seen.get(key, 0))
    return torch.empty(count, dtype=dtype, device="meta")
