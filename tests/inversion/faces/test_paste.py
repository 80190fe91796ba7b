"""Faces back into their photographs: what stays, what fades, what an edit carries over."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from inversion.faces.membrane import membrane
from inversion.faces.paste import paste_back
from tests.inversion.faces.test_align import level_alignment, wave

BOX = (40, 60, 140, 160)


def crop_of(photo: Image.Image, size: int = 100) -> Image.Image:
    return photo.crop(BOX).resize((size, size))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32)


def test_an_edit_that_changes_nothing_gives_the_photograph_bit_for_bit():
    photo = wave()
    drawn = crop_of(photo).filter(ImageFilter.GaussianBlur(4))  # what a generator makes of it
    back = paste_back(photo, drawn, level_alignment(photo.size, BOX), instead_of=drawn)
    assert np.array_equal(np.asarray(back), np.asarray(photo))


def test_an_edit_is_carried_over_and_the_detail_stays():
    grain = np.random.default_rng(0).normal(0, 12, (200, 200, 1))
    photo = Image.fromarray((array(wave()) * 0.6 + 40 + grain).astype(np.uint8))
    before = crop_of(wave())
    lighter = Image.fromarray((array(before) * 0.98 + 5).astype(np.uint8))  # a small change, everywhere
    back = paste_back(photo, lighter, level_alignment(photo.size, BOX), instead_of=before)
    inner = (slice(80, 140), slice(60, 120))
    moved = (array(back) - array(photo))[inner]
    assert np.abs(moved - (array(lighter) - array(before))[20:80, 20:80]).max() <= 1
    painted = before.copy()
    painted.paste("blue", (30, 30, 70, 70))  # a large change, at one place
    back = paste_back(photo, painted, level_alignment(photo.size, BOX), instead_of=before)
    assert array(back)[100:120, 80:100].std(axis=(0, 1)).max() < array(photo)[100:120, 80:100].std(axis=(0, 1)).min()
    assert np.abs(array(back)[64:70, 44:136] - array(photo)[64:70, 44:136]).max() <= 1


def test_only_what_is_inside_changes_and_all_of_it():
    photo, white = Image.new("RGB", (200, 200)), Image.new("RGB", (100, 100), "white")
    inside = np.zeros((100, 100), bool)
    inside[40:60, 40:60] = True
    place = level_alignment(photo.size, BOX)
    back = array(paste_back(photo, white, place, 0.1, inside=inside, match=False))[:, :, 0]
    assert back[100:120, 80:100].min() == 255  # the hole is filled whole; its soft edge lies outside
    far = np.ones((200, 200), bool)
    far[89:131, 69:111] = False
    assert back[far].max() == 0 and 0 < back[95, 90] < 255


def test_colours_match_at_the_border():
    photo = Image.fromarray(np.clip(array(wave()) * 0.5 + 60, 0, 255).astype(np.uint8))
    other = Image.fromarray(np.clip(array(photo) + (20, -15, 10), 0, 255).astype(np.uint8))
    inside = np.zeros((100, 100), bool)
    inside[30:70, 30:70] = True
    place = level_alignment(photo.size, BOX)
    matched, plain = (paste_back(photo, crop_of(other), place, 0.05, inside=inside, match=m) for m in (True, False))
    errors = [np.abs(array(image) - array(photo)).mean(axis=2)[95:125, 75:105].mean() for image in (matched, plain)]
    assert errors[0] < 1.5 and errors[1] > 14


def test_the_match_of_a_whole_crop_fades_inwards():
    photo, grey = Image.new("RGB", (400, 400), (60, 60, 60)), Image.new("RGB", (64, 64), (120, 120, 120))
    back = array(paste_back(photo, grey, level_alignment(photo.size, (50, 50, 350, 350)), 0.1))[:, :, 0]
    assert back[200, 200] > 115 and (np.diff(back[200, 50:200]) > -2).all()
    assert np.abs(np.diff(back[200])).max() < 5  # no seam


def test_a_membrane_is_linear_between_two_walls():
    values = np.zeros((40, 41, 1))
    values[:, 0], values[:, -1] = 1.0, 5.0
    known = np.zeros((40, 41), bool)
    known[:, [0, -1]] = True
    field = membrane(values, known, ~known)
    assert np.abs(field[:, :, 0] - np.linspace(1, 5, 41)).max() < 1e-3
    faded = membrane(values, known, ~known, reach=4.0)
    assert faded[20, 20, 0] < 0.1 and faded[20, 5, 0] == pytest.approx(np.exp(-5 / 4), abs=0.05)
    assert not membrane(values, ~np.ones_like(known), known).any()
    assert (
        membrane(np.full((300, 500, 3), 7.0), ~np.eye(300, 500, dtype=bool), np.eye(300, 500, dtype=bool))[0, 0, 0] == 7
    )
