"""A run's curves as a picture, drawn with Pillow alone: a panel for each column of the log."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10

from PIL import Image, ImageDraw, ImageFont

Row = Mapping[str, float | int | None]

PANEL, PLOT = (400, 240), (62, 34, 384, 204)  # px: size of a panel; left, top, right and bottom of the axes in it
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]  # Okabe and Ito: told apart by all eyes
SMOOTH = 9  # reports, at most a fifth of them


def draw_curves(rows: Sequence[Row], columns: int = 3) -> Image.Image:
    """Each column of the rows over their `images`, pale, with its running mean on top, and its last value beside it."""
    names = [n for n in dict.fromkeys(k for row in rows for k in row) if n != "images"]
    series = {n: [(float(r["images"] or 0), float(v)) for r in rows if (v := r.get(n)) is not None] for n in names}
    series = {name: points for name, points in series.items() if any(y for _, y in points)}
    end = max([1.0, *(x for points in series.values() for x, _ in points)])
    width, height = PANEL
    page = Image.new("RGB", (width * columns, height * max(1, ceil(len(series) / columns)) + 30), "white")
    draw = ImageDraw.Draw(page)
    for i, (name, points) in enumerate(series.items()):
        corner = (i % columns * width, i // columns * height)
        draw_panel(draw, corner, name, points, end, COLOURS[i % len(COLOURS)])
    y = page.height - 18
    draw.line((20, y, 50, y), pale("#444444"), 2)
    draw.text((58, y), "each report", "#444444", font(13), anchor="lm")
    draw.line((170, y, 200, y), "#444444", 3)
    text = f"mean of {SMOOTH} reports, or fewer at first, with its last value; across: images seen"
    draw.text((208, y), text, "#444444", font(13), anchor="lm")
    return page


def draw_panel(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    name: str,
    points: list[tuple[float, float]],
    end: float,
    colour: str,
) -> None:
    """Axes, name, ticks and the two lines of one column; the scale is logarithmic where the values span 20 times."""
    x0, y0, x1, y1 = (p + corner[i % 2] for i, p in enumerate(PLOT))
    xs, ys = [x for x, _ in points], [y for _, y in points]
    wide = min(ys) > 0 and max(ys) > 20 * min(ys)
    half = min(SMOOTH // 2, len(ys) // 10)
    smooth = [sum(part := ys[max(0, i - half) : i + half + 1]) / len(part) for i in range(len(ys))]
    low, high = (float(floor(log10(min(ys)))), float(ceil(log10(max(ys))))) if wide else padded(min(ys), max(ys))

    def at(x: float | int, y: float | int) -> tuple[float, float]:
        value = log10(y) if wide else y
        return x0 + x / end * (x1 - x0), y1 - (value - low) / (high - low) * (y1 - y0)

    for tick in [10.0**e for e in range(int(low), int(high) + 1)] if wide else ticks(low, high):
        y = at(0, tick)[1]
        draw.line((x0, y, x1, y), "#e4e4e4")
        draw.text((x0 - 6, y), short(tick), "#444444", font(12), anchor="rm")
    for tick in ticks(0, end):
        draw.text((at(tick, ys[0])[0], y1 + 12), short(tick), "#444444", font(12), anchor="mm")
    draw.line((x0, y0, x0, y1, x1, y1), "#888888")
    for values, shade, stroke in ((ys, pale(colour), 2), (smooth, colour, 3)):
        line = [at(x, y) for x, y in zip(xs, values, strict=True)]
        draw.line([*line, line[-1]], shade, stroke)  # twice the last, as one point is no line
        draw.ellipse((line[-1][0] - 2, line[-1][1] - 2, line[-1][0] + 2, line[-1][1] + 2), shade)
    draw.text((x0, y0 - 18), f"{name}  {smooth[-1]:.4g}" + ("  (log)" if wide else ""), colour, font(15), anchor="lm")


def padded(low: float, high: float) -> tuple[float, float]:
    """The range with a little air; of width above zero."""
    air = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def ticks(low: float | int, high: float | int) -> list[float]:
    """Two to six round numbers from low to high."""
    step = 10.0 ** floor(log10((high - low) / 2))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (step * k) < 5)
    return [k * step for k in range(ceil(low / step), floor(high / step) + 1)]


def short(value: float | int) -> str:
    """A number as an axis tells it: 0.25, 40k, 2.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def pale(colour: str) -> tuple[int, int, int]:
    """A third of the colour, the rest white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    red, green, blue = (170 + part // 3 for part in parts)
    return red, green, blue


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
