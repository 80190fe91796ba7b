"""Where pictures come from: files, folders and their folders, zips, standard input and the bundled digits.

All of them are lists of `Picture`, which are read when they are wanted. What a list holds is told by names alone.
"""

import hashlib
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile, ZipFile

import torch
from PIL import Image

from generators.errors import ImageError
from generators.pictures.digits import WORD, Digit, digits
from generators.pictures.image import WRITES, read_image, why_not

SUFFIXES = tuple(sorted(f".{kind}" for kind in WRITES))  # of pictures in a folder or a zip
HIDDEN = (".", "__MACOSX")  # how names begin that systems and editors leave beside the pictures
BROKEN = (OSError, ValueError, BadZipFile, zlib.error, RuntimeError, NotImplementedError, KeyError)  # as zipfile fails
STDIN = "-"
Stamp = tuple[int, int]  # size in bytes; time of change in ns, or in a zip the checksum
Value = TypeVar("Value")


@dataclass(frozen=True)
class Content:
    """The bytes of a picture's file, read once."""

    place: str  # as `Picture` tells it
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """The hash of the file, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    def image(self) -> Image.Image:
        """The picture, as `read_image` gives it; ImageError if it cannot be read."""
        stream = BytesIO(self.data)
        stream.name = "standard input" if self.place == STDIN else self.place  # type: ignore[attr-defined]
        return read_image(stream)


@dataclass(frozen=True)
class Picture:
    """A picture that is read when it is wanted."""

    name: str  # in its folder or zip; of a lone file its own
    place: str  # how to tell it from all others: its path, in a zip below that of the zip; "-" is standard input
    load: Callable[[], bytes]  # raises one of BROKEN
    stamp: Callable[[], Stamp]  # what tells, without reading it, that it is still the same; raises one of BROKEN

    def content(self) -> Content:
        """The file's bytes; ImageError if they cannot be had."""
        try:
            return Content(self.place, self.load())
        except BROKEN as error:
            raise ImageError(why_not(self.place, error)) from error

    def read(self) -> Image.Image:
        """The picture, as `read_image` gives it; ImageError if it cannot be read."""
        return self.content().image()

    @property
    def file(self) -> Path | None:
        """Its own file, where it is one."""
        return Path(self.place) if self.place != STDIN and Path(self.place).is_file() else None


def pictures(source: str | Path) -> list[Picture]:
    """All that a source holds, sorted by name: a folder and its folders, a zip, or one file, whatever its name.

    "-" is standard input, and the word `digits` the bundled ones, unless a file or folder is called so. Names that
    begin with a dot are left out. ImageError where a folder or a zip holds no picture, or where nothing is of that name
    and the name is no picture's: a picture that is missing says so when it is read, so that it stops no others.
    """
    path = Path(source)
    if str(source) == STDIN:
        return [Picture("stdin", STDIN, sys.stdin.buffer.read, lambda: (0, 0))]
    if is_digits(source):
        return digit_pictures()
    if path.is_dir():
        return in_folder(path)
    if path.suffix.lower() in SUFFIXES:
        return [lone_file(path)]
    return in_zip(path) if is_zip(path) else [existing(path)]


def pictures_of(sources: Iterable[str | Path]) -> list[Picture]:
    """All that several sources hold, one source after the other."""
    return [picture for source in sources for picture in pictures(source)]


def lone_file(path: Path) -> Picture:
    """A file as a picture, whatever its name says."""
    return Picture(path.name, str(path), path.read_bytes, partial(file_stamp, path))


def existing(path: Path) -> Picture:
    """A file whose name is no picture's; ImageError where there is none."""
    try:
        file_stamp(path)
    except (OSError, ValueError) as error:
        raise ImageError(why_not(str(path), error)) from error
    return lone_file(path)


def in_folder(folder: Path) -> list[Picture]:
    """The pictures in a folder and its folders."""
    try:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    except OSError as error:
        raise ImageError(why_not(str(folder), error)) from error
    found = [(name, folder / name) for name in shown(names, folder)]
    return [Picture(name, str(path), path.read_bytes, partial(file_stamp, path)) for name, path in found]


def in_zip(path: Path) -> list[Picture]:
    """The pictures in a zip."""
    try:
        names = shown(opened(path, file_stamp(path)).namelist(), path)
    except FileNotFoundError as error:
        raise ImageError(why_not(str(path), error)) from error
    except BROKEN as error:
        raise ImageError(f"{path} is damaged, or no zip ({error}); make it again") from error
    return [
        Picture(name, f"{path}/{name}", partial(member, path, name), partial(member_stamp, path, name))
        for name in names
    ]


def digit_pictures(part: str | None = None) -> list[Picture]:
    """The bundled digits, in the data set's order: "train", "test", or None for all."""
    return [
        Picture(digit.name, f"{WORD}/{digit.name}", partial(Digit.png, digit), lambda: (0, 0)) for digit in digits(part)
    ]


def shown(names: Iterable[str], source: Path) -> list[str]:
    """The names of pictures, sorted, but for hidden ones; ImageError where there is none."""
    seen = [name for name in names if not any(part.startswith(HIDDEN) for part in Path(name).parts)]
    wanted = sorted(name for name in seen if Path(name).suffix.lower() in SUFFIXES)
    if not wanted:
        raise ImageError(f"{source} holds no picture; it needs files that end in {', '.join(SUFFIXES)}")
    return wanted


def is_digits(source: str | Path) -> bool:
    """Tell whether a source is the word for the bundled digits, and no file or folder of that name."""
    return str(source) == WORD and not Path(source).exists()


def is_zip(path: Path) -> bool:
    """Recognise a zip by its content or, where that is damaged, by its name."""
    try:
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    except (OSError, ValueError):
        return False


def file_stamp(path: Path) -> Stamp:
    """Size and time of change of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=4)
def opened(path: Path, stamp: Stamp) -> ZipFile:
    """The zip, opened once while it stays as it is: its list of contents may be long."""
    return ZipFile(path)


def member(path: Path, name: str) -> bytes:
    """A file in a zip."""
    return opened(path, file_stamp(path)).read(name)


def member_stamp(path: Path, name: str) -> Stamp:
    """Size and checksum of a file in a zip."""
    about = opened(path, file_stamp(path)).getinfo(name)
    return about.file_size, about.CRC


def fingerprint(found: Sequence[Picture]) -> str:
    """A hash that changes with the names, sizes and times of pictures; none of them is read."""
    rows = [(picture.place, picture.stamp()) for picture in found]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def thinned(values: Sequence[Value], limit: int | None) -> list[Value]:
    """At most limit of the values, drawn at random but always the same, in their order."""
    if limit is None or limit >= len(values):
        return list(values)
    drawn = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[:limit]
    return [values[i] for i in drawn.sort().values.tolist()]
