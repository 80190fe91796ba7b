"""Latents of a tuned generator: saved with their delta, and opened by it."""

import shutil

import pytest
import torch

from generators.base import weights_of
from generators.checkpoints.delta import apply, delta_of, name_of
from inversion.errors import LatentError, LatentFileError, Note, SettingsError
from inversion.files.deltas import tuned_for
from inversion.files.latent_file import export, header_of, load_latent, read_bundle, save
from inversion.latent import sample_latent, synthesize
from tests.conftest import tiny_generator

NAME = "start"


def tuned_by(generator, shift: float):
    """The generator with its constant moved."""
    return apply(generator, delta_of(generator, {NAME: torch.full_like(weights_of(generator)[NAME], shift)}, {}))


@pytest.fixture(scope="module")
def tuned(generator):
    return tuned_by(generator, 0.5)


@pytest.fixture
def saved(tuned, tmp_path):
    """A latent with its delta, and one of the generator as it came."""
    save(sample_latent(tuned, seed=1), tmp_path / "a.latent.safetensors", tuned)
    return tmp_path / "a.latent.safetensors"


def test_a_latent_is_drawn_by_the_delta_that_lies_beside_it(generator, tuned, saved):
    again = tuned_for(generator, [str(saved)])
    assert again.sha256() == tuned.sha256() and again.delta == tuned.delta and generator.delta is None
    latent = load_latent(saved, again)
    assert torch.equal(synthesize(again, latent), synthesize(tuned, sample_latent(tuned, seed=1)))
    assert not torch.equal(synthesize(again, latent), synthesize(generator, latent))


def test_the_header_tells_the_generator_that_was_and_the_delta(generator, tuned, saved):
    header = header_of(saved)
    assert header["generator"] == {"name": "tiny", "sha256": generator.sha256()}
    assert header["delta"] == tuned.delta.sha256 == read_bundle(saved).delta_sha256
    assert {path.name for path in saved.parent.iterdir()} == {saved.name, name_of(tuned.delta.sha256)}


def test_latents_without_a_delta_are_as_they_were(generator, tmp_path):
    save(sample_latent(generator, seed=1), tmp_path / "a.latent.safetensors", generator)
    assert tuned_for(generator, [tmp_path / "a.latent.safetensors"]) is generator
    assert "delta" not in header_of(tmp_path / "a.latent.safetensors")
    assert read_bundle(tmp_path / "a.latent.safetensors").delta_sha256 is None


def test_latents_of_a_folder_count_and_one_may_be_plain(generator, tuned, saved):
    save(sample_latent(generator, seed=2), saved.with_name("b.latent.safetensors"), generator)
    (saved.parent / "photo.jpg").write_bytes(b"no latent")
    sources = [saved.parent, saved.parent / "photo.jpg", "-", "digits", saved.parent / "none.latent.safetensors"]
    again = tuned_for(generator, sources)
    assert again.sha256() == tuned.sha256()
    assert len(load_latent(saved.with_name("b.latent.safetensors"), again)) == 1
    assert tuned_for(again, sources) is again


def test_an_edit_saved_elsewhere_has_its_delta_there(tuned, saved, tmp_path):
    save(load_latent(saved, tuned), tmp_path / "more" / "b.latent.safetensors", tuned)
    assert (tmp_path / "more" / name_of(tuned.delta.sha256)).read_bytes() == tuned.delta.content


def test_two_tunings_are_refused_with_how_to_tune_them_together(generator, saved):
    other = tuned_by(generator, 0.25)
    save(sample_latent(other, seed=1), saved.with_name("b.latent.safetensors"), other)
    with pytest.raises(SettingsError, match=r"two tunings.*latent invert A.jpg B.jpg --tune -o DIR") as error:
        tuned_for(generator, [saved, saved.with_name("b.latent.safetensors")])
    assert "\n" not in str(error.value)


def test_a_latent_without_its_delta_is_refused(generator, tuned, saved, tmp_path):
    alone = tmp_path / "alone" / saved.name
    alone.parent.mkdir()
    shutil.copy(saved, alone)
    with pytest.raises(LatentFileError, match=rf"needs its delta {name_of(tuned.delta.sha256)}.*copy it there"):
        tuned_for(generator, [alone])
    with pytest.raises(LatentFileError, match=r"was tuned \(delta .*tuned_for"):
        load_latent(saved, generator)
    with pytest.raises(LatentFileError, match="tuned_for"):
        load_latent(saved, tuned_by(generator, 0.25))
    damaged = tmp_path / name_of(tuned.delta.sha256)
    damaged.write_bytes(damaged.read_bytes()[:-4])
    with pytest.raises(LatentFileError, match="needs its delta"):
        tuned_for(generator, [saved])


def test_a_latent_of_another_generator_is_told_as_such(tuned, saved):
    other = tiny_generator(seed=1)
    assert tuned_for(other, [saved]) is other
    with pytest.raises(LatentFileError, match="was made with tiny"):
        load_latent(saved, other)


def test_a_delta_is_no_latent(generator, tuned, saved):
    path = saved.parent / name_of(tuned.delta.sha256)
    with pytest.raises(LatentError, match="is the delta of a tuned generator; give a latent"):
        load_latent(path, generator)


def test_other_formats_leave_the_delta_behind_and_say_so(tuned, tmp_path):
    with pytest.warns(Note, match="no place for the tuning"):
        export(sample_latent(tuned, seed=1), tmp_path / "a.npz", tuned)
