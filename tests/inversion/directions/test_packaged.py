"""The directions that come with generators."""

import re

import pytest

from generators import load
from inversion.attributes import ATTRIBUTES
from inversion.directions.store import PACKAGED, SUFFIX, directions_for, load_directions

NAMES = ("age", "gender", "smile", "mouth_open", "eye_open", "yaw", "pitch", "face_width", "light_side", "hair_dark")
FILES = sorted(PACKAGED.glob(f"*{SUFFIX}"))


def test_ffhq_and_portraits_have_some():
    assert [file.name.removesuffix(SUFFIX) for file in FILES] == ["ffhq", "portraits"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_they_were_measured_and_move_most_what_they_are_named_after(file):
    found = load_directions(file)
    assert set(NAMES) <= set(found)
    spreads = {name: one.made["spread"] for name, one in found.items() if one.made["of"] == name}
    for name, one in found.items():
        low, high = one.safe
        own = one.made["of"]
        assert low <= -1 and high >= 1, name
        assert set(one.effects) == set(ATTRIBUTES) and (one.effects[own] > 0) == (name != "childhood")
        assert one.made["samples"] > 1800 and one.made["score"] > 0.15
        assert abs(one.effects[own]) > 0.3 * spreads[own], "a deviation of w moves a third of one of the attribute"
        for other, spread in spreads.items():
            if other != own and name != "childhood":  # a child's face is another one
                assert abs(one.effects[other]) / spread < 0.6 * abs(one.effects[own]) / spreads[own], (name, other)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_their_cards_tell_how_they_were_made_and_under_which_terms(file):
    card = file.with_name(file.name.removesuffix(".safetensors") + ".md").read_text()
    assert "latent directions learn -g" in card and "latent directions report -g" in card and "licence" in card
    assert set(re.findall(r"^\| `(\w+)` \|", card, re.M)) == set(load_directions(file))


def test_each_generator_gets_its_own(generator):
    assert not directions_for(generator)
    portraits = directions_for(load("portraits"))
    assert set(NAMES) <= set(portraits) and {one.generator for one in portraits.values()} == {"portraits"}


def test_ffhq_gets_its_own(ffhq):
    assert {one.generator for one in directions_for(ffhq).values()} == {"ffhq"}
