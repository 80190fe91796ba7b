import pytest
import torch

from generators.pca import PCA, PCAConfig
from inversion.config import LatentSpace
from inversion.directions.direction import (
    Direction,
    check_direction,
    deviation,
    direction_of,
    length_for,
    move,
    opposite,
)
from inversion.directions.fingerprint import fingerprint, same_w
from inversion.errors import DirectionError, SettingsError
from inversion.latent import mean_latent, sample_latent, synthesize
from tests.conftest import tiny_generator, tiny_mobile


@pytest.fixture(scope="module")
def linear():
    return PCA(PCAConfig(img_resolution=8, dim=4)).eval()


def axis(generator, i=0):
    return torch.eye(generator.w_dim)[i : i + 1]


def test_a_direction_moves_samples_by_one_standard_deviation(generator):
    direction = direction_of(generator, "x", 7 * axis(generator))
    w = generator.sample_w(10_000, seed=0)
    slopes = torch.where(w[:, 0] < 0, generator.w_slope, 1.0)  # what a small step does to each sample
    assert generator.w_slope == 0.2
    torch.testing.assert_close(direction.shift.norm() * slopes.square().mean().sqrt(), w[:, 0].std(), rtol=1e-3, atol=0)
    assert deviation(generator, axis(generator)) == pytest.approx(float(w[:, 0].std()), rel=1e-3)


def test_where_the_mapping_ends_linearly_a_direction_is_a_standard_deviation_long(linear):
    assert float(direction_of(linear, "x", axis(linear)).shift.norm()) == pytest.approx(1, rel=0.02)


def test_strengths_are_added_before_the_last_leaky_relu(generator):
    direction, latent = direction_of(generator, "x", axis(generator)), sample_latent(generator)
    moved = move(generator, latent, direction, 1.5)
    shifted = generator.unbent(moved.code) - generator.unbent(latent.code)
    assert torch.allclose(shifted, 1.5 * direction.shift.expand_as(latent.code), atol=1e-5)
    assert torch.equal(moved.code[:, :, 1:], latent.code[:, :, 1:])  # what does not move does not round
    back = move(generator, moved, opposite(direction), 1.5)
    assert torch.allclose(back.code, latent.code, atol=1e-5)


def test_strength_zero_leaves_the_picture_as_it_is(generator):
    latent = sample_latent(generator)
    moved = move(generator, latent, direction_of(generator, "x", axis(generator)), 0.0)
    assert torch.equal(synthesize(generator, moved), synthesize(generator, latent))


def test_a_band_moves_its_layers_alone(generator):
    latent = sample_latent(generator)
    moved = move(generator, latent, direction_of(generator, "x", axis(generator), band=(8, 8)), 1.0)
    changed = (moved.code != latent.code).any(dim=2)[0]
    assert changed.tolist() == [resolution == 8 for resolution in generator.ws_resolutions]


def test_w_stays_w_where_it_can_and_z_is_mapped(generator):
    direction = direction_of(generator, "x", axis(generator))
    assert move(generator, mean_latent(generator, LatentSpace.W), direction, 1.0).space is LatentSpace.W
    assert move(generator, mean_latent(generator, LatentSpace.Z), direction, 1.0).space is LatentSpace.W_PLUS


def test_rows_that_are_equal_are_one(generator):
    direction = direction_of(generator, "x", axis(generator).expand(generator.num_ws, -1))
    assert direction.everywhere and direction.shift.shape == (1, generator.w_dim)


def test_of_several_rows_the_longest_is_one_deviation_and_empty_ones_stay(generator):
    rows = torch.zeros(generator.num_ws, generator.w_dim)
    rows[1, 0], rows[2, 0] = 4.0, 2.0
    shift = direction_of(generator, "x", rows).shift
    assert torch.allclose(shift[1].norm(), torch.tensor(length_for(generator, axis(generator))), rtol=1e-4)
    assert torch.allclose(shift[2], shift[1] / 2) and not shift[0].any()


def test_another_synthesis_on_the_same_mapping_shares_its_w(generator):
    other = tiny_generator(seed=5)
    other.map.load_state_dict(generator.map.state_dict())
    direction = direction_of(generator, "x", axis(generator))
    assert other.sha256() != generator.sha256()
    assert direction.fits(other)
    rows = direction_of(generator, "rows", torch.randn(generator.num_ws, generator.w_dim))
    assert rows.fits(generator) and not rows.fits(other)  # rows belong to layers, and so to one file


def test_another_mapping_has_another_w(generator):
    direction = direction_of(generator, "smile", axis(generator))
    with pytest.raises(DirectionError, match="smile is of tiny .* has another W"):
        check_direction(tiny_generator(seed=1), direction)


def test_gains_folded_into_weights_do_not_change_a_fingerprint(generator):
    close = tuple(x * 1.0001 for x in fingerprint(generator))
    assert same_w(fingerprint(generator), close)
    assert not same_w(fingerprint(generator), fingerprint(tiny_generator(seed=1)))
    assert not same_w((), ())  # of generators whose w is z, which says nothing


def test_a_generator_whose_w_is_z_has_no_fingerprint(linear):
    assert fingerprint(linear) == ()
    direction = direction_of(linear, "x", axis(linear))
    assert direction.fits(linear)


@pytest.mark.parametrize("bad", [torch.zeros(1, 8), torch.full((1, 8), torch.nan), torch.ones(1, 7), torch.eye(8)[:2]])
def test_what_is_no_direction_is_refused(generator, bad):
    with pytest.raises(SettingsError, match="the direction x is"):
        direction_of(generator, "x", bad)


def test_effects_turn_with_the_direction(generator):
    one = direction_of(generator, "x", axis(generator), effects={"age": 3.0}, safe=(-1.0, 4.0))
    other = opposite(one)
    assert other.effects == {"age": -3.0} and other.safe == (-4.0, 1.0)
    assert isinstance(other, Direction)


def test_mobile_has_a_map_for_each_style():
    mobile = tiny_mobile()
    assert [i for i, _ in mobile.style_maps()] == list(range(mobile.num_ws))
