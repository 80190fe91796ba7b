"""Colours that a file tells of without a profile, by chunks of a PNG, a box of an AVIF or EXIF: made into a profile."""

import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from generators.shapes import Float

COLOURS = "colours"  # key of Image.info
Place = tuple[float, float]  # x and y of CIE 1931
D65: Place = (0.3127, 0.3290)
SRGB: tuple[Place, ...] = (D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))  # white, red, green, blue
ADOBE: tuple[Place, ...] = (D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
CODED = {  # by the numbers of ITU-T H.273
    1: SRGB,
    5: (D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: (D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
SRGB_CURVE, PQ = 0.0, -1.0  # that are no powers
CURVES = {1: SRGB_CURVE, 4: 2.2, 5: 2.8, 6: SRGB_CURVE, 8: 1.0, 13: SRGB_CURVE, 14: SRGB_CURVE, 15: SRGB_CURVE, 16: PQ}
PAPER = 203 / 10_000  # the white of print in HDR, as a share of PQ's brightest (ITU-R BT.2408)
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
INNER, INTEROP = 0x8769, 0xA005  # directories of EXIF
COLOR_SPACE = 0xA001


@dataclass(frozen=True)
class Colours:
    """Where white, red, green and blue lie, and the power that makes light of values, SRGB_CURVE or PQ.

    why: for what reason they cannot be used; "" where they can.
    """

    places: tuple[Place, ...] = SRGB
    curve: float = SRGB_CURVE
    why: str = ""


def told(image: Image.Image, data: bytes = b"") -> Colours | None:
    """The colours that a picture tells of; None for sRGB, and where it tells nothing. data: its file."""
    coded = chunk(data, b"cICP") if image.format == "PNG" else None
    if coded is not None and len(coded) == 4:
        return by_code(*coded)
    at = data.find(b"colrnclx", 0, 2**16) if image.format == "AVIF" else -1
    if at >= 0 and len(data) >= at + 12:
        return by_code(*struct.unpack_from(">HH", data, at + 8))
    if image.format == "PNG" and "srgb" in image.info:
        return None
    gamma, places = image.info.get("gamma"), image.info.get("chromaticity")
    if image.format == "PNG" and (gamma or places):
        power = 1 / gamma if gamma else 2.2
        curve = SRGB_CURVE if abs(power - 2.2) < 0.03 else power  # 0.45455 is how sRGB is told in this chunk
        pairs = tuple(zip(places[::2], places[1::2], strict=True)) if places else SRGB
        return Colours(pairs, curve)
    return Colours(ADOBE, 563 / 256) if is_adobe(image) else None


def chunk(data: bytes, wanted: bytes) -> bytes | None:
    """The content of a PNG's chunk that stands before its pixels; None where there is none."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == wanted:
            return data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            return None
        at += 12 + length
    return None


def by_code(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> Colours | None:
    """The colours of four numbers of ITU-T H.273; 2 says nothing, and the curves of video are seen as sRGB's."""
    curve = SRGB_CURVE if transfer == 2 else CURVES.get(transfer)
    places = SRGB if primaries == 2 else CODED.get(primaries)
    if curve is None or places is None or matrix or full != 1:
        return Colours(why=f"primaries {primaries}, curve {transfer}, matrix {matrix}, full {full} of H.273")
    return None if (places, curve) == (SRGB, SRGB_CURVE) else Colours(places, curve)


def is_adobe(image: Image.Image) -> bool:
    """Tell whether EXIF says Adobe RGB: as the standard has it (R03), or as some cameras do (2)."""
    if image.format == "PNG" and "exif" not in image.info:
        return False  # Pillow would decode it to look
    try:
        exif = image.getexif()
        inner = exif.get_ifd(INNER)
        space, rule = inner.get(COLOR_SPACE), exif.get_ifd(INTEROP).get(1) if INTEROP in inner else None
    except Exception:  # the pixels are good, whatever its metadata says
        return False
    rule = rule.decode("latin-1") if isinstance(rule, bytes) else str(rule)
    return space == 2 or (space != 1 and rule.startswith("R03"))


def profile_of(colours: Colours) -> bytes:
    """An ICC profile of these colours. Raises any kind where they cannot be."""
    if colours.why:
        raise ValueError(colours.why)
    to_xyz = matrix_of(colours.places)
    if not np.isfinite(to_xyz).all() or abs(to_xyz).max() > 4:
        raise ValueError("its primaries cannot be")
    light = np.rint(65535 * light_of(np.linspace(0, 1, 4096), colours.curve)).astype(">u2").tobytes()
    curve = b"curv" + bytes(4) + struct.pack(">I", 4096) + light
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\2x\0" + bytes(78), b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": xyz(D50)}
    tags |= {key + b"XYZ": xyz(to_xyz[:, i]) for i, key in enumerate((b"r", b"g", b"b"))}
    count = len(tags) + 3
    at, body = 132 + 12 * count, b""
    table = struct.pack(">I", count)
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    for key in (b"r", b"g", b"b"):  # one curve for all
        table += key + b"TRC" + struct.pack(">II", at + len(body), len(curve))
    body += curve
    size = 128 + len(table) + len(body)
    kinds = b"mntrRGB XYZ "
    head = struct.pack(">I4sI12s12x4s28x", size, b"none", 0x2200000, kinds, b"acsp") + xyz(D50)[8:]
    return head.ljust(128, b"\0") + table + body


def matrix_of(places: tuple[Place, ...]) -> Float[np.ndarray, "3 3"]:
    """From red, green and blue to XYZ under D50."""
    white, *primaries = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in places)
    columns = np.stack(primaries, axis=1)
    to_xyz = columns * np.linalg.solve(columns, white)
    cones = (BRADFORD @ D50) / (BRADFORD @ white)
    return np.linalg.inv(BRADFORD) @ (cones[:, None] * BRADFORD) @ to_xyz


def light_of(values: Float[np.ndarray, " n"], curve: float) -> Float[np.ndarray, " n"]:
    """The light of values in [0, 1]; of PQ what is brighter than paper is white."""
    if curve == SRGB_CURVE:
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    if curve != PQ:
        return values**curve
    root = values ** (32 / 2523)  # SMPTE ST 2084
    light = (np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)
    return np.minimum(light / PAPER, 1)


def xyz(values: Float[np.ndarray, " 3"]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))
