"""numpy's arrays, types and numbers in pickles: built from a closed list of types, whose sizes are checked first."""

import math
from dataclasses import dataclass

import numpy as np

from generators.unpickle.allowed import Budget, Refused, encoded, shown

NUMBERS = {"?", "O", "b1", "O8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"}


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


def data_type(budget: Budget, text: object = None, *_: object) -> Code:
    if type(text) is not str or text not in NUMBERS:
        raise Refused(f"has an array of {shown(text)}, where numbers are wanted")
    return Code({"?": "b1", "O8": "O"}.get(text, text))


def empty_array(budget: Budget, kind: object = None, *_: object) -> np.ndarray:
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
    budget.objects -= dtype.hasobject
    if budget.objects < 0:
        raise Refused("has more arrays of objects than any latent needs")
    budget.charge(count * dtype.itemsize)
    array.__setstate__((1, shape, dtype, fortran is True, values))  # type: ignore[attr-defined]


def array_from_bytes(budget: Budget, raw: object, code: object, shape: object, order: object = "C") -> np.ndarray:
    """An array as protocol 5 writes it."""
    array = np.empty(0, dtype=np.uint8)
    fill_array(budget, array, (1, shape, code, order == "F", raw))
    return array


def number(budget: Budget, code: object, raw: object) -> object:
    """A numpy scalar, as Python's number."""
    if not isinstance(code, Code) or (dtype := code.dtype()).hasobject:
        raise Refused("has a number without its type; it is damaged")
    data = as_bytes(budget, raw)
    if len(data) != dtype.itemsize:
        raise Refused("has a number without its bytes; it is damaged")
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
