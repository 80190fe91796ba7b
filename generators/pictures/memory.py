"""Pictures that lie in memory as arrays."""

import numpy as np
from PIL import Image

from generators.errors import ImageError
from generators.pictures.colour import range_of
from generators.pictures.image import NOTES

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by channels
WANTED = "give (h, w) or (h, w, channels) of 1 to 4 channels"


def as_picture(array: np.ndarray) -> Image.Image:
    """An array (h, w) or (h, w, channels) as a picture: bytes as they are, other numbers by the range that they fill.

    ImageError for an array of another shape, or of no finite numbers.
    """
    channels = 1 if array.ndim == 2 else array.shape[-1]
    if array.ndim not in (2, 3) or channels not in MODES or not array.size:
        batch = "; pick one of a batch" if array.ndim == 4 else ""
        channels_first = array.ndim == 3 and array.shape[0] in MODES
        batch = "; put the channels last, as in array.transpose(1, 2, 0)" if channels_first else batch
        raise ImageError(f"an array of {array.shape} came; {WANTED}{batch}")
    values = array.reshape(*array.shape[:2], channels)
    notes: list[str] = []
    if array.dtype == bool:
        values = values.astype(np.uint8) * 255
    if values.dtype != np.uint8:
        values, notes = scaled(values)
    picture = Image.fromarray(values if channels > 1 else values[:, :, 0], MODES[channels])
    picture.info[NOTES] = notes
    return picture


def scaled(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Numbers as bytes, by the range that they are of; and a note where that is none of the usual."""
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ImageError(f"the array holds {values.dtype} that are no finite numbers; give uint8, or floats in [0, 1]")
    low, high = float(values.min()), float(values.max())
    (base, full), usual = range_of(low, high, floats=values.dtype.kind == "f")
    said = f"the array holds values from {low:.4g} to {high:.4g}; black is {base:.4g}, white {base + full:.4g}"
    bytes_ = np.rint((values.astype(np.float32) - base) * (255 / full)).clip(0, 255).astype(np.uint8)
    return bytes_, [] if usual else [said]
