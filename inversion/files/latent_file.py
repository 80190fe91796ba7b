"""A latent on disk: one .latent.safetensors with its history in the header; and .npz, .npy and .pt for others."""

import json
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from generators.base import Generator
from generators.checkpoints.delta import FORMAT as DELTA
from generators.checkpoints.delta import write_delta
from generators.checkpoints.ours import FORMAT as MODEL
from generators.settings import plain
from generators.storage import from_json, in_order, is_file, write_bytes
from inversion.config import LatentSpace
from inversion.errors import LatentFileError, SettingsError, note
from inversion.files.chosen import chosen, one_of
from inversion.files.foreign import FOREIGN as FOREIGN
from inversion.files.foreign import existing, foreign_bytes, is_numpy, read_latents
from inversion.latent import Latent, Part, check_fits, check_parts, check_tensors, stack

FORMAT = "latent-1"
WITH_PARTS = "latent-2"  # what older versions could not render, and so shall not read
FORMATS = (FORMAT, WITH_PARTS)


@dataclass(frozen=True)
class Bundle:
    """All that a latent file holds."""

    latent: Latent  # on the CPU
    generator_name: str
    generator_sha256: str
    history: dict[str, Any]  # recipe, settings, losses, metrics, sha256 of the photograph, alignment
    versions: dict[str, str] = field(default_factory=dict)  # of the library and of torch, when it was written
    delta_sha256: str | None = None  # of the delta by which the generator was tuned for it


def save(latent: Latent, path: Path | str, generator: Generator, history: dict[str, Any] | None = None) -> None:
    """Write a latent, its noise and how it was made (JSON values), as float32; missing folders are created.

    The delta of a tuned generator is written beside it. A name in .npz, .npy or .pt is written as `export` does, which
    leaves the history out. Raises LatentFileError if the latent is not finite or does not fit the generator; WriteError
    if the disk refuses it; SettingsError if history is not JSON, or on another suffix.
    """
    path = Path(path)
    if path.suffix.lower() in FOREIGN:
        return export(latent, path, generator)
    if path.suffix != ".safetensors":
        raise SettingsError(f"{path.name} should end in .latent.safetensors, or in {', '.join(FOREIGN)} for others")
    data = as_bytes(latent, path, generator, history)
    if generator.delta is not None:
        write_delta(generator.delta, path.parent)
    write_bytes(data, path)


def as_bytes(latent: Latent, path: Path, generator: Generator, history: dict[str, Any] | None = None) -> bytes:
    """The bytes that `save` writes as .latent.safetensors; path is what messages name."""
    from safetensors.torch import save as to_bytes

    check_tensors(latent.code, latent.space, latent.noise, str(path))
    check_parts(latent.parts, len(latent), str(path))
    check_fits(generator, latent, str(path))
    header = {
        "space": str(latent.space),
        **({} if latent.label is None else {"label": latent.label}),
        "generator": {"name": generator.name, "sha256": generator.origin_sha256()},
        "versions": {"latent-inversion": _version(), "torch": torch.__version__},
        "history": history or {},
    } | ({} if generator.delta is None else {"delta": generator.delta.sha256})
    try:
        text = json.dumps(plain(header))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"history cannot be stored: {error}; use numbers, strings, lists and dicts only") from error
    tensors = {"code": _plain(latent.code)} | {f"noise.{i}": _plain(n) for i, n in enumerate(latent.noise)}
    for i, part in enumerate(latent.parts):
        tensors |= {f"mask.{i}": _plain(part.mask), f"offset.{i}": _plain(part.offset)}
    form = WITH_PARTS if latent.parts else FORMAT
    return in_order(to_bytes(tensors, metadata={"format": form, "header": text}))


def load_latent(path: Path | str, generator: Generator | None = None) -> Latent:
    """Read a latent from .latent.safetensors, or from other people's .npz, .npy and .pt, told by the content.

    With generator, the latent comes on its device, and LatentFileError is raised if it was made with another one.
    The foreign formats need it, to tell one shape from another, as `read_latents` has it; the latents of several
    photographs come as one batch, in w_plus where they do not share a space. FILE#N is one of several, from 1.
    """
    path, number = chosen(path)
    if number is not None:
        return one_of(load_latent(path, generator), path, number)
    if is_numpy(path) or (path.suffix.lower() in FOREIGN and format_of(path) is None):
        if generator is None:
            raise SettingsError(f"{path.name} does not say which generator made it; pass generator to load_latent")
        latents = list(read_latents(path, generator).values())
        same = len({latent.space for latent in latents}) == 1
        found = stack([latent if same else latent.to_w_plus(generator) for latent in latents])
        return replace(found, source=str(path))
    bundle = read_bundle(path)
    if generator is None:
        return bundle.latent
    if bundle.generator_sha256 != generator.origin_sha256():
        raise LatentFileError(
            f"{path} was made with {bundle.generator_name} ({bundle.generator_sha256[:12]}), not with {generator.name} "
            f"({generator.origin_sha256()[:12]}); load the first, or invert the photograph again with the second"
        )
    if bundle.delta_sha256 is not None and (generator.delta is None or generator.delta.sha256 != bundle.delta_sha256):
        raise LatentFileError(
            f"{path} was tuned (delta {bundle.delta_sha256[:12]}), and this generator is not, or otherwise; "
            "pass it through inversion.tuned_for(generator, [path]) first"
        )
    check_fits(generator, bundle.latent, str(path))
    return bundle.latent.to(generator.w_avg.device)


def holds_latent(path: Path | str) -> bool:
    """Tell a latent by its content: one of ours, or arrays of numpy; of .pt files this cannot be told."""
    path = chosen(path)[0]
    return path.is_file() and (format_of(path) in FORMATS or is_numpy(path))


def format_of(path: Path) -> str | None:
    """The format that a .safetensors file states; None where it states none, or is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("format")
    except (OSError, SafetensorError, ValueError):
        return None


def maker_of(path: Path | str) -> str | None:
    """The name of the generator that a saved latent was made with; None where the file is no latent of ours."""
    maker = header_of(path).get("generator")
    name = maker.get("name") if isinstance(maker, dict) else None
    return name if isinstance(name, str) else None


def header_of(path: Path | str) -> dict[str, Any]:
    """The header of a saved latent of ours; nothing where it is none, which reading it says."""
    from safetensors import SafetensorError, safe_open

    path = chosen(path)[0]
    if path.suffix.lower() != ".safetensors" or not is_file(path):
        return {}
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
        header = from_json(about["header"]) if about.get("format") in FORMATS else {}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return {}  # reading it says what is wrong
    return header if isinstance(header, dict) else {}


def read_bundle(path: Path | str) -> Bundle:
    """Read a .latent.safetensors file with its history, whatever its generator; LatentFileError if it is not one."""
    from safetensors import SafetensorError, safe_open

    path = existing(path)
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # no longer backed by the file
    except (OSError, SafetensorError, ValueError) as error:
        raise LatentFileError(f"{path} is not a readable latent file: {_reason(error)}; make it again") from error
    if (came := about.get("format")) == MODEL:
        raise LatentFileError(f"{path} is a model, not a latent; give it as the generator (-g), and a latent here")
    if came == DELTA:
        raise LatentFileError(f"{path} is the delta of a tuned generator; give a latent that lies beside it")
    if came not in FORMATS:
        known = " and ".join(map(repr, FORMATS))
        raise LatentFileError(f"{path} has format {came!r}, this version reads {known}; make it again")
    try:
        header = from_json(about["header"])
        space, maker = LatentSpace(header["space"]), header["generator"]
        label = header.get("label")
        code = tensors["code"]
        parts = tuple(Part(tensors[f"mask.{i}"], tensors[f"offset.{i}"]) for i in range(_count(tensors, "mask.")))
        noise = tuple(tensors[f"noise.{i}"] for i in range(len(tensors) - 1 - 2 * len(parts)))
        words = {"generator_name": maker["name"], "generator_sha256": maker["sha256"]}
        tables = {"history": header["history"], "versions": header["versions"]}
        delta = header.get("delta")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LatentFileError(f"{path} has a broken header: {error!r}; make it again") from error
    typed = all(isinstance(v, str) for v in words.values()) and all(isinstance(v, dict) for v in tables.values())
    typed = typed and isinstance(delta, str | None) and type(label) in (int, NoneType)
    if not typed or not all(t.dtype == torch.float32 for t in tensors.values()):
        raise LatentFileError(f"{path} holds values of the wrong types; make it again")
    check_tensors(code, space, noise, str(path))
    check_parts(parts, len(code), str(path))
    return Bundle(Latent(code, space, noise, label, str(path), parts), **words, **tables, delta_sha256=delta)


def export(latent: Latent, path: Path | str, generator: Generator, *, noise: bool = True) -> None:
    """Write w_plus codes, (batch, num_ws, w_dim) float32, for other programs, told by the suffix.

    .npz holds them under w, the layout of the StyleGAN2 projector; .npy alone; .pt a dict of latent (num_ws, w_dim) and
    noise by name, the layout of stylegan2-pytorch's projector, or without noise the codes alone, that of encoders.
    None has a place for the delta of a tuned generator, which stays behind with a note. Raises SettingsError on another
    suffix, LatentFileError as `save` does.
    """
    path, kind = Path(path), Path(path).suffix.lower()
    if kind not in FOREIGN:
        raise SettingsError(f"{path.name} has suffix {kind!r}; choose {', '.join(FOREIGN)}, or save() for .safetensors")
    if latent.parts:
        raise LatentFileError(f"{path.name} cannot hold local edits; save it as .latent.safetensors, or the base alone")
    check_tensors(latent.code, latent.space, latent.noise, str(path))
    check_fits(generator, latent, str(path))
    if generator.delta is not None:
        note(f"{path.name} has no place for the tuning, so others draw it less exactly; .safetensors keeps it")
    ws, maps = _plain(latent.to_ws(generator)), tuple(map(_plain, latent.noise))
    write_bytes(foreign_bytes(ws, maps, kind, path.stem, whole=noise), path)


def _count(tensors: dict[str, Tensor], start: str) -> int:
    return sum(name.startswith(start) for name in tensors)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def _version() -> str:
    try:
        return metadata.version("latent-inversion")
    except metadata.PackageNotFoundError:
        return "unknown"


def load_one(path: Path, generator: Generator) -> Latent:
    """The latent of one image; SettingsError where the file holds those of several."""
    latent = load_latent(path, generator)
    if len(latent) != 1:
        raise SettingsError(f"{path} holds {len(latent)} latents; name one of them, as {path}#1")
    return latent
