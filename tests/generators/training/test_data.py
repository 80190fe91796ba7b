import io
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from generators.device import free_memory
from generators.errors import TrainingError
from generators.training.data import Pictures, load_pictures
from tests.generators.training.small import draw, flat, rng


def picture(colour, size=(8, 8), kind="PNG"):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


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
    colours = found.images.float().mean(dim=(2, 3)).div(255).round().int().tolist()  # JPEG and WebP are near
    assert sorted(colours) == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1]]
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
    found = load_pictures(sources, 8, shares=[1.0, 1.0])
    alone = found.images[:, 1, 0, 0] == 1  # green says how many its source has
    torch.testing.assert_close(found.weights, torch.where(alone, 1 / 2, 1 / 6))
    assert load_pictures(sources, 8, shares=[0.0, 2.5]).weights[alone] == 0
    for shares in ([1.0], [1.0, -1.0], [0.0, 0.0]):
        with pytest.raises(TrainingError, match=f"{len(shares)} shares came for 2 sources"):
            load_pictures(sources, 8, shares=shares)


def test_sources_that_hold_nothing(tmp_path):
    with pytest.raises(TrainingError, match="holds no picture; it needs files of JPEG, PNG"):
        load_pictures([tmp_path], 8)
    (tmp_path / "text.zip").write_text("not a zip")
    (tmp_path / "text.png").write_text("not a picture")
    for name, why in (("text.zip", "is damaged, or no zip"), ("missing", "does not exist")):
        with pytest.raises(TrainingError, match=f"{name} {why}"):
            load_pictures([tmp_path / name], 8)
    with pytest.raises(TrainingError, match="no readable picture in .*text.png is not a JPEG.*; give folders or zips"):
        load_pictures([tmp_path / "text.png"], 8)


def test_broken_png_is_skipped(tmp_path):
    (tmp_path / "good.png").write_bytes(picture((1, 2, 3)))
    data = bytearray(picture((1, 2, 3)))
    at = data.index(b"IDAT")
    data[at - 4 : at] = b"\0\0\0\1"  # shorter than it is, so that the next chunk begins in the middle of it
    (tmp_path / "broken.png").write_bytes(bytes(data))
    assert len(load_pictures([tmp_path], 8).skipped) == 1


def numbered(count=20):
    """Pictures that each show their own number."""
    return torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1).expand(count, 3, 8, 8)


def test_held_out_pictures_are_held_out():
    pictures = Pictures(numbered(), draw(20).abs(), (), 0)
    kept, held = pictures.without(6)
    ids = [set(x[:, 0, 0, 0].tolist()) for x in (kept.images, held)]
    assert len(ids[1]) == 6 and not ids[0] & ids[1] and ids[0] | ids[1] == set(range(20))
    assert kept.weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(kept.weights / kept.weights[0], (w := pictures.weights[:14]) / w[0])
    assert kept.images.data_ptr() == pictures.images.data_ptr()  # nothing is copied
    whole, none = pictures.without(0)
    assert len(whole.images) == 20 and len(none) == 0


def test_pictures_come_in_random_order_always_the_same(tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02}.png").write_bytes(picture((i, i, i)))
    first, again = (load_pictures([tmp_path], 8).images[:, 0, 0, 0].tolist() for _ in range(2))
    assert first == again and sorted(first) == list(range(40)) and first != sorted(first)
    assert min(first[-10:]) < 20 <= max(first[-10:])  # so that those held out, the last, are of all kinds


def test_a_draw_without_mirror_draws_the_rest_alike():
    ramp = (torch.arange(8) * 20).to(torch.uint8).expand(1, 3, 8, 8)
    pictures = Pictures(ramp, torch.ones(1), (), 0)
    x, state = pictures.draw(50, rng(1), mirror=False), rng(1)
    y = pictures.draw(50, state)
    rising = y[:, 0, 0, -1] > y[:, 0, 0, 0]
    assert (x[:, 0, 0, -1] > x[:, 0, 0, 0]).all() and 10 < rising.sum() < 40
    torch.testing.assert_close(x[rising], y[rising])
    after = rng(1)
    pictures.draw(50, after, mirror=False)
    assert torch.equal(after.get_state(), state.get_state())


# --- checks, and room


def test_what_the_pictures_are_like_is_counted(tmp_path):
    for i, colour in enumerate([(200, 0, 0), (0, 0, 90), (50, 50, 50), (90, 90, 90), (50, 50, 50)]):
        (tmp_path / f"{i}.png").write_bytes(picture(colour))
    (tmp_path / "copy.png").write_bytes(picture((200, 0, 0)))  # the same bytes
    (tmp_path / "copy.bmp").write_bytes(picture((200, 0, 0), kind="BMP"))  # other bytes, the same pixels
    found = load_pictures([tmp_path], 8)
    assert (found.grey, found.duplicates, found.resized, found.mapped) == (3, 3, 0, None)


def test_photographs_are_turned_upright_and_laid_on_white(tmp_path):
    left = Image.new("RGB", (8, 8))
    left.paste((255, 255, 255), (0, 0, 4, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the left side is above
    left.save(tmp_path / "turned.png", exif=exif)
    turned = load_pictures([tmp_path], 8).images[0, 0]
    assert turned[:3].eq(255).all() and turned[5:].eq(0).all()
    (tmp_path / "turned.png").unlink()
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert load_pictures([tmp_path], 8).images.eq(255).all()
    Image.fromarray(np.full((8, 8), 65535 // 2, np.uint16)).save(tmp_path / "clear.png")
    assert load_pictures([tmp_path], 8).images.eq(127).all()


def test_one_channel_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(picture((255, 0, 0)))
    found = load_pictures([tmp_path], 8, channels=1).images
    assert found.shape == (1, 1, 8, 8) and found.eq(76).all()


def test_hidden_files_are_no_pictures(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("faces/a.png", picture((1, 2, 3)))
        z.writestr("__MACOSX/faces/._a.png", b"finder")
        z.writestr(".thumbnails/a.png", picture((9, 9, 9)))
    found = load_pictures([tmp_path / "a.zip"], 8)
    assert len(found.images) == 1 and found.skipped == ()


def test_a_zip_with_a_damaged_member_gives_the_others(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("a.png", picture((1, 2, 3)))
        z.writestr("b.png", picture((4, 5, 6)))
        at = z.getinfo("b.png").header_offset + 60
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(bytes(data))
    found = load_pictures([path], 8)
    assert len(found.images) == 1 and [Path(name).name for name in found.skipped] == ["b.png"]


def test_what_does_not_fit_the_memory_is_mapped(folder, tmp_path):
    cache, reads = tmp_path / "run" / "pictures.u8", []

    def watch(files):
        reads.extend(files)
        return files

    plain = load_pictures([folder], 8)
    args = {"cache": cache, "memory": 2 * 6 * 3 * 64 - 1, "watch": watch}  # a byte too little for six pictures
    for times, change in ((1, False), (1, False), (2, True)):  # read again only if a source has changed
        if change:
            os.utime(folder / "a.png", ns=(1, 1))
        found = load_pictures([folder], 8, **args)
        assert found.mapped == cache and cache.stat().st_size == 6 * 3 * 64 and len(reads) == times * 6
        assert torch.equal(found.images, plain.images) and torch.equal(found.weights, plain.weights)
        assert (found.skipped, found.resized, found.grey) == (plain.skipped, plain.resized, plain.grey)
        kept, held = found.without(1)
        assert kept.draw(3, rng()).shape == (3, 3, 8, 8) and len(held) == 1
    assert load_pictures([folder], 8, cache=cache, memory=10**9).mapped is None  # it fits


def test_pictures_cut_short_are_mapped_anew(folder, tmp_path):
    cache = tmp_path / "pictures.u8"
    args = {"cache": cache, "memory": 1}
    whole = load_pictures([folder], 8, **args).images.clone()
    cache.with_suffix(".json").write_text('{"key": {"shape"')  # as if the disk had been full
    cache.write_bytes(b"")
    assert torch.equal(load_pictures([folder], 8, **args).images, whole)


def test_no_room_is_said_with_both_sizes(folder, tmp_path, monkeypatch):
    with pytest.raises(
        TrainingError, match="6 pictures of 64 px take 0.0 GB, and 0.0 GB of memory are free; give fewer"
    ):
        load_pictures([folder], 64, memory=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(TrainingError, match="give --run on a larger disk, or a smaller --resolution"):
        load_pictures([folder], 64, cache=tmp_path / "p.u8", memory=100)
    assert not (tmp_path / "p.u8").exists()


def test_free_memory_is_what_the_machine_has():
    free = free_memory()
    assert free is None or 2**20 < free < 2**50


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
