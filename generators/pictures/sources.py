"""Where pictures come from: files, folders and their folders, zips, standard input and the bundled digits.

All of them are lists of `Picture`, which are read when they are wanted. What a list holds is told by names or, where a
name tells nothing, by the first bytes.
"""

import hashlib
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

from generators.errors import ImageError, note
from generators.pictures.digits import WORD, Digit, digits
from generators.pictures.formats import HEAD, NAMES, NO_PICTURES, SUFFIXES, is_other_picture, is_picture
from generators.pictures.image import at_most, file_bytes, read_image, standard_input, why_not

HIDDEN = (".", "__MACOSX")  # how names begin that systems and editors leave beside the pictures
BROKEN = (OSError, ValueError, BadZipFile, zlib.error, RuntimeError, NotImplementedError, KeyError)  # as zipfile fails
STDIN = "-"
Stamp = tuple[int, int]  # size in bytes; time of change in ns, or in a zip the checksum
Value = TypeVar("Value")


@dataclass(frozen=True)
class Content:
    """The bytes of a picture's file, read once."""

    place: str  # as `Picture` tells it; "" where the bytes came without a name
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """The hash of the file, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    def image(self) -> Image.Image:
        """The picture, as `read_image` gives it; ImageError if it cannot be read."""
        stream = BytesIO(self.data)
        name = "standard input" if self.place == STDIN else self.place
        stream.name = name or "the file"  # type: ignore[attr-defined]
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
    begin with a dot are left out; pictures that cannot be read are left out with a note. ImageError where a folder or a
    zip holds no picture, or where nothing is of that name and the name is no picture's: a picture that is missing says
    so when it is read, so that it stops no others.
    """
    path = Path(source)
    if str(source) == "":
        raise ImageError("the path is empty; name a photograph, or the folder of some")
    if str(source) == STDIN:
        return [Picture("stdin", STDIN, partial(at_most, standard_input(), "standard input"), lambda: (0, 0))]
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
    return Picture(path.name, str(path), partial(file_bytes, path), partial(file_stamp, path))


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
    found = [(name, folder / name) for name in shown(names, folder, lambda name: file_head(folder / name))]
    return [Picture(name, str(path), partial(file_bytes, path), partial(file_stamp, path)) for name, path in found]


def in_zip(path: Path) -> list[Picture]:
    """The pictures in a zip."""
    try:
        names = [info.filename for info in opened(path, file_stamp(path)).infolist() if not info.is_dir()]
        names = shown(names, path, partial(member_head, path))
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


def shown(names: Iterable[str], source: Path, head_of: Callable[[str], bytes]) -> list[str]:
    """The names of pictures, sorted, but for hidden ones; a note tells of those that cannot be read.

    ImageError where there is none. head_of gives the first bytes of a file, which tell where its name does not.
    """
    seen = sorted(name for name in names if not any(part.startswith(HIDDEN) for part in Path(name).parts))
    wanted, others = [], []
    for name in seen:
        suffix = Path(name).suffix.lower()
        head = b"" if suffix in SUFFIXES or suffix in NO_PICTURES else head_of(name)
        if suffix in SUFFIXES or is_picture(name, head):
            wanted.append(name)
        elif is_other_picture(name, head):
            others.append(name)
    told = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    if not wanted and others:
        raise ImageError(f"{source} holds no picture but {told}, which cannot be read; convert to JPEG or PNG")
    if not wanted:
        raise ImageError(f"{source} holds no picture; it needs files of {NAMES}")
    if others:
        note(f"left out of {source}: {told}; such files cannot be read, convert them to JPEG or PNG")
    return wanted


def file_head(path: Path) -> bytes:
    """The first bytes of a file; none where they cannot be had."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def member_head(path: Path, name: str) -> bytes:
    """The first bytes of a file in a zip; none where they cannot be had."""
    try:
        with opened(path, file_stamp(path)).open(name) as file:
            return file.read(HEAD)
    except BROKEN:
        return b""


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
    """A file in a zip; ImageError where it unfolds to more than a photograph holds."""
    with opened(path, file_stamp(path)).open(name) as file:
        return at_most(file, f"{path}/{name}")


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
