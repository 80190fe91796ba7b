"""Frames -> a film or a strip, by suffix: .mp4, .gif, .webp, .png."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from math import ceil
from pathlib import Path

from PIL import Image
from PIL.Image import Palette, Resampling

from generators.storage import replacing
from inversion.errors import LatentError, SettingsError

SHORTEST_SIDE = 256  # px; smaller films are enlarged, since players show them as a stamp
MOST_SIDE = 8192  # px
LEAST_FPS, MOST_FPS = 0.01, 240
STRIP_FRAMES = 9


def write_video(
    frames: Iterable[Image.Image], path: Path | str, *, fps: float | int = 30, scale: int | None = None
) -> None:
    """Write frames of one size as .mp4 (H.264), .gif or .webp (both repeat for ever), or as a .png strip of up to nine.

    Frames may come one by one from a generator; an .mp4 holds one of them at a time. scale enlarges by that factor;
    None takes the smallest that makes the shorter side of a film 256 px, and leaves a strip as it is. A .gif counts
    in hundredths of a second, 50 frames a second at most. Raises SettingsError on an unknown suffix, fps outside
    [0.01, 240], scale below 1, no frame, or frames of two sizes; WriteError if the file cannot be written.
    """
    path = Path(path)
    check_film(0, path, fps=fps, scale=None if scale is None else min(scale, 1))
    kind = path.suffix.lower()
    ready = _prepared(frames, 1 if scale is None and kind == ".png" else scale)
    first = next(ready, None)
    if first is None:
        raise SettingsError("no frame came; a film needs at least one")
    drawn: list[Exception] = []
    with replacing(path) as temporary:
        try:
            writers()[kind](_noting(chain([first], ready), drawn), temporary, float(fps))
        except (OSError, LatentError):
            raise
        except Exception as error:  # encoders raise many kinds
            if error in drawn:
                raise
            why = " ".join(str(error).split()) or type(error).__name__
            raise SettingsError(f"{path} cannot be encoded ({why}); choose another fps, scale or suffix") from error


def writers() -> dict[str, Callable[[Iterator[Image.Image], Path, float], None]]:
    """The writer of each kind of film, by suffix."""
    return {".mp4": _write_mp4, ".gif": _write_gif, ".webp": _write_webp, ".png": _write_strip}


def check_film(side: int, path: Path | str, *, fps: float | int, scale: int | None) -> None:
    """SettingsError for what no film can be: its suffix, its frames a second, its size; side is that of a frame."""
    name = Path(path)
    if name.suffix.lower() not in writers():
        raise SettingsError(f"{name.name} has suffix {name.suffix!r}; choose {', '.join(writers())}")
    if not LEAST_FPS <= fps <= MOST_FPS:
        raise SettingsError(f"fps is {fps:g}; give a number of {LEAST_FPS} to {MOST_FPS}")
    if scale is not None and scale < 1:
        raise SettingsError(f"scale is {scale}; give a whole number of at least 1")
    most = max(1, MOST_SIDE // max(1, side))
    if scale is not None and scale > most:
        raise SettingsError(f"scale is {scale} for frames of {side} px; give {most} at most")


def _noting(frames: Iterator[Image.Image], drawn: list[Exception]) -> Iterator[Image.Image]:
    """The frames; what is wrong with them goes to drawn, as no encoder's doing."""
    try:
        yield from frames
    except Exception as error:
        drawn.append(error)
        raise


def _prepared(frames: Iterable[Image.Image], scale: int | None) -> Iterator[Image.Image]:
    """Frames as RGB, enlarged; checks that all have the size of the first."""
    size = None
    for index, frame in enumerate(frames):
        size = size or frame.size
        check_film(max(size), "frame.png", fps=1, scale=scale)
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
