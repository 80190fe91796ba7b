"""The files that `hostile_pictures` starts from: small pictures of each format, and bombs."""

import struct
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SIDE = 9000  # of pictures that are large and honest: 81 megapixels
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    """The picture as a file."""
    out = BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def seeds() -> dict[str, bytes]:
    """Small pictures in every format and many of their kinds, with profiles and orientations."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).resize((96, 80), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey, more = smooth.convert("L"), [smooth.rotate(90)]
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    floats = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    return {
        "jpeg": encoded(smooth, "JPEG", exif=exif, icc_profile=SRGB),
        "progressive": encoded(smooth, "JPEG", progressive=True),
        "cmyk": encoded(smooth.convert("CMYK"), "JPEG"),
        "mpo": encoded(smooth, "MPO", save_all=True, append_images=more),
        "png": encoded(smooth, "PNG", icc_profile=SRGB, exif=exif),
        "rgba": encoded(smooth.convert("RGBA"), "PNG"),
        "palette": encoded(smooth.quantize(16), "PNG", transparency=3),
        "png16": encoded(wide, "PNG"),
        "apng": encoded(smooth, "PNG", save_all=True, append_images=more),
        "webp": encoded(smooth, "WEBP", icc_profile=SRGB, exif=exif),
        "lossless": encoded(smooth.convert("RGBA"), "WEBP", lossless=True),
        "animated": encoded(smooth, "WEBP", save_all=True, append_images=more),
        "tiff": encoded(smooth, "TIFF", icc_profile=SRGB),
        "lzw": encoded(smooth, "TIFF", compression="tiff_lzw"),
        "deflate": encoded(smooth, "TIFF", compression="tiff_adobe_deflate"),
        "tiffjpeg": encoded(smooth, "TIFF", compression="jpeg"),
        "group4": encoded(smooth.convert("1"), "TIFF", compression="group4"),
        "floats": encoded(floats, "TIFF"),
        "bigtiff": encoded(wide, "TIFF", big_tiff=True),
        "lab": encoded(smooth.convert("LAB"), "TIFF"),
        "bmp": encoded(smooth, "BMP"),
        "rle": rle(64, 64, b"\x40\x07\0\0" * 64 + b"\0\1"),
        "gif": encoded(smooth.quantize(16), "GIF", save_all=True, append_images=[smooth.rotate(180).quantize(16)]),
        "avif": encoded(smooth, "AVIF", icc_profile=SRGB),
        "jp2": encoded(smooth, "JPEG2000"),
        "j2k": encoded(smooth, "JPEG2000", no_jp2=True, tile_size=(32, 32)),
        "ppm": encoded(smooth, "PPM"),
        "pgm": b"P5 48 40 1000\n" + bytes(range(240)) * 16,
        "plain": b"P3\n4 4\n255\n" + b"12 200 99 " * 16,
        "pfm": encoded(floats, "PPM"),
    }


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 2, *, before: bytes = b"", pixels: bool = True) -> bytes:
    """A black PNG; without pixels, its header alone and a byte of them."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer = zlib.compressobj(1)
    row = bytes(1 + width * channels * depth // 8)
    parts = [packer.compress(row) for _ in range(height)] if pixels else [packer.compress(b"\0")]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    body = chunk(b"IDAT", b"".join(parts) + packer.flush())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + palette + body + chunk(b"IEND", b"")


def rle(width: int, height: int, body: bytes) -> bytes:
    """A BMP of 8 bits, run-length encoded."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + info + bytes(1024) + body


def scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    small = encoded(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = small.rfind(b"\xff\xda")
    return small[:last] + small[last:-2] * count + b"\xff\xd9"


def tiff(*tags: tuple[int, int, int, int], extra: bytes = b"") -> bytes:
    """A TIFF of these tags (number, type, count, value), followed by extra."""
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + body + bytes(4) + extra


def strips(count: int) -> bytes:
    """A TIFF of one row a strip, all in one place."""
    at = 8 + 2 + 9 * 12 + 4
    plain = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    lists = [(273, 4, count, at), (278, 4, 1, 1), (279, 4, count, at + 4 * count)]
    tags = sorted(plain + lists)
    return tiff(*tags, extra=struct.pack("<I", 8) * count + struct.pack("<I", 1) * count)


def flat(mode: str, kind: str, side: int = SIDE, **how: Any) -> bytes:
    return encoded(Image.new(mode, (side, side)), kind, **how)


def turned(side: int = SIDE) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return flat("RGB", "JPEG", side, exif=exif)


def bombs() -> dict[str, Callable[[], bytes]]:
    """Files that ask for far more than they hold, and honest ones that are as large as may be; built when called."""
    segment = b"\xff\xe5\0\2"
    text = b"<x tiff:Orientation=" * 400_000
    packed = zlib.compress(bytes(100_000_000), 1)
    profile = chunk(b"iCCP", b"x\0\0" + packed)
    loop = tiff((256, 4, 1, 8), (257, 4, 1, 8), (34665, 4, 1, 8), (330, 4, 1, 8))
    small = encoded(Image.new("RGB", (8, 8)), "JPEG")
    return {
        "1 x 100 million": partial(png, 1, 100_000_000, pixels=False),
        "100 million x 1": partial(png, 100_000_000, 1, pixels=False),
        "2 billion wide": partial(png, 2**31 - 1, 2**31 - 1, pixels=False),
        "black 81 megapixels": partial(png, SIDE, SIDE),
        "black 100 megapixels": partial(png, 10_000, 10_000, 8, 0),
        "16 bits 81 megapixels": partial(png, SIDE, SIDE, 16, 0),
        "16 bits, colours": partial(png, SIDE, SIDE, 16, 2),
        "transparent 81 megapixels": partial(png, SIDE, SIDE, 8, 6),
        "palette 100 megapixels": partial(png, 10_000, 10_000, 8, 3),
        "a million chunks": lambda: png(8, 8, before=chunk(b"teSt", b"") * 1_000_000),
        "a million texts": lambda: png(8, 8, before=chunk(b"tEXt", b"a\0b") * 1_000_000),
        "a text that unfolds": lambda: png(8, 8, before=chunk(b"zTXt", b"x\0\0" + packed)),
        "a profile that unfolds": lambda: png(8, 8, before=profile),
        "ten thousand scans": partial(scans, 4000, 10_000),
        "90 scans": partial(scans, 2400, 90),
        "20 scans of 64 megapixels": partial(scans, 8000, 14),
        "a million segments": lambda: small[:2] + segment * 1_000_000 + small[2:],
        "orientation again and again": lambda: small[:2] + xmp(text) + small[2:],
        "turned 81 megapixels": turned,
        "progressive 49 megapixels": partial(flat, "RGB", "JPEG", 7000, progressive=True, subsampling=0),
        "inks 81 megapixels": partial(flat, "CMYK", "JPEG"),
        "runs of 100 megapixels": lambda: rle(10_000, 10_000, b"\xff\0" * 400_000),
        "runs of one pixel": lambda: rle(1400, 1400, b"\1\0" * 1_960_000),
        "runs that jump": lambda: rle(1400, 1400, b"\0\2\0\0" * 20_000_000),
        "runs in a column": lambda: rle(1, 65_000, b"\0\2\0\1" * 500_000),
        "raw 1 x 100 million": lambda: (
            b"BM" + struct.pack("<IHHIIiiHHII", 0, 0, 0, 54, 40, 1, 10**8, 1, 24, 0, 0) + bytes(64)
        ),
        "a million strips": partial(strips, 1_000_000),
        "60 thousand strips": partial(strips, 60_000),
        "a directory in itself": lambda: loop,
        "zipped 81 megapixels": partial(flat, "RGB", "TIFF", compression="tiff_adobe_deflate"),
        "floats 64 megapixels": partial(flat, "F", "TIFF", 8000, compression="tiff_lzw"),
        "floats 100 megapixels": partial(flat, "F", "TIFF", 10_000, compression="tiff_lzw"),
        "whole numbers": partial(flat, "I", "TIFF", 8000, compression="tiff_lzw"),
        "a wide screen": lambda: b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"\x3b",
        "a frame of 81 megapixels": partial(flat, "P", "GIF"),
        "webp 100 megapixels": partial(flat, "RGB", "WEBP", 10_000, lossless=True, quality=0, method=0),
        "webp 36 megapixels": partial(flat, "RGB", "WEBP", 6000, lossless=True, quality=0, method=0),
        "avif 16 megapixels": partial(flat, "RGB", "AVIF", 4000, speed=10),
        "jpeg 2000 of 25 megapixels": partial(flat, "RGB", "JPEG2000", 5000),
        "jpeg 2000 of 36 megapixels": partial(flat, "L", "JPEG2000", 6000),
        "plain text": lambda: b"P3 800 800 255\n" + b"1 2 3 " * 640_000,
        "plain text, large": lambda: b"P1 9000 9000\n" + b"1" * 81_000_000,
        "an odd maximum": lambda: b"P6 1200 1200 1000\n" + bytes(2 * 3 * 1200 * 1200),
        "an odd maximum, large": lambda: b"P6 9000 9000 1000\n" + bytes(1000),
        "a small file of 100 megapixels": lambda: b"P6 10000 10000 255\n" + bytes(1000),
        "endless comments": lambda: b"P6 " + b"# a\n" * 5_000_000 + b"8 8 255\n" + bytes(192),
        "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n",
        "PostScript in DOS": lambda: b"\xc5\xd0\xd3\xc6" + bytes(40),
        "a metafile": lambda: b"\xd7\xcd\xc6\x9a" + bytes(60),
        "Photoshop": lambda: b"8BPS\0\1" + bytes(60),
        "a film": lambda: b"\0\0\0\x18ftypisom" + bytes(60),
        "nothing": lambda: b"\0",
        "zeros": lambda: bytes(10_000_000),
    }


def xmp(text: bytes) -> bytes:
    """Segments of XMP."""
    name = b"http://ns.adobe.com/xap/1.0/\0"
    parts = [text[i : i + 65_000] for i in range(0, len(text), 65_000)]
    return b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(name + part)) + name + part for part in parts)
