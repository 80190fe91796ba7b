import numpy as np
import pytest
import torch

from generators.pictures.digits import digits
from inversion.commands.tables import space_table
from inversion.config import settings_for
from inversion.errors import SettingsError
from inversion.inverter import Inverter
from inversion.library.collection import Collection, collect
from inversion.measures.space import (
    SpaceConfig,
    continuity,
    measure_space,
    nearest,
    neighbours,
    parts,
    plausible_share,
    prior_codes,
    segments,
)
from inversion.watch import Watch
from tests.plain_generator import Flat

SMALL = SpaceConfig(segments=40, samples=60, neighbours=3)


def encoding(generator, **more):
    return Inverter(generator, settings_for(generator), **more)


class Told(Watch):
    """Remembers what was skipped."""

    def __init__(self, names):
        self.names = names

    def skipped(self, name, why):
        self.names.append(name)


def collection(codes, generator, labels=None):
    codes = codes[:, None]
    images = generator.synthesis(codes, ())
    labels = labels or (None,) * len(codes)
    return Collection(tuple(f"{i:04}" for i in range(len(codes))), tuple(labels), images, codes)


def draws(count, seed, numbers=3):
    return 0.2 * torch.randn(count, numbers, generator=torch.Generator().manual_seed(seed))


# Continuity


def test_a_linear_decoder_has_even_steps_and_no_detour():
    generator, codes = Flat(), draws(30, 1)
    paths = segments(generator, codes[:, None], SMALL)
    assert paths.shape == (40, 17, 1, 4, 4)
    found = continuity(paths)
    assert found["worst_to_mean"] == pytest.approx(1, abs=1e-3) and found["detour"] == pytest.approx(1, abs=1e-3)
    ends = (paths[:, -1] - paths[:, 0]).flatten(1).norm(dim=1) / 4  # 16 pixels
    assert found["step_mean"] == pytest.approx(float(ends.mean()) / 16, rel=1e-4)
    assert found["step_worst"] == pytest.approx(float(ends.max()) / 16, rel=1e-3)


def test_segments_join_codes_of_two_different_pictures():
    paths = segments(Flat(), draws(5, 0)[:, None], SMALL)
    wanted = Flat().synthesis(draws(5, 0)[:, None], ())
    for end in (paths[:, 0], paths[:, -1]):
        assert torch.cdist(end.flatten(1), wanted.flatten(1)).amin(dim=1).max() < 1e-3
    assert (paths[:, 0] - paths[:, -1]).flatten(1).norm(dim=1).min() > 1e-3


def test_a_jump_is_a_large_worst_step():
    paths = segments(Flat(jump=2.0), draws(30, 1)[:, None], SMALL)
    found, flat = continuity(paths), continuity(segments(Flat(), draws(30, 1)[:, None], SMALL))
    assert found["step_worst"] == pytest.approx(2, rel=0.1) and flat["step_worst"] < 0.05
    assert found["worst_to_mean"] > 5


def test_the_known_path():
    images = torch.tensor([0.0, 1.0, 3.0, 3.0])[None, :, None, None, None].expand(1, 4, 1, 2, 2)
    found = continuity(torch.cat([images, images[:, [3, 2, 1, 0]]]))
    assert found == pytest.approx({"step_mean": 1, "step_worst": 2, "worst_to_mean": 2, "detour": 1})
    back = torch.tensor([0.0, 1.0, 0.5])[None, :, None, None, None]
    assert continuity(back)["detour"] == pytest.approx(3)  # 1 and 0.5 to go 0.5
    assert continuity(back * 0)["worst_to_mean"] == 1  # nothing moves, nothing jumps


# Completeness


def test_nearest_distance_is_root_mean_square():
    data = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    images = torch.stack([torch.full((1, 2, 2), 0.25), torch.full((1, 2, 2), 0.9)])
    torch.testing.assert_close(nearest(images, data), torch.tensor([0.25, 0.1]))
    assert plausible_share(images, data, 0.2) == 0.5
    assert plausible_share(torch.full((1, 1, 2, 2), 7.0), data, 1e-6) == 1  # an image is seen clamped


def test_samples_like_the_data_are_complete_and_others_not():
    generator = Flat()
    scale = torch.tensor([0.2, 0.2, 0.2])
    generator.mapping = lambda z, c=None, truncation_psi=1.0: (z * scale)[:, None]  # type: ignore[method-assign]
    held, data = collection(draws(200, 1), generator), collection(draws(600, 2), generator)
    config = SpaceConfig(segments=50, samples=500)
    good = measure_space(generator, held, data, config)
    assert good["completeness"] == pytest.approx(0.95, abs=0.04) and good["coverage"] > 0.9
    assert good["between"] > 0.97  # between two of a ball, one is inside of it
    generator.mapping = lambda z, c=None, truncation_psi=1.0: (z * 5 * scale)[:, None]  # type: ignore[method-assign]
    assert measure_space(generator, held, data, config)["completeness"] < 0.2
    generator.mapping = lambda z, c=None, truncation_psi=1.0: (z * 0.05 * scale)[:, None]  # type: ignore[method-assign]
    collapsed = measure_space(generator, held, data, config)
    assert collapsed["completeness"] > 0.95 and collapsed["coverage"] < 0.4


def test_the_way_between_two_islands_is_not_plausible():
    islands = torch.cat([draws(100, 1) * 0.02 + 0.3, draws(100, 2) * 0.02 - 0.3])
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    every = collection(islands[rows], Flat())
    held, data = every.take(range(50)), every.take(range(50, 200))
    found = measure_space(Flat(), held, data, SpaceConfig(segments=200, samples=10))
    assert 0.4 < found["between"] < 0.65  # about half of the pairs stay on one island


def test_the_prior_is_the_mapping_of_normal_numbers():
    codes = prior_codes(Flat(), SpaceConfig(samples=4000))
    assert codes.shape == (4000, 1, 3)
    assert codes.mean().abs() < 0.05 and codes.std() == pytest.approx(1, abs=0.05)
    assert torch.equal(codes, prior_codes(Flat(), SpaceConfig(samples=4000)))
    assert not torch.equal(codes, prior_codes(Flat(), SpaceConfig(samples=4000, seed=1)))


# Neighbours


def test_labels_of_separate_groups_and_of_mixed_ones():
    generator, centres = Flat(), 0.5 * torch.eye(3)
    groups = torch.arange(60) % 3
    apart = centres[groups] + draws(60, 3) * 0.05
    labels = [str(int(g)) for g in groups]
    every = collection(apart, generator, labels)
    found = neighbours(every.take(range(15)), every.take(range(15, 60)), 5)
    assert found["nearest_label"] == 1 and found["same_label"] == 1
    assert found["trustworthiness"] == pytest.approx(1, abs=1e-3)  # the decoder keeps distances
    mixed = [str(int(g)) for g in torch.randint(3, (60,), generator=torch.Generator().manual_seed(0))]
    every = collection(draws(60, 3), generator, mixed)
    found = neighbours(every.take(range(15)), every.take(range(15, 60)), 5)
    assert found["same_label"] is not None and found["same_label"] < 0.7


def test_neighbours_by_hand():
    generator = Flat(numbers=1)
    held = collection(torch.tensor([[0.0], [1.0]]), generator, ["a", "b"])
    data = collection(torch.tensor([[0.1], [0.2], [0.9], [1.3]]), generator, ["a", "b", "b", "b"])
    found = neighbours(held, data, 2)
    assert found["nearest_label"] == 1 and found["same_label"] == pytest.approx(0.75)
    assert neighbours(collection(torch.tensor([[0.0], [1.0]]), generator), data, 2)["same_label"] is None


# All of it


def test_reconstruction_is_of_the_held_out_pictures():
    generator = Flat()
    held, data = collection(draws(20, 1), generator), collection(draws(50, 2), generator)
    shifted = Collection(held.names, held.labels, held.images + 0.1, held.codes)
    found = measure_space(generator, shifted, data, SMALL)
    assert found["mse"] == pytest.approx(0.01, rel=1e-3) and found["psnr_db"] == pytest.approx(26.02, abs=0.01)
    assert found["nearest_label"] is None and found["numbers"] == 3
    assert found == measure_space(generator, shifted, data, SMALL)


def test_digits_hold_their_test_part_out_and_others_a_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    held, data = parts(["digits"], encoding(Flat()), SMALL, limit=100)
    assert len(held) + len(data) == 100 and 10 < len(held) < 30
    tests = {digit.name for digit in digits("test")}
    assert set(held.names) <= tests and not set(data.names) & tests
    for digit in digits("test")[:12]:
        (tmp_path / "some" / str(digit.label)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "some" / digit.name).write_bytes(digit.png())
    held, data = parts(["some"], encoding(Flat()), SpaceConfig(held_out=0.25))
    assert (len(held), len(data)) == (3, 9) and not set(held.names) & set(data.names)
    other, _ = parts(["some"], encoding(Flat()), SpaceConfig(held_out=0.25, seed=1))
    assert held.names != other.names
    held, data = parts(["some"], encoding(Flat()), SMALL, data=["digits"], limit=40)
    assert (len(held), len(data)) == (12, 40) and held.labels[0] == held.names[0][0]


def test_the_table_leaves_out_what_no_model_has(tmp_path, monkeypatch):
    generator = Flat()
    held, data = collection(draws(20, 1), generator), collection(draws(50, 2), generator)
    records = [measure_space(generator, held, data, SMALL), measure_space(generator, held, data, SMALL)]
    records[1]["model"] = "a longer name"
    lines = space_table(records).splitlines()
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    assert "1-NN" not in lines[0] and "complete" in lines[0]


def test_settings_and_counts_that_cannot_be(tmp_path):
    for wrong in ({"segment_steps": 1}, {"segments": 0}, {"held_out": 1.0}, {"plausible": 0.0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            SpaceConfig(**wrong)
    few = collection(draws(3, 1), Flat())
    with pytest.raises(SettingsError, match="each needs 4"):
        measure_space(Flat(), few, collection(draws(50, 2), Flat()), SMALL)


def test_collect_labels_limits_and_tells_of_bad_files(tmp_path):
    for digit in digits()[:10]:
        (tmp_path / "d" / str(digit.label)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / digit.name).write_bytes(digit.png())
    (tmp_path / "d" / "bad.png").write_text("no picture")
    told = []
    found = collect([tmp_path / "d"], encoding(Flat(), batch=4), Told(told))
    assert len(found) == 10 and told == ["bad.png"] and found.labels == tuple(name[0] for name in found.names)
    assert found.images.shape == (10, 1, 4, 4) and found.codes.shape == (10, 1, 3)
    back = found.images.flatten(1) @ Flat().axes.T
    torch.testing.assert_close(found.codes[:, 0], back)
    assert len(collect([tmp_path / "d"], encoding(Flat()), limit=4)) in (3, 4)  # the bad one may be drawn
    one = collect([tmp_path / "d" / digits()[0].name, tmp_path / "d"], encoding(Flat()))
    assert one.labels[0] == "0000" and one.names[0] == "0000.png" and np.isfinite(one.codes.numpy()).all()
