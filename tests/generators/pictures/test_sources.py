"""Pictures come in one way, whoever asks: from files, folders, zips, standard input and the digits."""

import io
import os
import sys
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from generators.errors import ImageError, Note, TrainingError
from generators.pictures import image as reader
from generators.pictures.image import to_tensor
from generators.pictures.sources import fingerprint, is_digits, pictures, pictures_of, thinned
from generators.training.data import load_pictures
from inversion.target import load_target
from tests.conftest import picture, png, tiny_generator


@pytest.fixture
def archive(folder, tmp_path) -> Path:
    path = tmp_path / "people.zip"
    with zipfile.ZipFile(path, "w") as whole:
        for file in folder.rglob("*"):
            whole.write(file, file.relative_to(folder))
        whole.writestr("__MACOSX/b.png", b"left by a Mac")
    return path


def names(*sources) -> list[str]:
    return [found.name for found in pictures_of(sources)]


def test_a_folder_and_its_zip_hold_the_same(folder, archive):
    assert names(folder) == names(archive) == ["b.png", "c.png", "empty.jpg", "more/a.PNG", "text.jpg"]
    for one, two in zip(pictures(folder), pictures(archive), strict=True):
        assert one.content().data == two.content().data and one.content().sha256 == two.content().sha256
    assert [found.place for found in pictures(archive)][3] == f"{archive}/more/a.PNG"


def test_files_folders_and_zips_in_one_list(folder, archive):
    found = pictures_of([folder / "c.png", folder / "more", archive])
    assert [one.name for one in found][:3] == ["c.png", "a.PNG", "b.png"] and len(found) == 7
    assert found[0].file == folder / "c.png" and found[-1].file is None


def test_a_file_is_taken_by_its_content_whatever_its_name(folder, tmp_path):
    (tmp_path / "photo").write_bytes(png(3))
    (one,) = pictures(tmp_path / "photo")
    assert one.read().size == (20, 20)


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(png(1))))
    (one,) = pictures("-")
    assert one.name == "stdin" and one.file is None and one.read().size == (20, 20)


def test_the_digits_unless_something_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(pictures("digits")) == 1797 and pictures("digits")[0].name == "0/0000.png"
    assert pictures("digits")[3].read().size == (8, 8)
    (tmp_path / "digits").mkdir()
    assert not is_digits("digits")


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ImageError, match="nowhere does not exist"):
        pictures(tmp_path / "nowhere")
    (late,) = pictures(tmp_path / "me.jpg")  # so that it stops no other
    with pytest.raises(ImageError, match="me.jpg does not exist"):
        late.read()
    with pytest.raises(ImageError, match="holds no picture; it needs files of JPEG, PNG"):
        pictures(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK but not really")
    with pytest.raises(ImageError, match="a.zip is damaged, or no zip"):
        pictures(tmp_path / "a.zip")


def test_bad_files_are_told_by_their_place(folder, archive):
    with pytest.raises(ImageError, match=r"people.zip/text.jpg is not a JPEG"):
        pictures(archive)[-1].read()
    with pytest.raises(ImageError, match="empty.jpg is empty"):
        pictures(folder)[2].read()


def test_a_damaged_member_of_a_zip(tmp_path):
    path, data = tmp_path / "people.zip", png(0)
    with zipfile.ZipFile(path, "w") as whole:
        whole.writestr("a.png", data)
    path.write_bytes(path.read_bytes().replace(data[60:80], bytes(20)))  # its checksum no longer fits
    with pytest.raises(ImageError, match="people.zip/a.png cannot be read from its zip"):
        pictures(path)[0].read()


def test_a_zip_that_changed_is_opened_anew(tmp_path):
    path = tmp_path / "a.zip"
    for seed in (1, 2):
        with zipfile.ZipFile(path, "w") as whole:
            whole.writestr("a.png", png(seed))
        os.utime(path, ns=(seed, seed))
        assert pictures(path)[0].content().data == png(seed)


def test_the_fingerprint_changes_with_the_files_alone(folder, archive):
    for source in (folder, archive):
        assert fingerprint(pictures(source)) == fingerprint(pictures(source))
    before = fingerprint(pictures(folder))
    os.utime(folder / "b.png", ns=(1, 1))
    assert fingerprint(pictures(folder)) != before


def test_thinning_keeps_the_order_and_repeats():
    some = thinned(list(range(100)), 10)
    assert some == sorted(some) == thinned(list(range(100)), 10) and len(some) == 10
    assert thinned([1, 2], None) == thinned([1, 2], 5) == [1, 2]


def saved(path: Path, mode: str, **how) -> Path:
    levels = np.linspace(0, 1, 40 * 30, dtype=np.float32).reshape(30, 40)
    match mode:
        case "16 bit":
            image = Image.fromarray(np.rint(levels * 65535).astype(np.uint16))
        case "8 in 16 bit":
            image = Image.fromarray(np.rint(levels * 255).astype(np.uint16))
        case "float":
            image = Image.fromarray(levels)
        case "EXIF":
            image, exif = picture(3, 40).crop((0, 0, 40, 30)), Image.Exif()
            exif[0x0112] = 6
            how = {"exif": exif}
        case _:
            image = picture(3, 40).crop((0, 0, 40, 30)).convert(mode)
    image.save(path, **how)
    return path


MODES = {
    "L": "png",
    "16 bit": "png",
    "8 in 16 bit": "png",
    "float": "tiff",
    "CMYK": "jpg",
    "P": "png",
    "EXIF": "jpg",
    "RGBA": "png",
    "LA": "png",
    "1": "png",
    "RGB": "webp",
}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("mode", MODES)
def test_training_and_inversion_see_the_same_pixels(tmp_path, mode, channels):
    path = saved(tmp_path / f"a.{MODES[mode]}", mode)
    generator = tiny_generator(img_channels=channels)
    wanted = load_target(generator, path, align=False).image
    trained = load_pictures([path], 16, channels=channels).images
    assert torch.equal(trained.float() / 127.5 - 1, wanted)
    assert wanted.min() < -0.5 and wanted.max() > 0.5  # neither black nor blown out


def test_a_picture_is_read_and_decoded_once(folder, monkeypatch):
    """From file to target, and whatever then looks at the picture again."""
    reads, decoded = [], []
    read_bytes, decode = Path.read_bytes, reader._decode
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read_bytes(path))
    monkeypatch.setattr(reader, "_decode", lambda *a: decoded.append(a[1]) or decode(*a))
    target = load_target(tiny_generator(), folder / "b.png", align=False)
    assert target.sha256 and target.source == str(folder / "b.png")
    assert reads == [folder / "b.png"] and decoded == [str(folder / "b.png")]
    (one,) = pictures(folder / "c.png")
    image = one.read()
    assert reader.read_image(image) is image and to_tensor(image).shape == (1, 3, 20, 20)
    assert reads == [folder / "b.png", folder / "c.png"] and len(decoded) == 2


def test_a_folder_is_listed_by_content(tmp_path):
    small = Image.new("RGB", (8, 8), "teal")
    kinds = {"b.jfif": "JPEG", "c.jpe": "JPEG", "d.avif": "AVIF", "e.ppm": "PPM"}
    kinds |= {
        "f.mpo": "MPO",
        "g.jp2": "JPEG2000",
        "photo": "PNG",
        "wrong.heic": "JPEG",
        "x.dat": "TIFF",
        "y.tmp": "WEBP",
    }
    kinds |= {"z.dib": "BMP", "v.old": "GIF"}
    for name, kind in kinds.items():
        small.save(tmp_path / name, kind)
    others = {"BMW.list": b"BMW and others", "P5.doc": b"P5 is a piano", "a.txt": png(0), "n.json": b"{}"}
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pictures(tmp_path)
    assert [picture.name for picture in found] == sorted(kinds)
    assert all(picture.read().size == (8, 8) for picture in found)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for picture in found:
            archive.write(tmp_path / picture.name, picture.name)
    assert [picture.name for picture in pictures(tmp_path / "all.zip")] == sorted(kinds)


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    heic, folder = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", tmp_path / "phone"
    folder.mkdir()
    raw = io.BytesIO()
    Image.new("RGB", (8, 8)).save(raw, "TIFF")  # as a camera's raw file holds a small copy
    for name, data in {"e.HEIC": heic, "f": heic, "g.nef": raw.getvalue(), "h.psd": b"8BPS", "notes.md": b"x"}.items():
        (folder / name).write_bytes(data)
    with pytest.raises(ImageError, match=r"holds no picture but e\.HEIC, f, g\.nef and 1 more, which cannot be read"):
        pictures(folder)
    (folder / "a.png").write_bytes(png(0))
    with pytest.warns(Note, match=r"left out of .*phone: e\.HEIC, f, g\.nef and 1 more;"):
        assert [picture.name for picture in pictures(folder)] == ["a.png"]


@pytest.mark.parametrize("offset, value, why", [((6, 8), 1, "it has a password"), ((8, 10), 9, "Deflate64")])
def test_zips_that_cannot_be_unpacked_say_why(tmp_path, offset, value, why):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png(0))
    data = bytearray(path.read_bytes())
    for magic, at in zip((b"PK\3\4", b"PK\1\2"), offset, strict=True):
        data[data.find(magic) + at] = value
    path.write_bytes(data)
    with pytest.raises(ImageError, match=rf"some\.zip/a\.png cannot be read from its zip \(.*{why}"):
        pictures(path)[0].read()
    with pytest.raises(TrainingError, match=rf"no readable picture in .*a\.png .*{why}"):
        load_pictures([path], 8)


def test_an_empty_path_is_no_folder():
    with pytest.raises(ImageError, match="the path is empty"):
        pictures("")
