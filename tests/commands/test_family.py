from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from inversion.commands.family import Plan
from inversion.faces.regions import regions_of
from inversion.files.latent_file import load_latent
from tests.conftest import objects, pixels, refused
from tests.inversion.faces.test_regions import POINTS


@pytest.fixture
def faces(monkeypatch):
    """Every picture shows a face, drawn by the same landmarks; who it is its colours tell."""
    local, resemblance = import_module("inversion.edit.local"), import_module("inversion.measures.resemblance")
    monkeypatch.setattr(local, "regions_in", lambda image, size, names: regions_of(POINTS * size, size, names))
    monkeypatch.setattr(
        resemblance, "describe", lambda image: np.asarray(image.resize((8, 16)), float)[..., 0].ravel() / 255
    )
    monkeypatch.setattr(resemblance, "STRANGERS", 3)


def test_the_mothers_eyes(latent, latents, faces, tmp_path):
    args = [*latents[:2], "--children", 2, "--save-latents", "--json"]
    plain = objects(latent("blend", *args, "-o", f"{tmp_path}/plain/"))
    for name in ("mother=0.5", "a=0.5", "1=0.5"):
        with_eyes = objects(latent("blend", *args, "-o", f"{tmp_path}/eyes/", "--eyes", name, "--hair", "father"))
        mother = load_latent(latents[0])
        for one, two in zip(plain, with_eyes, strict=True):
            before, after = load_latent(one["latent"]), load_latent(two["latent"])
            assert two["traits"] == {"eyes": [0.5, 0], "hair": [0, 1]} and "traits" not in one
            assert torch.equal(before.code, after.code)
            torch.testing.assert_close(after.parts[0].offset, 0.5 * (mother.code - before.code))
            latent("render", two["latent"], "-o", tmp_path / "again.png")
            np.testing.assert_array_equal(pixels(tmp_path / "again.png"), pixels(two["file"]))


def test_a_files_own_name_goes_before_its_place():
    plan = Plan(dials={"eyes": "mother", "nose": "2", "jaw": "father=0.5"})
    assert plan.traits(["father", "mother"], []) == {"eyes": (0, 1), "nose": (0, 1), "jaw": (0.5, 0)}
    assert plan.traits(["a", "b"], []) == {"eyes": (1, 0), "nose": (0, 1), "jaw": (0, 0.5)}
    grand = Plan(dials={"eyes": "mother", "nose": "2", "jaw": "d"}, grandparents=True)
    parents, before = grand.names(["a", "b", "c", "d"])
    wanted = {"eyes": (1, 0, 0, 0, 0, 0), "nose": (0, 0, 0, 1, 0, 0), "jaw": (0, 0, 0, 0, 0, 1)}
    assert grand.traits(parents, before) == wanted


def test_the_mean_has_regions_too(latent, latents, faces, tmp_path):
    args = ["--mouth", "father=0.5", "--json", "--save-latents"]
    (record,) = objects(latent("blend", *latents[:2], "-o", tmp_path / "m.png", *args))
    a, b = (load_latent(path).code for path in latents[:2])
    made = load_latent(record["latent"])
    torch.testing.assert_close(made.code, (a + b) / 2)
    torch.testing.assert_close(made.parts[0].offset, (b - a) / 4)


def test_children_of_parents_of_grandparents(latent, latents, faces, tmp_path):
    four = [*latents, latents[0]]
    args = ["--grandparents", "--children", 2, "--seed", 3, "--eyes", "c", "--json", "--resemblance"]
    records = objects(latent("blend", *four, "-o", f"{tmp_path}/kids/", *args))
    assert [list(r["resemblance"]) for r in records] == [["mother", "father", "a", "b", "c"]] * 2
    assert records[0]["traits"]["eyes"] == [0, 0, 0, 0, 1, 0]
    again = objects(latent("blend", *four, "-o", f"{tmp_path}/again/", *args))
    for one, two in zip(records, again, strict=True):
        assert one["weights"] == two["weights"]
        np.testing.assert_array_equal(pixels(one["file"]), pixels(two["file"]))


def test_a_resemblance_in_words(latent, latents, faces, tmp_path):
    result = latent("blend", *latents[:2], "-o", tmp_path / "m.png", "--weights", "1,0", "--resemblance")
    _, what, head, row = result.stdout.splitlines()
    assert what.startswith("identity distance") and head.split() == ["a", "b"]
    assert row.split()[:3] == ["blend", "0.00", "(100%)"]


def test_a_tree(latent, latents, faces, tmp_path):
    four = [*latents, latents[0]]
    result = latent(
        "blend", *four, "-o", f"{tmp_path}/kids/", "--grandparents", "--children", 3, "--tree", tmp_path / "t.png"
    )
    assert result.stdout.splitlines()[-1] == str(tmp_path / "t.png")
    height, width, _ = pixels(tmp_path / "t.png").shape
    assert width > 4 * 160 and height > 3 * 160


def test_a_parent_who_counts_alone_has_children_like_it(latent, latents, tmp_path):
    args = ["--children", 2, "--weights", "0,1", "--mutation", 0, "--save-latents", "--json"]
    for record in objects(latent("blend", *latents[:2], "-o", f"{tmp_path}/kids/", *args)):
        torch.testing.assert_close(load_latent(record["latent"]).code, load_latent(latents[1]).code)


def test_a_partner(latent, latents, faces, tmp_path):
    args = ["--save-latents", "--json"]
    (mean,) = objects(latent("blend", *latents[:2], "-o", tmp_path / "m.png", *args))
    (found,) = objects(latent("partner", latents[0], mean["latent"], "-o", tmp_path / "p.png", "--reach", 50, *args))
    torch.testing.assert_close(load_latent(found["latent"]).code, load_latent(latents[1]).code, atol=1e-5, rtol=1e-5)
    assert found["child_again"] < 0.05
    refused(latent("partner", latents[0], "-o", tmp_path / "x.png"), "1 sources came; give a parent, and a child")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--eyes", "aunt"], "--eyes: nobody is called 'aunt'; name one of"),
        (["--eyes", "mother=2"], "--eyes is mother=2; give a share from 0 to 1"),
        (["--eyes", "mother=nan"], "give a share from 0 to 1"),
        (["--eyes", "3"], "nobody is called '3'"),
        (["--grandparents"], "2 sources came; grandparents are four"),
        (["--mutation", "0.1"], "say how many with --children"),
        (["--weights", "1,2,3"], "3 weights came for 2"),
        (["--tree", "-"], "the tree needs a file of its own"),
        (["--tree", "tree.txt"], "suffix"),
        (["--eyes", "mother"], "no face was found"),
    ],
)
def test_what_cannot_be_done_is_one_line(latent, latents, tmp_path, args, message):
    refused(latent("blend", *latents[:2], "-o", tmp_path / "x.png", *args), message)
    assert not Path(tmp_path / "x.png").exists()
