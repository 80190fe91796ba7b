"""Frames -> a film or a strip, by suffix: .mp4, .gif, .webp, .png."""

from collections.abc import Iterable, Iterator
from itertools import chain
from math import ceil
from pathlib import Path

from PIL import Image
from PIL.Image import Palette, Resampling

from generators.storage import replacing
from inversion.errors import SettingsError

SHORTEST_SIDE = 256  # px; smaller films are enlarged, since players show them as a stamp
LONGEST_SIDE = 8192  # px; encoders of films take no more
STRIP_FRAMES = 9


def write_video(
    frames: Iterable[Image.Image], path: Path | str, *, fps: float | int = 30, scale: int | None = None
) -> None:
    """Write frames of one size as .mp4 (H.264), .gif or .webp (both repeat for ever), or as a .png strip of up to nine.

    Frames may come one by one from a generator; an .mp4 holds one of them at a time. scale enlarges by that factor;
    None takes the smallest that makes the shorter side of a film 256 px, and leaves a strip as it is. A .gif counts
    in hundredths of a second, 50 frames a second at most. Raises SettingsError on an unknown suffix, fps outside
    [0.1, 240], scale below 1 or beyond 8192 px, no frame, or frames of two sizes; WriteError if the file cannot be
    written.
    """
    path = Path(path)
    check_film(path, fps, scale)
    kind = path.suffix.lower()
    ready = _prepared(frames, 1 if scale is None and kind == ".png" else scale)
    first = next(ready, None)
    if first is None:
        raise SettingsError("no frame came; a film needs at least one")
    with replacing(path) as temporary:
        WRITERS[kind](chain([first], ready), temporary, float(fps))


def check_film(path: Path, fps: float | int, scale: int | None, side: int | None = None) -> None:
    """Raise SettingsError for a film that cannot be written; side: px of its frames, where that is known."""
    if path.suffix.lower() not in WRITERS:
        raise SettingsError(f"{path.name} has suffix {path.suffix!r}; choose {', '.join(WRITERS)}")
    if not 0.1 <= fps <= 240:
        raise SettingsError(f"fps is {fps}; give a number from 0.1 to 240")
    if scale is not None and scale < 1:
        raise SettingsError(f"scale is {scale}; give a whole number of at least 1")
    if side is not None:
        check_side(scale, side)


def check_side(scale: int | None, side: int) -> None:
    """Raise SettingsError where frames of so many px become larger than encoders take."""
    most = max(1, LONGEST_SIDE // side)
    if scale is not None and scale > most:
        raise SettingsError(f"scale is {scale} for frames of {side} px; give a whole number of 1 to {most}")


def _prepared(frames: Iterable[Image.Image], scale: int | None) -> Iterator[Image.Image]:
    """Frames as RGB, enlarged; checks that all have the size of the first."""
    size = None
    for index, frame in enumerate(frames):
        if size is None:
            size = frame.size
            check_side(scale, max(size))
        if frame.size != size:
            raise SettingsError(f"frame {index} is {frame.size} px, frame 0 is {size} px; give frames of one size")
        factor = scale or max(1, ceil(SHORTEST_SIDE / min(size)))
        frame = frame.convert("RGB")
        yield frame if factor == 1 else frame.resize((size[0] * factor, size[1] * factor), Resampling.BICUBIC)


def _write_mp4(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
    import imageio.v3 as iio
    import numpy as np
    from av.error import FFmpegError
    from imageio.plugins.pyav import PyAVPlugin

    try:
        with iio.imopen(path, "w", plugin="pyav") as film:
            assert isinstance(film, PyAVPlugin)
            film.init_video_stream("libx264", fps=fps, pixel_format="yuv420p")
            for frame in frames:
                pixels = np.asarray(frame)
                height, width = pixels.shape[:2]
                # yuv420p keeps one colour for 2x2 pixels, so both sides must be even
                film.write_frame(np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
    except FFmpegError as error:  # some of its kinds are no OSError
        raise OSError(f"the encoder says: {error}") from error


def _write_gif(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
    own = (frame.convert("P", palette=Palette.ADAPTIVE, colors=256) for frame in frames)
    first = next(own)
    hundredths = max(2, round(100 / fps))  # browsers slow anything faster down to a crawl
    with open(path, "wb") as file:  # opened here, since Pillow leaves its own open on Ctrl-C
        first.save(file, "GIF", save_all=True, append_images=own, duration=10 * hundredths, loop=0)


def _write_webp(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
    first = next(frames)
    with open(path, "wb") as file:
        duration = max(1, round(1000 / fps))
        first.save(file, "WEBP", save_all=True, append_images=frames, duration=duration, loop=0, quality=90)


def _write_strip(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
    """The first frame, the last, and evenly spaced ones between them, side by side."""
    every = list(frames)
    count = min(STRIP_FRAMES, len(every))
    shown = [every[round(i * (len(every) - 1) / max(1, count - 1))] for i in range(count)]
    width, height = shown[0].size
    strip = Image.new("RGB", (width * count, height))
    for i, frame in enumerate(shown):
        strip.paste(frame, (i * width, 0))
    strip.save(path)


WRITERS = {".mp4": _write_mp4, ".gif": _write_gif, ".webp": _write_webp, ".png": _write_strip}
