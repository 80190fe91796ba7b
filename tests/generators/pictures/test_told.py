"""Colours told by chunks of a PNG, a box of an AVIF or EXIF come out as sRGB."""

import io
import struct
from zlib import crc32

import numpy as np
import pytest
from PIL import Image, ImageCms

from generators.pictures.image import notes_of, read_image
from tests.generators.pictures.test_colour import COLOURS, PRIMARIES, rgb_profile, right, swatches

SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ADOBE = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))


def gama(power: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 / power)))


def chrm(*places: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(place * 100_000) for place in places)))


def png(*chunks: bytes, picture: Image.Image | None = None, **how: object) -> Image.Image:
    """A PNG with these chunks after its header, as it is read."""
    out = io.BytesIO()
    (picture or swatches()).save(out, "PNG", **how)
    data = out.getvalue()
    return read_image(io.BytesIO(data[:33] + b"".join(chunks) + data[33:]))


def with_srgb_curve(colour: tuple[int, ...]) -> np.ndarray:
    """P3's colour in sRGB, both of sRGB's curve."""
    values = np.array(colour) / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return right(tuple(255 * light), "p3", 1.0)


def colours_of(read: Image.Image) -> list[tuple[int, ...]]:
    return [read.getpixel((8 * i + 4, 4)) for i in range(len(COLOURS))]  # type: ignore[misc]


@pytest.mark.parametrize("power, places, name", [(1.8, SRGB, "srgb"), (1.0, SRGB, "srgb"), (2.0, P3, "p3")])
def test_gamma_and_primaries_of_a_png(power, places, name):
    read = png(gama(power), chrm(*places))
    for colour, seen in zip(COLOURS, colours_of(read), strict=True):
        assert np.abs(np.array(seen) - right(colour, name, power)).max() < 2
    assert notes_of(read) == () and colours_of(png(gama(1.8))) == colours_of(png(gama(1.8), chrm(*SRGB)))


def test_what_says_srgb_changes_no_pixel():
    usual, plain = (gama(1 / 0.45455), chrm(*SRGB)), swatches().tobytes()
    assert png(*usual).tobytes() == png(gama(1 / 0.45455)).tobytes() == png(chrm(*SRGB)).tobytes() == plain
    assert png(gama(1.0), chrm(*P3), chunk(b"sRGB", b"\0")).tobytes() == plain
    assert png(chunk(b"cICP", bytes([1, 13, 0, 1]))).tobytes() == plain
    grey = Image.new("L", (4, 4), 100)
    assert read_image(grey).tobytes() == png(*usual, picture=grey).tobytes()


def test_cicp_comes_before_other_chunks_and_after_a_profile():
    p3 = chunk(b"cICP", bytes([12, 13, 0, 1]))
    read = png(gama(1.0), p3, chunk(b"sRGB", b"\0"))
    for colour, seen in zip(COLOURS, colours_of(read), strict=True):
        assert np.abs(np.array(seen) - with_srgb_curve(colour)).max() < 2
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert png(p3, icc_profile=profile).tobytes() == swatches().tobytes()


def test_hdr_is_white_from_paper_on():
    tenth, paper, bright = 0.4202, 0.5807, 0.7518  # PQ of 203 / 5 nits, of 203 and of 1000
    levels = np.array([[round(255 * value) for value in (0, tenth, paper, bright)]], np.uint8)
    seen = np.asarray(png(chunk(b"cICP", bytes([1, 16, 0, 1])), picture=Image.fromarray(levels)))[0, :, 0]
    assert seen[0] == 0 and abs(int(seen[1]) - 124) < 3 and seen[2] > 251 and seen[3] == 255  # 124: a fifth of light


def test_grey_and_palettes_by_their_gamma():
    grey = Image.new("L", (4, 4), 128)
    for picture in (grey, grey.convert("P"), grey.convert("RGBA"), Image.fromarray(np.full((4, 4), 128 * 257, "u2"))):
        assert png(gama(1.0), picture=picture).getpixel((1, 1)) == pytest.approx((188, 188, 188), abs=1)


@pytest.mark.parametrize(
    "chunks",
    [
        (chunk(b"cICP", bytes([12, 18, 0, 1])),),
        (chunk(b"cICP", bytes([200, 13, 0, 1])),),
        (chunk(b"cICP", bytes([1, 13, 1, 0])),),
        (chrm(*(0.3,) * 8),),
        (chrm(*(0.0,) * 8),),
        (gama(0.01), chrm(1, 0, 1, 0, 1, 0, 1, 0)),
    ],
)
def test_colours_that_cannot_be_are_none_and_told(chunks):
    read = png(*chunks)
    assert read.tobytes() == swatches().tobytes()
    assert len(notes_of(read)) == 1 and "cannot be used" in notes_of(read)[0] and "\n" not in notes_of(read)[0]


def adobe_exif(space: int, rule: str | None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x8769] = {0xA001: space} | ({0xA005: {1: rule}} if rule else {})
    whole = Image.Exif()
    whole.load(exif.tobytes())  # Pillow's TIFFs take one that was read
    return whole


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_exif_says_adobe_rgb(tmp_path, suffix):
    how = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    for space, rule in ((0xFFFF, "R03"), (2, None))[suffix == "tiff" :]:  # Pillow writes no rule into a TIFF
        swatches().save(tmp_path / f"a.{suffix}", exif=adobe_exif(space, rule), **how)
        for colour, seen in zip(COLOURS, colours_of(read_image(tmp_path / f"a.{suffix}")), strict=True):
            assert np.abs(np.array(seen) - right(colour, "adobe", 563 / 256)).max() < 4
    for space, rule in ((1, "R98"), (0xFFFF, None), (1, "R03")):
        swatches().save(tmp_path / f"b.{suffix}", exif=adobe_exif(space, rule), **how)
        swatches().save(tmp_path / f"c.{suffix}", **how)
        assert read_image(tmp_path / f"b.{suffix}").tobytes() == read_image(tmp_path / f"c.{suffix}").tobytes()


def test_a_profile_comes_before_exif_and_a_turn_keeps_both(tmp_path):
    exif = adobe_exif(0xFFFF, "R03")
    swatches().save(tmp_path / "a.png", exif=exif, icc_profile=rgb_profile("p3"))
    assert np.abs(np.array(colours_of(read_image(tmp_path / "a.png"))[0]) - right(COLOURS[0], "p3")).max() < 4
    exif[0x0112] = 3
    swatches().save(tmp_path / "b.png", exif=exif)
    turned = read_image(Image.open(tmp_path / "b.png")).getpixel((swatches().width - 5, swatches().height - 5))
    assert np.abs(np.array(turned) - right(COLOURS[0], "adobe", 563 / 256)).max() < 4


def test_an_avif_tells_its_primaries_by_a_box():
    out = io.BytesIO()
    swatches().save(out, "AVIF", quality=100)
    data = out.getvalue()
    at = data.index(b"colrnclx") + 8
    read = read_image(io.BytesIO(data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :]))
    for colour, seen in zip(COLOURS, colours_of(read), strict=True):
        assert np.abs(np.array(seen) - with_srgb_curve(colour)).max() < 5


def test_adobes_primaries_are_those_of_its_profile():
    read = png(gama(2.2), chrm(*ADOBE))
    for colour, seen in zip(COLOURS[:4], colours_of(read), strict=False):
        values = np.array(colour) / 255
        light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        assert np.abs(np.array(seen) - right(tuple(255 * light), "adobe", 1.0)).max() < 2
    assert PRIMARIES["adobe"] != PRIMARIES["srgb"]
