import io
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from generators.errors import TrainingError
from generators.training.augment import diff_augment, shift
from generators.training.data import Pictures, load_pictures
from generators.training.losses import (
    discriminator_loss,
    feature_matching,
    generator_loss,
    r1_penalty,
    reconstruction,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(colour, size=(8, 8), kind="PNG"):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def flat(count=8):
    """Pictures of one colour each."""
    colours = torch.randint(0, 256, (count, 3, 1, 1), generator=rng()).to(torch.uint8)
    return Pictures(colours.expand(count, 3, 8, 8).contiguous(), torch.full((count,), 1 / count), (), 0)


# --- data


@pytest.fixture
def folder(tmp_path):
    """Four readable pictures of several sizes and kinds, one truncated, one that is text, and a file to leave alone."""
    source = tmp_path / "photos"
    (source / "deeper").mkdir(parents=True)
    (source / "a.png").write_bytes(picture((255, 0, 0)))
    (source / "b.JPG").write_bytes(picture((0, 255, 0), (40, 20), "JPEG"))
    (source / "deeper" / "c.webp").write_bytes(picture((0, 0, 255), (9, 30), "WEBP"))
    (source / "d.bmp").write_bytes(picture((255, 255, 255), (8, 8), "BMP"))
    (source / "e.png").write_bytes(picture((9, 9, 9), (64, 64))[:60])
    (source / "f.jpg").write_text("not a picture")
    (source / "notes.txt").write_text("left alone")
    return source


def test_folder_of_mixed_files(folder):
    found = load_pictures([folder], 8)
    assert found.images.shape == (4, 3, 8, 8) and found.images.dtype == torch.uint8
    wanted = torch.tensor([[255, 0, 0], [0, 255, 0], [255, 255, 255], [0, 0, 255]])  # by name; folders where they sort
    assert (found.images.float().mean(dim=(2, 3)) - wanted).abs().max() < 4  # JPEG and WebP are near
    assert found.resized == 2
    assert sorted(Path(name).name for name in found.skipped) == ["e.png", "f.jpg"]
    torch.testing.assert_close(found.weights, torch.full((4,), 0.25))


def test_zip_gives_what_its_folder_gives(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as z:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            z.write(path, path.relative_to(folder))
    a, b = load_pictures([folder], 8), load_pictures([tmp_path / "photos.zip"], 8)
    assert torch.equal(a.images, b.images) and a.resized == b.resized and len(a.skipped) == len(b.skipped)


def test_pictures_are_cropped_about_their_centre(tmp_path):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert load_pictures([tmp_path], 8).images.eq(200).all()


def test_grey_alpha_and_palette_become_rgb(tmp_path):
    for mode in ("L", "RGBA", "P", "1"):
        Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(tmp_path / f"{mode}.png")
    assert load_pictures([tmp_path], 8).images.eq(255).all()


def test_shares_say_how_often_a_source_is_drawn(tmp_path):
    for name, count in (("one", 1), ("three", 3)):
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.png").write_bytes(picture((i, count, 0)))
    sources = [tmp_path / "one", tmp_path / "three"]
    torch.testing.assert_close(load_pictures(sources, 8).weights, torch.full((4,), 0.25))
    weights = load_pictures(sources, 8, shares=[1.0, 1.0]).weights
    torch.testing.assert_close(weights, torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6]))
    assert load_pictures(sources, 8, shares=[0.0, 2.5]).weights[0] == 0
    for shares in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(TrainingError, match=f"{len(shares)} shares came for 2 sources"):
            load_pictures(sources, 8, shares=shares)


def test_sources_that_hold_nothing(tmp_path):
    with pytest.raises(TrainingError, match="no readable picture in .*; give folders or zips of .bmp, .jpeg"):
        load_pictures([tmp_path], 8)
    (tmp_path / "text.zip").write_text("not a zip")
    for name in ("text.zip", "missing"):
        with pytest.raises(TrainingError, match=f"{name} is neither a folder nor a zip file"):
            load_pictures([tmp_path / name], 8)


def test_broken_png_is_skipped(tmp_path):
    (tmp_path / "good.png").write_bytes(picture((1, 2, 3)))
    data = bytearray(picture((1, 2, 3)))
    at = data.index(b"IDAT")
    data[at - 4 : at] = b"\0\0\0\1"  # shorter than it is, so that the next chunk begins in the middle of it
    (tmp_path / "broken.png").write_bytes(bytes(data))
    assert len(load_pictures([tmp_path], 8).skipped) == 1


def test_held_out_pictures_are_held_out():
    numbered = torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1).expand(20, 3, 8, 8)
    pictures = Pictures(numbered, draw(20).abs(), (), 0)
    kept, held = pictures.without(6, seed=1)
    ids = [set(x[:, 0, 0, 0].tolist()) for x in (kept.images, held)]
    assert len(ids[1]) == 6 and not ids[0] & ids[1] and ids[0] | ids[1] == set(range(20))
    assert kept.weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(kept.weights / kept.weights[0], (w := pictures.weights[sorted(ids[0])]) / w[0])
    assert torch.equal(pictures.without(6, seed=1)[1], held)
    assert not torch.equal(pictures.without(6, seed=2)[1], held)


def test_draws_follow_the_weights_and_the_seed():
    pictures = flat(4)
    pictures = replace(pictures, weights=torch.tensor([0.0, 1.0, 0.0, 0.0]))
    before = torch.get_rng_state()
    x = pictures.draw(5, rng(3))
    torch.testing.assert_close(x, (pictures.images[1] / 127.5 - 1).expand(5, 3, 8, 8))
    assert torch.equal(flat().draw(16, rng(3)), flat().draw(16, rng(3)))
    assert not torch.equal(flat().draw(16, rng(3)), flat().draw(16, rng(4)))
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_are_mirrored_half_of_the_time():
    ramp = (torch.arange(8) * 20).to(torch.uint8).expand(1, 3, 8, 8)
    x = Pictures(ramp, torch.ones(1), (), 0).draw(200, rng())
    rising = x[:, 0, 0, -1] > x[:, 0, 0, 0]
    assert 70 < rising.sum() < 130
    torch.testing.assert_close(x[~rising][0].flip(2), x[rising][0])


# --- augmentation


def test_no_strength_changes_nothing():
    x = draw(3, 3, 16, 16)
    torch.testing.assert_close(diff_augment(x, rng(), 0.0), x)


def test_same_state_same_changes():
    x = draw(4, 3, 16, 16)
    a, b, c = (diff_augment(x, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert (a - x).abs().amax(dim=(1, 2, 3)).min() > 0.01  # every image is changed
    two = diff_augment(torch.cat([x[:1]] * 2), rng())
    assert not torch.equal(two[0], two[1])  # each in its own way


def test_augmentation_passes_the_gradient():
    x = draw(3, 3, 16, 16).requires_grad_()
    diff_augment(x, rng()).square().sum().backward()
    assert x.grad is not None and (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_the_hole_is_a_quarter_of_the_image():
    x = torch.full((8, 3, 16, 16), 5.0)  # brightness moves it by at most a half
    black = diff_augment(x, rng()).eq(0).all(dim=1).flatten(1).sum(dim=1)
    assert (black >= 16).all() and (black <= 16 + 2 * 2 * 16).all()  # 4 x 4 pixels, and what was shifted in
    assert diff_augment(x, rng(), 0.1).ne(0).all()  # too weak for either


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -2), (-3, 3)])
def test_shift_moves_and_fills_with_zeros(dx, dy):
    x = torch.zeros(2, 8, 8)
    x[:, 3, 4] = torch.tensor([1.0, 2.0])
    expected = torch.zeros(2, 8, 8)
    expected[:, 3 + dy, 4 + dx] = torch.tensor([1.0, 2.0])
    assert torch.equal(shift(x, dx, dy), expected)
    ones = shift(torch.ones(1, 8, 8), dx, dy)
    assert ones.shape == (1, 8, 8) and ones.sum() == (8 - abs(dx)) * (8 - abs(dy))


# --- losses


def test_reconstruction_by_hand():
    x = draw(2, 3, 16, 16)
    assert reconstruction(x, x) == 0
    a = torch.zeros(2, 3, 4, 4)  # so small that the pyramid is the image itself
    torch.testing.assert_close(reconstruction(a + 0.5, a), torch.tensor(0.5 + 0.25 + 0.5))
    torch.testing.assert_close(reconstruction(x, 0 * x), reconstruction(-x, 0 * x))


def test_adversarial_losses_at_chance():
    scores = (torch.zeros(4, 16), torch.zeros(4, 1))
    torch.testing.assert_close(generator_loss(scores), torch.tensor(math.log(2)))
    torch.testing.assert_close(discriminator_loss(scores, scores), torch.tensor(2 * math.log(2)))


def test_adversarial_losses_pull_the_right_way():
    high, low = (torch.full((2, 1), 9.0),), (torch.full((2, 1), -9.0),)
    assert generator_loss(high) < 1e-3 and generator_loss(low) > 8.9
    assert discriminator_loss(high, low) < 1e-3 and discriminator_loss(low, high) > 17.9


def test_each_head_counts_alike():
    many, one = torch.full((2, 64), 1.0), torch.full((2, 1), -1.0)
    torch.testing.assert_close(generator_loss((many, one)), (generator_loss((many,)) + generator_loss((one,))) / 2)


def test_feature_matching_is_relative_to_each_level():
    real = (draw(2, 4, 8, 8), 100 * draw(2, 8, 4, 4, seed=1))
    assert feature_matching(real, real) == 0
    torch.testing.assert_close(feature_matching((2 * real[0], real[1]), real), torch.tensor(0.5))
    torch.testing.assert_close(feature_matching((real[0], 2 * real[1]), real), torch.tensor(0.5))


def test_r1_of_a_linear_critic_is_its_squared_norm():
    with torch.random.fork_rng():
        critic = nn.Linear(12, 1)
    penalty = r1_penalty(critic, draw(5, 12))
    torch.testing.assert_close(penalty, critic.weight.square().sum())
    penalty.backward()  # the penalty is what is descended
    assert critic.weight.grad is not None
    torch.testing.assert_close(critic.weight.grad, 2 * critic.weight)


def test_r1_adds_the_heads():
    class Two(nn.Module):
        def forward(self, x):
            return x[:, :4], 3 * x[:, :1]  # slopes 1/4 each of four, and 3 of the first

    torch.testing.assert_close(r1_penalty(Two(), draw(2, 6)), torch.tensor(3.25**2 + 3 * 0.25**2))
