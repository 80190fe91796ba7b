"""Parts left out and filled in, faces put back, pictures side by side, and the search as a film."""

import json

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from inversion.files.outputs import written_in
from tests.conftest import objects, pixels, refused
from tests.inversion.faces.test_align import astronaut as astronaut

SHORT = ("--steps", 1)


@pytest.fixture
def person(astronaut, tmp_path) -> str:
    """A photograph of a face, as a camera writes it."""
    exif = Image.Exif()
    exif.update({Base.Make: "Acme"})
    astronaut.crop((110, 10, 350, 250)).save(tmp_path / "person.jpg", quality=95, exif=exif)
    return str(tmp_path / "person.jpg")


def test_a_mask_is_told_and_part_of_the_cache(latent, photos, tmp_path):
    args = ("invert", photos[0], "-o", tmp_path / "out", "--no-align", "--json", *SHORT)
    (whole,), (masked,) = (objects(latent(*args, *more)) for more in ((), ("--mask", "0,0,12,12")))
    assert "left_out" not in whole and masked["left_out"] == 0.25
    (again,) = objects(latent(*args, "--mask", "0,0,12,12"))
    assert again["seconds"] == masked["seconds"] != whole["seconds"]  # from the cache
    records = json.loads((tmp_path / "out" / "report.json").read_text())
    assert records[-1]["left_out"] == 0.25 and records[-1]["filled"] == "a.filled.png"
    filled, target = pixels(masked["filled"]), pixels(tmp_path / "out" / "a.target.png")
    assert np.array_equal(filled[9:, 9:], target[9:, 9:]) and not np.array_equal(filled[:8, :8], target[:8, :8])


def test_a_mask_that_does_not_fit_is_one_line(latent, photos, tmp_path):
    Image.new("L", (5, 5)).save(tmp_path / "mask.png")
    args = ("invert", photos[0], "-o", tmp_path / "out", "--no-align", *SHORT)
    result = latent(*args, "--mask", tmp_path / "mask.png")
    assert "the mask is 5 x 5 px, " in result.stderr and "is 24 x 24 px" in result.stderr
    refused(latent(*args, "--mask", "nowhere.png"), "the mask nowhere.png does not exist", "the word face")
    refused(latent(*args, "--mask", "4,4,2,2"), "'4,4,2,2' is no box")


def test_a_face_goes_back_into_its_photograph(latent, person, tmp_path):
    out = tmp_path / "out"
    (record,) = objects(latent("invert", person, "-o", out, "--paste", "--cmp", "--json", *SHORT))
    back, before = pixels(record["pasted"]), pixels(person)
    (left, top), (right, bottom) = np.floor(corners(record)[0]).astype(int), np.ceil(corners(record)[1]).astype(int)
    outside = np.ones(before.shape[:2], bool)
    outside[max(top, 0) : bottom, max(left, 0) : right] = False
    assert np.array_equal(back[outside], before[outside]) and not np.array_equal(back, before)
    with Image.open(record["pasted"]) as picture:
        assert picture.format == "PNG" and picture.getexif()[Base.Make] == "Acme"
    beside = pixels(record["compared"])
    assert np.array_equal(beside[:, :16], pixels(out / "person.target.png"))
    assert np.array_equal(beside[:, 16:], pixels(out / "person.png"))
    assert {"person.pasted.png", "person.compared.png"} <= written_in(out)  # so that they are not inverted in turn


def corners(record) -> np.ndarray:
    """The upper left and the lower right corner of the box about the crop."""
    from inversion.files.latent_file import read_bundle

    quad = np.array(read_bundle(record["latent"]).history["alignment"]["quad"])
    return np.stack([quad.min(axis=0), quad.max(axis=0)])


def test_of_a_masked_face_only_the_filling_is_put_back(latent, person, tmp_path):
    box = (90, 80, 130, 100)
    mask = ",".join(map(str, box))
    (record,) = objects(latent("invert", person, "-o", tmp_path, "--paste", "--mask", mask, "--json", *SHORT))
    changed = np.argwhere((pixels(record["pasted"]) != pixels(person)).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert 60 < left <= 90 and 130 <= right < 160 and 50 < top <= 80 and 100 <= bottom < 130


def test_a_saved_latent_goes_into_its_photograph(latent, person, tmp_path):
    (record,) = objects(latent("invert", person, "-o", tmp_path / "out", "--json", "--paste", *SHORT))
    render = ("render", record["latent"], "-o", tmp_path / "back.png")
    assert latent(*render, "--into", person).exit_code == 0
    assert np.array_equal(pixels(tmp_path / "back.png"), pixels(record["pasted"]))
    refused(latent(*render, "--paste"), "holds no photograph; add --into person.jpg")
    Image.new("RGB", (100, 90)).save(tmp_path / "other.png")
    refused(latent(*render, "--into", tmp_path / "other.png"), "is 100 x 90 px, the alignment was made at 240 x 240")


def test_a_latent_without_a_place_says_so(latent, latents, photos, tmp_path):
    result = latent("render", latents[0], "-o", tmp_path / "a.png", "--into", photos[0])
    refused(result, "has no alignment", "invert its photograph, aligned")
    result = latent("invert", photos[0], "-o", tmp_path, "--paste", "--no-align")
    assert result.exit_code == 2 and "leave --no-align out" in result.stderr


def test_the_search_is_filmed(latent, photos, tmp_path):
    args = ("invert", "-o", tmp_path / "out", "--no-align", "--steps", 4, "--film", tmp_path / "me.png")
    assert latent(*args, photos[0]).exit_code == 0
    strip = pixels(tmp_path / "me.png")
    assert strip.shape == (16, 5 * 16, 3)  # the start and four steps
    assert latent(*args, photos[0]).exit_code == 0  # also what the cache might hold
    result = latent(*args, *photos[:2])
    assert result.exit_code == 2 and "one photograph" in result.stderr
    refused(latent("invert", photos[0], "-o", tmp_path, "--film", "me.txt"), "the suffix 'txt'")


def test_a_morph_at_constant_speed(latent, latents, tmp_path):
    for more in (["--speed", "constant"], ["--kind", "spline", "--loop"]):
        result = latent("interpolate", *latents, "-o", tmp_path / "strip.png", "--frames", 9, *more)
        assert result.exit_code == 0, result.output
        assert pixels(tmp_path / "strip.png").shape == (16, 9 * 16, 3)
