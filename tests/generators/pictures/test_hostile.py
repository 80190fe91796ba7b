"""Hostile files end in a picture or in one line, within their bounds; the benchmark tries 480 of them."""

from io import BytesIO

import pytest

from generators.errors import ImageError
from generators.pictures.bounds import MAX_FILE
from generators.pictures.image import file_bytes, read_image
from tests.benchmarks.hostile_made import bombs, png
from tests.benchmarks.hostile_pictures import mutated, outcome

QUICK = [
    "1 x 100 million",
    "100 million x 1",
    "2 billion wide",
    "a million chunks",
    "a profile that unfolds",
    "a million segments",
    "runs of 100 megapixels",
    "a million strips",
    "an odd maximum, large",
    "endless comments",
    "runs that jump",
    "a wide screen",
    "PostScript",
]


@pytest.mark.parametrize("name", QUICK)
def test_bombs_are_refused_in_one_line(name):
    end = outcome(name, bombs()[name]())
    assert end.good and (end.how == "refused" or name == "a profile that unfolds"), end


def test_changed_files_are_read_or_refused():
    bad = [end for end in (outcome(name, data) for name, data in mutated(40)) if not end.good]
    assert not bad


def test_many_scans_are_refused_before_they_are_decoded():
    small = BytesIO(bombs()["ten thousand scans"]())
    with pytest.raises(ImageError, match="too many scans"):
        read_image(small)


def test_pictures_that_take_too_much_memory_are_told_what_fits():
    with pytest.raises(ImageError, match=r"which take \d+ MB to decode; shrink it to at most \d\d megapixels"):
        read_image(BytesIO(png(9800, 9800, 8, 6, pixels=False)))


def test_a_file_of_any_length_is_not_read_whole(tmp_path):
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(ImageError, match=r"long\.png has more than 512 MB"):
        file_bytes(tmp_path / "long.png")


def test_endless_devices_are_refused():
    with pytest.raises(ImageError, match="more than 512 MB"):
        file_bytes("/dev/zero")
