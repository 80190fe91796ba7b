"""A latent on disk: one .latent.safetensors with its history in the header; and other people's .npz, .npy and .pt."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator
from inversion.errors import ImageError, LatentFileError, SettingsError
from inversion.image import write_bytes
from inversion.latent import Latent, LatentSpace

FORMAT = "latent-1"
FOREIGN = (".npz", ".npy", ".pt", ".pth")


@dataclass(frozen=True)
class Bundle:
    """What a latent file holds."""

    latent: Latent  # on the CPU
    generator_name: str
    generator_sha256: str
    history: dict[str, Any]  # recipe, settings, losses, metrics, sha256 of the photograph, alignment
    versions: dict[str, str] = field(default_factory=dict)  # of the library and of torch, when it was written


def save(latent: Latent, path: Path | str, generator: Generator, history: dict[str, Any] | None = None) -> None:
    """Write a latent, its noise and how it was made (JSON values), as float32; missing folders are created.

    Raises LatentFileError if the latent is not finite, does not fit the generator, or the disk refuses it;
    SettingsError if history is not JSON or the name does not end in .safetensors (see `export` for other formats).
    """
    from safetensors.torch import save as to_bytes

    path = Path(path)
    if path.suffix != ".safetensors":
        raise SettingsError(f"{path.name} should end in .latent.safetensors; export() writes .npz, .npy and .pt")
    check_tensors(latent.code, latent.space, latent.noise, str(path))
    check_fits(latent, generator, str(path))
    header = {
        "space": str(latent.space),
        "generator": {"name": generator.name, "sha256": generator.sha256},
        "versions": {"latent-inversion": _version(), "torch": torch.__version__},
        "history": history or {},
    }
    try:
        text = json.dumps(header)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"history cannot be stored: {error}; use numbers, strings, lists and dicts only") from error
    tensors = {"code": _plain(latent.code)} | {f"noise.{i}": _plain(n) for i, n in enumerate(latent.noise)}
    _write(path, _in_order(to_bytes(tensors, metadata={"format": FORMAT, "header": text})))


def load_latent(path: Path | str, generator: Generator | None = None) -> Latent:
    """Read a latent from .latent.safetensors, or from .npz (key w), .npy and .pt, told by the suffix.

    With generator, the latent comes on its device, and LatentFileError is raised if it was made with another one.
    The foreign formats need it, to tell one shape from another: (w_dim,) and (batch, w_dim) are w, (num_ws, w_dim)
    and (batch, num_ws, w_dim) are w_plus; where num_ws equals batch, w_plus wins. They are never read as z.
    """
    path = Path(path)
    if path.suffix.lower() in FOREIGN:
        if generator is None:
            raise SettingsError(f"{path.name} does not say which generator made it; pass generator to load_latent")
        return _load_foreign(path, generator)
    bundle = read_bundle(path)
    if generator is None:
        return bundle.latent
    if bundle.generator_sha256 != generator.sha256:
        raise LatentFileError(
            f"{path} was made with {bundle.generator_name} ({bundle.generator_sha256[:12]}), not with {generator.name} "
            f"({generator.sha256[:12]}); load the first, or invert the photograph again with the second"
        )
    check_fits(bundle.latent, generator, str(path))
    return bundle.latent.to(generator.w_avg.device)


def read_bundle(path: Path | str) -> Bundle:
    """Read a .latent.safetensors file with its history, whatever its generator; LatentFileError if it is not one."""
    from safetensors import SafetensorError, safe_open

    path = _existing(path)
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # no longer backed by the file
    except (OSError, SafetensorError, ValueError) as error:
        raise LatentFileError(f"{path} is not a readable latent file: {_reason(error)}; make it again") from error
    if about.get("format") != FORMAT:
        came = about.get("format")
        raise LatentFileError(f"{path} has format {came!r}, this version reads {FORMAT!r}; make it again")
    try:
        header = json.loads(about["header"])
        space, made_by, history = LatentSpace(header["space"]), header["generator"], header["history"]
        code, noise = tensors["code"], tuple(tensors[f"noise.{i}"] for i in range(len(tensors) - 1))
        name, sha256, versions = made_by["name"], made_by["sha256"], header["versions"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise LatentFileError(f"{path} has a broken header: {error!r}; make it again") from error
    typed = [(name, str), (sha256, str), (history, dict), (versions, dict)]
    floats = all(t.dtype == torch.float32 for t in (code, *noise))
    if not floats or not all(isinstance(value, kind) for value, kind in typed):
        raise LatentFileError(f"{path} holds values of the wrong types; make it again")
    check_tensors(code, space, noise, str(path))
    return Bundle(Latent(code, space, noise), name, sha256, history, versions)


def export(latent: Latent, path: Path | str, generator: Generator) -> None:
    """Write w_plus codes, (batch, num_ws, w_dim) float32, for other programs, told by the suffix.

    .npz holds them under w, the layout of the StyleGAN2 projector; .npy alone; .pt a dict of latent and noise. The
    first two leave the noise out. Raises SettingsError on another suffix, LatentFileError as `save` does.
    """
    import io

    import numpy as np

    path, kind = Path(path), Path(path).suffix.lower()
    if kind not in FOREIGN:
        raise SettingsError(f"{path.name} has suffix {kind!r}; choose {', '.join(FOREIGN)}, or save() for .safetensors")
    check_tensors(latent.code, latent.space, latent.noise, str(path))
    check_fits(latent, generator, str(path))
    ws, buffer = _plain(latent.to_ws(generator)), io.BytesIO()
    if kind == ".npz":
        np.savez(buffer, w=ws.numpy())
    elif kind == ".npy":
        np.save(buffer, ws.numpy(), allow_pickle=False)
    else:
        torch.save({"latent": ws, "noise": [_plain(n) for n in latent.noise]}, buffer)
    _write(path, buffer.getvalue())


def check_tensors(code: Tensor, space: LatentSpace, noise: Sequence[Tensor], where: str) -> None:
    """LatentFileError unless code and noise are finite floats of as many dimensions as the space asks."""
    dims = 3 if space is LatentSpace.W_PLUS else 2
    if code.ndim != dims or 0 in code.shape:
        raise LatentFileError(f"{where}: the code is {tuple(code.shape)}; {space} has {dims} dimensions, none empty")
    for name, tensor in [("code", code), *((f"noise.{i}", n) for i, n in enumerate(noise))]:
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise LatentFileError(f"{where}: {name} holds values that are not finite numbers; invert again")
        if name != "code" and (tensor.ndim != 4 or tuple(tensor.shape[:2]) != (len(code), 1)):
            raise LatentFileError(f"{where}: {name} is {tuple(tensor.shape)}; wanted ({len(code)}, 1, height, width)")


def check_fits(latent: Latent, generator: Generator, where: str) -> None:
    """LatentFileError unless code and noise have the shapes that the generator takes."""
    shapes = {LatentSpace.Z: (generator.z_dim,), LatentSpace.W: (generator.w_dim,)}
    wanted = shapes.get(latent.space, (generator.num_ws, generator.w_dim))
    if tuple(latent.code.shape[1:]) != wanted:
        raise _misfit(where, "code", tuple(latent.code.shape), generator, ("batch", *wanted))
    noise = tuple(tuple(n.shape[2:]) for n in latent.noise)
    if noise != tuple(map(tuple, generator.noise_shapes)):
        raise _misfit(where, "noise", noise, generator, generator.noise_shapes)


def _load_foreign(path: Path, generator: Generator) -> Latent:
    path = _existing(path)
    read = _read_torch if path.suffix.lower() in (".pt", ".pth") else _read_numpy
    try:
        value, noise = read(path)
    except LatentFileError:
        raise
    except Exception as error:  # a broken file can make a parser raise anything
        kind = type(error).__name__  # their words tell people to switch the safety off
        why = f"cannot be read as {path.suffix} ({kind}): damaged, or more in it than numbers"
        raise LatentFileError(f"{path} {why}; export it again as .npz with an array w") from error
    code, space = interpret(value, generator, str(path))
    if all(n.ndim == 4 and len(n) == 1 for n in noise):
        noise = tuple(n.expand(len(code), -1, -1, -1) for n in noise)  # one noise for a batch of codes
    check_tensors(code, space, noise, str(path))
    latent = Latent(code, space, noise or generator.fixed_noise(len(code)))
    check_fits(latent, generator, str(path))
    return latent.to(generator.w_avg.device)


def interpret(
    value: Float[Tensor, "..."], generator: Generator, where: str
) -> tuple[Float[Tensor, "batch ..."], LatentSpace]:
    """Codes of a foreign file with their batch dimension, as float32, and the space that their shape tells."""
    num_ws, w_dim = generator.num_ws, generator.w_dim
    if value.shape[-2:] == (num_ws, w_dim) and value.ndim in (2, 3):
        value, space = value.reshape(-1, num_ws, w_dim), LatentSpace.W_PLUS
    elif value.shape[-1:] == (w_dim,) and value.ndim in (1, 2):
        value, space = value.reshape(-1, w_dim), LatentSpace.W
    else:
        wanted = (("batch", num_ws, w_dim), ("batch", w_dim))
        raise _misfit(where, "latent", tuple(value.shape), generator, wanted)
    return value.detach().float().contiguous(), space


def _read_numpy(path: Path) -> tuple[Tensor, tuple[Tensor, ...]]:
    import numpy as np

    with open(path, "rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            if "w" not in loaded:
                raise LatentFileError(f"{path} holds {', '.join(loaded) or 'nothing'}; wanted an array named w")
            loaded = loaded["w"]
    if loaded.dtype.kind != "f":
        raise LatentFileError(f"{path} holds numbers of type {loaded.dtype}; wanted float32, float64 or float16")
    with np.errstate(over="ignore"):  # becomes infinite, which check_latent refuses
        return torch.from_numpy(np.array(loaded, dtype=np.float32)), ()


def _read_torch(path: Path) -> tuple[Tensor, tuple[Tensor, ...]]:
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(loaded, dict) and "latent" not in loaded and len(loaded) == 1:
        loaded = next(iter(loaded.values()))  # some projectors file the result under the photograph's name
    value, noise = (loaded.get("latent"), loaded.get("noise") or ()) if isinstance(loaded, dict) else (loaded, ())
    tensors = [value, *noise]
    if not all(isinstance(t, Tensor) and t.layout is torch.strided and t.is_floating_point() for t in tensors):
        raise LatentFileError(f"{path} holds no float tensor latent (and list of tensors noise); export it again")
    return tensors[0], tuple(n.detach().float() for n in tensors[1:])


def _in_order(content: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library shuffles it, and equal latents want equal files."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # so that the tensors stay aligned
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes(content, path)
    except ImageError as error:
        raise LatentFileError(str(error)) from error


def _existing(path: Path | str) -> Path:
    if not Path(path).is_file():  # a pipe or a folder would hang or confuse the readers
        raise LatentFileError(f"{path} is not a file; give the path of a saved latent")
    return Path(path)


def _misfit(where: str, what: str, shape: tuple, generator: Generator, wanted: tuple) -> LatentFileError:
    takes = str(wanted).replace("'", "")
    return LatentFileError(f"{where}: {what} is {shape}; {generator.name} takes {takes}; load the generator it is for")


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
