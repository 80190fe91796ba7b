"""The machine: its arithmetic in hardware, and its memory."""

import os
import sys
from pathlib import Path

import torch


def has_bf16(device: torch.device) -> bool:
    """Tell whether device computes bf16 in hardware, so that it is the faster choice."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and "avx512_bf16" in cpu_flags()


def cpu_flags() -> frozenset[str]:
    """The processor's feature flags as Linux names them; empty elsewhere."""
    try:
        with open("/proc/cpuinfo") as f:
            line = next((row for row in f if row.startswith(("flags", "Features"))), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


def peak_memory_mb() -> float | None:
    """The most memory that this process has held so far, in MB (10^6 bytes); None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def free_memory(device: torch.device | None = None) -> int | None:
    """Bytes that this process may still take: the machine's, or its container's if that is less; None: unknown.

    device: on that one.
    """
    if device is not None and device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    except (OSError, ValueError):
        try:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            pass  # a system that does not tell
    try:
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(0, limit - used))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return min(found, default=None)


def out_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out, on whatever device; torch has no kind of its own for that on the processor."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    words = ("DefaultCPUAllocator", "out of memory", "bad_alloc")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
