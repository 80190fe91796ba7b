"""Photographs at the generator's size."""

import math

import pytest
import torch
from PIL import Image

from generators.storage import sha256_of
from inversion.errors import FaceError, ImageError
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
