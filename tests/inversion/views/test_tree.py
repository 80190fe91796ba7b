import numpy as np
import pytest
from PIL import Image

from generators.errors import ImageError
from inversion.views.tree import GREY, Node, tree


def person(colour, parents=(), label="x"):
    return Node(Image.new("RGB", (8, 8), colour), label, parents, ("note",) if parents else ())


def lines(page, left, right):
    """The rows of pixels where a line runs from left to right."""
    return [y for y, row in enumerate(np.array(page)) if (row[left:right] == GREY).all()]


def test_generations_stand_in_rows_and_lines_join_them():
    page = tree(
        [[person("red"), person("blue")], [person("green", (0, 1)), person("lime", (0, 1)), person("teal", (0, 1))]],
        tile=60,
    )
    pixels = np.array(page)
    where = {
        c: np.argwhere((pixels == Image.new("RGB", (1, 1), c).getpixel((0, 0))).all(axis=2))
        for c in ("red", "blue", "green", "lime", "teal")
    }
    for found in where.values():
        assert len(found) == 60 * 60
    tops = {c: found[:, 0].min() for c, found in where.items()}
    assert tops["red"] == tops["blue"] < tops["green"] - 60 and tops["green"] == tops["teal"]
    middles = {c: round(found[:, 1].mean()) for c, found in where.items()}
    assert middles["lime"] == (middles["red"] + middles["blue"] + 1) // 2
    (y, *_) = lines(page, middles["green"], middles["teal"])
    assert tops["red"] + 60 < y < tops["green"]


def test_couples_are_joined_apart():
    four = [person("red"), person("blue"), person("green"), person("lime")]
    page = tree([four, [person("teal", (0, 1)), person("olive", (2, 3))]], tile=60)
    pixels = np.array(page)
    assert not lines(page, 0, page.width)
    grey = (pixels == GREY).all(axis=2)
    y = int(grey.sum(axis=1).argmax())
    assert np.diff(grey[y].astype(int)).tolist().count(1) == 2  # two lines at that height


def test_strange_trees():
    for rows, message in [
        ([], "somebody in each"),
        ([[person("red")], []], "somebody in each"),
        ([[person("red", (0,))]], "x has parents who"),
    ]:
        with pytest.raises(ImageError, match=message):
            tree(rows)
