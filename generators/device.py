"""What the machine computes in hardware."""

import torch


def has_bf16(device: torch.device) -> bool:
    """Whether device computes bf16 in hardware, so that it is the faster choice."""
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
