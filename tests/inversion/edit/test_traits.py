from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from inversion.edit.family import ChildConfig, family, next_generation, partner
from inversion.edit.mix import blend
from inversion.edit.traits import TRAITS, inherit
from inversion.errors import FaceError, Note, SettingsError
from inversion.faces.regions import regions_of
from inversion.latent import sample_latent, synthesize
from tests.inversion.faces.test_regions import POINTS


@pytest.fixture
def faces(monkeypatch):
    """Every picture shows a face, drawn by the same landmarks."""
    module = import_module("inversion.edit.local")
    monkeypatch.setattr(module, "regions_in", lambda image, size, names: regions_of(POINTS * size, size, names))


@pytest.fixture
def people(generator):
    return sample_latent(generator, batch=4, seed=5).split()


def test_a_region_comes_from_one_parent(generator, people, faces):
    child, mother, father, _ = people
    has = inherit(generator, child, [mother, father], {"eyes": (0.75, 0.0), "hair": (0.0, 1.0)})
    eyes, hair = has.parts
    torch.testing.assert_close(eyes.offset, 0.75 * (mother.code - child.code))  # 16 px: all its styles make features
    torch.testing.assert_close(hair.offset, father.code - child.code)
    assert torch.equal(eyes.mask, regions_of(POINTS * 16, 16)["eyes"])
    assert torch.equal(inherit(generator, child, [mother], {}).code, child.code)


def test_a_child_whose_regions_are_drawn_repeats(generator, people, faces):
    config = ChildConfig(by_region=True)
    one, two = (family(generator, people[:2], count=3, seed=4, config=config) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert a.traits == b.traits and list(a.traits) == list(TRAITS)
        assert all(sum(shares) == pytest.approx(1) for shares in a.traits.values())
        assert torch.equal(synthesize(generator, a.latent), synthesize(generator, b.latent))
    assert one[0].traits != one[1].traits
    plain = family(generator, people[:2], count=3, seed=4)
    assert torch.equal(plain[0].latent.code, one[0].latent.code) and not plain[0].latent.parts


def test_a_dial_takes_the_place_of_what_would_be_drawn(generator, people, faces):
    config, grandmother = ChildConfig(by_region=True), people[2]
    traits = {"eyes": (0.0, 0.0, 1.0)}
    (child,) = family(generator, people[:2], count=1, config=config, traits=traits, ancestors=[grandmother])
    assert child.traits["eyes"] == (0.0, 0.0, 1.0) and len(child.latent.parts) == len(TRAITS)
    torch.testing.assert_close(child.latent.parts[0].offset, grandmother.code - child.latent.code)


def test_without_a_face(generator, people):
    with pytest.raises(FaceError, match="no face was found"):
        family(generator, people[:2], count=1, traits={"eyes": (1.0, 0.0)})
    with pytest.warns(Note, match="child 1 has no face"):
        (child,) = family(generator, people[:2], count=1, config=ChildConfig(by_region=True))
    assert child.traits == {} and not child.latent.parts


def test_shares_that_are_none(generator, people, faces):
    for shares, message in [((1.0,), "1 shares came for 2"), ((0.7, 0.7), "at most 1"), ((-0.1, 0.5), "from 0 to 1")]:
        with pytest.raises(SettingsError, match=f"eyes: .*{message}"):
            inherit(generator, people[0], people[1:3], {"eyes": shares})
    with pytest.raises(SettingsError, match="no region is called 'ears'"):
        inherit(generator, people[0], people[1:2], {"ears": (1.0,)})


def test_a_change_acts_on_every_child_before_its_regions(generator, people, faces, monkeypatch):
    seen = []
    monkeypatch.setattr(
        import_module("inversion.edit.family"), "inherit", lambda g, child, people, traits: seen.append(child) or child
    )
    found = family(generator, people[:2], count=2, change=lambda child: blend([child, people[2]]))
    plain = family(generator, people[:2], count=2)
    for one, two in zip(found, plain, strict=True):
        torch.testing.assert_close(one.latent.code, (two.latent.code + people[2].code) / 2)
    assert torch.equal(seen[0].code, found[0].latent.code)


def test_grandparents_have_parents_two_by_two(generator, people):
    parents = next_generation(generator, people, seed=2)
    wanted = [family(generator, people[:2], count=1, seed=2)[0], family(generator, people[2:], count=2, seed=2)[1]]
    for one, two in zip(parents, wanted, strict=True):
        assert torch.equal(one.latent.code, two.latent.code)
    for count in (2, 3):
        with pytest.raises(SettingsError, match=f"{count} grandparents came"):
            next_generation(generator, people[:count])


def test_the_partner_of_a_true_mean_is_the_other_parent(generator, people):
    mother, father = people[:2]
    found = partner(generator, mother, blend([mother, father]), reach=50.0)
    torch.testing.assert_close(found.code, father.code)


def test_a_partner_differs_between_layers_as_the_child_does(generator, people):
    mother, child = people[:2]
    apart = replace(child, code=child.code + torch.linspace(-1, 1, generator.num_ws)[:, None])
    found = partner(generator, mother, apart)
    layers = [one.code - one.code.mean(dim=1, keepdim=True) for one in (found, apart)]
    torch.testing.assert_close(*layers)


def test_a_partner_stays_near_the_mean(generator, people):
    mother, child = people[:2]
    found = partner(generator, mother, child, reach=0.8)
    away = [(one.code - generator.w_avg).norm(dim=2) for one in (found, mother, child)]
    assert (away[0] <= 0.8 * torch.maximum(away[1], away[2]) + 1e-5).all()
    beyond = (2 * child.code - mother.code - generator.w_avg)[0]
    along = torch.nn.functional.cosine_similarity((found.code - generator.w_avg)[0], beyond)
    np.testing.assert_allclose(along, 1, atol=1e-5)
    with pytest.raises(SettingsError, match="reach is 0"):
        partner(generator, mother, child, reach=0.0)
