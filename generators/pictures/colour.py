"""Any colours and depths -> 8-bit sRGB."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from generators.errors import ImageError
from generators.pictures.told import COLOURS, profile_of
from generators.shapes import Float

PROFILE, MOST_PROFILE = "icc_profile", 8 * 2**20  # key of Image.info, and bytes
SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of profiles, and the mode of pictures that they are for
CLASSES = ("mntr", "scnr", "prtr", "spac")  # kinds of profiles that tell a picture's colours
STRIP = 2**22  # pixels that are scaled at a time
Range = tuple[float, float]  # what becomes black, and how far above it is white


def to_srgb(image: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """The picture as 8-bit sRGB on white, by the profile that it carries or tells of; and notes on what was guessed.

    A profile that is damaged or for other pictures counts as none. ImageError for values that are not finite.
    """
    notes: list[str] = []
    profile = image.info.get(PROFILE)
    colours: Any = image.info.get(COLOURS)
    if image.mode.startswith("I") or image.mode == "F":
        image, said = to_8_bit(image, name)
        notes += [said] if said else []
    if image.mode == "LAB":
        return from_lab(image), notes
    image, alpha = apart(image)
    if profile or colours:
        try:
            image = by_profile(image, profile or profile_of(colours))
        except Exception as error:  # the profile comes with the file, and anything may be wrong with it
            why = " ".join(str(error).split())[:80] or type(error).__name__
            notes.append(f"the colour profile of {name} cannot be used ({why}); it is read as sRGB")
    image = image if image.mode == "RGB" else image.convert("RGB")
    if alpha is not None:
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=alpha)
        return white, notes
    return image, notes


def apart(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours as L, RGB or CMYK, and what covers them; None where nothing shines through."""
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
        return image.convert("L" if image.mode == "LA" else "RGB"), image.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        return image, None
    return image.convert("L" if image.mode in ("1", "LA") else "RGB"), None


def by_profile(image: Image.Image, data: bytes) -> Image.Image:
    """The picture in sRGB; as it is where the profile says sRGB. Raises any kind for a profile that cannot be used."""
    if len(data) > MOST_PROFILE:
        raise ValueError(f"it has {len(data)} bytes")
    profile = ImageCms.ImageCmsProfile(BytesIO(data))
    about: Any = profile.profile
    space, kind = about.xcolor_space, about.device_class
    if kind not in CLASSES or space not in SPACES:
        raise ValueError(f"it is of {space.strip() or 'no'} colours, class {kind.strip()}")
    if SPACES[space] == "L" and image.mode == "RGB" and is_grey(image):
        image = image.convert("L")
    elif SPACES[space] == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if SPACES[space] != image.mode:
        raise ValueError(f"it is for {space.strip()}, the picture is {image.mode}")
    srgb = ImageCms.createProfile("sRGB")
    change = ImageCms.buildTransform(profile, srgb, image.mode, "RGB")
    if image.mode == "RGB" and changes_nothing(change):
        return image
    found = ImageCms.applyTransform(image, change)
    assert found is not None  # only in-place conversion gives None
    return found


def is_grey(image: Image.Image) -> bool:
    """Tell whether a small copy of an RGB picture has no colour."""
    red, green, blue = image.resize((32, 32), Image.Resampling.NEAREST).split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def changes_nothing(change: ImageCms.ImageCmsTransform) -> bool:
    """Tell whether colours all over the cube stay within two levels, as they do from one sRGB profile to another."""
    axis = np.linspace(0, 255, 17).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(17, -1, 3)
    there = ImageCms.applyTransform(Image.fromarray(cube), change)
    return int(np.abs(np.asarray(there, np.int16) - cube).max()) <= 2


def from_lab(image: Image.Image) -> Image.Image:
    """A picture in CIE L*a*b* as sRGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # only in-place conversion gives None
    return converted


def to_8_bit(image: Image.Image, name: str) -> tuple[Image.Image, str | None]:
    """A 16-bit, 32-bit or float image scaled to 8 bits without clipping, and a note where its range was guessed."""
    ends = [(float(part.min()), float(part.max())) for _, part in strips(image)]
    low, high = (float(f(values)) for f, values in zip((np.min, np.max), zip(*ends, strict=True), strict=True))
    if not np.isfinite(high - low):
        raise ImageError(f"{name} holds values that are not finite; save it as 8 or 16 bits")
    (base, full), usual = range_of(low, high, floats=image.mode == "F")
    out = np.empty((image.height, image.width), np.uint8)
    for top, part in strips(image):
        out[top : top + len(part)] = np.rint((part - base) * (255 / full)).clip(0, 255)
    values = f"values from {low:.4g} to {high:.4g}"
    said = None if usual else f"{name} holds {values}; black is {base:.4g}, white {base + full:.4g}"
    return Image.fromarray(out), said


def strips(image: Image.Image) -> Iterator[tuple[int, Float[np.ndarray, "h w"]]]:
    """The values from the top down, some rows at a time, each with the number of its first row."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, np.asarray(image.crop((0, top, image.width, min(top + rows, image.height)))).astype(np.float32)


def range_of(low: float, high: float, *, floats: bool) -> tuple[Range, bool]:
    """The range that values are of, from their least and greatest; False with it where it is none of the usual.

    Whole numbers have 8, 10, 12, 14 or 16 bits, the fewest that hold them. Floats fill at least a quarter of 1, 255 or
    65535, or lie in [-1, 1]; resampled ones overshoot a little. Anything else takes its own range.
    """
    base = min(0.0, low)
    wide = high - base
    if not floats and low >= 0 and high <= 65535:
        full = next(2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits)
        return (0.0, full), full in (255, 65535)
    if floats and base < -0.1 * high and -1.1 <= base and high <= 1.1:
        bottom = min(-1.0, base)
        return (bottom, max(1.0, high) - bottom), False
    if floats and base >= -0.1 * high:
        for full in (1.0, 255.0, 65535.0):
            if full / 4 <= wide <= 1.1 * full or wide == 0:
                return (base, max(full, wide)), True
    return (base, wide or 1.0), False
