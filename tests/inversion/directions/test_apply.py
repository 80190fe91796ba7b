from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from inversion.directions import apply
from inversion.directions.apply import Aim, edit, meant_for, reach
from inversion.directions.direction import direction_of
from inversion.directions.strips import strips
from inversion.errors import DirectionError, FaceError, Note, SettingsError
from inversion.latent import sample_latent
from tests.conftest import tiny_generator


def grey(picture):
    return float(picture.getpixel((0, 0)))


@pytest.fixture
def directions(generator):
    return {f"axis{i}": direction_of(generator, f"axis{i}", torch.eye(generator.w_dim)[i : i + 1]) for i in range(2)}


@pytest.fixture
def blind(monkeypatch):
    """Nobody is ever another person."""
    monkeypatch.setattr(apply, "describe", lambda picture: np.zeros(128))


@pytest.fixture
def linear(monkeypatch):
    """Pictures are one pixel: the first number of the code."""

    def picture(generator, latent):
        return [Image.fromarray(np.full((1, 1), float(tiny_generator().unbent(latent.code)[0, 0, 0]), np.float32))]

    monkeypatch.setattr(apply, "preview", picture)


def test_edits_add_up(generator, directions):
    latent = sample_latent(generator)
    both = edit(generator, latent, {"axis0": 1.0, "axis1": -2.0}, directions)
    expected = directions["axis0"].shift - 2 * directions["axis1"].shift
    moved = generator.unbent(both.code) - generator.unbent(latent.code)
    assert torch.allclose(moved, expected.expand_as(latent.code), atol=1e-5)


def test_beyond_what_is_safe_there_is_a_word(generator, directions):
    with pytest.warns(Note, match=r"axis0 was found safe from -3.0 to \+3.0; at \+5.0"):
        edit(generator, sample_latent(generator), {"axis0": 5.0}, directions)


def test_an_unknown_name_is_refused(generator, directions):
    with pytest.raises(DirectionError, match="no direction named 'axis9'"):
        edit(generator, sample_latent(generator), {"axis9": 1.0}, directions)


@pytest.mark.usefixtures("blind", "linear")
@pytest.mark.parametrize("strength", [-2.3, -0.2, 0.7, 4.0])
def test_a_value_is_reached_from_both_sides(generator, directions, strength):
    latent, sigma = sample_latent(generator), float(directions["axis0"].shift.norm())
    target = float(generator.unbent(latent.code)[0, 0, 0]) + strength * sigma
    found = reach(generator, latent, directions["axis0"], grey, Aim(target=target))
    assert found.why == "reached" and abs(found.strength - strength) <= 0.5 / 2**5


@pytest.mark.usefixtures("blind", "linear")
def test_what_falls_along_the_direction_is_reached_backwards(generator, directions):
    latent, sigma = sample_latent(generator), float(directions["axis0"].shift.norm())
    target = sigma - float(generator.unbent(latent.code)[0, 0, 0])
    found = reach(generator, latent, directions["axis0"], lambda picture: -grey(picture), Aim(target=target))
    assert abs(found.strength + 1) <= 0.5 / 2**5


@pytest.mark.usefixtures("blind", "linear")
def test_what_cannot_be_reached_ends_at_the_range(generator, directions):
    found = reach(generator, sample_latent(generator), directions["axis0"], grey, Aim(target=999.0, furthest=2.0))
    assert found.why == "range" and found.strength == 2


@pytest.mark.usefixtures("linear")
def test_it_stops_before_it_is_another_person(generator, directions, monkeypatch):
    monkeypatch.setattr(apply, "describe", lambda picture: np.array([grey(picture)]))
    sigma = float(directions["axis0"].shift.norm())
    aim = Aim(target=999.0, within=1.3 * sigma)
    found = reach(generator, sample_latent(generator), directions["axis0"], grey, aim)
    assert found.why == "identity" and 1.3 - 0.5 / 2**5 <= found.strength <= 1.3


@pytest.mark.usefixtures("linear")
def test_it_stops_where_no_face_is_seen(generator, directions, monkeypatch):
    latent, sigma = sample_latent(generator), float(directions["axis0"].shift.norm())
    monkeypatch.setattr(apply, "describe", lambda picture: np.zeros(128))
    end = grey(apply.preview(generator, latent)[0]) + 1.3 * sigma
    seen = lambda picture: grey(picture) if grey(picture) < end else None  # noqa: E731
    found = reach(generator, latent, directions["axis0"], seen, Aim(target=999.0, rises=True))
    assert found.why == "face" and 1.3 - 0.5 / 2**5 <= found.strength <= 1.3


def test_a_value_has_the_direction_that_was_learned_for_such(directions):
    age = replace(directions["axis0"], name="age")
    young = replace(directions["axis1"], name="childhood", made={"of": "age", "between": [20.0, 12.0]})
    known = {"age": age, "childhood": young, "smile": replace(age, name="smile")}
    assert [meant_for(known, "age", float(years)).name for years in (8, 19, 20, 60)] == ["childhood"] * 2 + ["age"] * 2
    assert meant_for(known, "smile", 8.0).name == "smile" and meant_for(known, "childhood", 60.0) is young
    older = replace(young, name="old", made={"of": "age", "between": [50.0, 80.0]})
    assert meant_for({"age": age, "old": older}, "age", 70.0) is older


@pytest.mark.usefixtures("blind")
def test_without_a_face_there_is_nothing_to_measure(generator, directions):
    with pytest.raises(FaceError, match="no face is seen"):
        reach(generator, sample_latent(generator), directions["axis0"], lambda picture: None, Aim(target=8.0))
    with pytest.raises(SettingsError, match="2 latents came"):
        reach(generator, sample_latent(generator, batch=2), directions["axis0"], grey, Aim(target=8.0))


def test_a_strip_has_a_row_for_each_direction(generator, directions):
    page = strips(generator, [sample_latent(generator)], [*directions.values()], count=3, tile=32)
    wide, high = page.size
    assert wide == 3 * 36 + 4 and high == 2 * (32 + 18 + 4) + 4
