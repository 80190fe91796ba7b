from importlib import import_module

import numpy as np
import pytest

from inversion.latent import sample_latent
from inversion.measures.resemblance import Likeness, likeness, resemblance

module = import_module("inversion.measures.resemblance")


def test_a_likeness_is_a_distance_among_those_of_others():
    face, other, zeros = np.eye(128)[0], np.eye(128)[1], np.zeros(128)
    strangers = [zeros, face * 3, face * -1, face * 5]  # 1, 2, 2 and 4 away
    found = likeness(face, other, strangers)
    assert found.distance == pytest.approx(2**0.5) and found.nearer_than == 0.75
    assert likeness(None, other, strangers) == likeness(face, None, strangers) == Likeness(None, None)
    assert likeness(face, other, []).nearer_than is None


def test_children_meet_all_their_people(generator, monkeypatch):
    monkeypatch.setattr(module, "describe", lambda image: np.asarray(image.resize((8, 16)), float)[..., 0].ravel())
    people = sample_latent(generator, batch=3, seed=8).split()
    rows = resemblance(generator, people[:2], people, strangers=5)
    assert [len(row) for row in rows] == [3, 3]
    assert rows[0][0] == rows[1][1] == Likeness(0.0, 1.0) and rows[0][1].distance == rows[1][0].distance > 0


def test_without_faces_nobody_is_drawn(generator, monkeypatch):
    monkeypatch.setattr(module, "unrelated", None)
    people = sample_latent(generator, batch=2, seed=8).split()
    assert resemblance(generator, people[:1], people) == [[Likeness(None, None)] * 2]
