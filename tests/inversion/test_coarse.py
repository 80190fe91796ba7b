"""A descent coarse to fine, and in whitened coordinates."""

import pytest
import torch

from generators.base import averaged
from inversion.config import FACES, LatentSpace, config_of, recipe
from inversion.errors import SettingsError
from inversion.guess import random_guess
from inversion.loop import descend, optimize
from inversion.losses import TermContext, objective, objectives
from tests.conftest import tiny_mobile
from tests.inversion.descents import settings, targets


@pytest.fixture(scope="module")
def g():
    return tiny_mobile()


def descent(g, images, config, **more):
    init = random_guess(g, len(images), config.space, config.seed)
    terms = objectives(config.loss, TermContext(generator=g, target=images))
    return list(descend(g, init, terms, config, **more))


def test_each_part_of_the_steps_sees_pictures_of_its_size(g):
    config = settings(steps=10, coarse=((0.5, 8), (0.8, 16)))
    assert [step.size for step in descent(g, targets(g), config)] == [8] * 5 + [16] * 3 + [32] * 3


def test_a_size_that_is_not_below_the_full_one_is_the_full_one(g):
    config = settings(steps=2, coarse=((0.5, 64), (0.9, 32)))
    assert {step.size for step in descent(g, targets(g), config)} == {32}


def test_the_losses_are_those_of_the_averaged_target(g):
    images, config = targets(g, 2), settings(steps=2, coarse=((0.5, 8),))
    first = descent(g, images, config)[0]
    drawn = g.synthesis(first.latent.to_ws(g), first.latent.noise, resolution=8)
    torch.testing.assert_close(first.losses["pixel"], (drawn - averaged(images, 8)).square().mean(dim=(1, 2, 3)))


def test_the_best_starts_anew_where_the_size_changes(g):
    config = settings(steps=8, coarse=((0.5, 8),), lr=1e-9)  # nothing moves, so the first of each size is the best
    steps = descent(g, targets(g), config)
    small, large = steps[3], steps[-1]
    assert (small.size, large.size) == (8, 32)
    drawn = g.synthesis(large.latent.to_ws(g), large.latent.noise)
    torch.testing.assert_close(large.losses["pixel"], (drawn - targets(g)).square().mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("space", [LatentSpace.W, LatentSpace.W_PLUS])
def test_each_image_goes_as_it_would_alone(g, space):
    images, config = targets(g), settings(space=space, whiten=True, coarse=((0.5, 16),), detail=0.3)
    together = descent(g, images, config)[-1]
    alone = descent(g, images[1:2], config)[-1]
    torch.testing.assert_close(together.latent.code[1:2], alone.latent.code, rtol=1e-3, atol=1e-3)


def test_a_whitened_step_is_lr_standard_deviations(g):
    """Adam's first step moves every coordinate by the learning rate."""
    config = settings(whiten=True, steps=1, lr=0.3, lr_rampup=0.0, lr_rampdown=0.0, space=LatentSpace.W)
    first, last = (
        step.latent.code
        for step in optimize(
            g,
            random_guess(g, 1, config.space, 0),
            objectives(config.loss, TermContext(generator=g, target=targets(g, 1))),
            config,
        )
    )
    moved = g.statistics().enter(last) - g.statistics().enter(first)
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.3), atol=2e-2, rtol=0)


def test_a_descent_in_white_finds_the_picture(g):
    images = targets(g)
    steps = descent(g, images, settings(whiten=True, steps=80, lr=0.2, coarse=((0.6, 8),)))
    start = random_guess(g, 3, LatentSpace.W_PLUS, 0)
    begun = (g.synthesis(start.code, start.noise) - images).square().mean()
    assert steps[-1].losses["pixel"].mean() < 0.3 * begun


def test_one_objective_is_of_one_size(g):
    terms = objective({"pixel": 1.0}, TermContext(generator=g, target=targets(g)))
    with pytest.raises(SettingsError, match="coarse needs an objective at every size"):
        next(optimize(g, random_guess(g, 3, LatentSpace.W, 0), terms, settings(coarse=((0.5, 8),))))


@pytest.mark.parametrize("coarse", [((1.0, 8),), ((0.5, 8), (0.4, 16)), ((0.5, 0),), ((0.0, 8),)])
def test_schedules_that_are_none(coarse):
    with pytest.raises(SettingsError, match="coarse is"):
        settings(coarse=coarse)


def test_the_default_for_large_faces_works_in_z_too(g, monkeypatch):
    monkeypatch.setattr(g, "img_resolution", 1024)
    assert config_of(g, "default", space="z").whiten is False and config_of(g, "default", space="w").whiten


def test_z_is_white_already():
    with pytest.raises(SettingsError, match="white already"):
        settings(whiten=True, space=LatentSpace.Z)


def test_the_default_for_faces_sees_through_networks_that_pip_brings(g, generator, monkeypatch):
    assert "identity" not in recipe(generator, "default").loss  # too small to see a face in
    monkeypatch.setattr(g, "img_resolution", 1024)
    assert recipe(g, "default") == FACES
    monkeypatch.setattr(type(g), "rendering", lambda self, size: "skip")
    assert recipe(g, "default").coarse == ()  # what such a model draws early is no small picture
