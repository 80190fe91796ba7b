from dataclasses import replace

import pytest
import torch

from inversion.config import LatentSpace
from inversion.edit.family import ChildConfig, children, family
from inversion.errors import SettingsError, SpaceMismatch
from inversion.latent import Latent, sample_latent, synthesize

STILL = ChildConfig(mutation=0.0)


def constant(generator, value, seed):
    """A latent whose code tells where it came from."""
    return Latent(torch.full((1, 6, 8), value), LatentSpace.W_PLUS, generator.sample_noise(1, seed))


def overall(generator, child):
    """The share of each parent, over all styles."""
    return torch.tensor([child.weights[r] for r in generator.ws_resolutions]).mean(dim=0)


def test_styles_of_one_resolution_move_together(generator):
    child = family(
        generator, [constant(generator, 0.0, 0), constant(generator, 1.0, 1)], count=1, seed=3, config=STILL
    )[0]
    assert list(child.weights) == [4, 8, 16]
    wanted = torch.tensor([child.weights[r][1] for r in generator.ws_resolutions])
    torch.testing.assert_close(child.latent.code, wanted[None, :, None].expand(1, 6, 8))
    assert child.latent.space is LatentSpace.W_PLUS
    assert synthesize(generator, child.latent).shape == (1, 3, 16, 16)


def test_a_child_depends_on_the_seed_and_its_number_alone(generator):
    parents = [constant(generator, 0.0, 0), constant(generator, 1.0, 1)]
    few, many = family(generator, parents, count=2, seed=5), family(generator, parents, count=4, seed=5)
    for one, two in zip(few, many, strict=False):
        assert one.weights == two.weights and torch.equal(one.latent.code, two.latent.code)
    others = family(generator, parents, count=4, seed=6)
    assert len({str(child.weights) for child in [*many, *others]}) == 8
    state = torch.random.get_rng_state()
    family(generator, parents, count=1, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_parent_has_its_share(generator, count):
    parents = [constant(generator, float(i), i) for i in range(count)]
    config = ChildConfig(least_share=0.7)
    many = family(generator, parents, count=60, seed=1, config=config)
    shares = torch.stack([overall(generator, child) for child in many])
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(60))
    assert shares.min() >= 0.5 / count - 1e-6
    assert (shares.mean(dim=0) - 1 / count).abs().max() < 0.1  # no favourite
    free = family(generator, parents, count=60, seed=1, config=ChildConfig(least_share=0.0))
    assert min(overall(generator, child).min() for child in free) < 0.5 / count  # so the bound did something


def test_concentration_makes_siblings_alike(generator):
    parents = [constant(generator, 0.0, 0), constant(generator, 1.0, 1)]
    spread = []
    for concentration in (0.3, 1.0, 100.0):
        siblings = family(generator, parents, count=20, config=replace(STILL, concentration=concentration))
        spread.append(torch.cat([child.latent.code for child in siblings]).std(dim=0).mean())
    assert spread[0] > spread[1] > 2 * spread[2] > 0
    equal = family(generator, parents, count=1, config=ChildConfig(least_share=1.0))[0]
    torch.testing.assert_close(overall(generator, equal), torch.tensor([0.5, 0.5]))


def test_noise_follows_the_styles_that_place_features(generator):
    parents = [constant(generator, 0.0, 0), constant(generator, 1.0, 1)]
    for child in family(generator, parents, count=5, seed=2):
        for i in range(len(generator.noise_shapes)):
            one, two = (parent.noise[i] for parent in parents)
            mixed = child.weights[16][0] * one + child.weights[16][1] * two
            got = child.latent.noise[i]
            torch.testing.assert_close(got / got.norm(), mixed / mixed.norm())
            powers = [one.square().mean(), two.square().mean()]
            assert min(powers) - 1e-5 <= got.square().mean() <= max(powers) + 1e-5


def test_a_parent_alone_in_the_family_breeds_true(generator):
    parent = sample_latent(generator, seed=3)
    for child in family(generator, [parent, parent], count=3, config=STILL):
        torch.testing.assert_close(child.latent.code, parent.code)
        assert all(map(torch.equal, child.latent.noise, parent.noise))


def test_parents_of_several_spaces(generator):
    noise = generator.fixed_noise(2)
    z = Latent(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), LatentSpace.Z, noise)
    w = Latent(torch.ones(2, 8), LatentSpace.W, noise)
    mixed = family(generator, [z, w], count=1, seed=1)[0]
    plain = family(generator, [z.to_w_plus(generator), w.to_w_plus(generator)], count=1, seed=1)[0]
    assert mixed.latent.code.shape == (2, 6, 8) and torch.equal(mixed.latent.code, plain.latent.code)


def test_refusals(generator):
    parents = [constant(generator, 0.0, 0), constant(generator, 1.0, 1)]
    for call, message in [
        ({"parents": parents[:1], "count": 1}, "1 parent came"),
        ({"parents": [], "count": 1}, "0 parent"),
        ({"parents": parents, "count": 0}, "count is 0"),
        ({"parents": parents, "count": 1, "seed": -1}, "seed is -1"),
    ]:
        with pytest.raises(SettingsError, match=message):
            family(generator, call.pop("parents"), **call)
    with pytest.raises(SpaceMismatch, match=r"\(1, 6, 8\) and \(1, 5, 8\)"):
        family(generator, [parents[0], replace(parents[1], code=torch.zeros(1, 5, 8))], count=1)
    nan = float("nan")
    for settings in [{"concentration": 0.0}, {"concentration": nan}, {"least_share": 1.5}, {"least_share": -0.1}]:
        with pytest.raises(SettingsError, match="give a number"):
            ChildConfig(**settings)  # type: ignore[arg-type]


def test_the_least_share_is_larger_where_mixtures_would_ghost(generator, monkeypatch):
    parents = [constant(generator, 0.0, 0), constant(generator, 1.0, 1)]

    def least():
        many = family(generator, parents, count=40, seed=2)
        return min(min(shares) for child in many for shares in child.weights.values())

    assert 0.125 <= least() < 0.2
    monkeypatch.setattr(generator, "linear_layout", True)
    assert 0.35 <= least() < 0.4


def test_children_are_the_latents_of_the_family(generator):
    parents = [constant(generator, 0.0, 0), constant(generator, 1.0, 1)]
    wanted = [child.latent for child in family(generator, parents, count=3, seed=4)]
    for one, other in zip(children(generator, parents, count=3, seed=4), wanted, strict=True):
        assert torch.equal(one.code, other.code)
