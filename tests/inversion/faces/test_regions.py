import numpy as np
import pytest
import torch
from PIL import Image

from inversion.errors import FaceError, ImageError, SettingsError
from inversion.faces.regions import REGIONS, drawn_mask, regions_in, regions_of


def face():
    """The landmarks of an upright face in a picture of side 1, both halves alike."""
    points = np.zeros((68, 2))
    angle = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([0.5 + 0.25 * np.cos(angle), 0.5 + 0.3 * np.sin(angle)], axis=1)
    for first, x in ((17, 0.38), (22, 0.62)):
        points[first : first + 5] = np.stack([np.linspace(x - 0.07, x + 0.07, 5), np.full(5, 0.37)], axis=1)
    points[27:31] = np.stack([np.full(4, 0.5), np.linspace(0.46, 0.58, 4)], axis=1)
    points[31:36] = np.stack([np.linspace(0.46, 0.54, 5), np.full(5, 0.6)], axis=1)
    turn = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    for first, x in ((36, 0.4), (42, 0.6)):
        points[first : first + 6] = np.stack([x + 0.04 * np.cos(turn), 0.47 + 0.02 * np.sin(turn)], axis=1)
    for first, count, wide in ((48, 12, 0.09), (60, 8, 0.06)):
        turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
        points[first : first + count] = np.stack([0.5 + wide * np.cos(turn), 0.69 + 0.03 * np.sin(turn)], axis=1)
    return points


POINTS = face()  # in sides of the picture
SIZE = 64


@pytest.fixture(scope="module")
def regions():
    return {name: mask[0, 0].numpy() for name, mask in regions_of(POINTS * SIZE, SIZE).items()}


def at(mask, x, y):
    return mask[round(y * SIZE), round(x * SIZE)]


def test_each_region_is_where_a_person_would_point(regions):
    assert list(regions) == list(REGIONS)
    middles = {"eyes": (0.4, 0.47), "brows": (0.62, 0.37), "nose": (0.5, 0.56), "mouth": (0.5, 0.69)}
    middles |= {"jaw": (0.5, 0.78), "hair": (0.5, 0.12), "skin": (0.33, 0.58), "background": (0.03, 0.95)}
    for name, place in middles.items():
        assert at(regions[name], *place) > 0.95, name
        for other in {"eyes", "nose", "mouth", "hair", "background"} - {name}:
            assert at(regions[other], *place) < 0.2 or {name, other} == {"hair", "background"}, (name, other)


def test_masks_go_from_0_to_1_smoothly_and_end(regions):
    for name, mask in regions.items():
        assert mask.min() >= 0 and mask.max() <= 1, name
    eyes = regions["eyes"]
    assert eyes.max() == 1 and (eyes == 0).mean() > 0.8
    assert np.abs(np.diff(eyes, axis=0)).max() < 0.6


def test_a_face_its_hair_and_the_rest_are_all_there_is(regions):
    total = regions["face"] + regions["hair"] + regions["background"]
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_masks_turn_and_grow_with_the_face():
    turned = np.stack([1 - POINTS[:, 1], POINTS[:, 0]], axis=1)  # a quarter, clockwise
    for name, mask in regions_of(turned * SIZE, SIZE).items():
        upright = regions_of(POINTS * SIZE, SIZE, [name])[name]
        assert (torch.rot90(upright, -1, (2, 3)) - mask).abs().mean() < 0.06, name
    large = regions_of(POINTS * 2 * SIZE, 2 * SIZE, ["nose"])["nose"]
    small = regions_of(POINTS * SIZE, SIZE, ["nose"])["nose"]
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.01


def test_what_cannot_be_told():
    with pytest.raises(SettingsError, match="no region is called 'ears'; there are eyes, brows"):
        regions_of(POINTS, SIZE, ["ears"])
    with pytest.raises(FaceError, match="no face was found"):
        regions_in(Image.new("RGB", (64, 64)), SIZE)
    with pytest.raises(FaceError, match="the eyes lie on one place"):
        regions_of(np.zeros((68, 2)), SIZE)


def test_a_mask_that_a_user_drew(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 255], [51, 0]], np.uint8)).save(path)
    for size in (2, 4, 16):
        assert torch.equal(drawn_mask(path, size), torch.tensor([[[[0, 1], [0.2, 0]]]]))
    for size in (3, 1):
        with pytest.raises(ImageError, match=rf"mask.png is 2 x 2 px; .* of {size} x {size} px"):
            drawn_mask(path, size)
    Image.new("L", (4, 4)).save(path)
    with pytest.raises(ImageError, match="all black"):
        drawn_mask(path, 4)
    Image.new("L", (4, 2), 255).save(path)
    with pytest.raises(ImageError, match="4 x 2 px"):
        drawn_mask(path, 4)
