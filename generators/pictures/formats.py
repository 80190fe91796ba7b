"""The formats of pictures that are read, by content and by name, and how to call those that are not."""

import re
from pathlib import Path

READS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")  # a closed list: no other is tried
NAMES = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 or PPM"
WRITES = {f.lower(): f for f in READS[:6]} | {"jpg": "JPEG", "tif": "TIFF"}
OTHERS = "jpe jfif mpo apng avif avifs jp2 j2k jpx jpf j2c jpc ppm pgm pbm pnm pfm".split()
SUFFIXES = tuple(sorted({f".{kind}" for kind in (*WRITES, *OTHERS)}))  # of pictures in a folder or a zip
RAW = {f".{kind}" for kind in "cr2 cr3 crw nef nrw arw sr2 dng orf rw2 raf pef srw 3fr iiq".split()}  # a TIFF outside
FOREIGN = "heic heif hif jxl psd psb svg eps ai tga exr hdr ico icns pcx xcf qoi mov mp4 m4v avi".split()
UNREAD = RAW | {f".{kind}" for kind in FOREIGN}  # pictures and films that are left out, and named
DATA = "txt json jsonl csv tsv md html xml yaml yml toml ini log py npz npy pt pth pkl zip pdf safetensors".split()
NO_PICTURES = {f".{kind}" for kind in DATA}  # whose content need not be looked at
HEAD = 64  # bytes that tell the format
STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
}
BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes of them, as the file tells
PPM = re.compile(rb"P([1-6f])\s+(#|\d)")


def format_of(head: bytes) -> str | None:
    """The format in READS that a file of these first bytes is of; None for anything else."""
    for start, kind in STARTS.items():
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp" and {b"avif", b"avis"} & brands(head):
        return "AVIF"
    return "PPM" if PPM.match(head) else None


def brands(head: bytes) -> set[bytes]:
    """The brands that a file of ISO boxes tells of itself."""
    end = min(len(head), int.from_bytes(head[:4], "big"))
    return {head[8:12]} | {head[at : at + 4] for at in range(16, end, 4)}


def is_picture(name: str, head: bytes) -> bool:
    """Tell whether a file is a picture that can be read, by its content; a camera's raw file is none, if a TIFF."""
    kind = format_of(head)
    return kind is not None and not (kind == "TIFF" and Path(name).suffix.lower() in RAW)


def is_other_picture(name: str, head: bytes) -> bool:
    """Tell whether a file is a picture or film that cannot be read."""
    return Path(name).suffix.lower() in UNREAD or head[4:8] == b"ftyp"


def unidentified(data: bytes, name: str) -> str:
    """Say why a file is no picture, as far as its first bytes tell."""
    kind = format_of(data[:HEAD])
    if kind is None and data[4:8] == b"ftyp":
        return f"{name} is HEIC or a video, which cannot be read; convert it to JPEG or PNG"
    if kind is not None or data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"RIFF")):
        return f"{name} is damaged or cut off (its header cannot be read); save or download it again"
    if data.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF", b"8BPS")):
        return f"{name} is a PostScript, PDF or Photoshop file, which is not read; convert it to JPEG or PNG"
    return f"{name} is not a {NAMES} picture; convert it to JPEG or PNG"
