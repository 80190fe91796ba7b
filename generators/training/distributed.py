"""One run on several processes, as `torchrun` starts them; in a single process everything here does nothing.

Every process draws the random numbers of the whole batch and keeps its own rows, so that a run's result does not depend
on how many processes share it. Only process 0 (`is_main`) may write files or talk.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from generators.shapes import Float, Int


def joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if joined() else 0


def world() -> int:
    """How many processes share the run."""
    return dist.get_world_size() if joined() else 1


def is_main() -> bool:
    return rank() == 0


@contextmanager
def session(device: str = "cpu") -> Iterator[str]:
    """Join the processes that torchrun started, and leave them at the end; gives this process's device.

    "cuda" becomes the GPU of this process. Without torchrun, device is given back as it is.
    """
    if "LOCAL_RANK" not in os.environ:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def wrap(module: nn.Module, *, unused: bool = False) -> nn.Module:
    """module, its gradients averaged over the processes; unused: some of its parameters may take no part in a step."""
    if world() == 1:
        return module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the new name of broadcast_buffers is unknown to older torch
        return DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=unused)


def rows(batch: int, parts: int = 1) -> Int[Tensor, " share"]:
    """The rows of a whole batch that are this process's: an equal share of each of its `parts` equal parts."""
    if world() == 1:
        return torch.arange(batch)
    return torch.arange(batch).reshape(parts, world(), -1)[:, rank()].flatten()


def gather(share: Float[Tensor, " *share"], parts: int = 1) -> Float[Tensor, " *batch"]:
    """The whole batch of which each process has its `rows`; no gradient passes."""
    share = share.detach().contiguous()
    if world() == 1:
        return share
    shares = [torch.empty_like(share) for _ in range(world())]
    dist.all_gather(shares, share)
    by_part = torch.stack(shares).unflatten(1, (parts, -1)).transpose(0, 1)
    return by_part.reshape(-1, *share.shape[1:])


def average(value: Float[Tensor, " *dims"]) -> Float[Tensor, " *dims"]:
    """The mean over the processes; no gradient passes."""
    value = value.detach()
    if world() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / world()
