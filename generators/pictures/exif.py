"""The EXIF of a photograph, as a changed copy of it may carry it."""

from io import BytesIO
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

from generators.pictures.formats import READS
from generators.pictures.image import quiet

OUTER = (  # what is kept beside the camera's settings; the rest is of the file, or may tell a place
    *(Base.Make, Base.Model, Base.Software, Base.HostComputer, Base.Orientation, Base.DateTime, Base.Artist),
    *(Base.Copyright, Base.ImageDescription, Base.XResolution, Base.YResolution, Base.ResolutionUnit),
)
NOT_INNER = (Base.MakerNote, Base.ExifInteroperabilityOffset)
SIZES = {Base.ExifImageWidth: 0, Base.ExifImageHeight: 1}  # of the pixels: width, height
SRGB, UPRIGHT = 1, 1


def kept_exif(data: bytes, size: tuple[int, int]) -> bytes | None:
    """The EXIF of a picture's file, for a copy in sRGB that stands upright and has this size; None where there is none.

    The place where it was taken is left out, and what is of the old pixels alone: the thumbnail, and the maker's note,
    which may tell a place as well. Damaged EXIF counts as none.
    """
    try:
        with quiet(), Image.open(BytesIO(data), formats=READS) as image:
            found = image.getexif()
            kept: Any = Image.Exif()
            kept.update({tag: value for tag, value in found.items() if tag in OUTER})
            inner = {tag: value for tag, value in found.get_ifd(IFD.Exif).items() if tag not in NOT_INNER}
            if not kept and not inner:
                return None
            inner.update({tag: size[i] for tag, i in SIZES.items() if tag in inner})
            if Base.ColorSpace in inner:
                inner[Base.ColorSpace] = SRGB
            if Base.Orientation in kept:
                kept[Base.Orientation] = UPRIGHT
            kept.get_ifd(IFD.Exif).update(inner)
            return kept.tobytes()
    except Exception:  # Pillow raises nearly any type on a broken file; the pixels are good all the same
        return None
