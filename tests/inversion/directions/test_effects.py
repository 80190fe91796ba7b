"""Effects: of a face that is drawn by numbers of w, so that every effect is known."""

import numpy as np
import pytest
import torch

from inversion.config import LatentSpace
from inversion.directions import effects as module
from inversion.directions.direction import direction_of, move
from inversion.directions.effects import Sight, Step, measure_effects, with_effect
from inversion.directions.undo import at_its_layers, undo
from inversion.errors import DirectionError, FaceError, SettingsError
from inversion.latent import Latent
from tests.conftest import tiny_generator

NAMES = ("smile", "yaw", "pitch")


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(mapping_linear=True)  # moves are straight lines of w


@pytest.fixture(autouse=True)
def seen(monkeypatch, generator):
    """A face whose smile, yaw and pitch are the first places of w; by the fourth it is somebody else's."""
    inward = generator.statistics()

    def look(generator, latent, names):
        place = (inward.enter(latent.code.mean(dim=1)) - inward.enter(generator.w_avg))[0]
        if place[0] > 3.5:
            return None
        values = {"smile": float(place[0]), "yaw": 10 * float(place[1]), "pitch": float(place[2] - place[0])}
        return Sight({name: values[name] for name in names}, np.full(128, 0.25 * float(place[3])) / 128**0.5)

    monkeypatch.setattr(module, "look", look)


def way(generator, *weights, name="x", **about):
    """One deviation along the places of w, by weights."""
    places = torch.zeros(8)
    places[: len(weights)] = torch.tensor(weights)
    direction = direction_of(generator, name, (places @ generator.statistics().outward)[None], **about)
    return direction


def reach(generator, direction):
    """How far a direction goes along the places of w."""
    statistics = generator.statistics()
    return statistics.enter(statistics.mean + direction.shift)[0].tolist()


def faces(generator, count=4):
    ws = generator.w_avg.expand(count, generator.num_ws, -1)
    return Latent(ws, LatentSpace.W_PLUS, generator.fixed_noise(count)).split()


def measured(generator, direction):
    (found,) = measure_effects(generator, faces(generator), [direction], NAMES)
    return found


def test_an_effect_is_what_a_deviation_adds(generator):
    direction = way(generator, 1.0)
    far = reach(generator, direction)[0]
    found = measured(generator, direction)
    assert found.effects["smile"] == pytest.approx(far, rel=1e-3)
    assert found.effects["pitch"] == pytest.approx(-far, rel=1e-3)
    assert found.effects["yaw"] == pytest.approx(0, abs=1e-3)
    assert found.moved("smile", 2.0) == 1 and found.faces == 4


def test_effects_are_of_the_moves_that_edits_make(monkeypatch):
    """Where the mapping ends in a leaky ReLU a move is no straight line of w."""
    bending, seen = tiny_generator(), []
    assert bending.w_slope == 0.2

    def look(generator, latent, names):
        seen.append(latent.code)
        return Sight(dict.fromkeys(names, 0.0), np.zeros(128))

    monkeypatch.setattr(module, "look", look)
    direction, people = way(bending, 1.0, 1.0, 1.0), faces(bending, 3)
    measure_effects(bending, people, [direction], NAMES)
    made = [move(bending, people[0], direction, s).code for s in (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)]
    assert all(any(torch.equal(code, one) for one in seen) for code in made)


def test_faces_are_safe_until_some_are_none(generator):
    direction = way(generator, 1.0)
    far = reach(generator, direction)[0]
    low, high = measured(generator, direction).safe
    assert low == -4
    assert high == max([0.0, *(s for s in (1, 2, 3, 4) if s * far <= 3.5)])


def test_faces_are_safe_while_they_are_nearer_to_themselves_than_to_strangers(generator):
    direction = way(generator, 0.0, 0.0, 0.0, 1.0)
    far = 0.25 * reach(generator, direction)[3]
    found = measured(generator, direction)
    last = max([0.0, *(s for s in (1, 2, 3, 4) if s * far <= 0.8)])
    assert found.safe == (-last, last)
    assert found.identity(2.0) == pytest.approx(2 * far, rel=1e-3)
    assert found.same_person(1.0) == (1.0 if far < 0.6 else 0.0)


def test_a_step_without_faces_is_not_safe():
    step = Step(strength=1.0, changes={}, apart=np.full(4, np.nan))
    assert not step.safe and step.identity == 1 and step.found == 0


def test_a_direction_keeps_what_was_measured(generator):
    found = measured(generator, way(generator, 1.0))
    kept = with_effect(way(generator, 1.0, made={"method": "ridge"}), found)
    assert kept.safe == found.safe and kept.made["method"] == "ridge" and kept.made["measured"]["faces"] == 4
    assert kept.effects["smile"] == pytest.approx(found.effects["smile"], rel=1e-3)


def test_too_few_faces_and_unknown_attributes_are_refused(generator, monkeypatch):
    with pytest.raises(FaceError, match="2 of 2 pictures show a face; effects are told of 3 or more"):
        measure_effects(generator, faces(generator, 2), [way(generator, 1.0)], NAMES)
    with pytest.raises(SettingsError, match="no attribute is called 'smirk'"):
        measure_effects(generator, faces(generator), [way(generator, 1.0)], ["smirk"])


def test_undo_subtracts_what_moves_besides(generator):
    smile, yaw, pitch = (
        with_effect(one, measured(generator, one))
        for one in (
            way(generator, 1.0, 0.5, name="smile"),
            way(generator, 0.2, 1.0, name="yaw"),
            way(generator, 0.0, 0.0, 1.0, name="pitch"),
        )
    )
    pure = undo(generator, smile, {"yaw": yaw, "pitch": pitch, "smile": smile})
    effects = measured(generator, pure).effects
    assert effects["smile"] > 0.3
    assert effects["yaw"] == pytest.approx(0, abs=0.02) and effects["pitch"] == pytest.approx(0, abs=0.02)
    assert pure.effects["smile"] == pytest.approx(effects["smile"], rel=0.01), "they add up"
    assert set(pure.made["undone"]) == {"yaw", "pitch"} and pure.made["undone"]["yaw"] < 0


def test_undoing_nothing_leaves_a_direction_as_it_is(generator):
    one = way(generator, 1.0, name="smile")
    assert undo(generator, one, {"smile": one}) is one


def test_undo_needs_effects(generator):
    one, other = way(generator, 1.0, name="smile"), way(generator, 0.0, 1.0, name="yaw")
    with pytest.raises(DirectionError, match="the effect of smile on yaw was not measured; run: latent directions rep"):
        undo(generator, one, {"yaw": other})


def test_directions_of_other_layers_are_undone_where_they_act(generator):
    smile = way(generator, 1.0, name="smile", effects={"smile": 1.0, "yaw": 1.0})
    yaw = way(generator, 0.0, 1.0, name="yaw", effects={"smile": 0.0, "yaw": 1.0}, band=(16, 16))
    found = undo(generator, smile, {"yaw": yaw})
    assert len(found.shift) == generator.num_ws and found.band is None
    inside = [resolution == 16 for resolution in generator.ws_resolutions]
    differs = (at_its_layers(generator, found) - found.shift[0]).abs().amax(dim=1) > 1e-6
    assert differs.tolist() == inside
