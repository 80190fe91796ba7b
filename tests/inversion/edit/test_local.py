from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from inversion.config import LatentSpace
from inversion.edit.family import ChildConfig, combine, family
from inversion.edit.local import local
from inversion.edit.mix import blend, crossover
from inversion.edit.move import apply_direction, interpolate, truncate
from inversion.errors import LatentFileError, SettingsError, SpaceMismatch
from inversion.files.latent_file import export, load_latent, read_bundle, save
from inversion.latent import Latent, Part, render_all, sample_latent, stack, synthesize


def left(size=16):
    mask = torch.zeros(size, size)
    mask[:, : size // 4] = 1
    return mask


@pytest.fixture
def people(generator):
    return sample_latent(generator, batch=3, seed=5).split()


@pytest.fixture
def changed(generator, people):
    return local(generator, people[0], people[1], left())


def test_only_the_inside_changes(generator, people, changed):
    before, after = synthesize(generator, people[0]), synthesize(generator, changed)
    assert torch.equal(before[..., 4:], after[..., 4:])
    assert (before - after)[..., :4].abs().mean() > 1e-3


def test_an_edit_that_changes_nothing_keeps_every_bit(generator, people):
    same = local(generator, people[0], people[0], left())
    assert torch.equal(synthesize(generator, same), synthesize(generator, people[0]))
    none = local(generator, people[0], people[1], torch.zeros(16, 16))
    assert torch.equal(synthesize(generator, none), synthesize(generator, people[0]))


def test_only_some_layers_are_taken(generator, people):
    some = local(generator, people[0], people[1], left(), layers=[1, 2])
    assert some.parts[0].offset[:, [1, 2]].any() and not some.parts[0].offset[:, [0, 3, 4, 5]].any()
    with pytest.raises(SettingsError, match="no layer 6: tiny has layers 0 to 5"):
        local(generator, people[0], people[1], left(), layers=[6])


def test_a_file_gives_the_same_picture_again(generator, changed, tmp_path):
    path = tmp_path / "a.latent.safetensors"
    save(changed, path, generator, {"why": "test"})
    again = load_latent(path, generator)
    assert torch.equal(synthesize(generator, again), synthesize(generator, changed))
    assert torch.equal(again.parts[0].mask, changed.parts[0].mask)
    assert torch.equal(again.parts[0].offset, changed.parts[0].offset)
    with safe_open(path, "pt") as file:
        assert file.metadata()["format"] == "latent-2"  # so that older versions do not drop it
    assert read_bundle(path).history == {"why": "test"}
    save(replace(changed, parts=()), path, generator)
    with safe_open(path, "pt") as file:
        assert file.metadata()["format"] == "latent-1"


def test_files_that_cannot_hold_it_or_hold_it_wrongly(generator, changed, tmp_path):
    with pytest.raises(LatentFileError, match=r"a.npz cannot hold local edits"):
        export(changed, tmp_path / "a.npz", generator)
    part = changed.parts[0]
    for wrong, message in [
        (Part(part.mask * 2, part.offset), "values outside of its range"),
        (Part(part.mask[..., :4], part.offset), r"mask 0 is \(1, 1, 16, 4\)"),
        (Part(part.mask, part.offset[0]), "offset 0 is"),
        (Part(part.mask, part.offset * float("nan")), "values outside of its range"),
        (Part(part.mask, part.offset[:, :5]), r"a local edit is \(1, 5, 8\)"),
    ]:
        with pytest.raises(LatentFileError, match=message):
            save(replace(changed, parts=(wrong,)), tmp_path / "a.latent.safetensors", generator)


def test_batches_render_each_as_alone(generator, people, changed):
    other = local(generator, people[2], people[0], left(8).T)
    batch = stack([changed, people[1], other])
    pictures = synthesize(generator, batch)
    for one, picture, back in zip([changed, people[1], other], pictures, batch.split(), strict=True):
        torch.testing.assert_close(picture[None], synthesize(generator, one))
        assert len(back.parts) == len(one.parts)
        torch.testing.assert_close(synthesize(generator, back), synthesize(generator, one))
    assert len(list(render_all(generator, [changed, other], chunk=2))) == 2


def test_a_local_edit_goes_along_with_what_moves_the_whole(generator, people, changed):
    direction = torch.ones(8)
    moved = apply_direction(changed, direction, 0.5)
    wanted = local(
        generator, apply_direction(people[0], direction, 0.5), apply_direction(people[1], direction, 0.5), left()
    )
    torch.testing.assert_close(synthesize(generator, moved), synthesize(generator, wanted))
    small = truncate(generator, changed, 0.5)
    wanted = local(generator, truncate(generator, people[0], 0.5), truncate(generator, people[1], 0.5), left())
    torch.testing.assert_close(small.parts[0].offset, wanted.parts[0].offset)


def test_mixtures_take_it_by_their_shares(generator, people, changed):
    offset = changed.parts[0].offset
    for mixed in (
        blend([changed, people[2]], [0.25, 0.75]),
        interpolate(changed, people[2], 0.75),
        combine(generator, [changed, people[2]], {4: (0.25, 0.75), 8: (0.25, 0.75), 16: (0.25, 0.75)}),
    ):
        (part,) = [part for part in mixed.parts if part.offset.any()]
        torch.testing.assert_close(part.offset, 0.25 * offset)
    crossed = crossover(generator, changed, people[2], low=8, high=8)
    (part,) = crossed.parts
    assert not part.offset[:, 1:3].any() and torch.equal(part.offset[:, 3:], offset[:, 3:])


def test_what_does_not_fit_is_refused(generator, people):
    a, b = people[:2]
    for mask in (torch.ones(4, 8), torch.ones(2, 1, 8, 8), torch.ones(1, 3, 8, 8), torch.ones(0, 0)):
        with pytest.raises(SettingsError, match="the mask is"):
            local(generator, a, b, mask)
    with pytest.raises(SettingsError, match="outside of 0 to 1"):
        local(generator, a, b, 255 * left())
    with pytest.raises(SettingsError, match="outside of 0 to 1"):
        local(generator, a, b, left() * float("nan"))
    with pytest.raises(SpaceMismatch, match="one batch of each"):
        local(generator, a, stack([b, b]), left())


def test_dominance_moves_the_shares(generator):
    parents = [Latent(torch.full((1, 6, 8), v), LatentSpace.W_PLUS, generator.sample_noise(1, 0)) for v in (0.0, 1.0)]
    many = family(generator, parents, count=60, config=ChildConfig(dominance=(3.0, 1.0), mutation=0.0))
    share = np.mean([child.latent.code.mean().item() for child in many])
    assert 0.2 < share < 0.3
    alone = family(generator, parents, count=5, config=ChildConfig(dominance=(0.0, 1.0), mutation=0.0))
    assert all(torch.equal(child.latent.code, torch.ones(1, 6, 8)) for child in alone)
    with pytest.raises(SettingsError, match="3 weights came for 2"):
        family(generator, parents, count=1, config=ChildConfig(dominance=(1.0, 1.0, 1.0)))
    with pytest.raises(SettingsError, match=r"mutation is 1.5"):
        ChildConfig(mutation=1.5)


def test_mutation_is_a_step_towards_somebody_who_depends_on_the_seed(generator, people):
    plain, few, again, all_of = (
        [child.latent.code for child in family(generator, people[:2], count=2, seed=3, config=ChildConfig(mutation=m))]
        for m in (0.0, 0.1, 0.1, 1.0)
    )
    assert torch.equal(few[0], again[0]) and not torch.equal(all_of[0], all_of[1])
    torch.testing.assert_close(few[0] - plain[0], 0.1 * (all_of[0] - plain[0]))
    assert torch.equal(all_of[0][:, 0], all_of[0][:, 5])  # somebody of W, of whom nothing else is left
