"""What is built for a pickle: plain containers, and stand-ins that hold an object's state and do nothing.

Constructors are our own and take a budget, which bounds what they may make. `arrays.py` has those of numpy,
`tensors.py` those of torch, and `names.py` the list of names that reach them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

SLACK = 16 << 20  # bytes that a file may make beyond twice its own size, for expanded views of small storages
ITEM = 64  # bytes that an item of a container takes, at the least
AGAIN = "it is damaged or cut short, get it again"
PLAIN = (str, float, bool, bytes, type(None))
MAX_STEPS = 1_000_000  # opcodes; a generator, its average and its discriminator take some 50,000
MAX_NUMBERS = 20_000  # keys that are numbers, whose hashes a file can choose to be alike; an optimizer has some 500
MAX_TUPLES = 1_000  # keys that are tuples, likewise
MAX_NESTING = 100  # arrays of objects: numpy frees one inside of another without end


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
    """All that a file may still make: bytes, steps, keys; and how to read a torch storage that a pickle embeds."""

    left: int
    storage: "Callable[[bytes, Budget], object] | None" = None
    steps: int = MAX_STEPS
    numbers: int = MAX_NUMBERS
    tuples: int = MAX_TUPLES
    objects: int = MAX_NESTING

    def charge(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Refused("makes far more bytes than it holds, which no honest file does")

    def key(self, key: object) -> object:
        """A key that hashes at once: text, a number of common size, or a short tuple of them; not too many of these."""
        if type(key) in (str, bytes, bool, type(None)):
            return key
        if type(key) is tuple and len(key) <= 16 and all(is_plain(k) and not is_long(k) for k in key):
            self.tuples -= 1
        elif is_plain(key):
            self.numbers -= 1
        else:
            raise Refused(f"has a {type(key).__name__} for a key, where text or numbers are wanted")
        if self.tuples < 0 or self.numbers < 0:
            raise Refused("has more keys that are numbers or tuples than any model needs")
        return key


def shown(value: object) -> str:
    """A value for a message: one short line, and nothing that holds others, which could go on without end."""
    if isinstance(value, str | bytes):
        return f"{value[:80]!r:.80}"
    return f"{value!r:.80}" if is_plain(value) else f"a {type(value).__name__}"


def is_plain(key: object) -> bool:
    return -(2**63) <= key < 2**63 if type(key) is int else type(key) in PLAIN


def is_long(value: object) -> bool:
    """Tells text that takes time to compare."""
    return isinstance(value, str | bytes) and len(value) > 1000


# Containers and stand-ins


def dictionary(budget: Budget, pairs: object = ()) -> dict:
    """OrderedDict and EasyDict; the first is pickled with its pairs by old Pythons."""
    if type(pairs) not in (dict, list, tuple):
        raise Refused(f"makes a dictionary of a {type(pairs).__name__}")
    budget.charge(ITEM * len(pairs))  # type: ignore[arg-type]
    return {budget.key(key): value for key, value in (pairs.items() if type(pairs) is dict else pairs)}  # type: ignore


def defaults(budget: Budget, _factory: object = None, pairs: object = ()) -> dict:
    """A defaultdict, as a plain one."""
    return dictionary(budget, pairs)


def row(budget: Budget, values: object = (), *_: object) -> list:
    """A deque, or a list that is called for."""
    if type(values) not in (list, tuple):
        raise Refused(f"makes a list of a {type(values).__name__}")
    budget.charge(ITEM * len(values))  # type: ignore[arg-type]
    return list(values)  # type: ignore[call-overload]


def stand_in(kind: str) -> Callable[..., StandIn]:
    """A builder of objects of a class; what they are made from is left out."""
    return lambda budget, *args: StandIn(kind)


def persistent(budget: Budget, meta: object) -> StandIn:
    """An object of torch_utils.persistence: its class name and its state; its source text is left where it is."""
    if type(meta) is not dict or not isinstance(meta.get("class_name"), str):
        raise Refused("has a persistent object without a class name; it is damaged")
    state = meta.get("state")
    return StandIn(meta["class_name"], state if type(state) is dict else {})


def collection(make: Callable) -> Callable[..., object]:
    """A builder of sets, which are pickled as a list."""

    def collected(budget: Budget, values: object = ()) -> object:
        if type(values) not in (list, tuple):
            raise Refused(f"makes a set of a {type(values).__name__}")
        budget.charge(ITEM * len(values))  # type: ignore[arg-type]
        return make(map(budget.key, values))  # type: ignore[arg-type]

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
