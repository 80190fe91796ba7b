"""Files <-> tensors; the only place that knows uint8."""

import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BytesIO
from pathlib import Path
from threading import RLock
from typing import IO, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from generators.errors import ImageError
from generators.pictures.bounds import MAX_FILE, MOST, check_file, check_memory, check_size, scans_of
from generators.pictures.colour import to_srgb
from generators.pictures.deep import filled, layout
from generators.pictures.formats import HEAD, NAMES, READS, WRITES, format_of, unidentified
from generators.pictures.tiff import read_tiff, unread
from generators.pictures.told import COLOURS, told
from generators.shapes import Float, UInt8
from generators.storage import write_bytes

READING = 3  # to be raised when files come to be read as other pixels, so that what was made of the old is not used
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF")
SETTINGS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
Source = str | Path | BinaryIO | BufferedIOBase
SOURCE, NOTES = "source", "notes"  # keys of Image.info: what a picture is called in messages; what was guessed
ORIENTATION = 0x0112
FILL = bytes(range(1, 255))  # goes on where a JPEG ends, to see whether anything was still to come
QUIET = RLock()  # Python's filter of warnings is one for all threads


def read_image(source: Source | Image.Image) -> Image.Image:
    """Read a photograph as 8-bit sRGB, upright; transparency becomes white, "-" is standard input.

    JPEG, PNG, WebP, TIFF, BMP, AVIF, JPEG 2000, PPM or the first frame of a GIF, in any depth and colour model, by the
    colour profile that it carries, up to 100 megapixels. `source_name` tells the result's name afterwards, `notes_of`
    what had to be guessed. A picture that was read here comes back as it is. ImageError if it cannot be read.
    """
    if isinstance(source, Image.Image) and source.mode == "RGB" and SOURCE in source.info:
        return source
    if isinstance(source, Image.Image):
        name, picture = source_name(source), source
    else:
        name, picture = _read_bytes(source)
        if not picture:
            raise ImageError(f"{name} is empty; a photograph ({NAMES}) is needed")
    with quiet():
        image, notes = _decode(picture, name)
    image.info = {SOURCE: name, NOTES: notes}
    return image


def source_name(image: Image.Image) -> str:
    """The name to call a picture by in messages: its file, or "the image"."""
    return str(image.info.get(SOURCE) or getattr(image, "filename", "") or "the image")


def notes_of(image: Image.Image) -> tuple[str, ...]:
    """The guesses that a picture was read by, a line each."""
    return tuple(image.info.get(NOTES, ()))


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of Pillow, of large pictures and odd metadata: neither is the user's doing. One thread at a time."""
    with QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read_bytes(source: Source) -> tuple[str, bytes]:
    """A source's name and its content; ImageError if there is none to be had."""
    name = str(source if isinstance(source, str | Path) else getattr(source, "name", "the file"))
    name = "standard input" if source == "-" else name
    try:
        if source == "-":
            return name, at_most(standard_input(), name)
        if isinstance(source, str | Path):
            return name, file_bytes(source)
        if hasattr(source, "read"):
            return name, at_most(source, name)
    except (OSError, ValueError) as error:
        raise ImageError(why_not(name, error)) from error
    raise ImageError(f"a {type(source).__name__} came; pass a path, an open binary file or a PIL image")


def standard_input() -> BinaryIO | BufferedIOBase:
    """Standard input for bytes; ImageError where there is none."""
    if sys.stdin is None or getattr(sys.stdin, "closed", False):
        raise ImageError("standard input is closed; name a file, or pipe a picture in")
    return sys.stdin.buffer


def file_bytes(path: str | Path) -> bytes:
    """The bytes of a file, of a photograph's size at most; OSError or ValueError where they cannot be had."""
    if str(path) == "":
        raise ImageError("the path is empty; name a photograph, or the folder of some")
    path = Path(path)
    if path.exists() and not path.is_dir() and not (path.is_file() and path.stat().st_size <= MAX_FILE):
        with path.open("rb") as file:  # a pipe or device, which may never end, or a file that is too large
            return at_most(file, str(path))
    return path.read_bytes()


def at_most(file: IO[bytes] | BufferedIOBase, name: str) -> bytes:
    """All that a file holds; ImageError where that is more than a photograph does."""
    data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ImageError(f"{name} has more than {MAX_FILE >> 20} MB; a photograph is smaller, save it as JPEG or PNG")
    return data


def why_not(place: str, error: Exception) -> str:
    """One line on why a file's bytes cannot be had."""
    match error:
        case FileNotFoundError():
            return f"{place} does not exist; check the path"
        case IsADirectoryError():
            return f"{place} is a folder; name the photographs in it one by one"
        case PermissionError():
            return f"{place} may not be read; check its permissions"
        case OSError() | ValueError():
            return f"{place} cannot be read: {getattr(error, 'strerror', None) or error}; check the path"
    return f"{place} cannot be read from its zip ({why_zip(error)}"


def why_zip(error: Exception) -> str:
    """Why a file in a zip cannot be read, and what to do."""
    if "encrypted" in str(error) or "password" in str(error).lower():
        return "it has a password); make the zip again without one"
    if isinstance(error, NotImplementedError):
        return f"{error}, such as Deflate64); unpack it and make it again with Deflate, as most programs do"
    return f"{error}); make the zip again"


def _decode(picture: bytes | Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """Decode, turn upright and convert, with notes; the work is judged by the header, before any pixel is decoded."""
    try:
        if isinstance(picture, bytes):
            image, notes = _loaded(picture, name)
        else:
            check_size(picture, name)
            notes = [*notes_of(picture)]
            picture.load()  # here, as its EXIF hides what is wrong with its pixels
            check_memory(picture, 0, name, turned=_is_turned(picture))
            image = picture.copy()  # also loads it
            image.info[COLOURS] = told(picture)
        _turn_upright(image)
        image, more = to_srgb(image, name)
        return image, [*notes, *more]
    except ImageError:
        raise
    except (Image.DecompressionBombError, MemoryError):
        raise ImageError(f"{name} is far larger than can be read; shrink it to at most {MOST}") from None
    except UnidentifiedImageError:
        assert isinstance(picture, bytes)
        raise ImageError(unread(picture, name) or unidentified(picture, name)) from None
    except Exception as error:  # Pillow's decoders raise nearly any type on a broken file
        why = textwrap.shorten(str(error), 80) or type(error).__name__
        raise ImageError(f"{name} is damaged or cut off ({why}); save or download it again") from error


def _loaded(data: bytes, name: str) -> tuple[Image.Image, list[str]]:
    """The picture of a file, decoded, with the colours that it tells of; and notes on how its values were scaled."""
    kind = format_of(data[:HEAD])
    check_file(data, kind, name)
    if kind == "TIFF" and (found := read_tiff(data, name)):
        return found
    image = Image.open(BytesIO(data), formats=READS)
    check_size(image, name)
    if colours := told(image, data):
        image.info[COLOURS] = colours
    turned = b"eXIf" in data if kind == "PNG" else _is_turned(image)  # Pillow decodes a PNG to look for its EXIF
    check_memory(image, len(data), name, turned=turned)
    deep = layout(image)
    try:
        image.load()
    except OSError:
        whole = _without_end(data, name) if kind == "JPEG" else None
        if whole is None:
            raise
        whole.info[COLOURS] = colours
        return whole, []
    image, said = filled(image, data, deep, name)
    return image, [said] if said else []


def _without_end(data: bytes, name: str) -> Image.Image | None:
    """A JPEG that lacks its end mark; None unless all pixels are there.

    Where pixels are missing, they come out otherwise when other bytes follow.
    """
    scans = scans_of(data, name)
    if scans.ended or not scans.whole():
        return None
    stem = data.rstrip(b"\xff")
    image, other = (Image.open(BytesIO(stem + more + b"\xff\xd9"), formats=["JPEG"]) for more in (b"", FILL))
    return image if image.tobytes() == other.tobytes() else None


def _is_turned(image: Image.Image) -> bool:
    """Tell whether the EXIF orientation asks for a turn; damaged EXIF counts as none."""
    try:
        return image.getexif().get(ORIENTATION, 1) in range(2, 9)
    except Exception:  # the pixels are good, whatever its metadata says
        return False


def _turn_upright(image: Image.Image) -> None:
    """Turn an image as its EXIF orientation says; damaged EXIF counts as none."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # as above
        return


def to_tensor(image: Image.Image) -> Float[Tensor, "1 3 h w"]:
    """An image as RGB in [-1, 1]."""
    pixels = np.array(image if image.mode == "RGB" else read_image(image), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None].contiguous()


def to_pil(images: Float[Tensor, "*batch c h w"]) -> Image.Image:
    """An image in [-1, 1] as 8-bit RGB, values beyond clamped; grey (c = 1) is repeated.

    ImageError unless it is one image of 1 or 3 channels, without NaN.
    """
    if images.ndim not in (3, 4) or images.shape[-3] not in (1, 3) or (images.ndim == 4 and len(images) != 1):
        raise ImageError(f"a tensor of shape {tuple(images.shape)} came; one image is (3, h, w), pick one of a batch")
    if images.isnan().any():
        raise ImageError("the image holds NaN; lower the learning rate, or use float32")
    image = images.detach().reshape(images.shape[-3:]).float().cpu()
    pixels = (image * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    picture = Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
    picture.info[SOURCE] = "the image"
    return picture


def resize(image: Image.Image, size: int) -> Image.Image:
    """Resample to size x size pixels with an antialiased Lanczos filter; `fit_square` first keeps proportions."""
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)


def square_pixels(image: Image.Image, size: int, channels: int = 3) -> UInt8[np.ndarray, "channels size size"]:
    """The centre square at size x size pixels; channels 1 is the luma."""
    small = resize(fit_square(image), size)
    pixels = np.asarray(small if channels == 3 else small.convert("L"))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def fit_square(image: Image.Image) -> Image.Image:
    """The largest square about the centre."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def write_image(
    image: Image.Image | Float[Tensor, "*batch c h w"],
    path: str | Path,
    format: str | None = None,
    exif: bytes | None = None,
) -> None:
    """Write an image in the format that its suffix names, making parent folders; "-" is PNG to standard output.

    A reader never sees half a file. format: png, jpg, webp, tiff, bmp or gif, whatever the suffix. exif: what to
    keep of a photograph's EXIF (`exif.kept_exif`), where the format holds any. ImageError if it cannot be written.
    """
    picture = to_pil(image) if isinstance(image, Tensor) else image
    key = (format or ("png" if str(path) == "-" else Path(path).suffix)).lower().lstrip(".")
    if key not in WRITES:
        raise ImageError(f"{path} has the format {key!r}; name it with one of .{', .'.join(WRITES)}")
    buffer, kind = BytesIO(), WRITES[key]
    try:
        more = {"exif": exif} if exif and kind in WITH_EXIF else {}
        (picture if picture.mode == "RGB" else read_image(picture)).save(buffer, kind, **SETTINGS.get(kind, {}), **more)
    except (OSError, ValueError) as error:
        size = f"{picture.width} x {picture.height}"
        raise ImageError(f"{path} cannot be a {kind} of {size} px ({error}); use PNG") from error
    write_bytes(buffer.getvalue(), path)
