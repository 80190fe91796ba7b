"""Draws chairs and tables, so that a small latent space can be learned from them: `python docs/chairs.py demo/chairs`.

Writes 1,200 pieces of furniture of 32 x 32 px into FOLDER/pieces, and into FOLDER two chairs and a table that are not
among them. docs/chairs.png is the way from the first chair over the second to the table:

    python docs/chairs.py demo/chairs
    latent train demo/chairs/pieces --kind vae --resolution 32 --img-channels 1 --layers dense --widths 256,64 \\
        --dim 8 --images 100000 --subject furniture --licence CC0 -o demo/chairs.safetensors
    latent interpolate demo/chairs/chair-1.png demo/chairs/chair-2.png demo/chairs/table.png \\
        -g demo/chairs.safetensors --frames 9 --no-ease --scale 4 -o docs/chairs.png
"""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SIZE, FINE = 32, 8  # px of a picture, and of drawing for each of them
Point = tuple[float, float, float]  # x to the right, y up, z away, in shares of the picture


def piece(*, width: float, depth: float, height: float, back: float, leg: float) -> Image.Image:
    """A seat or table top on four legs, with a back of that height if it is not 0; lengths in shares of a picture."""
    picture = Image.new("L", (SIZE * FINE, SIZE * FINE), "black")
    draw = ImageDraw.Draw(picture)
    left, right = 0.42 - width / 2, 0.42 + width / 2
    for x, z in ((left + leg / 2, depth), (right - leg / 2, depth), (left + leg / 2, 0.0), (right - leg / 2, 0.0)):
        box(draw, (x - leg / 2, 0, z), (x + leg / 2, height, z), 150 if z else 200)
    corners = [(left, height, 0.0), (right, height, 0.0), (right, height, depth), (left, height, depth)]
    draw.polygon([seen(corner) for corner in corners], fill=255)
    box(draw, (left, height - 0.05, 0), (right, height, 0), 220)
    if back:
        box(draw, (left, height, depth), (right, height + back, depth), 180)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def box(draw: ImageDraw.ImageDraw, low: Point, high: Point, grey: int) -> None:
    """An upright rectangle that faces us."""
    (x0, y0), (x1, y1) = seen(low), seen(high)
    draw.rectangle((x0, y1, x1, y0), fill=grey)


def seen(point: Point) -> tuple[float, float]:
    """Where a point is drawn: what lies further away is moved up and to the right."""
    x, y, z = point
    return (x + 0.5 * z) * SIZE * FINE, (0.95 - y - 0.5 * z) * SIZE * FINE


def chair(rng: random.Random) -> Image.Image:
    width, height = rng.uniform(0.3, 0.45), rng.uniform(0.25, 0.38)
    back = rng.uniform(0.15, 0.38)
    return piece(width=width, depth=rng.uniform(0.22, 0.32), height=height, back=back, leg=rng.uniform(0.05, 0.09))


def table(rng: random.Random) -> Image.Image:
    width, height = rng.uniform(0.45, 0.75), rng.uniform(0.35, 0.5)
    return piece(width=width, depth=rng.uniform(0.25, 0.4), height=height, back=0.0, leg=rng.uniform(0.05, 0.09))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/chairs.py FOLDER")
    folder, rng = Path(sys.argv[1]), random.Random(0)
    (folder / "pieces").mkdir(parents=True, exist_ok=True)
    for i in range(600):
        chair(rng).save(folder / "pieces" / f"chair-{i:03}.png")
        table(rng).save(folder / "pieces" / f"table-{i:03}.png")
    for name, kind in (("chair-1", chair), ("chair-2", chair), ("table", table)):
        kind(rng).save(folder / f"{name}.png")
