import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from generators.pictures.image import read_image, resize, to_pil, write_image
from inversion.errors import ImageError, LatentError, WriteError


def picture(width: int = 24, height: int = 16) -> Image.Image:
    """Red grows to the right, green downwards; no two corners are alike."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=2).round().astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT"


@pytest.mark.parametrize("width, height", [(20000, 20000), (12000, 9000), (100_001, 1000)])
def test_too_large_is_refused_by_its_header(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "huge.png").write_bytes(png_header(width, height))
    with warnings.catch_warnings(), pytest.raises(ImageError, match=r"huge\.png is .*100 megapixels"):
        warnings.simplefilter("error")
        read_image(tmp_path / "huge.png")


def test_up_to_100_megapixels_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png_header(10000, 10000))
    with pytest.raises(ImageError, match="damaged"):  # there are no pixels, but the size was accepted
        read_image(tmp_path / "large.png")


BROKEN = {
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"dear diary, this is not a picture", "is not a JPEG"),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC.*convert"),
    "photo.avif": (b"\0\0\0\x18ftypavif\0\0\0\0mif1miaf", "damaged or cut off"),
    "stub.jpg": (b"\xff\xd8\xff\xe0", "damaged or cut off"),
    "zero.png": (png_header(0, 5), "damaged|0 x 5"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_in_one_line(tmp_path: Path, name: str) -> None:
    data, reason = BROKEN[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("kept", [0.1, 0.6, 0.9])
def test_truncated_files(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_image(Image.fromarray(noise), tmp_path / f"whole.{suffix}")
    data = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError, match=rf"cut\.{suffix} is damaged or cut off") as caught:
        read_image(tmp_path / f"cut.{suffix}")
    assert "\n" not in str(caught.value)


def test_places_that_hold_no_photograph(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nobody\.jpg does not exist"):
        read_image(tmp_path / "nobody.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(str(tmp_path))
    with pytest.raises(ImageError, match="null"):
        read_image("a\0b")
    with pytest.raises(ImageError, match="0 x 5"):
        read_image(Image.new("RGB", (0, 5)))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_permissions(tmp_path: Path) -> None:
    write_image(picture(), tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match="may not be read"):
        read_image(tmp_path / "a.png")


def test_permission_errors_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError, match=r"a\.png may not be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (4, 4, 4), (1, 2, 4, 4)])
def test_to_pil_wants_one_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="shape"):
        to_pil(torch.zeros(shape))


def test_to_pil_refuses_nan() -> None:
    with pytest.raises(ImageError, match="NaN"):
        to_pil(torch.full((3, 2, 2), torch.nan))


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    for name in ("a.xyz", "a", "folder.png", "file/a.png", f"{'a' * 300}.png"):
        with pytest.raises(LatentError) as caught:
            write_image(picture(), tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="use PNG"):
        write_image(Image.new("RGB", (20000, 1)), tmp_path / "a.webp")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk() -> None:
    with pytest.raises(WriteError, match="the disk is full"):
        write_image(picture(), "/dev/full", "png")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(picture(), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(WriteError, match="the disk is full"):
        write_image(resize(picture(), 9), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
