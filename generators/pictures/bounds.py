"""How much work a picture may make: told by its header, before it is decoded.

A decoded picture takes at most 4 bytes a pixel, and what decoders and conversions need comes on top. The figures keep a
picture under about a gigabyte and ten seconds.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image

from generators.errors import ImageError
from generators.pictures.deep import layout
from generators.pictures.told import COLOURS

MAX_FILE = 2**29  # bytes
MAX_PIXELS, MOST = 100_000_000, "100 megapixels"
MAX_SIDE = 65_535
MAX_BYTES = 750_000_000  # of memory that decoding may take
MAX_PARTS = 20_000  # segments of a JPEG, chunks of a PNG that hold no pixels, strips or tiles of a TIFF
MAX_SCANS, MAX_SCANNED = 100, 600_000_000  # of a progressive JPEG; pixels times scans
DECODER = {"WEBP": 12, "AVIF": 8, "JPEG2000": 16, "TIFF": 4, "GIF": 4}  # bytes a pixel that decoders take beside it
SMALLER = {"JPEG2000": 30_000_000, "AVIF": 60_000_000}  # pixels, where decoders are slow
IN_PYTHON = {"bmp_rle": 2_000_000, "ppm": 1_500_000, "ppm_plain": 2_000_000}  # pixels, for decoders in Python
RUNS, MAX_RUNS = (b"\1\0\0\0", b"\2\0\0\0"), 8 << 20  # a BMP's kinds that are decoded run by run; bytes
COMMENT, MAX_HEADER = re.compile(rb"#[^\r\n]*[\r\n]?"), 4096  # of a PPM
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True)
class Scans:
    """The parts of a JPEG."""

    progressive: bool = False
    components: bytes = b""
    done: list[tuple[bytes, int, int, int]] = field(default_factory=list)  # components, first, last, bits left out
    ended: bool = False

    def whole(self) -> bool:
        """Tell whether scans of all that belongs to each component have begun."""
        if not self.progressive:
            return all(any(c in scan[0] for scan in self.done) for c in self.components)
        last = {(c, k) for ids, low, high, left in self.done if not left for c in ids for k in range(low, high + 1)}
        return all((c, k) in last for c in self.components for k in range(64))


def check_file(data: bytes, kind: str | None, name: str) -> None:
    """ImageError for a file of so many parts that they alone would take minutes; kind as `format_of` tells it."""
    if kind == "JPEG":
        scans_of(data, name)
    elif kind == "PNG":
        check_chunks(data, name)
    elif kind == "TIFF":
        check_directory(data, name)
    elif kind == "BMP" and data[30:34] in RUNS and len(data) > MAX_RUNS:
        raise ImageError(f"{name} is a BMP in runs of {len(data) >> 20} MB, which takes too long; save it as PNG")
    elif kind == "PPM" and len(COMMENT.sub(b"", data[:MAX_HEADER]).split()) < (3 if data[1:2] in b"14" else 4):
        raise ImageError(f"{name} has no size in its first {MAX_HEADER} bytes; save it again as PNG")


def check_size(image: Image.Image, name: str) -> None:
    """ImageError for a picture that is opened and of too many pixels."""
    wide, pixels = f"{name} is {image.width} x {image.height} pixels", image.width * image.height
    if not pixels:
        raise ImageError(f"{wide}; a photograph has at least one")
    if pixels > MAX_PIXELS:
        raise ImageError(f"{wide}; shrink it to at most {MOST}")
    if max(image.size) > MAX_SIDE:
        raise ImageError(f"{wide}; a side has at most {MAX_SIDE}, cut it into parts")
    kind = image.format or ""
    tile = getattr(image, "tile", None)
    codec = tile[0][0] if tile else ""
    most = min(SMALLER.get(kind, MAX_PIXELS), IN_PYTHON.get(codec, MAX_PIXELS))
    if pixels > most:
        raise ImageError(f"{wide}, which takes too long to decode in this format; save it as PNG or JPEG")


def check_memory(image: Image.Image, size: int, name: str, *, turned: bool) -> None:
    """ImageError for a picture that would take too much memory to decode and turn; size is that of its file."""
    wide, pixels = f"{name} is {image.width} x {image.height} pixels", image.width * image.height
    need = pixels * (bytes_of(image.mode) + (0 if image.mode == "RGB" else 4) + beside(image, turned)) + size
    if need > MAX_BYTES:
        few = f"{pixels * MAX_BYTES / need / 1e6:.0f} megapixels"
        raise ImageError(f"{wide}, which take {need / 1e6:.0f} MB to decode; shrink it to at most {few}")


def bytes_of(mode: str) -> int:
    """Bytes of a pixel in Pillow's memory."""
    return {"1": 1, "L": 1, "P": 1}.get(mode, 2 if mode.startswith("I;") else 4)


def beside(image: Image.Image, turned: bool) -> int:
    """Bytes a pixel beside the picture itself: for its decoder, or later for a copy that is turned or converted."""
    kind = image.format or ""
    decoder = DECODER.get(kind, 6 if image.info.get("progressive") else 0)
    copies = turned or {"icc_profile", COLOURS} & image.info.keys() or image.mode in ("RGBA", "CMYK", "LAB")
    copies = copies or image.mode == "RGB" and layout(image)
    return max(decoder, 4 if copies else 0)


def too_many(name: str, what: str) -> ImageError:
    return ImageError(f"{name} has too many {what} for a photograph; save it again as JPEG or PNG")


def scans_of(data: bytes, name: str) -> Scans:
    """Walk a JPEG's segments; ImageError where it has far more of them than a photograph."""
    progressive = ended = False
    components, pixels = b"", 0
    done: list[tuple[bytes, int, int, int]] = []
    for count, (code, body) in enumerate(segments(data)):
        if count > MAX_PARTS:
            raise too_many(name, "segments")
        if code == 0xD9:
            ended = True
            break
        if code in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA) and len(body) >= 6:
            progressive, components = code in (0xC2, 0xCA), body[6::3]
            pixels = int.from_bytes(body[1:3], "big") * int.from_bytes(body[3:5], "big")
        if code == 0xDA and body:
            n = body[0]
            first, last, bits = (*body[1 + 2 * n : 4 + 2 * n], 0, 0, 0)[:3]
            done.append((body[1 : 1 + 2 * n : 2], first, min(last, 63), bits & 15))
        if len(done) > MAX_SCANS or (progressive and len(done) * pixels > MAX_SCANNED and len(done) > 20):
            raise too_many(name, "scans")
    return Scans(progressive, components, done, ended)


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers of a JPEG after its first, each with what its segment holds."""
    at = 2
    while (found := MARKER.search(data, at)) is not None:
        code, at = data[found.end() - 1], found.end()
        if code in (0x01, 0xD8, 0xD9):
            yield code, b""
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        yield code, data[at + 2 : at + length]
        at += max(2, length)


def check_chunks(data: bytes, name: str) -> None:
    """ImageError for a PNG of more chunks than a photograph has."""
    at, others = 8, 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        others += kind != b"IDAT" or length < 256
        if others > MAX_PARTS:
            raise too_many(name, "chunks")
        at += 12 + length


def check_directory(data: bytes, name: str) -> None:
    """ImageError for a TIFF whose first directory, or one beside it, lists more strips or tiles than a photograph's."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    word, count, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    try:
        (at,) = struct.unpack_from(order + word, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + count, data, at)
        at += struct.calcsize(order + count)
        if entries > MAX_PARTS:
            raise too_many(name, "tags")
        for i in range(entries):
            tag, kind, values, _ = struct.unpack_from(order + entry, data, at + i * struct.calcsize(order + entry))
            if values > 4 * MAX_PARTS and kind not in (1, 2, 6, 7):
                raise too_many(name, f"values of tag {tag}")
    except (struct.error, OverflowError):
        return  # it is damaged, which is told when it is opened
