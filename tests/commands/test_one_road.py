"""One road from photographs to latents: what one command has found the others know, wherever the photograph lies."""

import shutil
import zipfile
from pathlib import Path

import pytest

from generators.pictures import image as reader
from inversion import inverter
from tests.conftest import objects, refused


@pytest.fixture
def inverted(monkeypatch):
    """How many photographs were inverted, a number a batch."""
    counted, whole = [], inverter.steps_of

    def counting(generator, images, config, **more):
        counted.append(len(images))
        return whole(generator, images, config, **more)

    monkeypatch.setattr(inverter, "steps_of", counting)
    return counted


SAME = ("--no-align", "--recipe", "default", "--steps", 2)


def test_a_photograph_that_was_inverted_is_inverted_no_more(latent, photos, tmp_path, inverted):
    a, b = photos[:2]
    assert latent("invert", a, "-o", tmp_path / "me", *SAME).exit_code == 0
    assert inverted == [1]
    assert latent("blend", a, b, "-o", tmp_path / "child.png", *SAME).exit_code == 0
    assert inverted == [1, 1]  # b alone
    folder = tmp_path / "library"
    folder.mkdir()
    for i, photo in enumerate((a, b)):
        shutil.copy(photo, folder / f"{i}.png")  # another name for the same file
    corners = [a, b, str(folder / "0.png"), str(folder / "1.png")]
    for args in (
        ("plot", a, b, str(folder), "-o", tmp_path / "plot.png"),
        ("plot", "--grid", *corners, "-o", tmp_path / "grid.png"),
        ("search", a, str(folder), "-o", tmp_path / "near.png"),
        ("interpolate", a, b, "-o", tmp_path / "morph.png", "--frames", 3),
        ("mix", a, b, "-o", tmp_path / "mixed.png"),
        ("invert", a, b, "-o", tmp_path / "again"),
    ):
        done = latent(*args, *SAME)
        assert done.exit_code == 0, done.output
    assert inverted == [1, 1]


def test_what_was_found_is_told_again_as_it_was(latent, photos, tmp_path, inverted):
    first = objects(latent("invert", photos[0], "-o", tmp_path / "1", *SAME, "--json"))[0]
    shutil.copy(photos[0], tmp_path / "me.png")
    second = objects(latent("invert", tmp_path / "me.png", "-o", tmp_path / "2", *SAME, "--json"))[0]
    assert inverted == [1] and second["file"] == str(tmp_path / "me.png")
    for name in ("psnr_db", "ssim", "seconds", "steps", "losses"):
        assert second[name] == first[name]
    assert (tmp_path / "2" / "me.png").read_bytes() == (tmp_path / "1" / "a.png").read_bytes()
    assert (tmp_path / "2" / "me.target.png").read_bytes() == (tmp_path / "1" / "a.target.png").read_bytes()


def test_other_settings_another_start_and_a_budget_are_inverted_anew(latent, photos, tmp_path, inverted):
    a = photos[0]
    latent("invert", a, "-o", tmp_path / "1", *SAME)
    latent("invert", a, "-o", tmp_path / "2", "--no-align", "--recipe", "default", "--steps", 3)
    for more in (("--budget", "5s"), ("--init", tmp_path / "1" / "a.latent.safetensors")):
        assert latent("invert", a, "-o", tmp_path / "3", *SAME, *more).exit_code == 0
    assert inverted == [1] * 4


def test_an_inversion_that_was_stopped_is_not_kept(latent, photos, tmp_path, monkeypatch):
    whole = inverter.steps_of

    def stopping(*args, **more):
        for step in whole(*args, **more):
            yield step
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(inverter, "steps_of", stopping)
        assert latent("invert", photos[0], "-o", tmp_path / "1", *SAME).exit_code == 130
    assert not (tmp_path / "cache" / "inversions").exists()


def test_a_file_is_read_and_decoded_once_a_command(latent, photos, tmp_path, monkeypatch):
    a, b = map(Path, photos[:2])
    reads, decoded = [], []
    read_bytes, decode = Path.read_bytes, reader._decode
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read_bytes(path))
    monkeypatch.setattr(reader, "_decode", lambda *args: decoded.append(args[1]) or decode(*args))
    for args in (("invert", a, b, "-o", tmp_path), ("blend", a, b, "-o", tmp_path / "c.png")):
        reads.clear(), decoded.clear()
        assert latent(*args, *SAME).exit_code == 0
        assert [path for path in reads if path in (a, b)] == [a, b] and decoded == [str(a), str(b)]


@pytest.fixture
def places(photos, tmp_path) -> dict[str, list[str]]:
    """The same two photographs as a list of files, in a folder, in a folder of a folder, and in a zip."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for photo in photos[:2]:
        shutil.copy(photo, inner)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for photo in photos[:2]:
            archive.write(photo, Path(photo).name)
    return {
        "files": photos[:2],
        "folder": [str(inner)],
        "folder in a folder": [str(tmp_path / "outer")],
        "zip": [str(tmp_path / "photos.zip")],
    }


COMMANDS = {
    "invert": lambda source, out: ["invert", *source, "-o", out / "i"],
    "blend": lambda source, out: ["blend", *source, "-o", out / "b.png"],
    "interpolate": lambda source, out: ["interpolate", *source, "-o", out / "m.png", "--frames", 3],
    "mix": lambda source, out: ["mix", *source, "-o", out / "x.png"],
    "plot": lambda source, out: ["plot", *source, "-o", out / "p.png"],
    "grid": lambda source, out: ["plot", "--grid", *source, *source, "-o", out / "g.png"],
    "search": lambda source, out: ["search", "QUERY", *source, "-o", out / "s.png"],
    "evaluate": lambda source, out: ["evaluate", *source, "--keep", out / "e"],
}


@pytest.mark.parametrize("place", ["files", "folder", "folder in a folder", "zip"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_photographs_wherever_they_lie(latent, photos, places, tmp_path, command, place):
    out = tmp_path / "out"
    out.mkdir()
    args = [photos[2] if arg == "QUERY" else arg for arg in COMMANDS[command](places[place], out)]
    more = ("--method", "raw", "--limit", 9) if command == "plot" else ()
    done = latent(*args, "--no-align", "--recipe", "encode", *more)
    assert done.exit_code == 0, done.output
    assert any(out.rglob("*.png"))


def test_what_is_missing_stops_no_other_but_a_wrong_name_is_told_at_once(latent, photos, tmp_path):
    done = latent("invert", photos[0], tmp_path / "gone.jpg", photos[1], "-o", tmp_path / "out", *SAME)
    assert done.exit_code == 1 and "gone.jpg does not exist" in done.stderr and "1 of 3" in done.stderr
    assert (tmp_path / "out" / "b.png").is_file()
    refused(latent("invert", photos[0], tmp_path / "nowhere", "-o", tmp_path / "out", *SAME), "nowhere does not exist")
