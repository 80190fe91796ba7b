"""TIFFs that Pillow does not know: floats of 32 or 64 bits in colour, and any of 16.

The samples of a pixel lie beside each other, so that such a file is one of grey pixels, several times as wide. It is
handed to Pillow as that, and what a predictor did to it is undone here.
"""

import struct
import sys
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from generators.errors import ImageError
from generators.pictures.bounds import MAX_PARTS, check_memory, check_size
from generators.pictures.colour import to_8_bit
from generators.shapes import Float

WIDTH, BITS = 256, 258  # tags
COMPRESSION, PHOTOMETRIC = 259, 262
SAMPLES, PLANAR = 277, 284
PREDICTOR, TILE_WIDTH = 317, 322
EXTRA, FORMAT = 338, 339
SIZES = {3: "H", 4: "I"}  # kinds of numbers that matter here
GREY, FLOATS = 1, 3  # of PHOTOMETRIC, and of FORMAT


@dataclass(frozen=True)
class Directory:
    """The first directory of a TIFF: its order of bytes, its entries, and those of few whole numbers by their tags."""

    order: str
    entries: tuple[tuple[int, int, int, bytes], ...]
    numbers: dict[int, tuple[int, ...]]

    def first(self, tag: int, default: int) -> int:
        return self.numbers.get(tag, (default,))[0]


def read_tiff(data: bytes, name: str) -> tuple[Image.Image, list[str]] | None:
    """The picture in such a file as 8 bits, with notes; None for another file. ImageError for a kind not read."""
    found = directory(data)
    planes = found is not None and found.first(PLANAR, 1) == 2
    if found and planes and found.first(COMPRESSION, 1) == 1 and found.first(BITS, 8) == 16:
        raise ImageError(unread(data, name))  # Pillow takes each half of a value for one
    if found is None or found.first(FORMAT, 1) != FLOATS:
        return None
    count, bits = found.first(SAMPLES, 1), found.first(BITS, 1)
    shown = 3 if found.first(PHOTOMETRIC, GREY) == 2 else 1
    if count == 1 and bits == 32:
        return None  # Pillow knows it
    same = set(found.numbers.get(BITS, ())) == {bits} and set(found.numbers[FORMAT]) == {FLOATS}
    beside = count == 1 or (not planes and TILE_WIDTH not in found.numbers)
    plain = bits in (16, 32) or (bits == 64 and found.first(PREDICTOR, 1) == 1)
    if not (same and beside and plain and shown <= count <= 8):
        raise ImageError(unread(data, name))
    rows = samples(data, found, name)
    parts = rows.reshape(len(rows), -1, count)
    colours = np.ascontiguousarray(parts[:, :, :shown], np.float32)
    flat, said = to_8_bit(Image.fromarray(colours.reshape(len(rows), -1)), name)
    picture = Image.frombytes("RGB" if shown == 3 else "L", (parts.shape[1], len(rows)), flat.tobytes())
    if count > shown and found.first(EXTRA, 0) in (1, 2):
        cover = np.nan_to_num(parts[:, :, shown].astype(np.float32)).clip(0, 1)
        picture.putalpha(Image.fromarray(np.rint(cover * 255).astype(np.uint8)))
    return picture, [said] if said else []


def samples(data: bytes, found: Directory, name: str) -> Float[np.ndarray, "h w"]:
    """The floats of a file, those of a pixel beside each other."""
    count, bits, step = (found.first(tag, 1) for tag in (SAMPLES, BITS, PREDICTOR))
    image = Image.open(BytesIO(as_grey(data, found, count, bits)), formats=["TIFF"])
    check_size(image, name)
    check_memory(image, len(data) + 8 * image.width * image.height, name, turned=True)
    image.load()
    rows = np.asarray(image)
    rows = rows.astype(rows.dtype.newbyteorder("="), copy=False)
    strange = found.order == (">" if sys.byteorder == "little" else "<")
    if strange and bits > 16 and found.first(COMPRESSION, 1) != 1:
        rows = rows.view(np.uint32).byteswap()  # libtiff has turned them already
    if bits == 64:
        halves = rows.view(np.uint32).reshape(len(rows), -1, 2)
        return np.ascontiguousarray(halves[:, :, ::-1] if strange else halves).view(np.float64)[:, :, 0]
    return undone(rows, step, count, strange)


def unread(data: bytes, name: str) -> str:
    """Say of what kind a TIFF is that is not read; "" for what is none."""
    found = directory(data) if data[:4] in (b"II*\0", b"MM\0*") else None
    if found is None or WIDTH not in found.numbers:
        return ""
    numbers = {1: "whole numbers", 2: "whole numbers", FLOATS: "floats"}.get(found.first(FORMAT, 1), "other numbers")
    told = f"{found.first(SAMPLES, 1)} x {found.first(BITS, 1)} bits of {numbers} a pixel"
    return f"{name} is a TIFF of {told}, stored in a way that is not read; save it as 8 or 16 bits"


def directory(data: bytes) -> Directory | None:
    """The first directory of a TIFF; None where it cannot be read, or is that of a BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        kind, at = struct.unpack_from(order + "HI", data, 2)
        (count,) = struct.unpack_from(order + "H", data, at)
        if kind != 42 or count > MAX_PARTS:
            return None
        entries = tuple(struct.unpack_from(order + "HHI4s", data, at + 2 + 12 * i) for i in range(count))
        numbers: dict[int, tuple[int, ...]] = {}
        for tag, type_, values, held in entries:
            if type_ in SIZES and 0 < values <= 16:
                form = f"{order}{values}{SIZES[type_]}"
                inside = struct.calcsize(form) <= 4
                where: Any = (held, 0) if inside else (data, struct.unpack(order + "I", held)[0])
                numbers[tag] = struct.unpack_from(form, *where)
        return Directory(order, entries, numbers)
    except struct.error:
        return None


def as_grey(data: bytes, found: Directory, count: int, bits: int) -> bytes:
    """The file with a directory that tells of single samples; those of 16 bits as whole numbers."""
    wide = count * max(1, bits // 32)  # those of 64 bits are taken for two
    new = {WIDTH: found.first(WIDTH, 0) * wide, BITS: min(bits, 32), PHOTOMETRIC: GREY, SAMPLES: 1, PREDICTOR: 1}
    new[FORMAT] = 1 if bits == 16 else FLOATS
    kept = {tag: (type_, values, held) for tag, type_, values, held in found.entries if tag not in (EXTRA, PREDICTOR)}
    kept |= {tag: (4, 1, struct.pack(found.order + "I", value)) for tag, value in new.items()}
    body = b"".join(struct.pack(found.order + "HHI4s", tag, *kept[tag]) for tag in sorted(kept))
    head = data[:4] + struct.pack(found.order + "I", len(data) + len(data) % 2)
    return head + data[8:] + bytes(len(data) % 2) + struct.pack(found.order + "H", len(kept)) + body + bytes(4)


def undone(rows: np.ndarray, step: int, count: int, strange: bool) -> Float[np.ndarray, "h w"]:
    """The floats of rows as they are stored: behind differences (2), or those of their bytes, sorted (3)."""
    size = rows.dtype.itemsize
    whole = rows.view(f"u{size}")
    if step == 2:
        whole = np.cumsum(whole.reshape(len(rows), -1, count), axis=1, dtype=whole.dtype).reshape(rows.shape)
    if step == 3:
        stored = whole.byteswap() if strange else whole
        raw = stored.view(np.uint8).reshape(len(rows), -1, count)
        planes = np.cumsum(raw, axis=1, dtype=np.uint8).reshape(len(rows), size, -1)
        whole = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">u{size}")[:, :, 0].astype(f"u{size}")
    return whole.view(f"f{size}")
