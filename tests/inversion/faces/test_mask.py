"""Parts of a photograph that do not count."""

import numpy as np
import pytest
import torch
from PIL import Image

from inversion.errors import FaceError, ImageError, Note
from inversion.faces.mask import LEFT_OUT, read_mask
from inversion.guess import completed
from inversion.inverter import invert
from inversion.losses import HOLD, Candidate, TermContext, objectives
from inversion.target import load_target, stacked, stacked_kept
from tests.inversion.descents import settings, targets
from tests.inversion.faces.test_align import astronaut as astronaut

SQUARE = (4, 8, 12, 16)  # of 16 px


def photo(size=(16, 16), seed=0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def white(size, box) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def test_a_box_and_its_picture_leave_out_the_same(generator, tmp_path):
    white((16, 16), SQUARE).save(tmp_path / "mask.png")
    wanted = np.ones((16, 16), bool)
    wanted[8:16, 4:12] = False
    array = ~wanted
    path = tmp_path / "mask.png"
    for mask in (SQUARE, "4,8,12,16", white((16, 16), SQUARE), array, path, str(path)):
        target = load_target(generator, photo(), align=False, mask=mask)
        assert target.kept is not None and np.array_equal(target.kept[0, 0].numpy(), wanted)
        assert target.left_out == 0.25


def test_transparent_is_left_out_too(generator):
    erased = Image.new("RGBA", (16, 16), (0, 0, 0, 255))
    erased.paste((0, 0, 0, 0), SQUARE)
    target = load_target(generator, photo(), align=False, mask=erased)
    assert target.left_out == 0.25


def test_a_mask_takes_the_way_of_its_photograph(generator):
    wide = photo((48, 16))
    target = load_target(generator, wide, align=False, mask=(16, 0, 24, 16))  # the left half of the centre square
    assert target.kept is not None and not target.kept[..., :8].any() and target.kept[..., 8:].all()
    with pytest.warns(Note, match="covers nothing"):
        assert load_target(generator, wide, align=False, mask=(0, 0, 8, 16)).kept is None


def test_a_mask_is_aligned_with_its_face(generator, astronaut):
    box = (180, 80, 260, 120)
    target = load_target(generator, astronaut, mask=box)
    painted = astronaut.copy()
    painted.paste((0, 255, 0), box)
    assert target.alignment is not None and target.kept is not None and 0.03 < target.left_out < 0.5
    (left, top), (right, bottom) = target.alignment.quad[0], target.alignment.quad[2]
    share = 80 * 40 / ((right - left) * (bottom - top))  # upright but for a few degrees
    assert abs(target.left_out - share) < 0.1


def test_face_keeps_the_face_alone(generator, astronaut):
    target = load_target(generator, astronaut, mask="face")
    assert target.kept is not None and target.kept[0, 0, 9, 8]
    corners = target.kept[0, 0][[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any() and 0.4 < target.left_out < 0.9
    with pytest.raises(FaceError, match="no face found in .* for the mask; give a box"):
        load_target(generator, Image.new("RGB", (64, 64)), align=False, mask="face")


@pytest.mark.parametrize(
    "mask, why",
    [
        (white((17, 16), SQUARE), r"the mask is 17 x 16 px, the image is 16 x 16 px; give a mask of the photogr"),
        ((20, 0, 30, 8), r"the box 20,0,30,8 lies outside of the image, which is 16 x 16 px"),
        ((0, 0, 16, 16), "leaves 0% of"),
        ("8,8,4,4", "'8,8,4,4' is no box; x0 is to be left of x1"),
        ("8,8,4", "write x0,y0,x1,y1"),
        ("fcae", "the mask fcae does not exist; check the path; give a picture .*, the word face, or a box"),
    ],
)
def test_what_is_no_mask(generator, mask, why):
    with pytest.raises(ImageError, match=why):
        load_target(generator, photo(), align=False, mask=mask)


def test_equal_masks_have_equal_keys():
    one, same, other = (read_mask(white((16, 16), box)).key for box in (SQUARE, SQUARE, (0, 0, 8, 8)))
    assert one == same != other and len({one, other, read_mask(SQUARE).key, read_mask("face").key}) == 4
    assert read_mask("4,8,12,16").key == read_mask(SQUARE).key and 0 < LEFT_OUT < 128


def test_nothing_depends_on_what_is_left_out(generator):
    images = targets(generator, 2)
    kept = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    kept[:, :, 8:, 4:12] = False
    other = torch.where(kept, images, torch.rand_like(images))
    filled = completed(generator, images, kept)
    assert torch.equal(filled, completed(generator, other, kept))
    assert torch.equal(torch.where(kept, filled, images), images) and not torch.equal(filled, images)


def test_masks_do_not_change_the_pictures_beside_them(generator):
    config = settings(steps=3)
    photos = [photo(seed=1), photo(seed=2)]
    painted = photos[0].copy()
    painted.paste((255, 0, 0), SQUARE)
    a, b = (invert(generator, one, config=config, align=False, mask=SQUARE) for one in (photos[0], painted))
    assert torch.equal(a.image, b.image) and a.history["left_out"] == 0.25
    assert a.metrics["psnr_db"] == b.metrics["psnr_db"]


def test_what_is_left_out_weighs_less(generator):
    image = targets(generator, 1)
    kept = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    kept[..., 8:, :] = False
    ws = torch.zeros(1, 6, 8)
    terms = objectives({"pixel": 1.0}, TermContext(generator=generator, target=image, kept=kept))(16)

    def cost(rows: slice) -> float:
        changed = image.clone()
        changed[:, :, rows] += 0.5
        weight, term = terms["pixel"]
        return float(weight * term(Candidate(changed, ws, ())))

    assert cost(slice(0, 8)) == pytest.approx(0.125)
    assert cost(slice(8, 16)) == pytest.approx(0.125 * HOLD**2)


def test_targets_with_and_without_a_mask_go_together(generator):
    some = [load_target(generator, photo(seed=k), align=False, mask=mask) for k, mask in ((1, None), (2, SQUARE))]
    kept = stacked_kept(some)
    assert kept is not None and kept.shape == (2, 1, 16, 16) and kept[0].all() and not kept[1].all()
    assert stacked_kept(some[:1]) is None and stacked(some).shape == (2, 3, 16, 16)
