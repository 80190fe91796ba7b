"""The EXIF that a changed copy of a photograph carries."""

from io import BytesIO

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from generators.pictures.exif import kept_exif
from generators.pictures.image import read_image, write_image


def photograph(kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif.update({Base.Make: "Acme", Base.Orientation: 6, Base.DateTime: "2020:01:02 03:04:05", 700: b"<x:xmpmeta/>"})
    inner = exif.get_ifd(IFD.Exif)
    inner.update({Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.MakerNote: b"at home", Base.ColorSpace: 65535})
    inner.update({Base.ExifImageWidth: 40, Base.ExifImageHeight: 20})
    exif.get_ifd(IFD.GPSInfo).update({1: "N", 2: (51.0, 30.0, 0.0)})
    file = BytesIO()
    Image.new("RGB", (40, 20), "red").save(file, kind, exif=exif.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_all_but_the_place_is_kept(tmp_path, kind, suffix):
    data = photograph(kind)
    upright = read_image(BytesIO(data)).copy()  # as pixels that were changed are
    write_image(upright, tmp_path / f"a.{suffix}", exif=kept_exif(data, upright.size))
    with Image.open(tmp_path / f"a.{suffix}") as found:
        exif = found.getexif()
        inner = exif.get_ifd(IFD.Exif)
        assert found.size == upright.size == (20, 40) and not exif.get_ifd(IFD.GPSInfo)
        assert (exif[Base.Make], exif[Base.Orientation], inner[Base.DateTimeOriginal]) == (
            "Acme",
            1,
            "2020:01:02 03:04:05",
        )
        assert (inner[Base.ExifImageWidth], inner[Base.ExifImageHeight], inner[Base.ColorSpace]) == (20, 40, 1)
        assert read_image(tmp_path / f"a.{suffix}").size == (20, 40)  # not turned twice
    assert b"at home" not in (tmp_path / f"a.{suffix}").read_bytes()
    assert b"xmpmeta" not in (tmp_path / f"a.{suffix}").read_bytes()


def test_no_exif_is_none(tmp_path):
    plain = BytesIO()
    Image.new("RGB", (4, 4)).save(plain, "PNG")
    assert kept_exif(plain.getvalue(), (4, 4)) is None and kept_exif(b"broken", (4, 4)) is None
    write_image(Image.new("RGB", (4, 4)), tmp_path / "a.bmp", exif=b"Exif\0\0")  # a format that holds none
