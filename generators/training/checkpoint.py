"""A run's checkpoint: one file that is whole, or is not there."""

from math import isfinite
from pathlib import Path
from typing import Any

import torch

from generators.checkpoints.common import read_saved
from generators.errors import ModelFileError, TrainingError
from generators.storage import replacing


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write plain tensors, numbers and containers; the file before stays until the new one is whole on the disk.

    WriteError if it cannot be written; the file before is then untouched.
    """
    kept = f"{path} is still the one before; " if path.exists() else ""
    with replacing(path, advice=f"{kept}make room, then go on with --resume", sync=True) as temporary:
        torch.save(state, temporary)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take an optimizer's state back; ValueError unless its tensors are those of its parameters, and finite."""
    check_like(state["param_groups"], optimizer.state_dict()["param_groups"], "param_groups")
    optimizer.load_state_dict(state)
    for weight, held in optimizer.state.items():
        for name, value in held.items():
            if not isinstance(value, torch.Tensor) or value.ndim and value.shape != weight.shape:
                raise ValueError(f"{name} of an optimizer is not as its weights are")
            if not value.isfinite().all():
                raise ValueError(f"{name} of an optimizer is not finite")


def check_like(found: object, wanted: object, name: str) -> None:
    """ValueError unless a part of a state is of the kind that it should be; parts that either lacks are left alone.

    Tensors may differ in their first size, numbers and texts in their values.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in wanted.keys() & found.keys():
            check_like(found[key], wanted[key], f"{name}.{key}")
    elif isinstance(wanted, list | tuple) and isinstance(found, list | tuple) and len(found) == len(wanted):
        for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
            check_like(one, other, f"{name}.{i}")
    elif isinstance(wanted, torch.Tensor) and isinstance(found, torch.Tensor):
        shapes = found.ndim == wanted.ndim and found.shape[1:] == wanted.shape[1:]
        if not shapes or found.dtype != wanted.dtype or not found.isfinite().all():
            raise ValueError(f"{name} is {tuple(found.shape)} of {found.dtype}, or not finite")
    elif isinstance(wanted, float) and type(found) in (int, float) and isfinite(found):  # type: ignore[arg-type]
        return
    elif type(found) is not type(wanted) or type(found) is int and found < 0:
        raise ValueError(f"{name} is a {type(found).__name__}, where {type(wanted).__name__} is wanted")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, executing nothing; TrainingError if there is none, or if it is damaged."""
    try:
        state = read_saved(path)
    except FileNotFoundError as error:
        raise TrainingError(f"nothing to resume at {path}; start without --resume") from error
    except (OSError, ModelFileError) as error:
        raise TrainingError(
            f"{path} is cut short or no checkpoint; go on from latest.safetensors beside it with --init and another "
            "--run, or start anew"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("config"), dict):
        raise TrainingError(f"{path} is no checkpoint of a training run; name the run's folder with --run")
    return state
