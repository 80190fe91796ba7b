"""Files <-> tensors; the only place that knows uint8."""

import sys
import textwrap
import warnings
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from generators.errors import ImageError
from generators.shapes import Float, UInt8
from generators.storage import write_bytes

MAX_PIXELS, MOST = 100_000_000, "100 megapixels"
READS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
WRITES = {f.lower(): f for f in READS} | {"jpg": "JPEG", "tif": "TIFF"}
SETTINGS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")  # of the formats in READS
Source = str | Path | BinaryIO | BufferedIOBase
SOURCE = "source"  # key of Image.info under which a picture carries its name, for messages


def read_image(source: Source | Image.Image) -> Image.Image:
    """Read a photograph as 8-bit RGB, upright; transparency becomes white, "-" is standard input.

    JPEG, PNG, WebP, TIFF, BMP or the first frame of a GIF, in any depth and colour model, up to 100 megapixels.
    `source_name` tells the result's name afterwards. A picture that was read here comes back as it is. ImageError if it
    cannot be read.
    """
    if isinstance(source, Image.Image) and source.mode == "RGB" and SOURCE in source.info:
        return source
    if isinstance(source, Image.Image):
        name, picture = source_name(source), source
    else:
        name, data = _read_bytes(source)
        if not data:
            raise ImageError(f"{name} is empty; a photograph (JPEG, PNG, WebP, TIFF, BMP or GIF) is needed")
        picture = BytesIO(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd metadata; neither is the user's doing
        image = _decode(picture, name)
    image.info = {SOURCE: name}
    return image


def source_name(image: Image.Image) -> str:
    """The name to call a picture by in messages: its file, or "the image"."""
    return str(image.info.get(SOURCE) or getattr(image, "filename", "") or "the image")


def _read_bytes(source: Source) -> tuple[str, bytes]:
    """A source's name and its content; ImageError if there is none to be had."""
    name = str(source if isinstance(source, str | Path) else getattr(source, "name", "the file"))
    name = "standard input" if source == "-" else name
    try:
        if source == "-":
            return name, sys.stdin.buffer.read()
        if isinstance(source, str | Path):
            return name, Path(source).read_bytes()
        if hasattr(source, "read"):
            return name, source.read()
    except (OSError, ValueError) as error:
        raise ImageError(why_not(name, error)) from error
    raise ImageError(f"a {type(source).__name__} came; pass a path, an open binary file or a PIL image")


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
    return f"{place} cannot be read from its zip ({error}); make the zip again"


def _decode(picture: BytesIO | Image.Image, name: str) -> Image.Image:
    """Decode, turn upright and convert; the size is judged by the header, before any pixel is decoded."""
    try:
        image = Image.open(picture, formats=READS) if isinstance(picture, BytesIO) else picture
        if not image.width * image.height:
            raise ImageError(f"{name} is {image.width} x {image.height} pixels; a photograph has at least one")
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{name} is {image.width} x {image.height} pixels; shrink it to at most {MOST}")
        image.load()
        return _to_rgb(_upright(image))
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{name} is far larger than can be read; shrink it to at most {MOST}") from None
    except UnidentifiedImageError:
        assert isinstance(picture, BytesIO)
        raise ImageError(_unidentified(picture.getvalue(), name)) from None
    except Exception as error:  # Pillow's decoders raise nearly any type on a broken file
        why = textwrap.shorten(str(error), 80) or type(error).__name__
        raise ImageError(f"{name} is damaged or cut off ({why}); save or download it again") from error


def _unidentified(data: bytes, name: str) -> str:
    """Why Pillow did not know the file, as far as its first bytes tell."""
    if data[4:8] == b"ftyp":
        return f"{name} is HEIC, AVIF or a video, which cannot be read; convert it to JPEG or PNG"
    if data.startswith(STARTS):
        return f"{name} is damaged or cut off (its header cannot be read); save or download it again"
    return f"{name} is not a JPEG, PNG, WebP, TIFF, BMP or GIF picture; convert it to JPEG or PNG"


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; damaged EXIF counts as none."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the pixels are good, whatever its metadata says
        return image.copy()


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bit(image).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # only in-place conversion gives None
        return converted
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale a 16-bit, 32-bit or float image to 8 bits without clipping.

    They fill the smallest of 1 (floats alone), 255 and 65535 that holds them; what is wider is squeezed.
    """
    values = np.asarray(image).astype(np.float32)
    low, high = min(0.0, float(values.min())), float(values.max())
    if not np.isfinite(high - low):
        raise ImageError(f"{source_name(image)} holds values that are not finite; save it as 8 or 16 bits")
    fulls = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    full = next((f for f in fulls if high - low <= 1.1 * f), 0.0)  # resampled floats overshoot a little
    return Image.fromarray(np.rint((values - low) * (255 / max(full, high - low))).astype(np.uint8))


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
    image: Image.Image | Float[Tensor, "*batch c h w"], path: str | Path, format: str | None = None
) -> None:
    """Write an image in the format that its suffix names, making parent folders; "-" is PNG to standard output.

    A reader never sees half a file. format: png, jpg, webp, tiff, bmp or gif, whatever the suffix. ImageError if it
    cannot be written.
    """
    picture = to_pil(image) if isinstance(image, Tensor) else image
    key = (format or ("png" if str(path) == "-" else Path(path).suffix)).lower().lstrip(".")
    if key not in WRITES:
        raise ImageError(f"{path} has the format {key!r}; name it with one of .{', .'.join(WRITES)}")
    buffer, kind = BytesIO(), WRITES[key]
    try:
        (picture if picture.mode == "RGB" else read_image(picture)).save(buffer, kind, **SETTINGS.get(kind, {}))
    except (OSError, ValueError) as error:
        size = f"{picture.width} x {picture.height}"
        raise ImageError(f"{path} cannot be a {kind} of {size} px ({error}); use PNG") from error
    write_bytes(buffer.getvalue(), path)
