"""Headers and archives that ask for more than their files hold."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from generators.checkpoints.open import read_checkpoint
from generators.checkpoints.ours import FORMAT, load_model, read_file, save_model
from generators.errors import ModelFileError
from inversion.errors import LatentFileError
from inversion.files.foreign import read_arrays
from inversion.latent import sample_latent
from tests.conftest import tiny_generator


@pytest.mark.parametrize(
    "settings",
    [
        {"mapping_layers": 100_000},
        {"mapping_layers": 10**12},
        {"c_dim": 10**15},
        {"z_dim": 2**20},
        {"flow_steps": 100_000},
        {"channels": [1] * 20_000},
        {"channels": [[[[[[[1]]]]]]]},
    ],
    ids=str,
)
def test_headers_are_bounded_before_anything_is_built(tmp_path, settings):
    path = tmp_path / "m.safetensors"
    save_model(tiny_generator(), path)
    header, tensors = read_file(path)
    header["settings"] |= settings
    save_file(tensors, path, metadata={"format": FORMAT, "header": json.dumps(header)})
    with pytest.raises(ModelFileError, match="no architecture here takes|its settings want") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_class_is_drawn_in_its_own_room_however_many_there_are(monkeypatch):
    generator = tiny_generator(c_dim=30_000)
    monkeypatch.setattr(torch, "eye", None)  # of so many classes it takes 3.6 GB
    code = sample_latent(generator, seed=0, label=29_999).code
    z, _ = generator.sample_z(1, torch.Generator().manual_seed(0))
    label = torch.zeros(1, 30_000)
    label[0, -1] = 1.0
    torch.testing.assert_close(code, generator.mapping(z, label))


def test_arrays_that_unfold_without_end(tmp_path, monkeypatch):
    path, beside = tmp_path / "w.npz", np.random.default_rng(0).normal(size=10_000)
    np.savez_compressed(path, w=np.zeros((300, 1000), np.float32), noise=beside)
    assert read_arrays(path)[0].value.shape == (300, 1000)
    monkeypatch.setattr("inversion.files.foreign.UNPACKED", 2**20)
    with pytest.raises(LatentFileError, match="would unpack to 1200128 bytes"):
        read_arrays(path)


def test_headers_that_are_no_text(tmp_path):
    header = b'{"__metadata__":{"format":"latent-model-1","header":"\xff\xfe"}}'
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelFileError, match="not a readable model file"):
        read_checkpoint(path)
