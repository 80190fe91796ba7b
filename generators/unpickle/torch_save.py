"""Files of `torch.save`, read here: the object by our own machine, tensors as views of bytes that have been counted.

torch's own reader is not used. It takes other bytes of a file than a look before it would see, and what it builds of
them may be anything.
"""

import io
from io import BufferedIOBase
from typing import Any

from generators.unpickle.allowed import Budget, Refused
from generators.unpickle.machine import refusals
from generators.unpickle.tensors import Storage
from generators.unpickle.torch_legacy import LEGACY, read_legacy
from generators.unpickle.torch_zip import ZIP, read_zip


def load_torch(file: BufferedIOBase) -> Any:
    """The content of a file of `torch.save`, on the CPU. ModelFileError where it is damaged or refused.

    Objects come as in `read_pickle`; parameters as plain tensors, devices and types by their names.
    """
    with refusals():
        found = read_saved(file)
        if isinstance(found, Storage):
            raise Refused("holds a storage by itself, which is no model", "save a state dict")
        return found


def load_storage(data: bytes, budget: Budget) -> Storage:
    """A storage that was pickled by itself."""
    inner = Budget(len(data), steps=budget.steps, numbers=0, tuples=0)
    found = read_saved(io.BytesIO(data), inner)
    budget.steps = inner.steps
    if not isinstance(found, Storage):
        raise Refused(f"embeds a {type(found).__name__} where a torch storage is wanted")
    return found


def read_saved(file: BufferedIOBase, budget: Budget | None = None) -> Any:
    """`load_torch`, whose errors are raw; budget: what it may make, None as the file's size allows."""
    head = file.read(512)
    file.seek(0)
    if head.startswith(ZIP):
        return read_zip(file, budget)
    if head.startswith(LEGACY):
        return read_legacy(file, budget)
    if head[257:262] == b"ustar":
        raise Refused("is a tar archive, as torch wrote before 2018", "save it again with a newer torch, or unpack it")
    raise Refused("is no file of torch.save", "give a model's file")
