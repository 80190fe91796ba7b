"""Generators that know classes: the class is named, and what is found tells it."""

from dataclasses import replace

import pytest
import torch

from generators.checkpoints.ours import save_model
from inversion import InvertConfig, Inverter, LatentSpace, invert, load_latent, recipe, save, stack, synthesize
from inversion.edit import interpolate
from inversion.errors import LatentFileError, SettingsError, SpaceMismatch
from inversion.inverter import raised
from inversion.latent import Latent, mean_latent
from tests.conftest import objects, picture, refused, tiny_generator

Z = InvertConfig(space=LatentSpace.Z, start="mean", steps=1, bf16=False)


@pytest.fixture(scope="module")
def classes():
    return tiny_generator(c_dim=3)


def drawn(generator, label):
    """The picture of z = 0 of a class."""
    return synthesize(generator, mean_latent(generator, LatentSpace.Z, label=label))


def test_z_is_searched_in_the_class_that_is_named(classes):
    target = drawn(classes, 2)
    right, wrong = (invert(classes, target, config=replace(Z, steps=0), label=label) for label in (2, 1))
    assert torch.equal(right.image, target) and not torch.allclose(wrong.image, target, atol=0.05)
    assert right.latent.label == 2 and right.history["settings"]["label"] == 2  # type: ignore[index]
    assert torch.equal(right.latent.to_ws(classes), classes.mapping(torch.zeros(1, 8), torch.tensor([[0.0, 0, 1]])))


@pytest.mark.parametrize("space", ["w", "w_plus"])
def test_w_starts_at_the_mean_of_its_class(classes, space):
    config = InvertConfig(space=LatentSpace(space), start="mean", steps=0, label=1)
    found = invert(classes, drawn(classes, 1), config=config)
    wanted = classes.sample_w(10_000, 0, label=1).mean(dim=0)
    torch.testing.assert_close(found.latent.to_ws(classes)[0], wanted.expand(classes.num_ws, -1), atol=1e-5, rtol=0)
    assert (wanted - classes.w_avg).norm() > 0.1 and found.latent.label is None


def test_without_a_class_w_starts_at_the_mean_of_all(classes):
    found = invert(classes, drawn(classes, 1), config=InvertConfig(start="mean", steps=0))
    assert torch.equal(found.latent.code[0, 0], classes.w_avg)


def test_random_starts_are_of_the_class(classes):
    config = InvertConfig(space=LatentSpace.W, start="random", steps=0, seed=1)
    found = [invert(classes, drawn(classes, 1), config=config, label=label).latent.code for label in (None, 1, 2)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])  # seed 1 takes class 1 of three


def test_an_inverter_takes_the_class_with_settings_and_without(classes):
    inverter = Inverter(classes, label=2)
    assert inverter.config == replace(recipe(classes), label=2)
    assert inverter.recipe == "default" and Inverter(classes, Z, label=0).recipe == "custom"
    assert Inverter(classes, recipe="projector", label=1).config.space is LatentSpace.W


def test_a_class_that_is_missing_or_is_not_there_is_told_at_once(classes, generator):
    with pytest.raises(
        SettingsError, match=r"no label came; tiny draws by class, choose a label \(--label\) of 0 to 2"
    ):
        Inverter(classes, Z)
    with pytest.raises(SettingsError, match="label 3 came; .* of 0 to 2"):
        Inverter(classes, label=3)
    with pytest.raises(SettingsError, match="label is -1"):
        InvertConfig(label=-1)
    with pytest.raises(SettingsError, match="label 0 came; tiny knows no classes, so leave it out"):
        Inverter(generator, label=0)


def test_a_file_of_z_tells_its_class(classes, generator, tmp_path):
    latent = raised(next(Inverter(classes, Z, label=1).run([drawn(classes, 2)]))).latent
    save(latent, tmp_path / "a.latent.safetensors", classes)
    back = load_latent(tmp_path / "a.latent.safetensors", classes)
    assert back.label == 1 and torch.equal(synthesize(classes, back), synthesize(classes, latent))
    with pytest.raises(LatentFileError, match="no label came"):
        save(Latent(latent.code, latent.space, latent.noise), tmp_path / "b.latent.safetensors", classes)
    with pytest.raises(LatentFileError, match="label 1 came; tiny knows no classes"):
        save(latent, tmp_path / "b.latent.safetensors", generator)


def test_z_of_two_classes_meets_in_w(classes, tmp_path):
    a, b = (mean_latent(classes, LatentSpace.Z, label=label) for label in (0, 1))
    with pytest.raises(SpaceMismatch, match="classes 0 and 1"):
        interpolate(a, b, 0.5)
    with pytest.raises(SpaceMismatch, match="classes 0 and 1"):
        stack([a, b])
    for name, latent in (("a", a), ("b", b)):
        save(latent, tmp_path / f"{name}.latent.safetensors", classes)
    found = Inverter(classes, label=0).latents([tmp_path / "a.latent.safetensors", tmp_path / "b.latent.safetensors"])
    assert [one.space for one in found] == [LatentSpace.W_PLUS] * 2
    assert torch.equal(found[1].code, b.to_ws(classes)) and found[1].label is None
    assert interpolate(a, a, 0.5).label == 0


@pytest.fixture
def place(tmp_path, classes, monkeypatch):
    """A folder with two photographs and the model, as the current one."""
    monkeypatch.chdir(tmp_path)
    picture(0).save("a.png"), picture(1).save("b.png")
    save_model(classes, tmp_path / "classes.safetensors")
    return tmp_path


def test_invert_by_class(latent, place):
    command = ("invert", "a.png", "-g", "classes.safetensors", "-o", "out", "--no-align", "--steps", 1, "--space", "z")
    refused(latent(*command), "no label came", "--label", "0 to 2")
    refused(latent(*command, "--label", 3), "label 3 came", "0 to 2")
    done = latent(*command, "--label", 2, "--json")
    assert done.exit_code == 0, done.output
    assert load_latent(objects(done)[0]["latent"]).label == 2
    again = latent(*command[:-2], "--init", "out/a.latent.safetensors", "--json")  # takes space and class from there
    assert again.exit_code == 0 and load_latent(objects(again)[0]["latent"]).label == 2


COMMANDS = {
    "blend": "a.png b.png -o x.png",
    "mix": "a.png b.png -o x.png",
    "interpolate": "a.png b.png -o x.png --frames 2",
    "plot": "a.png b.png a.png -o x.png",
    "search": "a.png .",
    "evaluate": "a.png",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_inverts_takes_a_class(latent, place, model, name):
    command = (name, *COMMANDS[name].split(), "--no-align", "--recipe", "image2stylegan", "--steps", 0)
    command = (*command, "--loss", "pixel=1") if name == "evaluate" else command
    refused(latent(*command, "-g", model, "--label", 1), "label 1 came", "knows no classes")
    refused(latent(*command, "-g", "classes.safetensors", "--label", 3), "label 3 came")


def test_photographs_of_one_class_start_there(latent, place, classes):
    command = ("blend", "a.png", "b.png", "-g", "classes.safetensors", "--no-align", "--steps", 0, "--save-latents")
    made = []
    for label in (0, 1):
        done = latent(*command, "--label", label, "-o", f"{label}.png")
        assert done.exit_code == 0, done.output
        made.append(load_latent(place / f"{label}.latent.safetensors", classes).code)
        mean = classes.statistics(label=label).mean
        torch.testing.assert_close(made[-1][0, 0], mean)
    assert not torch.equal(*made)
