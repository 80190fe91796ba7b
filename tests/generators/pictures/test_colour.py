"""Colour profiles and odd ranges: every picture comes out in 8-bit sRGB."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from generators.errors import ImageError
from generators.pictures.colour import range_of
from generators.pictures.image import notes_of, read_image
from generators.training.data import load_pictures

D50 = (0.9642, 1.0, 0.8249)
PRIMARIES = {  # XYZ of red, green and blue under D50, as these spaces' profiles have them
    "srgb": ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)),
    "p3": ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)),
    "adobe": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
}
COLOURS = [(200, 150, 130), (90, 60, 40), (128, 128, 128), (30, 90, 160), (255, 255, 255), (0, 0, 0)]


def icc(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """A profile of version 2 with these tags."""
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\2x\0" + bytes(78), b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": xyz(D50)} | tags
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s12x4s28x", 128 + len(table + body), b"none", 0x2200000, kind, space, pcs, b"acsp")
    return (head + xyz(D50)[8:]).ljust(128, b"\0") + table + body


def fixed(values: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + fixed(values)


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def rgb_profile(name: str, gamma: float = 2.2) -> bytes:
    tags = {key + b"XYZ": xyz(value) for key, value in zip((b"r", b"g", b"b"), PRIMARIES[name], strict=True)}
    return icc(b"RGB ", tags | {key + b"TRC": curve(gamma) for key in (b"r", b"g", b"b")})


def cmyk_profile() -> bytes:
    """The colour is white less its inks, linear in L*: black and white alone are told in full."""
    lab = []
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        light = 100 * (1 - k) * (1 - (c + m + y) / 3)
        lab += [round(light * 255 / 100), 128, 128]
    line = bytes([0] + [round(i * 255 / 255) for i in range(1, 256)])
    matrix = fixed((1, 0, 0, 0, 1, 0, 0, 0, 1))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + line * 4 + bytes(lab) + line * 3
    return icc(b"CMYK", {b"A2B0": table}, b"prtr", b"Lab ")


def swatches(mode: str = "RGB") -> Image.Image:
    row = np.array(COLOURS, np.uint8)[None].repeat(8, axis=0).repeat(8, axis=1)
    return Image.fromarray(row).convert(mode)


def right(colour: tuple[int, ...], name: str, gamma: float = 2.2) -> np.ndarray:
    """The sRGB of a colour in one of the spaces, by the formulas."""
    linear = (np.array(colour) / 255) ** gamma
    seen = np.array(PRIMARIES[name]).T @ linear
    back = np.clip(np.linalg.inv(np.array(PRIMARIES["srgb"]).T) @ seen, 0, 1)
    return 255 * np.where(back <= 0.0031308, 12.92 * back, 1.055 * back ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg", "webp", "avif"])
@pytest.mark.parametrize("space", ["p3", "adobe"])
def test_colours_are_those_of_the_profile(tmp_path, suffix, space):
    more = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}, "avif": {"quality": 100}}
    swatches().save(tmp_path / f"a.{suffix}", icc_profile=rgb_profile(space), **more.get(suffix, {}))
    read = read_image(tmp_path / f"a.{suffix}")
    for i, colour in enumerate(COLOURS):
        assert np.abs(np.array(read.getpixel((8 * i + 4, 4))) - right(colour, space)).max() < 4
    assert notes_of(read) == ()


def test_a_profile_that_says_srgb_changes_nothing():
    picture = swatches()
    picture.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_image(picture).tobytes() == swatches().tobytes()


def test_grey_by_its_profile_also_in_16_bits():
    for grey in (Image.new("L", (4, 4), 128), Image.new("I;16", (4, 4), 128 * 257)):
        grey.info["icc_profile"] = icc(b"GRAY", {b"kTRC": curve(1.0)})
        assert read_image(grey).getpixel((1, 1)) == pytest.approx((188, 188, 188), abs=1)  # half of the light


def test_cmyk_by_its_profile():
    inks = Image.new("CMYK", (4, 4), (0, 0, 0, 128))
    assert read_image(inks).getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=2)
    inks.info["icc_profile"] = cmyk_profile()
    assert read_image(inks).getpixel((0, 0)) == pytest.approx((119, 119, 119), abs=3)  # L* is 50


def test_transparency_and_palettes_keep_their_profile():
    profile, (wanted, *_) = rgb_profile("p3"), (right(COLOURS[0], "p3"),)
    clear = swatches("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    for picture in (clear, swatches().quantize(16)):
        picture.info["icc_profile"] = profile
        assert np.abs(np.array(read_image(picture).getpixel((4, 4))) - wanted).max() < 4
    assert read_image(clear).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    "data", [b"nonsense", rgb_profile("p3")[:200], cmyk_profile(), icc(b"RGB ", {}), b"\0" * 2**24]
)
def test_a_profile_that_does_not_fit_is_none_and_told(data):
    picture = swatches()
    picture.info["icc_profile"] = data
    read = read_image(picture)
    assert read.tobytes() == swatches().tobytes()
    assert len(notes_of(read)) == 1 and "cannot be used" in notes_of(read)[0] and "\n" not in notes_of(read)[0]


def test_training_reads_profiles(tmp_path):
    Image.new("RGB", (8, 8), COLOURS[0]).save(tmp_path / "a.png", icc_profile=rgb_profile("adobe"))
    pixel = load_pictures([tmp_path], 8).images[0, :, 4, 4].numpy()
    assert np.abs(pixel - right(COLOURS[0], "adobe")).max() < 3


def ramp(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, 256).reshape(16, 16)


@pytest.mark.parametrize("low, high", [(-1, 1), (0, 4), (0, 16), (-3, 7), (0, 0.1), (-0.9, 0.95)])
def test_floats_of_any_range_are_seen_and_said(tmp_path: Path, low: float, high: float) -> None:
    Image.fromarray(ramp(low, high).astype(np.float32)).save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")
    grey = np.asarray(read)[:, :, 0]
    assert grey.min() <= 13 and grey.max() >= 248 and abs(float(grey.mean()) - 127.5) < 4
    assert len(notes_of(read)) == 1 and f"a.tif holds values from {low:.4g} to {high:.4g}" in notes_of(read)[0]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_in_16(bits):
    read = read_image(Image.fromarray(ramp(0, 2**bits - 1).round().astype(np.uint16)))
    assert np.array_equal(np.asarray(read)[:, :, 0].ravel(), np.arange(256)) and "black is 0" in notes_of(read)[0]


def test_usual_ranges_are_taken_without_a_word():
    whole, floats = {"floats": False}, {"floats": True}
    assert range_of(0.0, 200.0, **whole) == ((0, 255), True) and range_of(9.0, 6e4, **whole) == ((0, 65535), True)
    assert range_of(0.0, 0.9, **floats) == ((0, 1), True) and range_of(0.0, 250.0, **floats) == ((0, 255), True)
    assert range_of(-0.02, 1.05, **floats)[1] and range_of(0.0, 0.0, **floats) == ((0, 1), True)
    assert range_of(4.0, 4.0, **floats) == ((0, 4), False)


def test_a_file_that_is_not_finite_is_named(tmp_path):
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "hole.tif")
    with pytest.raises(ImageError, match=r"hole\.tif holds values that are not finite"):
        read_image(tmp_path / "hole.tif")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("tail", [b"", b"\0\0\1\nTRAILER of the camera" * 50])
def test_a_jpeg_without_its_end_mark(tmp_path, progressive, tail):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8))
    out = io.BytesIO()
    noise.save(out, "JPEG", progressive=progressive)
    data, whole = out.getvalue()[:-2], read_image(io.BytesIO(out.getvalue()))
    assert read_image(io.BytesIO(data + tail)).tobytes() == whole.tobytes()
    assert read_image(io.BytesIO(data + b"\xff")).tobytes() == whole.tobytes()
    for kept in (0.5, 0.9, 0.99):
        with pytest.raises(ImageError, match="damaged or cut off"):
            read_image(io.BytesIO(data[: int(kept * len(data))]))
