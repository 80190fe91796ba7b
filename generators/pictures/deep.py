"""Colours of 16 bits that fill only some of them, as cameras' 12 do: scaled to the range that they fill.

Pillow keeps the upper byte of each such value. Where that says little, the file is decoded once more for the lower one.
"""

import sys
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from generators.pictures.colour import STRIP, range_of
from generators.pictures.formats import READS
from generators.shapes import UInt16

Box = tuple[int, int, int, int]
LITTLE, BIG = ";16L", ";16B"
OTHER = {BIG: LITTLE, LITTLE: BIG, ";16N": BIG if sys.byteorder == "little" else LITTLE}  # what reads the lower bytes
GREY_ALPHA, BYTES = "LA;16B", "RGBA"  # upper and lower byte of both come as four of such a pixel
DARK = 64  # an upper byte below this: 14 bits or fewer


def layout(image: Image.Image) -> str:
    """How the values of a picture that is opened, not loaded, lie in its file; "" where 16 bits are not cut."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else None
    kind = str(args[0] if isinstance(args, tuple) and args else args)
    return kind if kind == GREY_ALPHA or kind[:-4] in ("RGB", "RGBX", "RGBA") and kind[-4:] in OTHER else ""


def filled(image: Image.Image, data: bytes, kind: str, name: str) -> tuple[Image.Image, str | None]:
    """A picture of 16 bits a colour, of such a layout, scaled to 8 if it fills less; and a note where it is scaled."""
    if not kind or any(brightest(image, band) >= DARK for band in "RGB"):
        return image, None
    lower = Image.open(BytesIO(data), formats=READS)
    other = BYTES if kind == GREY_ALPHA else kind[:-4] + OTHER[kind[-4:]]
    lower.tile = [tile._replace(args=renamed(tile.args, other)) for tile in lower.tile]
    lower.load()
    rows = max(1, STRIP // image.width)
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    ends = [(part.min(), part.max()) for part in (values(image, lower, kind, box)[:, :, :3] for box in boxes)]
    low, high = float(min(first for first, _ in ends)), float(max(last for _, last in ends))
    (base, full), usual = range_of(low, high, floats=False)
    table = np.rint((np.arange(1 << 16) - base) * (255 / full)).clip(0, 255).astype(np.uint8)
    alpha_is_whole = image.mode == "RGBA" and brightest(image, "A") >= DARK
    for box in boxes:
        part = values(image, lower, kind, box)
        scaled = table[part]
        if alpha_is_whole:
            scaled[:, :, 3] = part[:, :, 3] >> 8
        image.paste(Image.fromarray(scaled), box)
    said = f"{name} holds values from {low:.4g} to {high:.4g}; black is {base:.4g}, white {base + full:.4g}"
    return image, None if usual else said


def renamed(args: tuple[Any, ...] | str | None, layout: str) -> tuple[Any, ...] | str:
    """A decoder's arguments, with another layout."""
    return (layout, *args[1:]) if isinstance(args, tuple) else layout


def brightest(image: Image.Image, band: str) -> int:
    """The greatest value of a band of 8 bits."""
    return max(level for level, count in enumerate(image.getchannel(band).histogram()) if count)


def values(upper: Image.Image, lower: Image.Image, kind: str, box: Box) -> UInt16[np.ndarray, "h w c"]:
    """The values in a part of a picture."""
    low = np.asarray(lower.crop(box))
    if kind == GREY_ALPHA:
        both = low.view(">u2")  # upper and lower byte, side by side
        return both[:, :, [0, 0, 0, 1]].astype(np.uint16)
    return np.left_shift(np.asarray(upper.crop(box)), 8, dtype=np.uint16) | low
