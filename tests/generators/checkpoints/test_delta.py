"""A tuned generator as the change of its weights."""

import json
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from generators.base import Delta, weights_of
from generators.checkpoints.delta import apply, delta_of, find_delta, name_of, read_delta, write_delta
from generators.errors import ModelFileError
from tests.conftest import tiny_generator

AFFINE, BIAS = "blocks.0.conv1.affine.weight", "blocks.0.conv1.bias"


def changes() -> dict[str, torch.Tensor]:
    left, right = torch.full((8, 1), 0.5), torch.arange(8.0)[None]
    return {f"{AFFINE}:left": left, f"{AFFINE}:right": right, BIAS: torch.full((8,), 0.25)}


@pytest.fixture(scope="module")
def delta(generator):
    return delta_of(generator, changes(), {"steps": 3})


def test_a_delta_is_added_to_a_copy(generator, delta):
    before = {key: value.clone() for key, value in weights_of(generator).items()}
    tuned = apply(generator, delta)
    for key, value in weights_of(tuned).items():
        added = {AFFINE: 0.5 * torch.arange(8.0).expand(8, 8), BIAS: torch.full((8,), 0.25)}.get(key, 0.0)
        assert torch.equal(value, before[key] + added) and torch.equal(weights_of(generator)[key], before[key]), key
    assert tuned.delta == delta and generator.delta is None
    assert tuned.origin_sha256() == generator.sha256() == generator.origin_sha256() != tuned.sha256()


def test_no_change_draws_the_same_to_the_last_bit(generator):
    tuned = apply(generator, delta_of(generator, {BIAS: torch.zeros(8)}, {}))
    ws = generator.mapping(torch.randn(2, 8))
    assert torch.equal(tuned.synthesis(ws, tuned.fixed_noise(2)), generator.synthesis(ws, generator.fixed_noise(2)))
    assert tuned.sha256() == generator.sha256()


def test_the_same_change_gives_the_same_file(generator, delta, tmp_path):
    assert delta_of(generator, dict(reversed(changes().items())), {"steps": 3}).content == delta.content
    path = write_delta(delta, tmp_path)
    assert path.name == name_of(delta.sha256) == f"{delta.sha256[:16]}.delta.safetensors"
    assert read_delta(path) == delta and [*tmp_path.iterdir()] == [path]
    assert write_delta(delta, tmp_path) == path  # again


def test_a_delta_is_found_by_its_hash_whatever_its_name(delta, tmp_path):
    path = write_delta(delta, tmp_path)
    path.rename(tmp_path / "mine.delta.safetensors")
    assert find_delta(tmp_path, delta.sha256) == delta and find_delta(tmp_path, "0" * 64) is None
    (tmp_path / name_of(delta.sha256)).write_bytes(delta.content[:-1])  # cut short, under the right name
    assert find_delta(tmp_path, delta.sha256) == delta


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"ghost.weight": torch.zeros(2)}, "changes ghost.weight, which this generator has not"),
        ({BIAS: torch.zeros(9)}, "does not fit"),
        ({BIAS: torch.full((8,), torch.inf)}, "not finite"),
        ({f"{AFFINE}:left": torch.zeros(8, 1)}, "do not fit each other"),
        ({f"{AFFINE}:left": torch.zeros(8, 1), f"{AFFINE}:right": torch.zeros(2, 8)}, "do not fit each other"),
        ({f"{AFFINE}:left": torch.zeros(10**5, 1), f"{AFFINE}:right": torch.zeros(1, 10**5)}, "does not fit"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(generator, broken, words):
    with pytest.raises(ModelFileError, match=words):
        apply(generator, delta_of(generator, broken, {}))


def test_a_delta_of_another_generator_is_refused(generator, delta):
    with pytest.raises(ModelFileError, match=r"changes tiny \(.*not tiny \(.*load the first"):
        apply(tiny_generator(seed=1), delta)
    with pytest.raises(ModelFileError, match="tuned already"):
        apply(apply(generator, delta), delta)


def test_a_copy_of_a_tuned_generator_is_tuned(generator, delta):
    assert deepcopy(apply(generator, delta)).delta == delta


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", to_bytes({"a": torch.zeros(1)}), b"\x02\0\0\0\0\0\0\0[]"]
)
def test_what_is_no_delta_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "a.delta.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="a.delta.safetensors is no delta") as error:
        read_delta(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ModelFileError, match="is no readable file"):
        read_delta(tmp_path / "none")


def test_a_damaged_or_forged_delta_is_refused(generator, delta, tmp_path):
    with pytest.raises(ModelFileError, match="damaged"):
        apply(generator, Delta(delta.content[:-1], delta.sha256, "tiny", generator.sha256()))
    path = tmp_path / "a.delta.safetensors"
    header = json.dumps({"generator": {"name": 3, "sha256": "x"}})
    path.write_bytes(to_bytes(from_bytes(delta.content), metadata={"format": "latent-delta-1", "header": header}))
    with pytest.raises(ModelFileError, match="a.delta.safetensors"):
        read_delta(path)
