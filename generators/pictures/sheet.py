"""Several pictures as one: contact sheets with labels, and plain grids."""

from math import ceil, sqrt
from unicodedata import combining, normalize

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from generators.errors import ImageError
from generators.shapes import Float


def sheet(images: list[Image.Image], labels: list[str], columns: int | None = None, tile: int = 192) -> Image.Image:
    """A contact sheet on white: each image scaled to fit tile x tile pixels, its label below, cut with an ellipsis.

    columns None makes it about square. ImageError unless there are as many labels as images, and at least one.
    """
    if not images or len(images) != len(labels):
        raise ImageError(f"{len(images)} images and {len(labels)} labels came; a sheet needs one label for each image")
    columns = min(len(images), columns or ceil(sqrt(len(images))))
    font = ImageFont.load_default(size=max(12, tile // 12))
    gap, text = max(4, tile // 24), max(18, tile // 8)
    rows = ceil(len(images) / columns)
    page = Image.new("RGB", (columns * (tile + gap) + gap, rows * (tile + text + gap) + gap), "white")
    draw = ImageDraw.Draw(page)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        x, y = gap + i % columns * (tile + gap), gap + i // columns * (tile + text + gap)
        scale = tile / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        page.paste(image.resize(size, Image.Resampling.LANCZOS), (x + (tile - size[0]) // 2, y + (tile - size[1]) // 2))
        draw.text((x + tile // 2, y + tile + text // 2), shorten(label, font, tile), "black", font, anchor="mm")
    return page


def shorten(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The label on one line, cut so that it is at most width pixels long."""
    plain = (c for c in normalize("NFKD", label) if not combining(c))  # the font has no accents
    label = " ".join("".join(plain).split())
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(label + "…") > width:
        label = label[:-1]
    return label + "…"


def grid(images: Float[Tensor, "rows columns c h w"]) -> Image.Image:
    """Images in [-1, 1] as one picture."""
    pixels = (images.float().cpu() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    rows, columns, channels, height, width = pixels.shape
    array = pixels.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels).numpy()
    return Image.fromarray(np.squeeze(array, 2) if channels == 1 else array)
