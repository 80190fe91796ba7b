"""A family as a picture: each generation in a row, lines from parents to their children."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from generators.errors import ImageError
from generators.pictures.sheet import shorten

BETWEEN, LINE = 0.35, 0.012  # height between rows, and width of lines, in sides of a picture
GREY = (120, 120, 120)


@dataclass(frozen=True)
class Node:
    """Somebody in a tree."""

    picture: Image.Image
    label: str
    parents: tuple[int, ...] = ()  # their places in the row above
    notes: tuple[str, ...] = ()  # lines below the label


def tree(rows: Sequence[Sequence[Node]], *, tile: int = 192) -> Image.Image:
    """Generations from the oldest down, each face tile x tile pixels.

    ImageError where a row is empty, or somebody's parents are not in the row above.
    """
    if not rows or not all(rows):
        raise ImageError("a tree needs somebody in each of its rows")
    for above, row in zip([[], *rows[:-1]], rows, strict=True):
        if wrong := [node.label for node in row for i in node.parents if not 0 <= i < len(above)]:
            raise ImageError(f"{wrong[0]} has parents who are not in the row above")
    gap, text = tile // 5, max(12, tile // 11)
    heights = [tile + round(1.4 * text * (1 + max(len(node.notes) for node in row))) + tile // 20 for row in rows]
    wide = max(len(row) for row in rows) * (tile + gap) + gap
    between = round(BETWEEN * tile)
    page = Image.new("RGB", (wide, sum(heights) + between * (len(rows) - 1) + 2 * gap), "white")
    places, top = [], gap
    for row, height in zip(rows, heights, strict=True):
        first = (wide - len(row) * tile - (len(row) - 1) * gap) // 2
        places.append([(first + i * (tile + gap), top, top + height) for i in range(len(row))])
        top += height + between
    for above, below, row in zip(places[:-1], places[1:], rows[1:], strict=True):
        connect(page, above, below, row, tile)
    for spots, row in zip(places, rows, strict=True):
        for (left, top, _), node in zip(spots, row, strict=True):
            place(page, node, left, top, tile, text)
    return page


def place(page: Image.Image, node: Node, left: int, top: int, tile: int, text: int) -> None:
    """Put somebody at a place of the page, the label below."""
    font, draw = ImageFont.load_default(size=text), ImageDraw.Draw(page)
    page.paste(node.picture.convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS), (left, top))
    for i, line in enumerate((node.label, *node.notes)):
        y = top + tile + tile // 20 + round(1.4 * text * i)
        draw.text((left + tile // 2, y), shorten(line, font, tile), GREY if i else "black", font, anchor="mt")


def connect(
    page: Image.Image,
    above: Sequence[tuple[int, int, int]],
    below: Sequence[tuple[int, int, int]],
    row: Sequence[Node],
    tile: int,
) -> None:
    """Lines from parents down to one for all siblings, and from there to each; places are left, top and bottom."""
    draw, width = ImageDraw.Draw(page), max(1, round(LINE * tile))
    for parents in dict.fromkeys(node.parents for node in row if node.parents):
        old = [(above[i][0] + tile // 2, above[i][2]) for i in parents]
        young = [
            (left + tile // 2, top) for (left, top, _), node in zip(below, row, strict=True) if node.parents == parents
        ]
        y = (old[0][1] + young[0][1]) // 2
        lines = [((x, bottom), (x, y)) for x, bottom in old] + [((x, y), (x, top)) for x, top in young]
        ends = [x for x, _ in (*old, *young)]
        for start, end in [*lines, ((min(ends), y), (max(ends), y))]:
            draw.line([start, end], fill=GREY, width=width)
