"""Imports point one way, and heavy libraries wait: what `tests.layers` tells of the house keeps its rules."""

from pathlib import Path

import pytest

from tests import layers
from tests.layers import HEAVY, ORDER, ROOT, at_import, imports, modules

MOST = {"generators": (20, 6, 63), "inversion": (24, 11, 115)}  # places, floors, imports between them


@pytest.mark.parametrize("package", ORDER)
def test_every_place_has_its_rule_and_every_rule_its_place(package):
    for name in ORDER[package]:
        place = ROOT / package / name
        assert place.is_dir() if name.endswith("/") else place.is_file(), f"ORDER names {name}, which is no file"
    assert len(ORDER[package]) == len(set(ORDER[package]))
    new = layers.places(package) - set(ORDER[package])
    assert not new, f"{', '.join(sorted(new))} of {package}/ is new: give it its place in ORDER of tests/layers.py"


@pytest.mark.parametrize("package", ORDER)
def test_no_import_points_upward(package):
    wrong = [f"{package}/{a} imports {b}" for a, b in sorted(layers.upward(package))]
    assert not wrong, f"{'; '.join(wrong)}: a place may import only what stands before it in ORDER"


def test_generators_know_nothing_of_inversion():
    assert not [(a, b) for a, b in layers.module_edges() if a.startswith("generators") and b.startswith("inversion")]


def test_no_circle():
    assert not layers.circle()


@pytest.mark.parametrize("package", ORDER)
def test_the_house_stays_small(package):
    levels, between = layers.floors(package), layers.edges(package)
    have = (len(layers.places(package)), max(levels.values()), len(between))
    assert all(a <= b for a, b in zip(have, MOST[package], strict=True)), f"{have}, at most {MOST[package]}"


@pytest.mark.parametrize("module", sorted(modules()))
def test_heavy_libraries_wait_until_they_are_needed(module):
    early = at_import(modules()[module].read_text()) & HEAVY
    assert not early, f"{module} imports {', '.join(sorted(early))} at once; import it in the function that needs it"


def test_a_rule_for_a_file_that_is_not_there_fails(monkeypatch):
    monkeypatch.setitem(layers.ORDER, "inversion", [*ORDER["inversion"], "ghost.py"])
    with pytest.raises(AssertionError, match="ghost.py, which is no file"):
        test_every_place_has_its_rule_and_every_rule_its_place("inversion")


def test_an_import_upward_and_a_circle_are_seen(monkeypatch):
    edges = frozenset({("inversion.latent", "inversion.loop"), ("inversion.loop", "inversion.latent")})
    monkeypatch.setattr(layers, "module_edges", lambda: edges)
    assert layers.upward("inversion") == {("latent.py", "loop.py")}
    assert layers.circle() == ["inversion.latent", "inversion.loop"]


def test_places_are_told_by_the_first_level():
    assert layers.place_of("generators.parts.ops") == "parts/" and layers.place_of("generators.base") == "base.py"
    assert layers.place_of("generators") is None and layers.place_of("cli") is None
    assert Path(ROOT / "generators" / "parts").is_dir()


def test_every_kind_of_import_is_seen():
    source = """
import a.b, json
from a import c, name
from os import path
def f():
    from a.d import thing
    from . import e
if TYPE_CHECKING:
    from .deep import g
"""
    assert imports(source, {"a", "a.b", "a.c", "a.d"}) == {"a", "a.b", "a.c", "a.d", ".", ".deep"}


def test_imports_inside_functions_can_wait():
    source = """
import a.b
if TYPE_CHECKING:
    import c
else:
    import d
class K:
    from e import x
    def f(self):
        import g
try:
    import h
except ImportError:
    pass
"""
    assert at_import(source) == {"a", "d", "e", "h"}
