import numpy as np
import pytest
from PIL import Image

from inversion.errors import SettingsError, WriteError
from inversion.views.video import write_video


def frames(count, size=(16, 16)):
    """From red to blue."""
    for i in range(count):
        t = i / max(1, count - 1)
        yield Image.new("RGB", size, (round(220 - 200 * t), 60, round(20 + 200 * t)))


def colours(images):
    return np.stack([np.asarray(image)[..., :3].mean(axis=(0, 1)) for image in images])


def read(path):
    import imageio.v3 as iio

    if path.suffix == ".mp4":
        return iio.imread(path, plugin="pyav")
    with Image.open(path) as film:
        return [film.seek(i) or film.convert("RGB") for i in range(film.n_frames)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix, tolerance", [(".mp4", 8), (".gif", 4), (".webp", 8)])
def test_a_film_shows_its_frames(tmp_path, suffix, tolerance):
    path = tmp_path / "new" / f"morph{suffix}"
    write_video(frames(7), path)
    shown = read(path)
    assert len(shown) == 7 and np.asarray(shown[0]).shape == (256, 256, 3)
    np.testing.assert_allclose(colours(shown), colours(frames(7)), atol=tolerance)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_mp4_for_every_player(tmp_path):
    import imageio.v3 as iio

    path = tmp_path / "a.mp4"
    write_video(frames(5, (15, 21)), path, fps=12.5, scale=1)
    about = iio.immeta(path, plugin="pyav")
    assert (about["codec"], about["video_format"], about["fps"]) == ("h264", "yuv420p", 12.5)
    assert [np.asarray(frame).shape for frame in read(path)] == [(22, 16, 3)] * 5  # height, width: even
    assert b"moov" in path.read_bytes()


def test_films_repeat_at_the_given_speed(tmp_path):
    for suffix, milliseconds in [(".gif", 100), (".webp", 100)]:
        write_video(frames(3), tmp_path / f"a{suffix}", fps=10)
        with Image.open(tmp_path / f"a{suffix}") as film:
            film.load()
            assert film.info["loop"] == 0 and film.info["duration"] == milliseconds
    write_video(frames(3), tmp_path / "a.gif", fps=240)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.info["duration"] == 20


@pytest.mark.parametrize("count, shown", [(1, [0]), (3, [0, 1, 2]), (17, [0, 2, 4, 6, 8, 10, 12, 14, 16])])
def test_a_strip_is_evenly_spaced(tmp_path, count, shown):
    write_video(frames(count, (4, 6)), tmp_path / "a.png")
    strip = Image.open(tmp_path / "a.png")
    assert strip.size == (4 * len(shown), 6)
    every = list(frames(count, (4, 6)))
    for i, frame in enumerate(shown):
        assert strip.crop((4 * i, 0, 4 * i + 4, 6)).tobytes() == every[frame].tobytes()


@pytest.mark.parametrize("size, scale, wanted", [((16, 16), 2, 32), ((300, 300), None, 300), ((100, 100), None, 300)])
def test_scale(tmp_path, size, scale, wanted):
    write_video(frames(1, size), tmp_path / "a.gif", scale=scale)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.size == (wanted, wanted)


def test_any_mode_of_image_will_do(tmp_path):
    write_video([Image.new("RGBA", (16, 16)), Image.new("L", (16, 16), 255)], tmp_path / "a.mp4", scale=1)
    assert colours(read(tmp_path / "a.mp4"))[1].min() > 240


@pytest.mark.parametrize("suffix", ["mp4", "gif", "webp", "png"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_film_leaves_nothing_and_the_old_one_stays(tmp_path, suffix, failure):
    def stopping():
        yield from frames(3)
        raise failure

    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"the old one")
    with pytest.raises(failure):
        write_video(stopping(), path, scale=1)
    assert path.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 1


def test_refusals(tmp_path):
    for name, settings, message in [
        ("a.avi", {}, "choose .mp4, .gif, .webp, .png"),
        ("a", {}, "suffix ''"),
        ("a.mp4", {"fps": 0.0}, "fps is 0"),
        ("a.mp4", {"fps": float("nan")}, "fps is nan"),
        ("a.mp4", {"fps": 1e-9}, "fps is 1e-09; give a number of 0.01"),
        ("a.mp4", {"scale": 0}, "scale is 0"),
        ("a.webp", {"scale": 10**6}, "scale is 1000000 for frames of 16 px; give 512 at most"),
    ]:
        with pytest.raises(SettingsError, match=message):
            write_video(frames(2), tmp_path / name, **settings)
    with pytest.raises(SettingsError, match="no frame came"):
        write_video([], tmp_path / "a.mp4")
    with pytest.raises(SettingsError, match=r"frame 1 is \(8, 8\) px, frame 0 is \(16, 16\)"):
        write_video([*frames(1), *frames(1, (8, 8))], tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    for target in [tmp_path / "file" / "a.mp4", tmp_path / "file" / "a.gif"]:
        with pytest.raises(WriteError, match="cannot be written"):
            write_video(frames(2), target)
