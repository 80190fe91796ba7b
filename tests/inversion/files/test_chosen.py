"""One of several latents in a file: FILE#N."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from inversion import Inverter, LatentSpace, blend, interpolate, load_latent, sample_latent, save, truncate
from inversion.errors import InversionError, SettingsError
from inversion.files.chosen import chosen, is_latent, short_name
from inversion.latent import mean_latent
from tests.conftest import objects, picture, pixels, refused

KINDS = ("three.latent.safetensors", "three.npz", "three.npy", "three.pt")


@pytest.fixture
def three(generator, tmp_path, monkeypatch):
    """A file of each kind with the same three latents, in the current folder, and one latent of its own."""
    monkeypatch.chdir(tmp_path)
    latents = sample_latent(generator, batch=3, seed=7)
    for kind in KINDS:
        save(latents, kind, generator)
    save(sample_latent(generator, seed=8), "one.latent.safetensors", generator)
    return latents


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_chooses_one_of_several(generator, three, kind):
    for i, wanted in enumerate(three.split(), 1):
        found = load_latent(f"{kind}#{i}", generator)
        assert torch.equal(found.code, wanted.code) and len(found) == 1
    for number in (0, 4, 10**17):
        with pytest.raises(SettingsError, match=f"^{kind} has no latent #{number}, it holds 3 latents; .* #1 to #3$"):
            load_latent(f"{kind}#{number}", generator)
    with pytest.raises(SettingsError, match=f"{kind} holds 3 latents; name one of them, as {kind}#1"):
        Inverter(generator).latents([kind])


def test_a_file_of_the_very_name_is_that_file(generator, three, tmp_path):
    shutil.copy("one.latent.safetensors", "three.npz#2")
    assert chosen("three.npz#2") == (Path("three.npz#2"), None)
    assert not is_latent("three.npz#2") and is_latent("three.npz#1")
    assert not is_latent("photo#2.png") and chosen("photo.png#2")[1] is None
    (tmp_path / "folder.npz#1").mkdir()
    assert not is_latent("folder.npz#1")


def test_names_tell_the_number(three):
    assert short_name("a/three.latent.safetensors#2") == "three-2" and short_name("a/me.latent.safetensors") == "me"


@pytest.fixture
def alone(latent, three):
    """The pictures of the three, one by one."""
    for i in (1, 2, 3):
        assert latent("render", f"three.npz#{i}", "-o", f"{i}.png").exit_code == 0
    return [pixels(f"{i}.png") for i in (1, 2, 3)]


def test_render_draws_the_one(latent, alone):
    assert latent("render", "three.npz", "-o", "all/").exit_code == 0
    for i, wanted in enumerate(alone, 1):
        assert np.array_equal(pixels(f"all/render-000{i}.png"), wanted)
    assert not np.array_equal(*alone[:2])


@pytest.mark.parametrize("kind", KINDS[:2])
def test_edits_take_the_one(latent, alone, kind):
    assert latent("blend", f"{kind}#2", f"{kind}#3", "--weights", "0,1", "-o", "b.png").exit_code == 0
    assert latent("mix", f"{kind}#2", f"{kind}#3", "--middle", "a", "-o", "m.png").exit_code == 0
    assert latent("interpolate", f"{kind}#2", f"{kind}#3", "--frames", 2, "-o", "i.png").exit_code == 0
    assert np.array_equal(pixels("b.png"), alone[2]) and np.array_equal(pixels("m.png"), alone[1])
    refused(latent("blend", f"{kind}#4", "three.npz#1", "-o", "x.png"), f"{kind} has no latent #4, it holds 3")
    refused(latent("blend", "one.latent.safetensors#2", "three.npz#1", "-o", "x.png"), "holds one latent; choose #1")
    refused(latent("blend", kind, "three.npz#1", "-o", "x.png"), f"{kind} holds 3 latents; name one", f"{kind}#1")


def test_everything_that_reads_latents_takes_the_one(latent, generator, three, tmp_path):
    for name, command in {
        "export": "export three.latent.safetensors#3 third.npz",
        "back": "export three.npz#3 third.latent.safetensors",
        "plot": "plot three.npz#1 three.npz#2 three.latent.safetensors#3 -o p.png",
        "grid": "plot three.npz#1 three.npz#2 three.npz#3 three.npz#1 --grid --tiles 2 -o g.png",
    }.items():
        done = latent(*command.split())
        assert done.exit_code == 0, (name, done.output)
    for back in ("third.npz", "third.latent.safetensors"):
        assert torch.equal(load_latent(back, generator).code, three.code[2:])
    picture(0).save(tmp_path / "a.png")
    searched = latent("search", "three.npz#2", "a.png", "--no-align", "--json")
    assert searched.exit_code == 0, searched.output
    begun = latent("invert", "a.png", "-o", "out", "--init", "three.npz#2", "--steps", 0, "--no-align", "--json")
    assert begun.exit_code == 0, begun.output
    assert torch.equal(load_latent(objects(begun)[0]["latent"]).code, three.code[1:2])
    refused(latent("invert", "a.png", "-o", "out", "--init", "three.npz", "--no-align"), "three.npz holds 3 latents")


def test_a_photograph_of_such_a_name_still_opens(latent, three, tmp_path):
    picture(0).save(tmp_path / "x#2.png")
    done = latent("blend", "x#2.png", "three.npz#1", "--no-align", "--steps", 0, "-o", "b.png")
    assert done.exit_code == 0, done.output


def test_the_file_of_the_one_is_never_replaced(latent, three):
    refused(latent("export", "three.npz#2", "three.npz"), "three.npz is also what is read")
    refused(latent("export", "three.latent.safetensors#2", "three.latent.safetensors"), "is also what is read")
    refused(
        latent("blend", "three.latent.safetensors#2", "three.npz#1", "-o", "three.gif", "--save-latents"),
        "three.latent.safetensors is also what is read",
    )


def test_latents_that_do_not_fit_are_named_by_their_files(generator, three):
    for name, space in (("z", LatentSpace.Z), ("w", LatentSpace.W)):
        save(mean_latent(generator, space), f"{name}.latent.safetensors", generator)
    z, w, one = (load_latent(f"{name}.latent.safetensors", generator) for name in ("z", "w", "one"))
    second = load_latent("three.npz#2", generator)
    for wrong, words in (
        (lambda: blend([one, z]), r"w_plus \(one.latent.safetensors\) and z \(z.latent.safetensors\)"),
        (lambda: interpolate(second, w, 0.5), r"w_plus \(three.npz#2\) and w \(w.latent.safetensors\)"),
        (lambda: blend([one, load_latent("three.npy", generator)]), r"\(one.latent.safetensors\) and .* \(three.npy\)"),
        (lambda: truncate(generator, z, 0.5), r"the latent \(z.latent.safetensors\) is in z"),
        (
            lambda: [*Inverter(generator, init=w).run([torch.zeros(1, 3, 16, 16)])],
            r"the start \(w.latent.safetensors\)",
        ),
        (lambda: Inverter(generator, init=load_latent("three.npz", generator)), r"init \(three.npz\) holds 3 latents"),
    ):
        with pytest.raises(InversionError, match=words):
            wrong()
    assert blend([one, one]).source is None


def test_a_start_of_another_space_is_named(latent, generator, three, tmp_path):
    picture(0).save(tmp_path / "a.png")
    command = ("invert", "a.png", "-o", "out", "--no-align", "--init", "one.latent.safetensors", "--space", "w")
    refused(latent(*command), "the start (one.latent.safetensors) is in w_plus, the inversion in w")
