"""A run's checkpoint: one file that is whole, or is not there."""

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
