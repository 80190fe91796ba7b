"""Other people's latents and directions: .npz, .npy and .pt, told by what is in them, read without running anything."""

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generators.base import Generator, Noise
from generators.errors import ModelFileError
from generators.unpickle.allowed import ITEM, Budget
from generators.unpickle.machine import read_pickle, refusals
from generators.unpickle.torch_save import load_torch
from inversion.config import LatentSpace
from inversion.errors import LatentFileError, SettingsError
from inversion.latent import Latent, check_fits, check_tensors, misfit

FOREIGN = (".npz", ".npy", ".pt", ".pth")
CODES = ("w", "ws", "w_plus", "latent", "latents", "latent_code", "latent_codes")  # what programs call them
BESIDE = ("noise", "img", "image")  # what stands beside a code and is none
MODELS = ("g_ema", "G_ema", "state_dict")  # what stands in a model's file
DEEP = 4  # containers inside of containers
ROOM = 1 << 20  # bytes that the arrays of a small file may take beyond four times its size
Z = ("z", "zs")  # what programs call codes that are not mapped yet
MAP = "map it first (generator.mapping), and save that"
ENOUGH = 256  # numbers that tell a distribution
FAR = 4.0  # mean squared standard deviations from the mean of W, which for samples are 1
UNPACKED = 1 << 28  # bytes that a packed array may have, of a file that is smaller: some thousand codes of 1024 px
ZIP, NUMPY = b"PK\x03\x04", b"\x93NUMPY"  # how files begin
PICKLE = b"\x80"


@dataclass(frozen=True)
class ForeignArray:
    """An array of a foreign file, and the noise that came with it."""

    name: str  # of the photograph, or the array's place; "" where the file is one array
    value: Float[Tensor, "..."]
    noise: tuple[Tensor, ...] = ()


def read_latents(path: Path | str, generator: Generator) -> dict[str, Latent]:
    """The latents in a foreign file, by photograph where it tells, else under the file's own stem.

    Arrays (w_dim,), (batch, w_dim) and (batch, 1, w_dim) are w, (num_ws, w_dim) and (batch, num_ws, w_dim) w_plus,
    which wins where both fit; never z. Of a list under a photograph's name the last counts, as iterative encoders leave
    their steps. Noise that is not there is the generator's fixed noise. LatentFileError tells what does not fit.
    """
    path, latents = Path(path), {}
    for found in read_arrays(path):
        where = f"{path} ({found.name})" if found.name else str(path)
        code, space = interpret(found.value, generator, where)
        noise = found.noise
        if all(n.ndim == 4 and len(n) == 1 for n in noise):
            noise = tuple(n.expand(len(code), -1, -1, -1) for n in noise)  # one noise for a batch of codes
        check_tensors(code, space, noise, where)
        latent = Latent(code, space, noise or generator.fixed_noise(len(code)))
        check_fits(generator, latent, where)
        if found.name in Z or looks_like_z(code, generator):
            raise LatentFileError(f"{where}: holds z codes, as it seems, where w is read; {MAP}")
        latents[found.name or path.stem] = latent.to(generator.w_avg.device)
    return latents


def read_direction(
    path: Path | str, generator: Generator | None = None, *, name: str | None = None
) -> Float[Tensor, "layers w_dim"]:
    """A direction in W (1, w_dim), or one a layer (num_ws, w_dim), as float32 on the CPU, of the length it came with.

    name chooses among several in one file. With generator, LatentFileError unless it has the generator's shape; whose
    direction it is the foreign formats do not tell.
    """
    path = Path(path)
    arrays = {found.name: found.value for found in read_arrays(path)}
    if name is None and len(arrays) > 1:
        raise SettingsError(f"{path} holds {', '.join(arrays)}; choose one by name")
    if name is not None and name not in arrays:
        raise SettingsError(
            f"{path} has no direction named {name!r}; it holds {', '.join(arrays) or 'one without name'}"
        )
    value = arrays[name] if name is not None else next(iter(arrays.values()))
    shape, value = tuple(value.shape), value[0] if value.ndim == 3 and len(value) == 1 else value
    value = value[None] if value.ndim == 1 else value
    if value.ndim != 2 or 0 in shape:
        raise LatentFileError(f"{path}: direction is {shape}; wanted (w_dim,), (1, w_dim) or (num_ws, w_dim)")
    if generator is not None and tuple(value.shape) not in (wanted := _direction_shapes(generator)):
        raise misfit(str(path), "direction", shape, generator, wanted)
    if not value.isfinite().all() or not value.any():
        raise LatentFileError(f"{path}: direction is not finite, or zero everywhere; get it again")
    return value


def interpret(
    value: Float[Tensor, "..."], generator: Generator, where: str
) -> tuple[Float[Tensor, "batch ..."], LatentSpace]:
    """Codes of a foreign file with their batch dimension, and the space that their shape tells."""
    num_ws, w_dim = generator.num_ws, generator.w_dim
    if value.shape[-2:] == (num_ws, w_dim) and value.ndim in (2, 3):
        return value.reshape(-1, num_ws, w_dim), LatentSpace.W_PLUS
    if value.shape[-1:] == (w_dim,) and (value.ndim in (1, 2) or (value.ndim == 3 and value.shape[1] == 1)):
        return value.reshape(-1, w_dim), LatentSpace.W
    if generator.z_dim != w_dim and value.shape[-1:] == (generator.z_dim,):
        raise LatentFileError(f"{where}: latent is {tuple(value.shape)}, as wide as z, where w is read; {MAP}")
    raise misfit(where, "latent", tuple(value.shape), generator, (("batch", num_ws, w_dim), ("batch", w_dim)))


def looks_like_z(code: Float[Tensor, "*batch w_dim"], generator: Generator) -> bool:
    """Tell whether codes are N(0, 1) by their first four moments, and far from where w lies.

    Under some 250 numbers there is no telling.
    """
    x, n = code.double().flatten(), code.numel()
    expected = ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96))  # of x^k: its mean, and its variance
    if n < ENOUGH or any(abs(float((x**k).mean()) - mean) > 5 * (var / n) ** 0.5 for k, mean, var in expected):
        return False
    apart = generator.statistics().enter(code.to(generator.w_avg.device))
    return float(apart.square().mean()) > FAR


def read_arrays(path: Path) -> list[ForeignArray]:
    """All arrays of a foreign file, float32 on the CPU; LatentFileError where it holds anything but arrays of floats.

    Object arrays and pickles are read as far as they are plain: containers of arrays, numbers and text.
    """
    with open(existing(path), "rb") as file, readable(path):
        start = file.read(8)
        file.seek(0)
        if start.startswith(NUMPY):
            value = read_npy(file, path.stat().st_size)
        elif start.startswith(ZIP) and (names := npz_names(file)):
            value = read_npz(file, names)
        elif start.startswith(PICKLE) and start[1:3] != b"\x02\x8a":  # which is how old files of torch.save begin
            value = read_pickle(file)
        else:
            file.seek(0)
            value = load_torch(file)
    if isinstance(value, dict) and any(key in value for key in MODELS):
        raise LatentFileError(f"{path} is a model, not a latent; give it as the generator (-g), and a latent here")
    with readable(path), refusals():  # one array named a million times takes no memory in the file, and all of ours
        found = list(unpack(value, "", Budget(4 * path.stat().st_size + ROOM)))
    if not found:
        raise LatentFileError(f"{path} holds no array of floats; export it again as .npz with an array w")
    return found


def read_npy(file: io.BufferedIOBase, size: int) -> Any:
    """One array, or what an object array holds; size is how many bytes there are."""
    version, begin = np.lib.format.read_magic(file), file.tell() - 8
    reads: dict[tuple, Callable] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = reads[version](file)
    if dtype.hasobject:
        return read_pickle(file)
    if math.prod(shape) * dtype.itemsize > size:
        raise ModelFileError(f"declares {shape} {dtype}, more than it holds; it is cut short")
    file.seek(begin)
    return np.lib.format.read_array(file, allow_pickle=False)


def is_numpy(path: Path) -> bool:
    """Recognise an .npy or an .npz by its content."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(NUMPY))
            return start == NUMPY or (start.startswith(ZIP) and bool(npz_names(file)))
    except (OSError, zipfile.BadZipFile):
        return False


def npz_names(file: io.BufferedIOBase) -> list[str]:
    """The arrays of an .npz; none where it is another zip, as torch writes them."""
    with zipfile.ZipFile(file) as archive:
        return [name for name in archive.namelist() if name.endswith(".npy")]


def read_npz(file: io.BufferedIOBase, names: Sequence[str]) -> Any:
    """The array of codes, by its name or because it is the only one; all of them where nothing tells."""
    stems = {name.removesuffix(".npy"): name for name in names}
    known = [stem for stem in CODES if stem in stems]
    if not known and (len(stems) > 1 or "z" in stems):
        raise LatentFileError(f"it holds {', '.join(stems)}; wanted an array named w")
    name = stems[known[0]] if known else names[0]
    with zipfile.ZipFile(file) as archive:
        about, whole = archive.getinfo(name), file.seek(0, 2)
        if about.file_size > max(min(100 * whole + ROOM, UNPACKED), 4 * whole):  # floats hardly shrink
            raise ModelFileError(f"would unpack to {about.file_size} bytes; no honest file does")
        return read_npy(io.BytesIO(archive.read(name)), about.file_size)


def unpack(value: Any, name: str, budget: Budget, depth: int = 0) -> Iterator[ForeignArray]:
    """The arrays in what a file holds, by the names on the way to them."""
    budget.charge(ITEM + getattr(value, "nbytes", 0))
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.item() if value.ndim == 0 else list(value)
    if depth > DEEP:
        raise LatentFileError(f"it holds containers more than {DEEP} deep; wanted arrays of floats")
    if isinstance(value, dict) and (codes := [key for key in CODES if key in value]):
        inside = list(unpack(value[codes[0]], name, budget, depth + 1))
        noise = value.get("noise")
        yield from (ForeignArray(one.name, one.value, noise_maps(noise)) for one in inside)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in BESIDE:
                yield from unpack(item, str(key), budget, depth + 1)
    elif isinstance(value, (list, tuple)) and value and all(type(x) in (float, int) for x in value):
        yield ForeignArray(name, torch.tensor(value, dtype=torch.float32))
    elif isinstance(value, (list, tuple)) and Path(name).suffix:
        yield from unpack(value[-1] if value else None, name, budget, depth + 1)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value, 1):
            yield from unpack(item, f"{name}-{i}" if name else str(i), budget, depth + 1)
    else:
        yield ForeignArray(name, as_floats(value))


def noise_maps(value: Any) -> tuple[Tensor, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise LatentFileError(f"it holds noise that is a {type(value).__name__}; wanted a list of arrays")
    return tuple(map(as_floats, value))


def as_floats(value: Any) -> Float[Tensor, "..."]:
    """A tensor or an array as float32 on the CPU; LatentFileError where it is no array of floats."""
    if isinstance(value, Tensor) and value.layout is torch.strided and value.is_floating_point():
        return value.detach().to("cpu", torch.float32).contiguous()
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which is refused later
            return torch.from_numpy(np.array(value, dtype=np.float32))
    what = f"numbers of type {value.dtype}" if isinstance(value, (Tensor, np.ndarray)) else f"a {type(value).__name__}"
    raise LatentFileError(f"it holds {what}; wanted arrays of float32, float64 or float16")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """LatentFileError in one line for whatever a broken or hostile file makes its readers raise."""
    try:
        yield
    except LatentFileError as error:
        raise LatentFileError(f"{path}: {error}; export it again as .npz with an array w") from error
    except ModelFileError as error:
        raise LatentFileError(f"{path} cannot be read as {path.suffix}: it {error}") from error
    except Exception as error:
        why = f"cannot be read as {path.suffix} ({type(error).__name__}): damaged, or more in it than numbers"
        raise LatentFileError(f"{path} {why}; export it again as .npz with an array w") from error


def existing(path: Path | str) -> Path:
    if not Path(path).is_file():  # a pipe or a folder would hang or confuse the readers
        raise LatentFileError(f"{path} is not a file; give the path of a saved latent")
    return Path(path)


def foreign_bytes(ws: Float[Tensor, "batch num_ws w_dim"], noise: Noise, kind: str, stem: str, *, whole: bool) -> bytes:
    """w_plus codes as a file of kind, a suffix out of FOREIGN: see `latent_file.export`."""
    buffer = io.BytesIO()
    if kind == ".npz":
        np.savez(buffer, w=ws.numpy())
    elif kind == ".npy":
        np.save(buffer, ws.numpy(), allow_pickle=False)
    elif whole and noise:
        names = [stem] if len(ws) == 1 else [f"{stem}-{i}" for i in range(1, len(ws) + 1)]
        each = [{"latent": w.clone(), "noise": [n[i : i + 1].clone() for n in noise]} for i, w in enumerate(ws)]
        torch.save(dict(zip(names, each, strict=True)), buffer)
    else:
        torch.save(ws, buffer)
    return buffer.getvalue()


def _direction_shapes(generator: Generator) -> tuple[tuple[int, int], ...]:
    return ((1, generator.w_dim), (generator.num_ws, generator.w_dim))
