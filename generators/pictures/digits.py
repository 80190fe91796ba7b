"""scikit-learn's bundled data set: 1,797 handwritten digits of 8 x 8 px, white on black (Alpaydin and Kaynak 1998).

Every fifth picture, from the fifth on, is for testing: 359 of them, and 1,438 for training. `python -m
generators.pictures.digits FOLDER` writes them as FOLDER/train/LABEL/NUMBER.png and FOLDER/test/LABEL/NUMBER.png.
"""

import io
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from generators.errors import GeneratorError
from generators.shapes import UInt8

WORD = "digits"  # as a source of pictures, unless a file or folder of that name is there
PARTS = {"train": (0, 1, 2, 3), "test": (4,)}  # numbers modulo 5


@dataclass(frozen=True)
class Digit:
    """One of the pictures."""

    label: int
    number: int  # its place in the data set
    pixels: UInt8[np.ndarray, "8 8"]

    @property
    def name(self) -> str:
        """The name of a file of it, in a folder of its label."""
        return f"{self.label}/{self.number:04}.png"

    def png(self) -> bytes:
        """The picture as a file."""
        out = io.BytesIO()
        Image.fromarray(self.pixels).save(out, "PNG")
        return out.getvalue()


@cache  # a constant
def digits(part: str | None = None) -> tuple[Digit, ...]:
    """The pictures in the data set's order: "train", "test", or None for all."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise GeneratorError("the digits come with scikit-learn; run: pip install scikit-learn") from None
    flat, labels = load_digits(return_X_y=True)
    grey = (flat * (255 / 16)).round().astype(np.uint8).reshape(-1, 8, 8)  # they come as 0 to 16
    every = [Digit(int(label), i, pixels) for i, (label, pixels) in enumerate(zip(labels, grey, strict=True))]
    return tuple(d for d in every if part is None or d.number % 5 in PARTS[part])


def write(folder: Path) -> None:
    """Write all pictures as files, in folders for training and testing, and in those by label."""
    for part in PARTS:
        for digit in digits(part):
            path = folder / part / digit.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(digit.png())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m generators.pictures.digits FOLDER")
    write(Path(sys.argv[1]))
