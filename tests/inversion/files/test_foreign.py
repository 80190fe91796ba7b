import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from inversion.config import LatentSpace
from inversion.errors import InversionError, LatentFileError
from inversion.files.foreign import read_latents
from inversion.files.latent_file import export, load_latent, save
from inversion.latent import Latent, sample_latent, synthesize
from tests.conftest import tiny_generator

RNG = np.random.default_rng(0)
W, W_PLUS = RNG.normal(size=8), RNG.normal(size=(6, 8)).astype(np.float32)  # of the tiny generator: 6 layers, 8 wide


@pytest.fixture
def noise(generator) -> list[torch.Tensor]:
    return list(generator.sample_noise(1, 5))


def objects(path: Path, value: object) -> Path:
    """np.save of something that is no array, as people do it."""
    holder = np.empty((), dtype=object)
    holder[()] = value
    np.save(path, holder, allow_pickle=True)
    return path


# Latents in


def test_the_projector_of_stylegan2_pytorch(generator, noise, tmp_path):
    """path -> image, latent and noise; with w or w_plus, for one photograph or several."""
    result = {
        "in/a.png": {"img": torch.zeros(3, 16, 16), "latent": torch.from_numpy(W_PLUS), "noise": noise},
        "in/b.png": {"img": torch.zeros(3, 16, 16), "latent": torch.from_numpy(W).float(), "noise": noise},
    }
    torch.save(result, tmp_path / "a.pt")
    found = read_latents(tmp_path / "a.pt", generator)
    assert list(found) == ["in/a.png", "in/b.png"]
    assert [latent.space for latent in found.values()] == [LatentSpace.W_PLUS, LatentSpace.W]
    assert all(torch.equal(m, n) for m, n in zip(found["in/b.png"].noise, noise, strict=True))
    batch = load_latent(tmp_path / "a.pt", generator)
    assert batch.space is LatentSpace.W_PLUS and batch.code.shape == (2, 6, 8)
    assert np.array_equal(batch.code[1], np.tile(W.astype(np.float32), (6, 1)))
    assert synthesize(generator, batch).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("kind", ["tensors", "arrays", "steps"])
def test_dicts_of_file_to_latent(generator, tmp_path, kind):
    """As encoders leave them: torch.save and np.save; iterative ones keep every step, of which the last counts."""
    values = {"a.jpg": W_PLUS, "b.jpg": W_PLUS[::-1].copy()}
    path = tmp_path / ("a.npy" if kind == "steps" else "a.pt")
    if kind == "tensors":
        torch.save({k: torch.from_numpy(v) for k, v in values.items()}, path)
    elif kind == "arrays":
        torch.save(values, path)
    else:
        objects(path, {k: [np.zeros((6, 8)), v] for k, v in values.items()})
    found = read_latents(path, generator)
    assert {k: v.code.shape for k, v in found.items()} == {"a.jpg": (1, 6, 8), "b.jpg": (1, 6, 8)}
    assert all(np.array_equal(found[k].code[0], v) for k, v in values.items())


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_lists_of_arrays(generator, tmp_path, dtype, protocol):
    values = [W_PLUS.astype(dtype), W.astype(dtype)]
    holder = np.empty(2, dtype=object)
    holder[:] = values
    np.save(tmp_path / "a.npy", holder, allow_pickle=True)
    np.savez(tmp_path / "a.npz", w=holder, allow_pickle=True)
    (tmp_path / "a.pt").write_bytes(pickle.dumps(values, protocol))
    for suffix in ("npy", "npz", "pt"):
        one, two = read_latents(tmp_path / f"a.{suffix}", generator).values()
        assert np.array_equal(one.code[0], W_PLUS.astype(dtype).astype(np.float32)), suffix
        assert (two.space, two.code.shape) == (LatentSpace.W, (1, 8))


def test_a_vector_of_plain_numbers(generator, tmp_path):
    found = read_latents(objects(tmp_path / "a.npy", {"me": W.tolist()}), generator)
    assert np.array_equal(found["me"].code[0], W.astype(np.float32))


def test_shapes_with_one_layer(generator, tmp_path):
    np.save(tmp_path / "a.npy", np.stack([W, W])[:, None])
    assert load_latent(tmp_path / "a.npy", generator).code.shape == (2, 8)


@pytest.mark.parametrize("name", ["w", "latents", "w_plus", "arr_0", "projected"])
def test_names_in_npz(generator, tmp_path, name):
    np.savez_compressed(tmp_path / "a.npz", **{name: W_PLUS[None]})
    assert np.array_equal(load_latent(tmp_path / "a.npz", generator).code[0], W_PLUS)
    np.savez(tmp_path / "b.npz", w=W_PLUS, z=W, other=W)
    assert load_latent(tmp_path / "b.npz", generator).space is LatentSpace.W_PLUS
    np.savez(tmp_path / "c.npz", one=W_PLUS, two=W)
    with pytest.raises(LatentFileError, match="c.npz: it holds one, two; wanted an array named w"):
        load_latent(tmp_path / "c.npz", generator)


def test_contents_count_not_names(generator, tmp_path):
    np.save(tmp_path / "a.npy", W_PLUS)
    np.savez(tmp_path / "b.npz", w=W_PLUS)
    torch.save(torch.from_numpy(W_PLUS), tmp_path / "c.pt")
    torch.save(torch.from_numpy(W_PLUS), tmp_path / "d.pt", _use_new_zipfile_serialization=False)  # before torch 1.6
    for i, name in enumerate(["a.npy", "b.npz", "c.pt", "d.pt"]):
        wrong = tmp_path / f"{i}{['.pt', '.npy', '.npz', '.npz'][i]}"
        wrong.write_bytes((tmp_path / name).read_bytes())
        assert np.array_equal(load_latent(wrong, generator).code[0], W_PLUS)


def test_shapes_that_do_not_fit_name_the_photograph(generator, tmp_path):
    torch.save({"a.jpg": torch.zeros(6, 8), "b.jpg": torch.zeros(18, 512)}, tmp_path / "a.pt")
    message = r"a.pt \(b.jpg\): latent is \(18, 512\); tiny takes \(\(batch, 6, 8\), \(batch, 8\)\)"
    with pytest.raises(LatentFileError, match=message):
        read_latents(tmp_path / "a.pt", generator)


# Hostile and broken files


class Payload:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "inside", [Payload(), [Payload()], {"a.jpg": W, "b": Payload()}, np.array([Payload()], object)]
)
def test_nothing_is_executed(generator, tmp_path, monkeypatch, inside):
    monkeypatch.chdir(tmp_path)
    objects(tmp_path / "a.npy", inside)
    holder = np.empty((), dtype=object)
    holder[()] = inside
    np.savez(tmp_path / "a.npz", w=holder, allow_pickle=True)
    torch.save(inside, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(inside))
    for name in ("a.npy", "a.npz", "a.pt", "b.pt"):
        with pytest.raises(LatentFileError, match="cannot be read as .*system") as caught:
            load_latent(tmp_path / name, generator)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def header(shape: str, dtype: str = "<f8") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        header("(1000000000, 512)") + bytes(64),
        header("(3000000000000,)") + bytes(64),
        header("(-1, 8)") + bytes(64),
        header("(6, 8)", "|O") + bytes(64),
        header("(6, 8)", "<U8") + bytes(6 * 8 * 32),
        header("(6, 8)", "<c16") + bytes(6 * 8 * 16),
        header("(6, __import__('os'))") + bytes(64),
        b"\x93NUMPY\x09\x00" + bytes(64),
        b"\x93NUMPY",
    ],
)
def test_arrays_that_declare_what_they_do_not_hold(generator, tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", content)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(LatentFileError, match=name) as caught:
            load_latent(tmp_path / name, generator)
        assert "\n" not in str(caught.value)


def test_a_zip_that_unpacks_to_far_more(generator, tmp_path):
    content = header("(20000000, 8)", "<f4") + bytes(64 << 20)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", content)
    with pytest.raises(LatentFileError, match="would unpack to 67108992 bytes; no honest file does"):
        load_latent(tmp_path / "a.npz", generator)


def test_containers_without_end(generator, tmp_path):
    deep: object = W
    for _ in range(50):
        deep = {"a": deep}
    with pytest.raises(LatentFileError, match="more than 4 deep"):
        load_latent(objects(tmp_path / "a.npy", deep), generator)
    loop: list = []
    loop.append(loop)
    (tmp_path / "a.pt").write_bytes(pickle.dumps(loop))
    with pytest.raises(LatentFileError, match="a.pt"):
        load_latent(tmp_path / "a.pt", generator)
    for inside in ([], W_PLUS, np.zeros((1000, 6, 8))):
        wide = [inside]
        for _ in range(3):
            wide = [wide] * 2_000
        (tmp_path / "b.pt").write_bytes(pickle.dumps(wide))
        with pytest.raises(LatentFileError, match="b.pt cannot be read as .pt: it makes far more bytes than it holds"):
            load_latent(tmp_path / "b.pt", generator)


def test_mutated_files_give_a_latent_or_our_error(generator, noise, tmp_path):
    torch.save({"a.png": {"latent": torch.from_numpy(W_PLUS), "noise": noise}}, tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", w=W_PLUS)
    np.save(tmp_path / "a.npy", W_PLUS)
    objects(tmp_path / "b.npy", {"a.png": W_PLUS})
    rng = random.Random(0)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for _ in range(60):
            changed = bytearray(whole[: rng.choice([len(whole), rng.randrange(len(whole))])] or b"\0")
            for _ in range(rng.randrange(1, 5)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            target = tmp_path / f"mutated{path.suffix}"
            target.write_bytes(bytes(changed))
            try:
                load_latent(target, generator)
            except InversionError as error:
                assert "\n" not in str(error)
        target.unlink()


# Latents out


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pt", ".pth"])
@pytest.mark.parametrize("batch", [1, 2])
def test_save_writes_by_suffix_and_what_it_writes_renders_the_same(generator, tmp_path, suffix, batch):
    latent = sample_latent(generator, batch=batch, seed=2)
    save(latent, tmp_path / f"a{suffix}", generator, {"recipe": "default"})
    back = load_latent(tmp_path / f"a{suffix}", generator)
    assert torch.equal(synthesize(generator, back), synthesize(generator, latent))
    assert [file.name for file in tmp_path.iterdir()] == [f"a{suffix}"]


def test_the_layouts_of_others(generator, tmp_path):
    latent = Latent(torch.from_numpy(np.stack([W_PLUS, -W_PLUS])), LatentSpace.W_PLUS, generator.sample_noise(2, 7))
    export(latent, tmp_path / "me.pt", generator)
    found = torch.load(tmp_path / "me.pt", weights_only=True)
    assert list(found) == ["me-1", "me-2"] and found["me-1"]["latent"].shape == (6, 8)
    assert [tuple(n.shape) for n in found["me-2"]["noise"]] == [(1, 1, *shape) for shape in generator.noise_shapes]
    assert torch.equal(found["me-2"]["noise"][4], latent.noise[4][1:])
    back = load_latent(tmp_path / "me.pt", generator)
    assert torch.equal(back.code, latent.code) and all(map(torch.equal, back.noise, latent.noise))
    export(latent, tmp_path / "codes.pt", generator, noise=False)
    found = torch.load(tmp_path / "codes.pt", weights_only=True)
    assert torch.equal(found, latent.code)
    assert (tmp_path / "codes.pt").stat().st_size < 4096


def test_buffers_are_left_alone(generator, tmp_path):
    """Reading makes copies: a file can be replaced while its latent is in use."""
    np.save(tmp_path / "a.npy", W_PLUS)
    latent = load_latent(tmp_path / "a.npy", generator)
    np.save(tmp_path / "a.npy", -W_PLUS)
    assert np.array_equal(latent.code[0], W_PLUS) and isinstance(io.BytesIO(), io.BufferedIOBase)


def test_codes_before_the_mapping_are_not_taken_for_w(generator, tmp_path):
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "a.npy", z.numpy())
    np.savez(tmp_path / "b.npz", w=z.numpy())
    torch.save(z[:48].reshape(8, 6, 8), tmp_path / "c.pt")
    for name in ("a.npy", "b.npz", "c.pt"):
        with pytest.raises(LatentFileError, match=f"{name}: holds z codes, as it seems, where w is read; map it first"):
            read_latents(tmp_path / name, generator)
    torch.save({"z": z[:2]}, tmp_path / "named.pt")
    with pytest.raises(LatentFileError, match=r"named.pt \(z\): holds z codes"):
        read_latents(tmp_path / "named.pt", generator)
    narrow = tiny_generator(z_dim=4)
    np.save(tmp_path / "narrow.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(LatentFileError, match=r"latent is \(3, 4\), as wide as z, where w is read"):
        read_latents(tmp_path / "narrow.npy", narrow)


def test_codes_that_are_w_are_read_whatever_they_look_like(generator, tmp_path):
    np.save(tmp_path / "w.npy", generator.sample_w(64, 3).numpy())
    assert read_latents(tmp_path / "w.npy", generator)["w"].code.shape == (64, 8)
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    plain = tiny_generator(mapping_layers=0)  # whose w is z of length one
    np.save(tmp_path / "z.npy", z.numpy())
    assert torch.equal(read_latents(tmp_path / "z.npy", plain)["z"].code, z)
