"""Colours of 12 bits in 16, and TIFFs of floats, are read in their own range."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from generators.errors import ImageError
from generators.pictures.image import notes_of, read_image
from generators.training.data import load_pictures
from generators.training.run import report_pictures
from tests.generators.pictures.test_told import chunk

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 4096, (7, 9, 3))
DEEP[0, 0] = 4095
SHALLOW = np.rint(DEEP * 255 / 4095)
LINES = "holds values from 0 to 4095; black is 0, white 4095"
DEEP[0, 1] = SHALLOW[0, 1] = 0


def png(values: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits; each row as the difference to the one above."""
    rows = values.astype(">u2").reshape(len(values), -1).view(np.uint8)
    steps = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    head = struct.pack(">IIBBBBB", values.shape[1], len(values), 16, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\2" + row.tobytes() for row in steps))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, order: str = "<", step: int = 1, packed: bool = False, **tags: int) -> bytes:
    """A TIFF of one strip; step: what its predictor did."""
    height, width, count = values.shape
    size, form = values.itemsize, {"u": 1, "f": 3}[values.dtype.kind]
    body = before(values, order, step)
    body = zlib.compress(body) if packed else body
    kinds = struct.pack(f"{order}{count}H", *[size * 8] * count) + struct.pack(f"{order}{count}H", *[form] * count)
    at = 8 + len(kinds) + len(body)
    entries = {256: width, 257: height, 258: 8, 259: 8 if packed else 1, 262: 2 if count > 2 else 1}
    entries |= {273: 8 + len(kinds), 277: count, 278: height, 279: len(body), 284: tags.get("planar", 1), 317: step}
    entries |= {338: 2} if count in (2, 4) else {}
    entries[339] = 8 + 2 * count
    several = {258, 339} if count > 2 else set()
    if count <= 2:  # the values themselves
        value = struct.unpack(order + "I", struct.pack(f"{order}2H", *[size * 8] * 2))[0]
        entries |= {258: value, 339: struct.unpack(order + "I", struct.pack(f"{order}2H", form, form))[0]}
    shorts = {258, 339}
    table = struct.pack(order + "H", len(entries))
    for tag in sorted(entries):
        kind, many = (3, count) if tag in shorts else (4, 1)
        table += struct.pack(order + "HHII", tag, kind, many, entries[tag])
    assert several <= shorts
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at) + kinds + body + table + bytes(4)


def before(values: np.ndarray, order: str, step: int) -> bytes:
    """The bytes of rows, as a predictor leaves them."""
    size = values.itemsize
    if step == 1:
        return values.astype(values.dtype.newbyteorder(order)).tobytes()
    whole = values.view(f"u{size}")
    if step == 2:
        return np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1])).astype(f"{order}u{size}").tobytes()
    planes = whole.astype(f">u{size}").view(np.uint8).reshape(len(values), -1, size).transpose(0, 2, 1)
    rows = np.ascontiguousarray(planes).reshape(len(values), -1, values.shape[2])
    return np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1])).tobytes()


def is_shallow(data: bytes) -> bool:
    read = read_image(BytesIO(data))
    assert len(notes_of(read)) == 1 and LINES in notes_of(read)[0]
    return bool((np.asarray(read) == SHALLOW).all())


def test_12_bits_of_colour_in_a_png():
    assert is_shallow(png(DEEP, 2))
    for cover in (4095, 65535):
        assert is_shallow(png(np.dstack([DEEP, np.full((7, 9), cover)]), 6))
    grey = np.dstack([DEEP[:, :, 0], np.full((7, 9), 65535)])
    read = np.asarray(read_image(BytesIO(png(grey, 4))))
    assert (read == SHALLOW[:, :, :1]).all()
    clear = np.dstack([DEEP, np.where(np.arange(63).reshape(7, 9) == 5, 0, 65535)])
    assert read_image(BytesIO(png(clear, 6))).getpixel((5, 0)) == (255, 255, 255)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packed, step", [(False, 1), (True, 1), (True, 2)])
def test_12_bits_of_colour_in_a_tiff(order, packed, step):
    assert is_shallow(tiff(DEEP.astype("u2"), order, step, packed))


def test_16_bits_are_taken_without_a_word():
    read = read_image(BytesIO(png(DEEP * 16, 2)))
    assert (np.asarray(read) == DEEP >> 4).all() and notes_of(read) == ()
    assert not np.asarray(read_image(BytesIO(png(DEEP * 0, 2)))).any()
    low = read_image(BytesIO(png(DEEP % 256, 2)))  # 8 bits in 16
    assert (np.asarray(low) == DEEP % 256).all()


FLOATS = RNG.random((7, 9, 3))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "kind, packed, step", [("f4", False, 1), ("f4", True, 1), ("f4", True, 2), ("f4", True, 3), ("f8", True, 1)]
)
def test_colours_of_floats(order, kind, packed, step):
    read = read_image(BytesIO(tiff(FLOATS.astype(kind), order, step, packed)))
    assert np.abs(np.asarray(read) - np.rint(FLOATS * 255)).max() <= 1 and notes_of(read) == ()
    assert np.mean(np.asarray(read) == np.rint(FLOATS * 255)) > 0.99


@pytest.mark.parametrize("order", "<>")
def test_half_floats_and_whole_ranges(order):
    half = read_image(BytesIO(tiff(FLOATS.astype("f2"), order, 3, True)))
    assert np.abs(np.asarray(half) - FLOATS * 255).max() < 0.8
    grey = read_image(BytesIO(tiff(FLOATS[:, :, :1].astype("f2"), order)))
    assert np.abs(np.asarray(grey)[:, :, 0] - FLOATS[:, :, 0] * 255).max() < 0.8
    wide = read_image(BytesIO(tiff(FLOATS.astype("f4") * 2 - 1, order)))
    assert np.abs(np.asarray(wide) - FLOATS * 255).max() < 0.6
    assert len(notes_of(wide)) == 1 and "black is -1, white 1" in notes_of(wide)[0]


def test_floats_under_a_cover():
    cover = np.where(np.arange(63).reshape(7, 9) == 5, 0.0, 1.0)
    read = np.asarray(read_image(BytesIO(tiff(np.dstack([FLOATS, cover]).astype("f4")))))
    assert (read[0, 5] == 255).all() and (read[1:] == np.rint(FLOATS * 255)[1:]).all()


def test_what_is_not_read_says_of_what_kind_it_is():
    holes = FLOATS.astype("f4")
    holes[1, 1] = np.nan
    for data, words in (
        (tiff(holes), "not finite; save it as 8 or 16 bits"),
        (tiff(FLOATS.astype("f4"), planar=2), "3 x 32 bits of floats a pixel"),
        (tiff(DEEP.astype("u2"), planar=2), "3 x 16 bits of whole numbers a pixel"),
        (tiff(DEEP.astype("u4")), "3 x 32 bits of whole numbers a pixel"),
    ):
        with pytest.raises(ImageError, match=words):
            read_image(BytesIO(data))


def test_training_tells_of_scaled_pictures(tmp_path):
    for k in range(5):
        (tmp_path / f"{k}.png").write_bytes(png(DEEP, 2))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    lines = report_pictures(load_pictures([tmp_path], 8))
    told = [line for line in lines if "guess" in line]
    assert told == [f"5 of them were read by a guess, as this one: {tmp_path / '0.png'} {LINES}"]
