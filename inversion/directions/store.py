"""Directions on disk: many in one .directions.safetensors, with all that is known of each in its header."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from generators.base import Generator
from generators.settings import plain
from generators.storage import as_json, check_file, from_json, is_file, write_bytes
from inversion.directions.direction import Direction, check_direction
from inversion.errors import DirectionError

FORMAT, SUFFIX = "directions-1", ".directions.safetensors"
PACKAGED = Path(__file__).with_name("packaged")
LARGEST = 1 << 26  # bytes of a file; a thousand directions of w take 2 MB


def save_directions(directions: Iterable[Direction], path: Path | str) -> None:
    """Write directions into one file, by their names, as float32; of one name the last. WriteError, DirectionError."""
    from safetensors.torch import save

    path, named = Path(path), {direction.name: direction for direction in directions}
    if not path.name.endswith(SUFFIX):
        raise DirectionError(f"{path.name} should end in {SUFFIX}")
    header = {name: told(direction) for name, direction in named.items()}
    tensors = {name: direction.shift.float().cpu().contiguous() for name, direction in named.items()}
    write_bytes(save(tensors, metadata={"format": FORMAT, "header": as_json(plain(header))}), path)


def check_out(path: Path) -> None:
    """Refuse, before the work starts, a file of directions that could not be written. DirectionError, WriteError."""
    if not path.name.endswith(SUFFIX):
        raise DirectionError(f"{path.name} should end in {SUFFIX}")
    check_file(path)


def told(direction: Direction) -> dict[str, Any]:
    """All but the vector, as JSON holds it."""
    return {
        "generator": direction.generator,
        "sha256": direction.sha256,
        "fingerprint": list(direction.fingerprint),
        "band": None if direction.band is None else list(direction.band),
        "safe": list(direction.safe),
        "effects": dict(direction.effects),
        "made": dict(direction.made),
    }


def load_directions(path: Path | str) -> dict[str, Direction]:
    """The directions of a file by their names; DirectionError where it holds none, or is damaged."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not is_file(path):
        raise DirectionError(f"{path} is not a file; give one that `latent directions` wrote")
    if path.stat().st_size > LARGEST:
        raise DirectionError(f"{path} has {path.stat().st_size:,} bytes, more than any file of directions")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
    except (OSError, SafetensorError, ValueError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DirectionError(f"{path} is not a file of directions ({why}); make it again") from error
    if about.get("format") != FORMAT:
        came = about.get("format")
        raise DirectionError(f"{path} has format {came!r}, wanted {FORMAT!r}; import others' by `latent directions`")
    try:
        header = from_json(about["header"])
        return {name: read(name, shift, header[name]) for name, shift in sorted(tensors.items())}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DirectionError(f"{path} has a broken header ({error!r}); make it again") from error


def read(name: str, shift: torch.Tensor, about: Mapping[str, Any]) -> Direction:
    """A direction by its vector and what is told of it; ValueError or its like for what cannot be."""
    if shift.ndim != 2 or 0 in shift.shape or shift.dtype != torch.float32 or not shift.isfinite().all():
        raise ValueError(f"{name} is no direction")
    low, high = map(float, about["safe"])
    band = about["band"]
    return Direction(
        name=name,
        shift=shift,
        generator=str(about["generator"]),
        sha256=str(about["sha256"]),
        fingerprint=tuple(map(float, about["fingerprint"])),
        band=None if band is None else (int(band[0]), int(band[1])),
        safe=(low, high),
        effects={str(key): float(value) for key, value in about["effects"].items()},
        made=dict(about["made"]),
    )


def directions_for(generator: Generator, files: Sequence[Path | str] = ()) -> dict[str, Direction]:
    """The directions that a generator has: those that come with it, and those of files, which win by their names.

    DirectionError where a file's are of another W.
    """
    found: dict[str, Direction] = {}
    for path in sorted(PACKAGED.glob(f"*{SUFFIX}")):
        found |= {name: one for name, one in load_directions(path).items() if one.fits(generator)}
    for file in files:
        for name, direction in load_directions(file).items():
            check_direction(generator, direction)
            found[name] = direction
    return found


def chosen(directions: Mapping[str, Direction], name: str, generator: Generator) -> Direction:
    """The direction of that name; DirectionError with the nearest names where there is none."""
    if name in directions:
        return directions[name]
    if not directions:
        raise DirectionError(f"{generator.name} comes without directions; make some: latent directions --help")
    near = get_close_matches(name, directions, n=3) or sorted(directions)
    raise DirectionError(f"no direction named {name!r}; {generator.name} has {', '.join(near)}")
