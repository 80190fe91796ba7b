"""Photographs at the generator's size."""

import io
import math
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from generators.storage import sha256_of
from inversion.errors import FaceError, ImageError, Note
from inversion.target import load_target
from tests.inversion.descents import targets


def test_load_target_without_alignment_takes_the_centre(generator, tmp_path):
    wide = Image.new("RGB", (48, 16), "red")
    wide.paste(Image.new("RGB", (16, 16), "blue"), (16, 0))
    wide.save(tmp_path / "wide.png")
    target = load_target(generator, tmp_path / "wide.png", align=False)
    assert torch.equal(target.image, torch.tensor([-1.0, -1.0, 1.0])[:, None, None].expand(1, 3, 16, 16))
    assert target.source == str(tmp_path / "wide.png") and target.sha256 == sha256_of(tmp_path / "wide.png")
    assert target.alignment is None
    from_memory = load_target(generator, wide, align=False)
    assert torch.equal(from_memory.image, target.image) and from_memory.source is None and from_memory.sha256 is None


def test_load_target_needs_a_face_to_align(generator):
    with pytest.raises(FaceError, match="--no-align"):
        load_target(generator, Image.new("RGB", (64, 64), "gray"))


def test_load_target_takes_a_tensor_as_it_is(generator):
    image = targets(generator, 1)
    assert torch.equal(load_target(generator, image).image, image)
    with pytest.raises(ImageError, match=r"\(1, 3, 8, 8\) came, tiny takes \(1, 3, 16, 16\)"):
        load_target(generator, image[:, :, :8, :8])
    for wrong in (image * 127.5, image * math.nan):
        with pytest.raises(ImageError, match="127.5"):
            load_target(generator, wrong)


def test_arrays_bytes_and_open_files_are_photographs(generator, tmp_path):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    photo.save(tmp_path / "a.png")
    wanted, data = load_target(generator, tmp_path / "a.png", align=False), (tmp_path / "a.png").read_bytes()
    pixels = np.asarray(photo)
    for same in (pixels, pixels / 255, pixels.astype(np.float32), pixels.astype(np.uint16) * 257):
        assert (load_target(generator, same, align=False).image - wanted.image).abs().max() < 1e-6
    grey, alpha = pixels[:, :, 0], np.dstack([pixels, np.full((16, 16), 255, np.uint8)])
    assert (load_target(generator, alpha, align=False).image - wanted.image).abs().max() < 1e-6
    assert torch.equal(load_target(generator, grey, align=False).image[:, 2], wanted.image[:, 0])
    for same in (data, io.BytesIO(data)):
        target = load_target(generator, same, align=False)
        assert torch.equal(target.image, wanted.image)
        assert target.sha256 == wanted.sha256 and target.source is None
    with (tmp_path / "a.png").open("rb") as file:
        assert load_target(generator, file, align=False).source == str(tmp_path / "a.png")


@pytest.mark.parametrize(
    "wrong, why",
    [
        (np.zeros((3, 16, 16)), "channels last"),
        (np.zeros((1, 16, 16, 3)), "pick one of a batch"),
        (np.zeros((0, 16, 3)), r"\(0, 16, 3\)"),
        (np.full((4, 4), np.nan), "finite"),
        (np.array([["a"]]), "uint8"),
        ("", "the path is empty"),
        (b"", "is empty"),
        (b"text", "not a JPEG"),
    ],
)
def test_what_is_no_photograph(generator, wrong, why):
    with pytest.raises(ImageError, match=why):
        load_target(generator, wrong, align=False)


def test_arrays_in_minus_one_to_one_are_seen(generator):
    pixels = np.linspace(-1, 1, 16 * 16 * 3).reshape(16, 16, 3)
    with pytest.warns(Note, match="black is -1, white 1"):
        target = load_target(generator, pixels, align=False)
    assert (target.image[0].permute(1, 2, 0) - torch.from_numpy(pixels)).abs().max() < 0.005


def test_a_tensor_of_another_range_is_told(generator):
    image = targets(generator, 1).clamp(-1, 1)
    with pytest.warns(Note, match=r"from 0\S* to \S+, taken as part of \[-1, 1\]; scale one in \[0, 1\] by \* 2 - 1"):
        load_target(generator, (image - image.min()) / 2)
    with pytest.warns(Note, match=r"taken as \[-1, 1\]"):
        load_target(generator, image / image.abs().max() * 1.9)
    levels = ((image + 1) * 127.5).round().to(torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (load_target(generator, levels).image - image).abs().max() < 0.005
        load_target(generator, image)


def test_the_notes_of_a_photograph_are_told(generator, tmp_path):
    Image.fromarray(np.full((16, 16), 4.0, np.float32)).save(tmp_path / "bright.tif")
    with pytest.warns(Note, match=r"bright\.tif holds values from 4 to 4"):
        load_target(generator, tmp_path / "bright.tif", align=False)
