"""The machine: its arithmetic in hardware, and its memory."""

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from math import inf
from pathlib import Path
from time import perf_counter

import torch

from generators.errors import WriteError
from generators.storage import as_json, cache_folder, from_json, write_kept

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of processors of Intel and AMD, and of Arm
CLEARLY = 0.8  # bf16 is taken where it needs less than this share of float32's time
SHAPES = ((64, 64), (256, 16))  # channels and size of the convolutions that are timed
KEEPING = ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20))  # glibc's M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
ROUNDS, LIMIT = 4, 0.25  # how often at most, and after how many seconds no further time


@cache
def has_bf16(device: torch.device) -> bool:
    """Tell whether bf16 is clearly the faster choice on device.

    Convolutions are timed once a machine. Where the processor has no units for it nothing is: bf16 is emulated there
    and never faster, so that the probe would only delay the start.
    """
    return has_units(device) and kept_share(device) < CLEARLY


def has_units(device: torch.device) -> bool:
    """Tell whether the processor says that it computes bf16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and not BF16_FLAGS.isdisjoint(cpu_flags())


def kept_share(device: torch.device) -> float:
    """`bf16_share` of device, from a file of the cache where it has been measured before."""
    path, key = cache_folder("probes") / "bf16.json", " | ".join((processor(device), torch.__version__, device.type))
    try:
        known = from_json(path.read_bytes())
    except (OSError, ValueError):
        known = None
    known = known if isinstance(known, dict) else {}
    if not isinstance(known.get(key), float | int):
        known[key] = bf16_share(device)
        with suppress(WriteError):
            write_kept(path, as_json(known, indent=2).encode(), private=False)
    return float(known[key])


@torch.inference_mode(False)  # whatever mode the caller is in
@torch.enable_grad()
def bf16_share(device: torch.device, clock: Callable[[], float] = perf_counter) -> float:
    """The time of convolutions in bf16, forward and backward, in that of the same ones in float32."""
    began, best = clock(), {False: [inf] * len(SHAPES), True: [inf] * len(SHAPES)}
    for turn in range(ROUNDS):
        for i, (channels, size) in enumerate(SHAPES):
            for bf16, times in best.items():
                seconds = convolution(device, channels, size, bf16, clock)
                if turn:  # the first one warms up
                    times[i] = min(times[i], seconds)
        if turn and clock() - began > LIMIT * (turn + 1) / (turn + 2):  # another round would take too long
            break
    return sum(best[True]) / max(sum(best[False]), 1e-9)


def convolution(device: torch.device, channels: int, size: int, bf16: bool, clock: Callable[[], float]) -> float:
    """Seconds for a convolution as generators have them, forward and backward."""
    image = torch.full((1, channels, size, size), 0.5, device=device, requires_grad=True)
    weight = torch.full((channels, channels, 3, 3), 0.5, device=device)
    settle(device)
    began = clock()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        result = torch.nn.functional.conv2d(image, weight, padding=1)
    result.float().sum().backward()
    settle(device)
    return clock() - began


def settle(device: torch.device) -> None:
    """Wait for what the device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor(device: torch.device) -> str:
    """The name of the processor that device is."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_line("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """The processor's feature flags as Linux names them; empty elsewhere."""
    return frozenset(cpu_line("flags", "Features").split())


def cpu_line(*names: str) -> str:
    """The first line of these names in what Linux tells of the processor; empty elsewhere."""
    try:
        with open("/proc/cpuinfo") as f:
            return next((row for row in f if row.startswith(names)), "").partition(":")[2].strip()
    except OSError:
        return ""


@cache
def keep_pages() -> bool:
    """Let the C library keep the memory that a step gives back, for the next step; tell whether it does.

    glibc gives large pieces back to the system at once, which then clears every page anew: at 1024 px a half of a
    step's time. The process keeps what it once took, a tenth to a fifth more at its peak. Left alone where glibc's
    own variables (MALLOC_TRIM_THRESHOLD_ and others) say how it shall be, and where there is no glibc.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    set_option = ctypes.CDLL(None).mallopt
    return all(set_option(option, value) for option, value in KEEPING)


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
