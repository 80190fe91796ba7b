"""torch's storages and tensors in pickles: views of bytes that were read and counted, of a closed list of types."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.unpickle.allowed import Budget, Name, Refused
from generators.unpickle.arrays import is_shape

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
EMBEDDED = 4096  # bytes that a storage inside of a pickle counts for beside its own: reading it takes time


@dataclass(eq=False)
class Storage:
    """Values that tensors are views of, as a vector; no tensor of the file is one, whatever it says."""

    values: Tensor


@dataclass(frozen=True)
class Declared:
    """A storage as the pickle refers to it."""

    key: str
    dtype: torch.dtype
    count: int
    part: tuple[int, int] | None  # where it begins in that of its key, and how many values it has

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.count * self.dtype.itemsize


def declared(pid: object) -> Declared:
    """The storage of ("storage", type, key, device, count) or of ("storage", type, key, device, count, part)."""
    if type(pid) is not tuple or not 5 <= len(pid) <= 6 or pid[0] != "storage" or not isinstance(pid[1], Name):
        raise Refused("refers to something else than a storage")
    _, kind, key, _, count = pid[:5]
    if kind not in STORAGES or type(key) is not str or len(key) > 200 or not is_shape((count,)):
        raise Refused("refers to a storage without its type or its size")
    part = pid[5] if len(pid) == 6 else None
    if part is None:
        return Declared(key, STORAGES[kind], count, None)
    if type(part) is not tuple or len(part) != 3 or not is_shape(part[1:]) or part[1] + part[2] > count:
        raise Refused("refers to a part of a storage that it has not")
    return Declared(key, STORAGES[kind], count, part[1:])


def storage_of(wanted: Declared, raw: Tensor) -> Storage:
    """A storage of such a type, out of the bytes that its key has."""
    if wanted.size > len(raw):
        raise Refused(f"declares {wanted.size} bytes for a storage and holds {len(raw)}")
    values = raw[: wanted.size].view(wanted.dtype)
    return Storage(values if wanted.part is None else values[wanted.part[0] :][: wanted.part[1]])


def embedded(budget: Budget, data: object) -> object:
    """A storage that was pickled by itself, as bytes of torch.save."""
    if type(data) is not bytes or budget.storage is None:
        raise Refused("embeds a torch storage where none is wanted")
    budget.charge(EMBEDDED + len(data))
    return budget.storage(data, budget)


def rebuilt(budget: Budget, storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    """A tensor as a view of its storage."""
    if not isinstance(storage, Storage) or not is_shape(size) or not is_shape((offset,)) or not is_shape(stride):
        raise Refused("has a tensor without its storage or its size; it is damaged")
    return view(budget, storage.values, int(offset), tuple(size), tuple(stride))  # type: ignore[call-overload]


def view(budget: Budget, values: Tensor, offset: int, size: Sequence[int], stride: Sequence[int]) -> Tensor:
    if len(size) != len(stride):
        raise Refused("has a tensor whose size and strides differ in number; it is damaged")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= values.numel():
        raise Refused(f"has a tensor of {tuple(size)} that reaches beyond its {values.numel()} values; it is damaged")
    budget.charge(math.prod(size) * values.element_size())
    if not math.prod(size):
        return values.new_empty(size)
    return torch.as_strided(values, size, stride, values.storage_offset() + offset)


def parameter(budget: Budget, value: object = None, *_: object) -> object:
    return value


def torch_size(budget: Budget, size: object = ()) -> tuple:
    if not is_shape(size):
        raise Refused("has a size that is none; it is damaged")
    return size  # type: ignore[return-value]


def device(budget: Budget, kind: object = "cpu", index: object = None) -> str:
    """The name of a device, which is not looked for."""
    if type(kind) is not str or len(kind) > 32 or not (index is None or is_shape((index,))):
        raise Refused("has a device that is none; it is damaged")
    return kind if index is None else f"{kind}:{index}"


BUILDERS: dict[str, Callable[..., object]] = {
    "torch.storage._load_from_bytes": embedded,
    "torch._utils._rebuild_tensor": rebuilt,
    "torch._utils._rebuild_tensor_v2": rebuilt,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
    "torch.Size": torch_size,
    "torch.device": device,
}
NAMED = {  # never called
    *STORAGES,
    *(f"torch.{dtype}".replace("torch.torch.", "torch.") for dtype in STORAGES.values()),
    *(f"torch.{name}" for name in ("complex64", "complex128", "strided", "contiguous_format", "preserve_format")),
}
