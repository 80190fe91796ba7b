"""Pickles read without running them.

The standard library takes the stream apart (`pickletools.genops`, which builds nothing); what its opcodes build is
decided here: numbers, text, containers, arrays, tensors and stand-ins, from the closed list in `names.py`. Any other
name in the stream is refused by name. Python's own unpickler, whose opcodes call what they are given, is not used.
"""

import pickletools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from typing import Any

import numpy as np

from generators.errors import ModelFileError
from generators.unpickle.allowed import ITEM, MAX_STEPS, SLACK, Budget, Name, Refused, StandIn
from generators.unpickle.arrays import Code, fill_array
from generators.unpickle.names import BUILDERS, INERT, builder, is_data
from generators.unpickle.tensors import Storage

LONGEST = 200  # characters of a name

VALUES = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTY: dict[str, Callable[[], object]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


def read_pickle(file: BufferedIOBase, *, storage: Callable[[bytes, Budget], Storage] | None = None) -> Any:
    """The content of a pickle. ModelFileError names what is refused, or says that it is damaged.

    Objects come as `StandIn`, types and functions as `Name`, numpy's numbers as Python's. storage: how to read a torch
    storage that the pickle embeds; None refuses those.
    """
    with refusals():
        source = Bounded(file)
        return Machine(budget(source.size, storage)).run(source)


def budget(size: int, storage: Callable[[bytes, Budget], Storage] | None = None) -> Budget:
    """The means of a file of so many bytes."""
    return Budget(2 * size + SLACK, storage, steps=MAX_STEPS)


@contextmanager
def refusals() -> Iterator[None]:
    """Refusals and damage inside become ModelFileError, whose message goes on from the file's name."""
    try:
        yield
    except Refused as error:
        raise ModelFileError(f"{error}; {error.advice}") from error
    except (ModelFileError, OSError):
        raise
    except Exception as error:  # a damaged stream goes wrong in as many ways as there are opcodes
        why = " ".join(str(error).split())[:160]
        raise ModelFileError(f"is damaged or cut short ({why}); get it again") from error


class Bounded:
    """A file that is never asked for more than it has: a declared length takes no memory before its bytes are there."""

    def __init__(self, file: BufferedIOBase) -> None:
        self.file, begin = file, file.tell()
        self.size = file.seek(0, 2)
        file.seek(begin)

    def read(self, n: int) -> bytes:
        return self.file.read(max(0, min(n, self.size - self.file.tell())))

    def readline(self) -> bytes:
        return self.file.readline()

    def tell(self) -> int:
        return self.file.tell()


class Machine:
    """The stack machine that a pickle is written for, with constructors of our own."""

    def __init__(self, budget: Budget, persistent: Callable[[object], object] | None = None) -> None:
        self.stack: list[Any] = []
        self.outer: list[list] = []  # the stacks below each mark
        self.memo: dict[int, object] = {}
        self.budget, self.persistent = budget, persistent

    def run(self, file: Bounded) -> Any:
        """One pickle, from where the file stands."""
        for opcode, arg, at in pickletools.genops(file):  # type: ignore[arg-type]
            if opcode.name == "STOP":
                return self.stack.pop()
            self.budget.steps -= 1
            if self.budget.steps < 0:
                raise Refused(f"has more than {MAX_STEPS:,} steps, of which no model needs so many")
            name: str = opcode.name
            if name in VALUES:
                self.stack.append(bytes(arg) if type(arg) is bytearray else arg)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in EMPTY:
                self.stack.append(EMPTY[name]())
            elif name not in ("PROTO", "FRAME") and not (
                self.remember(name, arg) or self.contain(name) or self.make(name, arg)
            ):
                raise Refused(f"uses {name} at byte {at}, which no model needs")
        raise Refused("ends before its end", "get it again")

    def remember(self, name: str, arg: Any) -> bool:
        """Opcodes of the memo, the marks and the stack; False where it is none."""
        match name:
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                if not 0 <= arg <= MAX_STEPS:  # numbers of any size could be chosen to hash alike
                    raise Refused(f"keeps more than {MAX_STEPS:,} things by number")
                self.memo[arg] = self.stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                self.stack.append(self.memo[arg])
            case "MARK":
                self.outer.append(self.stack)
                self.stack = []
            case "POP" if self.stack:
                self.stack.pop()
            case "POP" | "POP_MARK":
                self.items()
            case "DUP":
                self.stack.append(self.stack[-1])
            case _:
                return False
        return True

    def contain(self, name: str) -> bool:
        """Opcodes of containers; False where it is none."""
        match name:
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                n = int(name[-1])
                self.stack.append(tuple([self.stack.pop() for _ in range(n)][::-1]))
            case "TUPLE":
                self.push(tuple(self.items()))
            case "LIST":
                self.push(self.items())
            case "DICT":
                self.push(self.set_items({}, self.items()))
            case "FROZENSET":
                self.push(frozenset(map(self.budget.key, self.items())))
            case "APPEND":
                value = self.stack.pop()
                self.append([value])
            case "APPENDS":
                self.append(self.items())
            case "ADDITEMS":
                values = self.items()
                self.only(set).update(map(self.budget.key, values))
            case "SETITEM":
                value, key = self.stack.pop(), self.stack.pop()
                self.assign([key, value])
            case "SETITEMS":
                self.assign(self.items())
            case _:
                return False
        return True

    def make(self, name: str, arg: Any) -> bool:
        """Opcodes that name, call and fill objects; False where it is none."""
        match name:
            case "GLOBAL":
                self.push(self.named(*arg.split(" ", 1)))
            case "STACK_GLOBAL":
                inner, module = self.stack.pop(), self.stack.pop()
                self.push(self.named(module, inner))
            case "REDUCE" | "NEWOBJ":
                args, target = self.stack.pop(), self.stack.pop()
                self.push(self.call(target, args))
            case "NEWOBJ_EX":
                _, args = self.stack.pop(), self.stack.pop()
                target = self.stack.pop()
                self.push(self.call(target, args))
            case "INST":
                args = tuple(self.items())
                self.push(self.call(self.named(*arg.split(" ", 1)), args))
            case "OBJ":
                target, *rest = self.items()
                self.push(self.call(target, tuple(rest)))
            case "BUILD":
                state = self.stack.pop()
                self.fill(self.stack[-1], state)
            case "BINPERSID" if self.persistent is not None:
                self.push(self.persistent(self.stack.pop()))
            case _:
                return False
        return True

    def push(self, value: object) -> None:
        self.stack.append(value)

    def items(self) -> list:
        """The items since the mark."""
        found, self.stack = self.stack, self.outer.pop()
        return found

    def only(self, kind: type) -> Any:
        """The container on top; Refused where it is something else, such as an array."""
        if type(self.stack[-1]) is not kind:
            raise Refused(f"puts items into a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def append(self, values: list) -> None:
        """Put values at the end of the list on top; those of a stand-in are left out."""
        if not isinstance(self.stack[-1], StandIn):
            self.only(list).extend(values)

    def assign(self, pairs: list) -> None:
        """Put pairs into the dictionary on top; those of a stand-in are left out."""
        if not isinstance(self.stack[-1], StandIn):
            self.set_items(self.only(dict), pairs)

    def set_items(self, into: dict, pairs: list) -> dict:
        into.update((self.budget.key(key), value) for key, value in zip(pairs[::2], pairs[1::2], strict=True))
        return into

    def named(self, module: object, name: object) -> Name:
        if type(module) is not str or type(name) is not str or len(module) + len(name) > LONGEST:
            raise Refused("wants something that is no name")
        path = f"{module}.{name}"
        if path not in BUILDERS and path not in INERT and not is_data(path):
            raise Refused(f"wants {path!r:.100}, which no model that is read here needs")
        return Name(path)

    def call(self, target: object, args: object) -> object:
        make = builder(target)
        if make is None or type(args) is not tuple:
            raise Refused(f"calls {target if isinstance(target, Name) else 'a ' + type(target).__name__}")
        return make(self.budget, *args)

    def fill(self, top: object, state: Any) -> None:
        """State for an object, which is only ever one of ours."""
        if isinstance(top, StandIn):
            held = state if type(state) is dict else {}  # of other classes' own makings nothing is kept
            self.budget.charge(ITEM * len(held))
            top.state.update(held)
        elif isinstance(top, Code):
            top.order(state)
        elif type(top) is np.ndarray:
            fill_array(self.budget, top, state)
        elif type(top) is not dict:  # a dictionary's attributes are left out: they are none of its items
            raise Refused(f"sets attributes of a {type(top).__name__}")
