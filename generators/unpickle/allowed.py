"""What a pickle may name, and what is built for it here: a closed list, of which nothing runs code from elsewhere.

Constructors are our own; the objects of foreign classes become stand-ins that hold their state and do nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

SLACK = 16 << 20  # bytes that a file may make beyond twice its own size, for expanded views of small storages
ITEM = 64  # bytes that an item of a container takes, at the least
AGAIN = "it is damaged or cut short, get it again"
PLAIN = (str, float, bool, bytes, type(None))


class Refused(Exception):
    """Something that is not built, and why, as the message goes on from the file's name; then what to do next."""

    def __init__(self, why: str, advice: str = "nothing of it was run, get the file from its makers") -> None:
        super().__init__(why)
        self.advice = advice


class Name(str):
    """A global that the stream names, as module.name; never looked up."""


@dataclass(eq=False)
class StandIn:
    """The content of a pickled object, by the name of its class."""

    kind: str
    state: dict = field(default_factory=dict)


@dataclass
class Budget:
    """Bytes that constructors may still take, and how to read a torch storage that the pickle embeds."""

    left: int
    storage: Callable[[bytes], Tensor] | None = None

    def charge(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Refused("makes far more bytes than it holds, which no honest file does")


def hashable(key: object) -> object:
    """A key that hashes at once: text, a number of common size, or a short tuple of them."""
    if type(key) is tuple and len(key) <= 16 and all(is_plain(k) for k in key) or is_plain(key):
        return key
    raise Refused(f"has a {type(key).__name__} for a key, where text or numbers are wanted")


def shown(value: object) -> str:
    """A value for a message: one short line, and nothing that holds others, which could go on without end."""
    return f"{value!r:.80}" if is_plain(value) or isinstance(value, Name) else f"a {type(value).__name__}"


def is_plain(key: object) -> bool:
    return -(2**63) <= key < 2**63 if type(key) is int else type(key) in PLAIN


# Containers and stand-ins


def dictionary(budget: Budget, pairs: object = ()) -> dict:
    """OrderedDict and EasyDict; the first is pickled with its pairs by old Pythons."""
    if type(pairs) not in (dict, list, tuple):
        raise Refused(f"makes a dictionary of a {type(pairs).__name__}")
    budget.charge(ITEM * len(pairs))  # type: ignore[arg-type]
    return {hashable(key): value for key, value in (pairs.items() if type(pairs) is dict else pairs)}  # type: ignore


def stand_in(kind: str) -> Callable[..., StandIn]:
    return lambda budget, *args: StandIn(kind)


def persistent(budget: Budget, meta: object) -> StandIn:
    """An object of torch_utils.persistence: its class name and its state; its source text is left where it is."""
    if type(meta) is not dict or not isinstance(meta.get("class_name"), str):
        raise Refused("has a persistent object without a class name; it is damaged")
    state = meta.get("state")
    return StandIn(meta["class_name"], state if type(state) is dict else {})


def reconstructed(budget: Budget, kind: object, _base: object = None, state: object = None) -> object:
    """An object as protocols 0 and 1 write it."""
    if kind in ("dnnlib.util.EasyDict", "dnnlib.EasyDict", "collections.OrderedDict"):
        return dictionary(budget, state or ())
    if not isinstance(kind, Name) or kind not in CLASSES:
        raise Refused(f"makes an object of {shown(kind)}, which is not built")
    return StandIn(CLASSES[kind])


def collection(make: Callable) -> Callable[..., object]:
    """A builder of sets, which are pickled as a list."""

    def collected(budget: Budget, values: object = ()) -> object:
        if type(values) not in (list, tuple):
            raise Refused(f"makes a set of a {type(values).__name__}")
        budget.charge(ITEM * len(values))  # type: ignore[arg-type]
        return make(map(hashable, values))  # type: ignore[arg-type]

    return collected


def encoded(budget: Budget, text: str, encoding: str = "latin1") -> bytes:
    """Bytes as Python 3 writes them for Python 2."""
    if encoding not in ("latin1", "latin-1") or type(text) is not str:
        raise Refused(f"encodes as {shown(encoding)}, where latin1 is wanted")
    budget.charge(len(text))
    return text.encode("latin1")


def no_bytes(budget: Budget) -> bytes:
    """Empty bytes as Python 3 writes them for Python 2."""
    return b""


# numpy


@dataclass(eq=False)
class Code:
    """A numpy data type; its byte order comes after it."""

    text: str

    def order(self, state: object) -> None:
        """Take the byte order from a type's state; the rest of it could make numpy take numbers for addresses."""
        flags = 63 if self.text == "O" else 0
        if type(state) is not tuple or len(state) != 8 or state[2:] != (None, None, None, -1, -1, flags):
            raise Refused("has an array whose type is more than numbers")
        if type(state[1]) is str and state[1] in ("<", ">") and self.text != "O":
            self.text = state[1] + self.text[-2:]

    def dtype(self) -> np.dtype:
        return np.dtype(self.text)


def data_type(budget: Budget, text: str, *_: object) -> Code:
    if text not in NUMBERS:
        raise Refused(f"has an array of {shown(text)}, where numbers are wanted")
    return Code({"?": "b1", "O8": "O"}.get(text, text))


def empty_array(budget: Budget, kind: object, *_: object) -> np.ndarray:
    if kind != "numpy.ndarray":
        raise Refused(f"has an array of {shown(kind)}, where numpy.ndarray is wanted")
    return np.empty(0, dtype=np.uint8)


def fill_array(budget: Budget, array: np.ndarray, state: object) -> None:
    """Shape and values for an array that `empty_array` made."""
    if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], Code) or not is_shape(state[1]):
        raise Refused("has an array without a shape and a type; it is damaged")
    _, shape, code, fortran, raw = state
    dtype, count = code.dtype(), math.prod(shape)
    values, wanted = (raw, count) if dtype.hasobject else (as_bytes(budget, raw), count * dtype.itemsize)
    if type(values) is not (list if dtype.hasobject else bytes) or len(values) != wanted:
        raise Refused(f"has an array of {shape} that declares {wanted} and holds another number of bytes or values")
    budget.charge(count * dtype.itemsize)
    array.__setstate__((1, shape, dtype, bool(fortran), values))  # type: ignore[attr-defined]


def array_from_bytes(budget: Budget, raw: object, code: object, shape: object, order: object = "C") -> np.ndarray:
    """An array as protocol 5 writes it."""
    array = np.empty(0, dtype=np.uint8)
    fill_array(budget, array, (1, shape, code, order == "F", raw))
    return array


def number(budget: Budget, code: object, raw: object) -> object:
    """A numpy scalar, as Python's number."""
    data = as_bytes(budget, raw)
    if not isinstance(code, Code) or (dtype := code.dtype()).hasobject or len(data) != dtype.itemsize:
        raise Refused("has a number without its type or its bytes; it is damaged")
    return np.frombuffer(data, dtype)[0].item()


def as_bytes(budget: Budget, raw: object) -> bytes:
    """Python 2 wrote bytes as text."""
    if isinstance(raw, str):
        return encoded(budget, raw)
    if not isinstance(raw, bytes):
        raise Refused(f"has a {type(raw).__name__} where bytes are wanted")
    return raw


def is_shape(shape: object) -> bool:
    return type(shape) is tuple and len(shape) <= 16 and all(type(n) is int and 0 <= n < 2**48 for n in shape)


# torch


def embedded(budget: Budget, data: object) -> Tensor:
    """A storage, as the vector of its values."""
    if type(data) is not bytes or budget.storage is None:
        raise Refused("embeds a torch storage where none is wanted")
    budget.charge(len(data))
    return budget.storage(data)


def rebuilt(budget: Budget, storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    """A tensor as a view of its storage."""
    if not isinstance(storage, Tensor) or not is_shape(size) or not is_shape((offset,)) or not is_shape(stride):
        raise Refused("has a tensor without its storage or its size; it is damaged")
    return view(budget, storage, int(offset), tuple(size), tuple(stride))  # type: ignore[call-overload]


def view(budget: Budget, storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int]) -> Tensor:
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= storage.numel():
        raise Refused(f"has a tensor of {tuple(size)} that reaches beyond its {storage.numel()} values; it is damaged")
    budget.charge(math.prod(size) * storage.element_size())
    return torch.as_strided(storage.detach(), size, stride, offset) if math.prod(size) else storage.new_empty(size)


def parameter(budget: Budget, value: object, *_: object) -> object:
    return value


def torch_size(budget: Budget, size: object = ()) -> tuple:
    if not is_shape(size):
        raise Refused("has a size that is none; it is damaged")
    return size  # type: ignore[return-value]


def device(budget: Budget, *parts: object) -> str:
    return ":".join(str(part) for part in parts if is_plain(part))


NUMBERS = {"?", "O", "b1", "O8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"}
CLASSES = {
    Name("dnnlib.tflib.network.Network"): "Network",
    Name("tfutil.Network"): "Network",  # as the progressive GAN of 2018 has it
    Name("argparse.Namespace"): "Namespace",
}
STORAGES = {
    Name(f"torch.{name}Storage"): dtype
    for name, dtype in {
        "Float": torch.float32,
        "Double": torch.float64,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
} | {Name("torch.storage.UntypedStorage"): torch.uint8}
BUILDERS: dict[str, Callable[..., object]] = {
    **{f"{module}.EasyDict": dictionary for module in ("dnnlib", "dnnlib.util")},
    "collections.OrderedDict": dictionary,
    "torch_utils.persistence._reconstruct_persistent_obj": persistent,
    **{name: stand_in(kind) for name, kind in CLASSES.items()},
    **{f"{module}._reconstructor": reconstructed for module in ("copyreg", "copy_reg")},
    **{f"{module}.set": collection(set) for module in ("builtins", "__builtin__")},
    **{f"{module}.frozenset": collection(frozenset) for module in ("builtins", "__builtin__")},
    **{f"{module}.bytes": no_bytes for module in ("builtins", "__builtin__")},
    "_codecs.encode": encoded,
    "numpy.dtype": data_type,
    **{f"numpy.{core}.multiarray._reconstruct": empty_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": number for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": array_from_bytes for core in ("core", "_core")},
    "torch.storage._load_from_bytes": embedded,
    "torch._utils._rebuild_tensor": rebuilt,
    "torch._utils._rebuild_tensor_v2": rebuilt,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
    "torch.Size": torch_size,
    "torch.device": device,
}
INERT = {  # named, never called
    "numpy.ndarray",
    "builtins.object",
    "builtins.dict",
    "__builtin__.object",
    "__builtin__.dict",
    *STORAGES,
    *(f"torch.{name}" for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")),
}
