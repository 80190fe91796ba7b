"""Where training pictures come from: folders, zip files and the digits; and the machine's room for them."""

import hashlib
import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from generators.errors import TrainingError
from generators.pictures.digits import WORD, digits
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


def free_memory() -> int | None:
    """Bytes that this process may still take: the machine's, or its container's if that is less; None: unknown."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    except (OSError, ValueError):
        try:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, OSError, ValueError):
            pass  # a system that does not tell
    try:
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(0, limit - used))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return min(found, default=None)
