import io
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from generators.pictures.image import fit_square, read_image, resize, to_pil, to_tensor, write_image
from generators.pictures.sheet import sheet
from inversion.errors import ImageError


def picture(width: int = 24, height: int = 16) -> Image.Image:
    """Red grows to the right, green downwards; no two corners are alike."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=2).round().astype(np.uint8))


def difference(a: Image.Image, b: Image.Image) -> int:
    """Largest difference of two pictures, in levels."""
    assert a.size == b.size and a.mode == b.mode == "RGB"
    return int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max())


TOLERANCE = {"png": 0, "bmp": 0, "tiff": 0, "tif": 0, "jpg": 16, "jpeg": 16, "webp": 16, "gif": 48}  # levels


@pytest.mark.parametrize("suffix, tolerance", TOLERANCE.items())
def test_formats_round_trip(tmp_path: Path, suffix: str, tolerance: int) -> None:
    path = tmp_path / "new" / "folder" / f"a.{suffix}"
    write_image(picture(), path)
    assert difference(read_image(path), picture()) <= tolerance
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file stays


def test_sources_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(picture(), path)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    with path.open("rb") as file:
        for source in (path, str(path), file, io.BytesIO(path.read_bytes()), Image.open(path), picture(), "-"):
            assert difference(read_image(source), picture()) == 0


def test_a_pil_image_is_copied() -> None:
    original = picture()
    original.info["note"] = "mine"
    read_image(original).paste("black", (0, 0, 5, 5))
    assert difference(original, picture()) == 0 and original.info == {"note": "mine"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Transpose that stores an upright picture so
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture().transpose(Image.Transpose(undo[orientation])) if orientation > 1 else picture()
    stored.save(tmp_path / "a.png", exif=exif)
    assert difference(read_image(tmp_path / "a.png"), picture()) == 0
    assert difference(read_image(read_image(tmp_path / "a.png")), picture()) == 0  # and only once


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert read_image(tmp_path / "a.jpg").size == (24, 16)


MODES = "1 L LA P PA La RGBA RGBa RGBX CMYK YCbCr HSV LAB I F I;16 I;16B".split()
DETOURS = {"PA": ("P", "PA"), "La": ("L", "LA", "La"), "RGBa": ("RGBA", "RGBa"), "LA": ("L", "LA")}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shade", [0, 255])
def test_black_and_white_in_every_mode(mode: str, shade: int) -> None:
    levels = {"I": 65535, "F": 255.0, "I;16": 65535, "I;16B": 65535}
    if mode == "LAB":
        image = Image.new(mode, (3, 2), (shade, 128, 128))
    elif mode in levels:
        image = Image.new(mode, (3, 2), levels[mode] if shade else 0)
    else:
        image = Image.new("RGB", (3, 2), (shade,) * 3)
        for step in DETOURS.get(mode, (mode,)):
            image = image.convert(step)
    assert image.mode == mode
    assert difference(read_image(image), Image.new("RGB", (3, 2), (shade,) * 3)) <= 1


@pytest.mark.parametrize(
    "kind",
    "CMYK.jpg CMYK.tiff YCbCr.jpg YCbCr.tiff LAB.tiff L.jpg P.png P.gif RGBA.png RGBA.webp LA.png 1.png".split(),
)
def test_modes_in_files_keep_brightness(tmp_path: Path, kind: str) -> None:
    mode, suffix = kind.split(".")
    if kind == "YCbCr.tiff" and PIL.__version__.startswith("12."):
        pytest.skip("Pillow 12 cannot read the TIFFs in YCbCr that it writes")
    grey = Image.new("RGB", (16, 16), "white")
    if mode == "LAB":
        image = Image.new("LAB", (16, 16), (255, 128, 128))
    else:
        image = grey.convert("L").convert(mode) if mode == "LA" else grey.convert(mode)
    image.save(tmp_path / f"a.{suffix}")
    assert difference(read_image(tmp_path / f"a.{suffix}"), grey) <= 2


def test_colours_survive_lab_and_cmyk() -> None:
    lab = Image.new("LAB", (2, 2), (138, 128 + 81, 128 + 70))  # sRGB red is L = 54.3, a = 80.8, b = 69.9 under D50
    assert difference(read_image(lab), Image.new("RGB", (2, 2), (255, 0, 0))) <= 6
    assert difference(read_image(picture().convert("CMYK")), picture()) <= 1


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    wanted = Image.fromarray((levels // 257).astype(np.uint8)).convert("RGB")
    for suffix in ("png", "tiff"):
        Image.fromarray(levels).save(tmp_path / f"a.{suffix}")
        assert difference(read_image(tmp_path / f"a.{suffix}"), wanted) == 0
    assert difference(read_image(Image.fromarray(levels.astype(np.int32))), wanted) == 0


def test_16_bit_rgb_png(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 32768, 0) * 4 for _ in range(4))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert difference(read_image(tmp_path / "a.png"), Image.new("RGB", (4, 4), (255, 128, 0))) <= 1


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0, 1e6])
def test_floats_fill_the_range_that_holds_them(tmp_path: Path, top: float) -> None:
    values = np.linspace(0, top, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    wanted = Image.fromarray(np.rint(values / top * 255).astype(np.uint8)).convert("RGB")
    assert difference(read_image(tmp_path / "a.tiff"), wanted) <= 1


def test_floats_that_are_no_picture() -> None:
    wide = read_image(Image.fromarray(np.array([[-5, 5]], np.float32) * 1e6))
    assert (wide.getpixel((0, 0)), wide.getpixel((1, 0))) == ((0, 0, 0), (255, 255, 255))
    with pytest.raises(ImageError, match="finite"):
        read_image(Image.fromarray(np.array([[0, np.nan]], np.float32)))


def test_transparency_becomes_white(tmp_path: Path) -> None:
    half = Image.merge("RGBA", (*picture().split(), Image.new("L", (24, 16), 128)))
    expected = np.rint(255 + 128 / 255 * (np.asarray(picture(), np.float32) - 255)).astype(np.uint8)
    assert difference(read_image(half), Image.fromarray(expected)) <= 1
    image = picture().quantize(8)
    image.save(tmp_path / "a.png", transparency=image.getpixel((0, 0)))
    assert read_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_first_frame_of_a_gif(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    assert read_image(tmp_path / "a.gif").getpixel((4, 4)) == (255, 0, 0)


def test_one_pixel(tmp_path: Path) -> None:
    write_image(Image.new("RGB", (1, 1), "teal"), tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").getpixel((0, 0)) == (0, 128, 128)


def test_every_level_survives_the_tensor() -> None:
    levels = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    tensor = to_tensor(levels)
    assert tensor.shape == (1, 3, 16, 16) and tensor.dtype == torch.float32
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert difference(to_pil(tensor), levels) == 0


def test_tensor_layout() -> None:
    tensor = to_tensor(picture())
    assert tensor.shape == (1, 3, 16, 24)
    assert tensor[0, 0, 0, -1] == 1 and tensor[0, 0, -1, 0] == -1 and tensor[0, 1, -1, 0] == 1


def test_to_pil_rounds_and_clamps() -> None:
    values = torch.tensor([-9.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 9.0, torch.inf])
    assert np.asarray(to_pil(values.expand(3, 1, 5)))[0, :, 0].tolist() == [0, 0, 1, 255, 255]
    assert to_pil(torch.zeros(1, 1, 2, 2)).mode == "RGB"
    assert to_pil(torch.zeros(3, 2, 2, dtype=torch.bfloat16, requires_grad=True)).getpixel((0, 0)) == (128, 128, 128)


def test_resize_averages_fine_detail() -> None:
    checker = Image.fromarray(((np.indices((512, 512)).sum(axis=0) % 2) * 255).astype(np.uint8)).convert("RGB")
    small = np.asarray(resize(checker, 32), np.int16)
    assert small.shape == (32, 32, 3) and np.abs(small - 127.5).max() < 2  # nearest pixels would give 0 or 255


def test_fit_square_is_central() -> None:
    assert difference(fit_square(picture(24, 16)), picture(24, 16).crop((4, 0, 20, 16))) == 0
    assert fit_square(picture(5, 8)).size == (5, 5)


def test_write_to_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out, closed=False))
    write_image(to_tensor(picture()), "-")
    assert out.getvalue().startswith(b"\x89PNG") and difference(read_image(io.BytesIO(out.getvalue())), picture()) == 0


def test_format_goes_before_suffix(tmp_path: Path) -> None:
    write_image(picture(), tmp_path / "a.data", "JPEG")
    assert (tmp_path / "a.data").read_bytes().startswith(b"\xff\xd8\xff")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_image(picture(), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink() and difference(read_image(tmp_path / "real.png"), picture()) == 0


def test_sheet_places_every_image_and_keeps_labels_apart() -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200)]
    label = "a very long label that would run far over its tile " * 3
    page = sheet([Image.new("RGB", (8, 8), c) for c in colours], [label] * 5, tile=100)
    pixels = np.asarray(page)
    counts = [int((pixels == c).all(axis=2).sum()) for c in colours]
    assert counts == [100 * 100] * 5
    ink = (pixels.min(axis=2) < 100) & (pixels.max(axis=2) - pixels.min(axis=2) < 10)  # dark grey: letters only
    assert ink.any() and not ink[:, 104:108].any()  # the gap between columns one and two stays empty
    assert page.getpixel((0, 0)) == (255, 255, 255)


def test_sheet_shape() -> None:
    row = sheet([picture()] * 3, ["a", "b", "c"], columns=3, tile=64)
    column = sheet([picture()] * 3, ["a", "b", "c"], columns=1, tile=64)
    assert row.width > 3 * 64 > row.height > 64 and column.height > 3 * 64 > column.width
    with pytest.raises(ImageError, match="2 labels"):
        sheet([picture()], ["a", "b"])
