"""Faces that are hard to tell: beside a badge, beside a large one, turned, and asked for by several threads."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from math import dist

import numpy as np
import pytest
from PIL import Image, ImageDraw

from generators.errors import Note
from inversion.errors import FaceError
from inversion.faces import detect
from inversion.faces.align import align
from inversion.faces.detect import describe, find_faces

HEAD = (224, 120)  # the middle of the astronaut's face


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image")
    pytest.importorskip("dlib", reason="needs dlib-bin")
    return Image.fromarray(data.astronaut())


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out)


def middle(face: detect.Face) -> tuple[float, float]:
    left, top, right, bottom = face.box
    return (left + right) / 2, (top + bottom) / 2


@pytest.mark.parametrize("quality", [60, 75, 80])
def test_a_badge_is_no_face_beside_one(astronaut, quality):
    (face,) = find_faces(as_jpeg(astronaut, quality))
    assert dist(middle(face), HEAD) < 15 and not face.doubtful


def test_the_face_is_described_where_a_badge_is_larger(astronaut):
    seen, plain = describe(as_jpeg(astronaut, 75)), describe(astronaut)
    assert seen is not None and plain is not None and dist(seen, plain) < 0.3


def test_a_tilted_face_is_a_face(astronaut):
    for angle in (20, 40):
        (face,) = find_faces(astronaut.rotate(angle, Image.Resampling.BICUBIC, center=HEAD))
        assert dist(middle(face), HEAD) < 25 and not face.doubtful


def test_a_doubtful_find_is_taken_with_a_word(astronaut):
    covered = astronaut.copy()
    ImageDraw.Draw(covered).rectangle((170, 60, 290, 210), fill="black")
    with pytest.warns(Note, match=r"may be none; look at the crop"):
        _, alignment = align(covered, 32)
    assert alignment.faces == 1 and np.mean(alignment.quad, axis=0)[1] > 300


def test_a_large_face_does_not_hide_small_ones(astronaut):
    group = Image.new("RGB", (1000, 760), "grey")
    group.paste(astronaut.crop((80, 0, 380, 300)).resize((600, 600), Image.Resampling.LANCZOS), (20, 100))
    small = astronaut.crop((130, 30, 320, 220)).resize((110, 110), Image.Resampling.LANCZOS)
    for i in range(4):
        group.paste(small, (760, 40 + 170 * i))
    faces = find_faces(group)
    assert len(faces) == 5 and sum(face.area > 10_000 for face in faces) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert align(group, 32)[1].faces == 5


@pytest.mark.parametrize("turn, how", [(90, "on its side"), (180, "upside down"), (270, "on its side")])
def test_a_turned_photograph_gives_the_upright_crop(astronaut, turn, how):
    upright, usual = align(astronaut, 64)
    with pytest.warns(Note, match=f"lies {how}; it is cut out upright"):
        crop, alignment = align(astronaut.transpose(detect.TURNS[turn]), 64)
    assert np.abs(np.asarray(crop, int) - np.asarray(upright, int)).mean() < 4
    x, y = np.array(usual.quad).T
    turned = {90: (y, 512 - x), 180: (512 - x, 512 - y), 270: (512 - y, x)}[turn]
    assert np.abs(np.array(alignment.quad) - np.stack(turned, axis=1)).max() < 12


def test_a_small_face_in_a_large_photograph(astronaut):
    photo = Image.new("RGB", (4000, 2000), "grey")
    photo.paste(astronaut.crop((130, 30, 320, 220)).resize((250, 250), Image.Resampling.LANCZOS), (3000, 1200))
    (face,) = find_faces(photo)
    assert dist(middle(face), (3000 + 250 * 94 / 190, 1200 + 250 * 90 / 190)) < 20


@pytest.mark.parametrize("size, advice", [(200, "a larger"), (800, "from the front"), (2400, "crop it to the face")])
def test_advice_fits_the_size(size, advice):
    pytest.importorskip("dlib", reason="needs dlib-bin")
    with pytest.raises(FaceError, match=advice):
        align(Image.new("RGB", (size, 40), "grey"), 32)


def test_threads_find_what_one_finds_alone(astronaut):
    photos = [astronaut.resize((size, size)) for size in (430, 330, 512, 380)] * 2

    def look(photo: Image.Image) -> list[float]:
        descriptor = describe(photo)
        assert descriptor is not None
        return [*descriptor, *(x for face in find_faces(photo) for x in face.landmarks.ravel())]

    alone = [look(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, photos)) == alone
