import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from generators.stylegan2 import StyleGAN2, StyleGAN2Config
from inversion.config import LatentSpace
from inversion.errors import InversionError, LatentFileError, SettingsError, WriteError
from inversion.files.latent_file import export, load_latent, read_bundle, save
from inversion.latent import Latent, sample_latent, synthesize


@pytest.fixture
def latent(generator):
    return replace(sample_latent(generator, batch=2, seed=1), noise=generator.sample_noise(2, 3))


@pytest.fixture
def saved(generator, latent, tmp_path):
    path = tmp_path / "a.latent.safetensors"
    save(latent, path, generator, {"recipe": "default", "losses": {"l2": 0.25}, "photograph": None})
    return path


def test_round_trip_is_exact(generator, latent, saved):
    back = load_latent(saved, generator)
    assert back.space is LatentSpace.W_PLUS and torch.equal(back.code, latent.code)
    assert all(map(torch.equal, back.noise, latent.noise))
    assert torch.equal(synthesize(generator, back), synthesize(generator, latent))
    bundle = read_bundle(str(saved))
    assert bundle.history == {"recipe": "default", "losses": {"l2": 0.25}, "photograph": None}
    assert (bundle.generator_name, bundle.generator_sha256) == ("tiny", generator.sha256())
    assert bundle.versions["torch"] == torch.__version__
    before = saved.read_bytes()
    for _ in range(5):  # equal latents make equal files
        save(back, saved, generator, bundle.history)
        assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]  # no temporary file stays


@pytest.mark.parametrize("space", list(LatentSpace))
def test_every_space(generator, tmp_path, space):
    shape = (3, 6, 8) if space is LatentSpace.W_PLUS else (3, 8)
    code = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "new" / "folder" / "a.latent.safetensors"
    save(Latent(code, space, generator.fixed_noise(3)), path, generator)  # noise maps that share their memory
    back = load_latent(path)
    assert back.space is space and torch.equal(back.code, code)


def test_another_generator_is_refused(saved):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = StyleGAN2(StyleGAN2Config(img_resolution=16, z_dim=8, w_dim=8, channels=(8, 8, 8), mapping_layers=2))
    other.name = "other"
    with pytest.raises(LatentFileError, match=f"with tiny .*not with other .{other.sha256()[:12]}"):
        load_latent(saved, other)
    assert load_latent(saved).code.shape == (2, 6, 8)


def test_save_refuses(generator, latent, tmp_path):
    path = tmp_path / "a.latent.safetensors"
    broken = latent.code.clone()
    broken[1, 2, 3] = float("nan")
    with pytest.raises(LatentFileError, match="code holds values that are not finite"):
        save(replace(latent, code=broken), path, generator)
    with pytest.raises(LatentFileError, match=r"code is \(2, 5, 8\); tiny takes \(batch, 6, 8\)"):
        save(replace(latent, code=latent.code[:, :5]), path, generator)
    with pytest.raises(LatentFileError, match="noise is"):
        save(replace(latent, noise=latent.noise[:2]), path, generator)
    with pytest.raises(SettingsError, match="history cannot be stored"):
        save(latent, path, generator, {"photo": path})
    with pytest.raises(SettingsError, match="should end in .latent.safetensors, or in .npz"):
        save(latent, tmp_path / "a.png", generator)
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match="cannot be written"):
        save(latent, tmp_path / "file" / "a.safetensors", generator)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_failed_save_leaves_the_old_file(generator, latent, saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(WriteError, match="the disk is full"):
        save(replace(latent, code=latent.code + 1), saved, generator)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1


def test_damaged_files(generator, saved, tmp_path):
    whole = saved.read_bytes()
    damaged = tmp_path / "b.latent.safetensors"
    for content in [b"", b"x", b"just some text, no latent\n" * 9, whole[:-1], whole[:40], whole + b"x", b"\xff" * 64]:
        damaged.write_bytes(content)
        with pytest.raises(LatentFileError, match="b.latent.safetensors is not a readable latent") as caught:
            load_latent(damaged, generator)
        assert "\n" not in str(caught.value)
    for path in [tmp_path / "missing.safetensors", tmp_path, tmp_path / "missing.npz", tmp_path / "missing.pt"]:
        with pytest.raises(LatentFileError, match="is not a file"):
            load_latent(path, generator)


def test_any_flipped_byte_gives_a_latent_or_our_error(generator, saved):
    whole, damaged = bytearray(saved.read_bytes()), saved.with_name("b.safetensors")
    size = 8 + struct.unpack("<Q", whole[:8])[0]
    for i in range(0, size, 7):
        damaged.write_bytes(whole[:i] + bytes([whole[i] ^ 0x15]) + whole[i + 1 :])
        try:
            load_latent(damaged, generator)
        except InversionError as error:
            assert "\n" not in str(error)


HEADER = {"space": "w_plus", "generator": {"name": "tiny", "sha256": "0"}, "versions": {}, "history": {}}


@pytest.mark.parametrize(
    "header, message",
    [
        ("{not json", "broken header"),
        ("[]", "broken header"),
        ("[" * 100_000, "broken header"),
        (json.dumps(HEADER | {"space": "v"}), "broken header"),
        (json.dumps(HEADER | {"space": "w"}), "2 dimensions"),
        (json.dumps(HEADER | {"generator": "tiny"}), "broken header"),
        (json.dumps(HEADER | {"generator": {"name": 1, "sha256": "0"}}), "wrong types"),
        (json.dumps(HEADER | {"history": []}), "wrong types"),
        (json.dumps({k: v for k, v in HEADER.items() if k != "history"}), "history"),
    ],
)
def test_headers_that_are_not_ours(tmp_path, header, message):
    path = tmp_path / "a.safetensors"
    save_file({"code": torch.zeros(1, 6, 8)}, path, metadata={"format": "latent-1", "header": header})
    with pytest.raises(LatentFileError, match=message):
        read_bundle(path)


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({}, "broken header: KeyError"),
        ({"noise.0": torch.zeros(1, 1, 4, 4)}, "code"),
        ({"code": torch.zeros(1, 6, 8), "noise.1": torch.zeros(1, 1, 4, 4)}, "noise.0"),
        ({"code": torch.zeros(1, 6, 8), "noise.0": torch.zeros(2, 1, 4, 4)}, r"noise.0 is \(2, 1, 4, 4\)"),
        ({"code": torch.zeros(1, 6, 8), "noise.0": torch.zeros(4, 4)}, "noise.0 is"),
        ({"code": torch.zeros(())}, "3 dimensions"),
        ({"code": torch.zeros(0, 6, 8)}, "none empty"),
        ({"code": torch.full((1, 6, 8), float("inf"))}, "not finite"),
        ({"code": torch.zeros(1, 6, 8, dtype=torch.float16)}, "wrong types"),
        ({"code": torch.zeros(1, 6, 8, dtype=torch.int64)}, "wrong types"),
    ],
)
def test_tensors_that_are_not_ours(tmp_path, tensors, message):
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, metadata={"format": "latent-1", "header": json.dumps(HEADER)})
    with pytest.raises(LatentFileError, match=message):
        read_bundle(path)


def test_other_formats_are_named(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"code": torch.zeros(1, 6, 8)}, path, metadata={"format": "latent-9"})
    with pytest.raises(LatentFileError, match="has format 'latent-9', this version reads 'latent-1' and 'latent-2'"):
        read_bundle(path)
    save_file({"code": torch.zeros(1, 6, 8)}, path)
    with pytest.raises(LatentFileError, match="format None"):
        read_bundle(path)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pt"])
def test_export_and_import(generator, latent, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    export(latent, path, generator)
    back = load_latent(path, generator)
    assert back.space is LatentSpace.W_PLUS and torch.equal(back.code, latent.code)
    noise = latent.noise if suffix == ".pt" else generator.fixed_noise(2)
    assert all(map(torch.equal, back.noise, noise))
    with pytest.raises(SettingsError, match="pass generator"):
        load_latent(path)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_layout_of_the_projector(generator, latent, tmp_path):
    z = Latent(torch.ones(1, 8), LatentSpace.Z, generator.fixed_noise(1))
    export(z, tmp_path / "a.npz", generator)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert list(file) == ["w"] and file["w"].shape == (1, 6, 8) and file["w"].dtype == np.float32
        assert np.array_equal(file["w"], generator.mapping(z.code).numpy())
    with pytest.raises(SettingsError, match="choose .npz"):
        export(latent, tmp_path / "a.mat", generator)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(
    "shape, space, wanted",
    [
        ((8,), "w", (1, 8)),
        ((1, 8), "w", (1, 8)),
        ((5, 8), "w", (5, 8)),
        ((6, 8), "w_plus", (1, 6, 8)),  # six codes in w look the same; one in w_plus is likelier
        ((1, 6, 8), "w_plus", (1, 6, 8)),
        ((3, 6, 8), "w_plus", (3, 6, 8)),
    ],
)
def test_foreign_shapes(generator, tmp_path, shape, space, wanted, dtype):
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", w=values)
    torch.save(torch.from_numpy(values), tmp_path / "a.pt")
    for suffix in ["npy", "npz", "pt"]:
        latent = load_latent(tmp_path / f"a.{suffix}", generator)
        assert latent.space == space and latent.code.dtype == torch.float32 and latent.code.shape == wanted
        assert np.array_equal(latent.code.numpy().ravel(), values.astype(np.float32).ravel())
        assert synthesize(generator, latent).shape[0] == wanted[0]


@pytest.mark.parametrize("shape", [(), (9,), (6, 9), (2, 5, 8), (1, 1, 6, 8), (0, 8)])
def test_foreign_shapes_that_do_not_fit(generator, tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(LatentFileError, match=r"\(batch, 6, 8\), \(batch, 8\)|none empty"):
        load_latent(tmp_path / "a.npy", generator)


def test_foreign_torch_files(generator, tmp_path):
    path, code = tmp_path / "a.pt", torch.ones(6, 8)
    noise = list(generator.sample_noise(1, 5))
    torch.save({"face.png": {"img": torch.zeros(1, 3, 16, 16), "latent": code, "noise": noise}}, path)
    back = load_latent(path, generator)
    assert torch.equal(back.code[0], code) and all(map(torch.equal, back.noise, noise))


CODE, MAP = torch.ones(6, 8), torch.zeros(1, 1, 4, 4)


@pytest.mark.parametrize(
    "value",
    [
        {},
        "text",
        [],
        [CODE, "text"],
        {"one": CODE, "two": None},
        {"latent": None},
        {"latent": CODE.int()},
        {"latent": CODE, "noise": 7},
        {"latent": CODE, "noise": "no"},
        {"latent": CODE, "noise": [3]},
        {"latent": CODE, "noise": [MAP] * 2},
        {"latent": CODE, "noise": [MAP[0, 0]] * 5},
        {"latent": CODE, "noise": [torch.zeros(())] * 5},
    ],
)
def test_torch_files_that_hold_no_latent(generator, tmp_path, value):
    torch.save(value, tmp_path / "a.pt")
    with pytest.raises(LatentFileError, match="a.pt") as caught:
        load_latent(tmp_path / "a.pt", generator)
    assert "\n" not in str(caught.value)


class Payload:
    def __reduce__(self):
        return print, ("this must not run",)


def test_nothing_is_unpickled(generator, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", w=np.array([Payload()], dtype=object), allow_pickle=True)
    torch.save({"latent": Payload()}, tmp_path / "a.pt")
    for suffix in ["npy", "npz", "pt"]:
        with pytest.raises(LatentFileError, match="cannot be read as") as caught:
            load_latent(tmp_path / f"a.{suffix}", generator)
        assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_damaged_foreign_files(generator, latent, tmp_path):
    for suffix in [".npz", ".npy", ".pt"]:
        path = tmp_path / f"a{suffix}"
        export(latent, path, generator)
        whole = path.read_bytes()
        for content in [b"", b"text\n" * 20, whole[: len(whole) // 2], whole[:10], b"PK\x03\x04" + b"\0" * 90]:
            path.write_bytes(content)
            with pytest.raises(LatentFileError, match=f"a{suffix}") as caught:
                load_latent(path, generator)
            assert "\n" not in str(caught.value)
    np.savez(tmp_path / "b.npz", z=np.zeros(8))
    with pytest.raises(LatentFileError, match="holds z; wanted an array named w"):
        load_latent(tmp_path / "b.npz", generator)
    for values in [np.zeros(8, dtype=int), np.full((6, 8), np.nan), np.full((6, 8), 1e300), np.array(["a"] * 8)]:
        np.save(tmp_path / "b.npy", values)
        with pytest.raises(LatentFileError, match="type|not finite"):
            load_latent(tmp_path / "b.npy", generator)
