from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inversion.directions.direction import direction_of
from inversion.directions.published import import_direction
from inversion.directions.store import chosen, directions_for, load_directions, save_directions
from inversion.errors import DirectionError
from tests.conftest import tiny_generator


@pytest.fixture
def smile(generator):
    vector = torch.eye(generator.w_dim)[:1]
    about = {"effects": {"smile": 0.25}, "safe": (-2.0, 3.0), "made": {"method": "by hand"}, "band": (4, 8)}
    return direction_of(generator, "smile", vector, **about)


def test_a_file_gives_back_what_was_written(tmp_path, generator, smile):
    other = direction_of(generator, "älter", torch.ones(generator.num_ws, generator.w_dim).cumsum(0))
    save_directions([smile, other], tmp_path / "my.directions.safetensors")
    found = load_directions(tmp_path / "my.directions.safetensors")
    assert set(found) == {"smile", "älter"}
    for one in (smile, other):
        for f in fields(one):
            came, wanted = getattr(found[one.name], f.name), getattr(one, f.name)
            assert torch.equal(came, wanted) if f.name == "shift" else came == wanted, f.name


def test_files_win_over_what_is_packaged_and_must_fit(tmp_path, generator, smile):
    path = tmp_path / "my.directions.safetensors"
    save_directions([smile], path)
    assert directions_for(generator, [path])["smile"].made == {"method": "by hand"}
    with pytest.raises(DirectionError, match="has another W"):
        directions_for(tiny_generator(seed=1), [path])


def test_an_unknown_name_is_answered_with_the_nearest(generator, smile):
    with pytest.raises(DirectionError, match="no direction named 'smlie'; tiny has smile"):
        chosen({"smile": smile, "age": smile}, "smlie", generator)
    with pytest.raises(DirectionError, match="tiny comes without directions"):
        chosen({}, "age", generator)


def test_damaged_files_are_refused_in_one_line(tmp_path, generator, smile):
    path = tmp_path / "my.directions.safetensors"
    save_directions([smile], path)
    whole = path.read_bytes()
    for i, bad in enumerate([b"", whole[:40], whole[:-4], whole.replace(b"directions-1", b"directions-9")]):
        broken = tmp_path / f"{i}.directions.safetensors"
        broken.write_bytes(bad)
        with pytest.raises(DirectionError, match=str(broken)):
            load_directions(broken)
    for header in ("{}", "[]", "nonsense", '{"smile": {"safe": [1]}}', '{"smile": 3}'):
        save_file({"smile": smile.shift}, path, metadata={"format": "directions-1", "header": header})
        with pytest.raises(DirectionError, match="broken header"):
            load_directions(path)
    with pytest.raises(DirectionError, match="not a file"):
        load_directions(tmp_path)


class Test_published_files:
    """W of the generator here spreads six times as far along the first axis as along the others."""

    @pytest.fixture
    def stretched(self):
        generator = tiny_generator(w_dim=256, z_dim=256)
        last = generator.map.layers[-1]
        last.weight.data[0] *= 6
        return generator

    def test_a_direction_of_this_w_is_taken_and_one_by_chance_is_not(self, tmp_path, stretched):
        own, chance = torch.eye(256)[:1], torch.randn(1, 256, generator=torch.Generator().manual_seed(3))
        np.save(tmp_path / "own.npy", own.numpy())
        np.save(tmp_path / "chance.npy", chance.numpy())
        assert import_direction(stretched, tmp_path / "own.npy", "own").name == "own"
        with pytest.raises(DirectionError, match="of another W than tiny's, as it seems"):
            import_direction(stretched, tmp_path / "chance.npy", "chance")
        assert import_direction(stretched, tmp_path / "chance.npy", "chance", anyway=True).name == "chance"

    def test_equal_rows_of_a_generator_with_other_layers_are_a_direction_of_w(self, tmp_path, stretched):
        torch.save(torch.eye(256)[:1].repeat(18, 1), tmp_path / "own.pt")
        assert import_direction(stretched, tmp_path / "own.pt", "own").shift.shape == (1, 256)

    def test_rows_that_differ_belong_to_their_layers(self, tmp_path, stretched):
        torch.save(torch.randn(18, 256), tmp_path / "rows.pt")
        with pytest.raises(DirectionError, match="rows.pt is .18, 256.; tiny takes"):
            import_direction(stretched, tmp_path / "rows.pt", "rows")
