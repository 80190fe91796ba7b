"""Whole files: what stands under a name is whole, whatever happens on the way."""

import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from generators.errors import GeneratorError, ImageError, InversionError, LatentError, WriteError
from generators.storage import (
    alone_in,
    as_json,
    cache_folder,
    check_folder,
    from_json,
    is_file,
    remove_unfinished,
    replacing,
    sha256_of,
    write_bytes,
    write_kept,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_root_stands_above_every_kind():
    for kind in (WriteError, InversionError, ImageError, GeneratorError):
        assert issubclass(kind, LatentError)
    assert not issubclass(WriteError, ImageError)  # a disk is no picture


def test_a_block_that_ends_well_gives_the_file_its_name(tmp_path):
    with replacing(tmp_path / "new" / "a.png") as temporary:
        assert temporary.parent == tmp_path / "new" and temporary.suffix == ".png"
        temporary.write_bytes(b"whole")
        assert names(tmp_path / "new") == [temporary.name]
    assert names(tmp_path / "new") == ["a.png"] and (tmp_path / "new" / "a.png").read_bytes() == b"whole"


def test_a_file_that_its_writer_makes_anew_keeps_the_usual_mode(tmp_path):
    def anew(temporary):
        temporary.unlink()
        temporary.write_bytes(b"x")
        temporary.chmod(0o600)

    for name, private in (("a", False), ("b", True)):
        with replacing(tmp_path / name, private=private) as temporary:
            anew(temporary)
    (tmp_path / "usual").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError(), RuntimeError("CUDA out of memory")])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error):
    write_bytes(b"old", tmp_path / "a")
    with pytest.raises(type(error)), replacing(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("[enforce fail at inline_container.cc]")])
def test_what_the_disk_refuses_is_one_line_with_advice(tmp_path, error):
    with pytest.raises(WriteError, match="the disk (is|may be) full.; eat less") as caught:
        with replacing(tmp_path / "a", advice="eat less"):
            raise error
    assert "\n" not in str(caught.value) and not names(tmp_path)


def test_two_writers_do_not_meet(tmp_path):
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second


def test_a_name_as_long_as_the_disk_allows(tmp_path):
    long = "ä" * 120 + ".png"
    write_bytes(b"x", tmp_path / long)
    assert names(tmp_path) == [long]


def test_a_name_with_a_null_byte(tmp_path):
    with pytest.raises(WriteError, match="null"):
        write_bytes(b"x", f"{tmp_path}/a\0b")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_is_written_to_and_stays():
    with pytest.raises(WriteError, match="the disk is full"):
        write_bytes(b"x" * 100_000, "/dev/full")
    assert os.path.exists("/dev/full")


def test_what_killed_writers_left_is_removed_by_name(tmp_path):
    for name in (".a.pt.12.tmp", ".a.pt.345.tmp.pt", ".b.pt.12.tmp", "a.pt", "a.tmp"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, "a.pt")
    assert names(tmp_path) == [".b.pt.12.tmp", "a.pt", "a.tmp"]
    remove_unfinished(tmp_path)
    assert names(tmp_path) == ["a.pt", "a.tmp"]


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path))
    assert cache_folder("models") == tmp_path / "models"
    monkeypatch.setenv("LATENT_CACHE", "")
    assert cache_folder("models") == Path.home() / ".cache" / "latent" / "models"


def test_a_folder_to_write_to(tmp_path):
    check_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and not names(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="choose another folder"):
        check_folder(tmp_path / "file")


def test_hash_of_a_file(tmp_path):
    write_bytes(b"abc", tmp_path / "a")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(OSError):
        sha256_of(tmp_path)


def test_json_that_any_reader_takes():
    assert as_json({"a": float("nan"), "b": (1, float("inf")), "c": [0.5, None]}) == (
        '{"a": null, "b": [1, null], "c": [0.5, null]}'
    )


def test_json_from_outside_is_read_or_is_a_value_error():
    assert from_json('{"a": [1, 2.5, null]}') == from_json(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    for wrong in ("[" * 100_000, b"\xff\xfe\xfd", "{", "9" * 5000):
        with pytest.raises(ValueError):
            from_json(wrong)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_tells_of_faces_is_kept_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "new" / "cache"))
    folder = cache_folder("inversions")
    write_kept(folder / "a", b"1")
    assert (mode(folder), mode(folder / "a")) == (0o700, 0o600)
    folder.chmod(0o755)  # as earlier versions made it
    (folder / "a").chmod(0o644)
    write_kept(folder / "a", b"2")
    assert (mode(folder), mode(folder / "a"), (folder / "a").read_bytes()) == (0o700, 0o600, b"2")


def test_a_folder_that_is_not_ours_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    write_kept(tmp_path / "inversions" / "a", b"")
    write_kept(tmp_path / "b", b"")
    assert (mode(tmp_path), mode(tmp_path / "b")) == (0o755, 0o600)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_in_the_place_of_an_entry_is_left_alone(tmp_path, make):
    make(tmp_path / "entry")
    with pytest.raises(WriteError, match="is no file"):
        write_kept(tmp_path / "entry", b"")
    assert not (tmp_path / "entry").is_file()


def test_without_a_home_there_is_a_cache_that_holds_and_takes_nothing(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LATENT_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    entry = cache_folder("inversions") / "entry"
    assert not is_file(entry)
    with pytest.raises(WriteError):
        write_kept(entry, b"")


def test_a_place_that_cannot_be_looked_at_holds_no_file(tmp_path):
    assert not any(map(is_file, (tmp_path / ("n" * 5000), tmp_path / "a\0b", tmp_path)))


def test_who_is_alone_in_a_folder_is_so_until_the_block_ends(tmp_path):
    def free() -> bool:
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    with alone_in(tmp_path):
        assert not free()
    assert free() and list(tmp_path.iterdir()) == []
    with alone_in(tmp_path / "none"):
        pass
