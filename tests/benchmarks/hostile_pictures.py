"""480 hostile photographs, each decoded in a child with 4 GB and 10 seconds of processor time.

    python -m tests.benchmarks.hostile_pictures [COUNT]

Formats changed at random, headers that lie, bombs, and pictures that are honest but as large as may be. Wanted: none
that crashes or hangs, none that takes a gigabyte, and no error but ours, in one line.
"""

import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from generators.errors import ImageError
from generators.pictures.image import read_image
from tests.benchmarks.hostile_made import bombs, seeds

COUNT, MEMORY, SECONDS, LIMIT = 480, 4 << 30, 10, 1 << 30
FINE = ("read", "refused")


@dataclass(frozen=True)
class Outcome:
    """The end of one file."""

    name: str
    how: str  # read, refused, crash, hang, or the error's kind
    megabytes: float  # beyond those that the process began with
    seconds: float
    words: str = ""

    @property
    def good(self) -> bool:
        return self.how in FINE and self.megabytes * 2**20 < LIMIT and "\n" not in self.words


def hostile(count: int = COUNT) -> Iterator[tuple[str, bytes]]:
    """Names and contents: all bombs, then mutations of each format in turn, always the same."""
    large = bombs()
    for name, build in large.items():
        yield name, build()
    yield from mutated(count - len(large))


def mutated(count: int) -> Iterator[tuple[str, bytes]]:
    """Small pictures of each format in turn, each changed in another way."""
    whole = list(seeds().items())
    for i in range(count):
        name, data = whole[i % len(whole)]
        rng = np.random.default_rng(i)
        how = CHANGES[i // len(whole) % len(CHANGES)]
        yield f"{i:03} {how.__name__} {name}", how(data, rng, whole[int(rng.integers(len(whole)))][1])


def flipped(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Some bytes replaced."""
    changed = bytearray(data)
    for at in rng.integers(0, len(data), int(rng.integers(1, 24))):
        changed[at] = int(rng.integers(256))
    return bytes(changed)


def lying(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Large or negative numbers in the header."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(4, min(len(data), 160)))
        changed[at : at + 4] = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\0\0"][rng.integers(4)]
    return bytes(changed)


def cut(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """The end missing."""
    return data[: int(rng.integers(1, len(data)))]


def spliced(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """The head of one, the tail of another."""
    at = int(rng.integers(4, len(data)))
    return data[:at] + other[min(at, len(other) - 1) :]


def repeated(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """A part of it many times."""
    start, stop = sorted(int(v) for v in rng.integers(2, len(data), 2))
    return data[:stop] + data[start:stop] * int(rng.integers(1, 40)) + data[stop:]


CHANGES = (flipped, lying, cut, spliced, repeated, flipped, lying)


def decoded(data: bytes) -> tuple[str, str]:
    """How a file ends here, and in which words."""
    try:
        image = read_image(BytesIO(data))
        return ("read", "") if image.mode == "RGB" else ("mode", image.mode)
    except ImageError as error:
        return "refused", str(error)
    except BaseException as error:  # all that should not be
        return type(error).__name__, str(error)[:200].replace("\n", " ")


def outcome(name: str, data: bytes) -> Outcome:
    """Decode a file in a child, and see how that ends."""
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        mapped, resident = pages()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(12 * SECONDS)  # one that waits takes no processor time
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff speaks of what it reads
        os.write(writing, f"{resident}\0".encode())
        os.write(writing, "\0".join(decoded(data)).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read().decode()
    _, status, used = os.wait4(child, 0)
    before, _, end = told.partition("\0")
    how, _, words = end.partition("\0")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        how = "hang" if number in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL) else "crash"
        words = signal.Signals(number).name
    return Outcome(name, how, used.ru_maxrss / 1024 - int(before or 0) / 2**20, time.monotonic() - began, words)


def pages() -> tuple[int, int]:
    """Bytes that this process has mapped, and those of them that are in memory."""
    with open("/proc/self/statm") as file:
        mapped, resident, *_ = file.read().split()
    return int(mapped) * resource.getpagesize(), int(resident) * resource.getpagesize()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    ends = [outcome(name, data) for name, data in hostile(count)]
    for end in ends:
        if not end.good:
            print(f"{end.name}: {end.how}, {end.megabytes:.0f} MB, {end.seconds:.1f} s  {end.words}")
    print(f"{len(ends)} files: {dict(Counter(end.how for end in ends))}")
    for end in sorted(ends, key=lambda end: -end.seconds)[:5]:
        print(f"slow: {end.name}: {end.how}, {end.megabytes:.0f} MB, {end.seconds:.1f} s  {end.words}")
    print(f"most memory {max(e.megabytes for e in ends):.0f} MB, longest {max(e.seconds for e in ends):.1f} s")
    print(f"bad: {sum(not end.good for end in ends)}")


if __name__ == "__main__":
    main()
