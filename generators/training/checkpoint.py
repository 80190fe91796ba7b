"""A run's checkpoint: one file that is whole, or is not there."""

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from generators.errors import TrainingError


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write plain tensors, numbers and containers; the file before stays until the new one is whole on the disk.

    TrainingError if it cannot be written; the file before is then untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # one name, so that what a killed run left is written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())  # before the rename: else a power cut could leave an empty file under the good name
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch has no kind of its own for a disk that is full
        with suppress(OSError):
            temporary.unlink()
        why = getattr(error, "strerror", None) or "the disk may be full"
        kept = f"; {path} is still the one before" if path.exists() else ""
        raise TrainingError(f"a checkpoint could not be written ({why}){kept}; make room, then --resume") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, executing nothing; TrainingError if there is none, or if it is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"nothing to resume at {path}; start without --resume") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is cut short or no checkpoint; go on from latest.safetensors beside it with --init and another "
            "--run, or start anew"
        ) from error
    if not isinstance(state, dict) or "config" not in state:
        raise TrainingError(f"{path} is no checkpoint of a training run; name the run's folder with --run")
    return state
