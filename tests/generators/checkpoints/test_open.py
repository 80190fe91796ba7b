import warnings

import pytest
import torch

from generators import convert, load
from generators.checkpoints import open as checkpoints
from generators.checkpoints.open import describe, open_model, read_checkpoint
from generators.checkpoints.ours import load_model, save_model
from generators.checkpoints.rosinality import to_state
from tests.benchmarks.golden import CHECKPOINTS, FILES, differences
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import dumped, nvidia, saved
from tests.generators.checkpoints.reading import refused, same, with_mean, write


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason="needs ../shared/checkpoints beside the repository")
@pytest.mark.parametrize("file", FILES)
def test_renders_what_the_reference_renders(file, tmp_path):
    found = differences(CHECKPOINTS / file, tmp_path)
    assert any(name.startswith("image") for name in found)
    for name, value in found.items():
        assert value < (1e-5 if name.startswith("ws") else 1 / 255 if name == "reexported" else 1e-4), (name, value)


def test_content_decides_not_the_name(tmp_path):
    wanted = tiny_generator()
    same(read_checkpoint(write(tmp_path / "model.pt", dumped(nvidia(wanted)))), wanted)
    data = saved({"g_ema": to_state(wanted), "latent_avg": wanted.w_avg})
    same(read_checkpoint(write(tmp_path / "model.safetensors", data)), wanted)
    save_model(wanted, tmp_path / "model.pkl")
    same(read_checkpoint(tmp_path / "model.pkl"), wanted)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x93NUMPY\x01\x00", "an array"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"hello, world", "no model file that is read here: our .safetensors, pickles"),
        (b"PK\x03\x04 cut", "damaged or cut short"),
        (b"\x80\x04}q", "damaged or cut short|ends before"),
    ],
)
def test_other_files_are_named(tmp_path, data, words):
    refused(write(tmp_path / "model.pkl", data), words)


def test_torchscript_is_a_program(tmp_path):
    file = tmp_path / "m.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and files of it are there all the same
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), str(file))
    refused(file, "TorchScript, which is a program.*generators.adapter")


def test_converted_once(tmp_path, cache, monkeypatch):
    wanted, path = with_mean(tiny_generator()), tmp_path / "faces.pkl"
    write(path, dumped(nvidia(wanted)))
    first = load(path)
    (kept,) = cache.iterdir()
    monkeypatch.setattr(checkpoints, "read_checkpoint", lambda _: pytest.fail("read again"))
    again = load(path)
    same(again, wanted)
    assert again.name == first.name == "faces" and again.sha256() == first.sha256() and again.card == first.card
    renamed = open_model(path.rename(tmp_path / "other"), licence="CC0")
    assert renamed.name == "other" and renamed.card["licence"] == "CC0" and list(cache.iterdir()) == [kept]


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_broken_cache_is_rebuilt(tmp_path, cache, damage):
    wanted = tiny_generator()
    path = write(tmp_path / "faces.pkl", dumped(nvidia(wanted)))
    load(path)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    same(load(path), wanted)
    same(load_model(kept), wanted)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "file" / "x"))
    same(load(write(tmp_path / "m.pkl", dumped(nvidia(tiny_generator())))), tiny_generator())


def test_convert_tells_what_it_made(tmp_path):
    wanted = tiny_generator(c_dim=3)
    record = convert(write(tmp_path / "m.pkl", dumped(nvidia(wanted))), tmp_path / "ours.safetensors", licence="CC0")
    found = load_model(tmp_path / "ours.safetensors")
    assert record == {"file": str(tmp_path / "ours.safetensors")} | describe(found)
    assert record["architecture"] == "StyleGAN2" and record["resolution"] == 16 and record["labels"] == 3
    assert record["parameters"] == sum(p.numel() for p in wanted.parameters()) and record["licence"] == "CC0"
    same(found, wanted, torch.eye(3)[:2])
    torch.testing.assert_close(load_model(tmp_path / "ours.safetensors").w_avg, wanted.w_avg)
