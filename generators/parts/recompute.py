"""Memory of a backward: what it keeps, and how to keep less of it and compute it again (Chen et al. 2016)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

P = ParamSpec("P")
T = TypeVar("T")
RECOMPUTING = ContextVar("recomputing", default=False)


@contextmanager
def recomputing(wanted: bool = True) -> Iterator[None]:
    """Within it `part` keeps nothing for backward but what goes in: a third more time, and a fraction of the memory."""
    token = RECOMPUTING.set(wanted)
    try:
        yield
    finally:
        RECOMPUTING.reset(token)


def part(compute: Callable[P, T], *inputs: P.args, **more: P.kwargs) -> T:
    """A part of a network's work; drawn under `recomputing` it is done again for backward, in the same precision.

    It has to be the same each time, and so draws no random numbers.
    """
    if not RECOMPUTING.get() or not torch.is_grad_enabled():
        return compute(*inputs, **more)
    return checkpoint(compute, *inputs, use_reentrant=False, preserve_rng_state=False, **more)


def bytes_kept(compute: Callable[[], object], beside: Iterable[Tensor]) -> int:
    """Bytes that a computation keeps for its backward, which are not kept now; but for those of tensors beside it."""
    seen = {storage.cdata: storage for storage in (StorageWeakRef(t.untyped_storage()) for t in beside)}
    sizes = []

    def pack(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        mark = StorageWeakRef(storage)
        if mark.cdata not in seen:
            seen[mark.cdata] = mark  # held, so that no later storage gets its number
            sizes.append(storage.nbytes())

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        compute()
    return sum(sizes)
