"""A tuned generator as the change of its weights alone: products of two thin matrices, or small tensors as they are.

A safetensors file in half precision. Its name, beside the latents that it was made for, begins with its sha256.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from generators.base import Delta, Generator, weights_of
from generators.errors import ModelFileError, naming
from generators.storage import from_json, in_order, is_file, write_bytes

FORMAT = "latent-delta-1"
SUFFIX = ".delta.safetensors"
LEFT, RIGHT = ":left", ":right"  # of a weight as a matrix (outputs, all else): the change is their product
LARGEST = 2**30  # bytes of a file; no change of a generator is as large
Changes = Mapping[str, Tensor]


def delta_of(generator: Generator, changes: Changes, about: Mapping[str, Any]) -> Delta:
    """The delta that adds changes to the weights: NAME, or NAME:left (outputs, rank) and NAME:right (rank, all else).

    about: how it was made, as JSON has it.
    """
    header = {"generator": {"name": generator.name, "sha256": generator.sha256()}, "made": dict(about)}
    tensors = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in changes.items()}
    content = in_order(to_bytes(tensors, metadata={"format": FORMAT, "header": json.dumps(header, sort_keys=True)}))
    return Delta(content, hashlib.sha256(content).hexdigest(), generator.name, generator.sha256())


def name_of(sha256: str) -> str:
    """The name of a delta's file."""
    return f"{sha256[:16]}{SUFFIX}"


def write_delta(delta: Delta, folder: Path) -> Path:
    """Write a delta into a folder, unless it is there; its path."""
    path = folder / name_of(delta.sha256)
    if not is_file(path) or path.read_bytes() != delta.content:
        write_bytes(delta.content, path)
    return path


def find_delta(folder: Path, sha256: str) -> Delta | None:
    """The delta of that hash in a folder, under whatever name; None where it holds none."""
    own = folder / name_of(sha256)
    others = (path for path in sorted(folder.glob(f"*{SUFFIX}")) if path != own)
    for path in (own, *others):
        if is_file(path) and path.stat().st_size <= LARGEST:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                with naming(path):
                    return parsed(content)
    return None


def read_delta(path: Path | str) -> Delta:
    """Read the file of a delta; ModelFileError where it is none."""
    with naming(path):
        try:
            if Path(path).stat().st_size > LARGEST:
                raise ModelFileError(f"is larger than {LARGEST} bytes, which no delta is")
            return parsed(Path(path).read_bytes())
        except OSError as error:
            raise ModelFileError(f"is no readable file ({error.strerror}); tune again, or copy it here") from error


def parsed(content: bytes) -> Delta:
    """The delta of a file's content; errors go on from the file's name."""
    size = int.from_bytes(content[:8], "little")
    try:
        about = from_json(content[8 : 8 + size])["__metadata__"]
        maker = from_json(about["header"])["generator"]
        form = about["format"]
        name, sha256 = maker["name"], maker["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError("is no delta of a generator; tune again, or copy it here") from error
    if form != FORMAT or not isinstance(name, str) or not isinstance(sha256, str):
        raise ModelFileError(f"has format {form!r}, this version reads {FORMAT!r}; tune again")
    return Delta(content, hashlib.sha256(content).hexdigest(), name, sha256)


def apply(generator: Generator, delta: Delta) -> Generator:
    """A copy of the generator with the delta added to its weights; the generator stays as it is.

    ModelFileError unless the delta is of this generator, and its tensors fit.
    """
    if generator.delta is not None:
        raise ModelFileError(f"{generator.name} is tuned already; apply the delta to the generator that it was before")
    if delta.generator_sha256 != generator.sha256():
        made = f"{delta.generator_name} ({delta.generator_sha256[:12]})"
        raise ModelFileError(
            f"the delta {delta.sha256[:12]} changes {made}, not {generator.name} ({generator.sha256()[:12]}); "
            "load the first"
        )
    try:
        tensors = from_bytes(delta.content)
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"the delta {delta.sha256[:12]} is damaged ({error}); tune again") from error
    tuned = deepcopy(generator)
    weights = weights_of(tuned)
    with torch.no_grad():
        for key, change in added(tensors, weights):
            weights[key].add_(change.to(weights[key]))
    tuned.delta = delta
    return tuned


def added(tensors: Changes, weights: Changes) -> Iterator[tuple[str, Tensor]]:
    """Each weight's name with what is added to it; ModelFileError where that does not fit."""
    for key in tensors:
        if key.endswith(RIGHT):
            continue
        name = key.removesuffix(LEFT)
        change = tensors[key].float()
        if name not in weights:
            raise ModelFileError(f"the delta changes {name}, which this generator has not; tune again")
        wanted = weights[name].shape
        if key.endswith(LEFT):
            right = tensors.get(name + RIGHT)
            if right is None or change.ndim != 2 or right.ndim != 2 or change.shape[1] != right.shape[0]:
                raise ModelFileError(f"the delta's matrices of {name} do not fit each other; tune again")
            if (len(change), right.shape[1]) == (wanted[0] if wanted else 0, wanted[1:].numel()):
                change = (change @ right.float()).view(wanted)
        if change.shape != wanted or not change.isfinite().all():
            raise ModelFileError(f"the delta's change of {name} does not fit {tuple(wanted)}, or is not finite")
        yield name, change
