"""Other people's model files -> our generators, executing nothing that they hold.

What a file is is told by its content, never by its name. To add a format: a file here, and a line in `read`.
"""

import re
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from generators.base import Generator
from generators.checkpoints.companion import attach
from generators.checkpoints.nvidia import read_nvidia
from generators.checkpoints.nvidia_state import read_nvidia_state
from generators.checkpoints.openvino import is_wheel, read_openvino
from generators.checkpoints.ours import load_model, read_tensors, save_model
from generators.checkpoints.psp import read_psp
from generators.checkpoints.rosinality import read_rosinality
from generators.checkpoints.tensorflow import is_network, read_tensorflow
from generators.checkpoints.wrappers import nvidia_state, unwrapped
from generators.errors import ModelFileError, WriteError, naming
from generators.storage import cache_folder, is_file, sha256_of
from generators.unpickle.allowed import StandIn
from generators.unpickle.machine import read_pickle, refusals
from generators.unpickle.torch_save import LEGACY, ZIP, load_storage, load_torch

VERSION = 2  # to be raised when a conversion comes to give another model, so that old ones are not used
KNOWN = (
    "our .safetensors, pickles of StyleGAN2 and StyleGAN3, .pt of stylegan2-pytorch, pSp, e4e and ReStyle, "
    "MobileStyleGAN's graphs of OpenVINO"
)
FOREIGN = {
    b"<": "a web page, not a model; download it again",
    b"version https://git-lfs": "a pointer of git-lfs, not the model; run `git lfs pull`",
    b"\x89HDF": "an HDF5 file (Keras), which is not read; convert it to PyTorch",
    b"\x93NUMPY": "an array; a latent is given where a photograph is, a generator here",
    b"\x1f\x8b": "compressed; unpack it with gunzip",
    b"BZh": "compressed; unpack it with bunzip2",
    b"\xfd7zXZ": "compressed; unpack it with unxz",
}


def open_model(path: Path, *, device: str | torch.device = "cpu", licence: str | None = None) -> Generator:
    """The generator in any file that is read here: frozen, in eval mode.

    Files of others are converted once, into `models` in $LATENT_CACHE (~/.cache/latent), by the sha256 of their bytes.
    licence: what is known of it elsewhere. ModelFileError says what a file is that cannot be read.
    """
    if is_ours(path):
        return attach(load_model(path, device=device))
    kept = cache_folder("models") / f"{sha256_of(path)}-{VERSION}.safetensors"
    generator, alone = None, path.suffix.lower() != ".xml"  # which holds the weights in other files
    if alone and is_file(kept):
        with suppress(ModelFileError):  # a damaged entry is made again
            generator = load_model(kept)
    if generator is None:
        generator = read_checkpoint(path)
        with suppress(WriteError):  # a cache that cannot be written costs time, not the result
            if alone:
                save_model(generator, kept)
    generator.name = path.stem
    if licence is not None:
        generator.card["licence"] = licence
    return attach(generator.to(device))


def read_checkpoint(path: Path) -> Generator:
    """The generator in a model file, ours or of others, on the CPU; its card tells the format and what was left out."""
    if is_ours(path):
        return load_model(path)
    card: dict[str, object] = {"source": path.name, "licence": "not stated in the file", "left_out": [], "notes": []}
    with naming(path):
        try:
            with refusals():
                generator = read(path, card)
        except OSError as error:
            raise ModelFileError(f"cannot be read ({error.strerror or error}); check the disk") from error
    generator.name = path.stem
    return generator


def read(path: Path, card: dict[str, object]) -> Generator:
    """The generator in somebody else's file; errors go on from its name, as those of all readers do."""
    with path.open("rb") as file:
        head = file.read(32)
        file.seek(0)
        if head.startswith(ZIP) and is_wheel(path) or is_graph(head):
            return read_openvino(path, card)
        if head.startswith((ZIP, LEGACY)):
            return read_torch(load_torch(file), card)
        if head[8:9] == b"{":
            return read_torch(read_tensors(path)[1], card)
        if head.startswith(b"\x80") or is_old_pickle(head, file):
            return read_tree(unpickled(file), card)
    start = head.lstrip().lower()
    what = next((what for magic, what in FOREIGN.items() if start.startswith(magic.lower())), None)
    what = what or ("an empty file; get it again" if not head else f"no model file that is read here: {KNOWN}")
    raise ModelFileError(f"is {what}")


def is_old_pickle(head: bytes, file: BufferedIOBase) -> bool:
    """Tells a pickle of protocol 0 or 1, which says so by its first opcode and its last alone."""
    at = file.tell()
    if not re.match(rb"[(\]}]|c[\w.]+\n", head):
        return False
    file.seek(-1, 2)
    last = file.read(1)
    file.seek(at)
    return last == b"."


def unpickled(file: BufferedIOBase) -> Any:
    """The content of a pickle; Python 2 wrote the bytes of arrays as text at protocol 0, which is not read."""
    try:
        return read_pickle(file, storage=load_storage)
    except ModelFileError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            why = "is a pickle of protocol 0 by Python 2; load it there, and pickle it again with protocol 2"
            raise ModelFileError(why) from error
        raise


def is_graph(head: bytes) -> bool:
    """Tells a file that starts as XML does."""
    return head.lstrip().startswith((b"<?xml", b"<net"))


def read_tree(tree: Any, card: dict[str, object]) -> Generator:
    """The generator in what a pickle held."""
    if is_network(tree) or isinstance(tree, tuple | list) and any(map(is_network, tree)):
        return read_tensorflow(tree, card)
    return read_nvidia(tree, card)


def read_torch(saved: Any, card: dict[str, object]) -> Generator:
    """The generator in what a file of torch.save held."""
    if isinstance(saved, StandIn) or isinstance(saved, dict) and isinstance(saved.get("G_ema"), StandIn):
        return read_tree(saved, card)  # a module as NVIDIA's code pickles it, in another wrapping
    if not isinstance(saved, dict):
        raise ModelFileError(f"holds a {type(saved).__name__}, not a model's weights by name; is it a latent?")
    if (state := nvidia_state(saved)) is not None:
        return read_nvidia_state(state, card)
    saved = unwrapped(saved)
    if isinstance(saved.get("state_dict"), dict):
        return read_psp(saved, card)
    return read_rosinality(saved, card)


def describe(generator: Generator) -> dict[str, object]:
    """A model in words and numbers, for people and for JSON."""
    own = [p.numel() for name, p in generator.named_parameters() if not name.startswith(("encoder.", "discriminator."))]
    card = generator.card
    return {
        "architecture": type(generator).__name__,
        "format": card.get("format", "ours"),
        "resolution": generator.img_resolution,
        "parameters": sum(own),
        "num_ws": generator.num_ws,
        "w_dim": generator.w_dim,
        "labels": generator.c_dim,
        "encoder": generator.encoder is not None,
        "licence": card.get("licence"),
        "left_out": card.get("left_out", []),
        "notes": card.get("notes", []),
    }


def is_ours(path: Path) -> bool:
    """Tells a file that is laid out as safetensors, but for those that say to be another's, or nobody's."""
    try:
        with path.open("rb") as file:
            if file.read(9)[8:] != b"{":
                return False
        with safe_open(path, "pt") as f:
            return str((f.metadata() or {}).get("format")).startswith("latent-")
    except (SafetensorError, ValueError):
        return True  # whose reader says what is wrong with it
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror or error})") from error
