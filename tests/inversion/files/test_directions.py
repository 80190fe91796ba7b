"""Other people's directions."""

import numpy as np
import pytest
import torch

from inversion.errors import LatentFileError, SettingsError
from inversion.files.foreign import read_direction
from tests.conftest import ROOT, tiny_generator

DIRECTIONS = ROOT.parent / "shared" / "directions"


@pytest.mark.parametrize(
    "shape, wanted",
    [
        ((8,), (1, 8)),
        ((1, 8), (1, 8)),
        ((6, 8), (6, 8)),
        ((1, 6, 8), (6, 8)),
        ((1, 1, 8), (1, 8)),
    ],
)
def test_directions(generator, tmp_path, shape, wanted):
    value = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "a.npy", value)
    np.savez(tmp_path / "a.npz", direction=value)
    torch.save(torch.from_numpy(value), tmp_path / "a.pt")
    for suffix in ("npy", "npz", "pt"):
        direction = read_direction(tmp_path / f"a.{suffix}", generator)
        assert direction.shape == wanted and direction.dtype == torch.float32
        assert np.array_equal(direction.numpy().ravel(), value.astype(np.float32).ravel())


def test_several_directions_in_one_file(generator, tmp_path):
    torch.save({"age": torch.ones(8), "pose": torch.ones(6, 8)}, tmp_path / "a.pt")
    assert read_direction(tmp_path / "a.pt", generator, name="pose").shape == (6, 8)
    with pytest.raises(SettingsError, match="a.pt holds age, pose; choose one by name"):
        read_direction(tmp_path / "a.pt", generator)
    with pytest.raises(SettingsError, match="has no direction named 'smile'; it holds age, pose"):
        read_direction(tmp_path / "a.pt", generator, name="smile")


@pytest.mark.parametrize(
    "value, words",
    [
        (np.ones(9), r"direction is \(9,\); tiny takes \(\(1, 8\), \(6, 8\)\)"),
        (np.ones((5, 8)), r"direction is \(5, 8\); tiny"),
        (np.ones((2, 6, 8)), r"direction is \(2, 6, 8\); wanted"),
        (np.ones(()), r"direction is \(\); wanted"),
        (np.ones((0, 8)), r"direction is \(0, 8\); wanted"),
        (np.zeros(8), "zero everywhere"),
        (np.full(8, np.inf), "not finite"),
        (np.ones(8, dtype=int), "numbers of type int64"),
    ],
)
def test_directions_that_are_none(generator, tmp_path, value, words):
    np.save(tmp_path / "a.npy", value)
    with pytest.raises(LatentFileError, match=words):
        read_direction(tmp_path / "a.npy", generator)


@pytest.mark.skipif(not DIRECTIONS.is_dir(), reason="needs ../shared/directions beside the repository")
def test_published_directions(generator):
    shapes = {path.name: tuple(read_direction(path).shape) for path in DIRECTIONS.iterdir() if path.suffix != ".md"}
    assert shapes == {
        "stylegan1-ffhq-age-18x512.npy": (18, 512),
        "stylegan1-ffhq-age-w-boundary.npy": (1, 512),
        "stylegan2-ffhq-age.pt": (1, 512),
        "stylegan2-ffhq-pose.pt": (18, 512),
    }
    boundary = DIRECTIONS / "stylegan1-ffhq-age-w-boundary.npy"
    assert float(read_direction(boundary).norm()) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(read_direction(boundary).numpy(), np.load(boundary).astype(np.float32))
    wide = tiny_generator(w_dim=512)
    for name, (layers, _) in shapes.items():
        with pytest.raises(
            LatentFileError, match=rf"direction is .*{layers}, 512\); tiny takes \(\(1, 8\), \(6, 8\)\)"
        ):
            read_direction(DIRECTIONS / name, generator)
        if layers == 18:
            with pytest.raises(
                LatentFileError, match=r"direction is .*18, 512\); tiny takes \(\(1, 512\), \(6, 512\)\)"
            ):
                read_direction(DIRECTIONS / name, wide)
        else:
            assert read_direction(DIRECTIONS / name, wide).shape == (1, 512)
