"""Where training pictures come from: folders, zip files and the digits; and the machine's room for them."""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from PIL import Image, ImageOps

from generators.errors import ImageError, TrainingError
from generators.pictures.digits import WORD, digits
from generators.pictures.image import WRITES, read_image
from generators.shapes import UInt8

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
HIDDEN = (".", "__MACOSX")  # how names begin that systems and editors leave beside the pictures
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,  # broken PNGs
    Image.DecompressionBombError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # encrypted
    NotImplementedError,  # compressed in a way that Python does not know
)


def is_digits(path: Path) -> bool:
    """Whether a source is the data set of that name, and no file or folder."""
    return str(path) == WORD and not path.exists()


class Source:
    """A folder or a zip file of pictures, or the digits to train on; `names` are the picture files in it, sorted."""

    def __init__(self, path: Path) -> None:
        self.path, self.archive = path, None
        self.digits = {d.name: d for d in digits("train")} if is_digits(path) else {}
        if self.digits:
            found = [*self.digits]
        elif path.is_dir():
            found = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()]
        elif zipfile.is_zipfile(path):
            self.archive = zipfile.ZipFile(path)
            found = self.archive.namelist()
        else:
            raise TrainingError(f"{path} is neither a folder nor a zip file of pictures")
        shown = [n for n in found if not any(part.startswith(HIDDEN) for part in Path(n).parts)]
        self.names = sorted(n for n in shown if Path(n).suffix.lower() in SUFFIXES)

    def read(self, name: str) -> bytes:
        if self.digits:
            return self.digits[name].png()
        return (self.path / name).read_bytes() if self.archive is None else self.archive.read(name)

    def fingerprint(self) -> str:
        """Changes with the names, the sizes and the times of the files."""
        files = [self.path] if self.archive else [self.path / name for name in self.names if not self.digits]
        stats = [file.stat() for file in files]
        rows = [str(self.path.resolve()), self.names, [(s.st_size, s.st_mtime_ns) for s in stats]]
        return hashlib.sha256(repr(rows).encode()).hexdigest()


def read_square(data: bytes, size: int, channels: int = 3) -> tuple[UInt8[np.ndarray, "channels size size"], bool]:
    """A picture file as its upright centre square, antialiased, and whether it was of another size.

    Transparency becomes white. Raises one of UNREADABLE.
    """
    picture = Image.open(io.BytesIO(data))
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # 16 bits and more, which Pillow would clip
        deep = np.asarray(picture, dtype=np.float64)
        white = 65535 if deep.max() > 255 else 255
        picture = Image.fromarray((deep / white * 255).round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    picture = picture.convert("RGB" if channels == 3 else "L")
    square = np.asarray(to_square(picture, size)).reshape(size, size, channels)
    return square.transpose(2, 0, 1), picture.size != (size, size)


def to_square(picture: Image.Image, size: int) -> Image.Image:
    """Centre crop to a square and resize, antialiased."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    crop = picture.crop((left, top, left + side, top + side))
    return crop.resize((size, size), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Picture:
    """A picture file, in a folder or in a zip, that is read when it is wanted."""

    name: str  # relative to the folder or zip
    source: Path

    def read(self) -> Image.Image:
        """The picture; ImageError if it cannot be read."""
        return read_image(self.source / self.name if self.source.is_dir() else self.data())

    def data(self) -> BytesIO:
        """The file's bytes, under its name; ImageError if they cannot be had."""
        try:
            if self.source.is_dir():
                data = BytesIO((self.source / self.name).read_bytes())
            else:
                with ZipFile(self.source) as archive:
                    data = BytesIO(archive.read(self.name))
        except (OSError, BadZipFile, RuntimeError, NotImplementedError, KeyError) as error:  # as zipfile does
            raise ImageError(f"{self.name} cannot be read from {self.source} ({error}); make it again") from error
        data.name = self.name  # type: ignore[attr-defined] - for messages
        return data


def pictures(source: Path) -> list[Picture]:
    """The picture files in a folder and its folders, or in a zip, by name; ImageError if there is none."""
    suffixes = {f".{kind}" for kind in WRITES}
    try:
        if source.is_dir():
            names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
        else:
            with ZipFile(source) as archive:
                names = archive.namelist()
    except FileNotFoundError:
        raise ImageError(f"{source} does not exist; give a folder or a zip of pictures") from None
    except (OSError, BadZipFile) as error:
        raise ImageError(f"{source} is no folder and no zip ({error}); give one of pictures") from error
    hidden = ("__MACOSX", ".")  # what macOS leaves beside the pictures, and half-written files
    seen = [name for name in names if not any(part.startswith(hidden) for part in Path(name).parts)]
    wanted = [name for name in seen if Path(name).suffix.lower() in suffixes]
    if not wanted:
        raise ImageError(f"{source} holds no picture; it needs files that end in {', '.join(sorted(suffixes))}")
    return [Picture(name, source) for name in sorted(wanted)]
