"""The latent space as one HTML file that needs no network: turn it, zoom, point at a code to see its picture."""

import base64
import io
import json
from html import escape
from math import ceil, sqrt
from pathlib import Path

from PIL import Image

from generators.storage import write_bytes
from inversion.views.plot import Points

TEMPLATE = Path(__file__).with_name("page.html")
LARGEST = 96  # px, longer side of a picture
ATLAS = 8192  # px, widest side that all browsers draw


def write_page(points: Points, path: Path) -> None:
    """Write the page; it holds the codes' places and pictures, and asks no other file or host for anything."""
    atlas, side, columns = atlas_of(points)
    groups = points.groups
    order = {label: i for i, label in enumerate(groups)}
    data = {
        "title": points.title,
        "axes": points.axes,
        "where": points.where.round(6).tolist(),
        "names": points.names,
        "group": [order[label] for label in points.labels],
        "side": side,
        "columns": columns,
        "atlas": atlas,
        "groups": [
            {"label": "no label" if label is None else label, "colour": colour, "shape": shape, "count": count}
            for label, (colour, shape, count) in groups.items()
        ],
    }
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # a name cannot end the script
    page = TEMPLATE.read_text(encoding="utf-8").replace("{{title}}", escape(points.title)).replace("{{data}}", text)
    write_bytes(page.encode(), path)


def atlas_of(points: Points) -> tuple[str, int, int]:
    """All pictures in one, as a data URL; the side of each in px, and how many stand in a row."""
    columns = ceil(sqrt(len(points.pictures)))
    side = min(LARGEST, max(max(picture.size) for picture in points.pictures), max(4, ATLAS // columns))
    sheet = Image.new("RGB", (columns * side, ceil(len(points.pictures) / columns) * side))
    for i, picture in enumerate(points.pictures):
        small = picture if max(picture.size) <= side else picture.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (i % columns * side, i // columns * side))
    kind, settings = ("png", {"optimize": True}) if side <= 16 else ("jpeg", {"quality": 88, "subsampling": 0})
    sheet.save(buffer := io.BytesIO(), kind, **settings)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", side, columns
