"""Ways through latents: splines, loops, and walks at constant speed."""

import numpy as np
import pytest
import torch

from inversion.config import LatentSpace
from inversion.edit.move import Route, path
from inversion.edit.steady import perceptual_steps, placed, shares, steady
from inversion.errors import SettingsError, SpaceMismatch
from inversion.latent import Latent, sample_latent
from tests.inversion.edit.test_move import random, same


def on_a_line(*places: float) -> list[Latent]:
    return [Latent(torch.tensor([[place, 0.0]]), LatentSpace.W, ()) for place in places]


def norms(latents) -> np.ndarray:
    return np.array([float((b.code - a.code).norm()) for a, b in zip(latents[:-1], latents[1:], strict=True)])


@pytest.fixture
def four(generator):
    return [Latent(random(1, 6, 8, seed=i), LatentSpace.W_PLUS, generator.sample_noise(1, i)) for i in range(4)]


@pytest.mark.parametrize("kind", ["linear", "spherical", "spline"])
@pytest.mark.parametrize("loop", [False, True])
def test_a_route_hits_its_latents(four, kind, loop):
    route = Route(four, kind=kind, loop=loop)
    assert route.end == (4 if loop else 3)
    assert all(same(route(i), stop) for i, stop in enumerate(four)) and same(route(route.end), route.stops[-1])
    before, after = route(1 - 1e-4), route(1 + 1e-4)
    turn = torch.nn.functional.cosine_similarity(
        (four[1].code - before.code).flatten(), (after.code - four[1].code).flatten(), dim=0
    )
    assert (turn > 0.999) == (kind == "spline")  # the others turn sharply


def test_a_spline_of_two_is_the_straight_line(four):
    middle = Route(four[:2], kind="spline")(0.25)
    torch.testing.assert_close(middle.code, four[0].code.lerp(four[1].code, 0.25))
    torch.testing.assert_close(middle.noise, Route(four[:2])(0.25).noise)


def test_a_looped_spline_is_smooth_where_it_closes(four):
    route = Route(four, kind="spline", loop=True)
    leaves, comes = route(1e-4).code - four[0].code, four[0].code - route(4 - 1e-4).code
    assert torch.nn.functional.cosine_similarity(leaves.flatten(), comes.flatten(), dim=0) > 0.999
    walk = path(four, 12, kind="spline", loop=True, ease=False)
    assert len(walk) == 12 and same(walk[3], four[1])


def test_what_is_no_route(generator, four):
    with pytest.raises(SettingsError, match="choose spherical, linear or spline"):
        Route(four, kind="cubic")
    with pytest.raises(SpaceMismatch, match="a spline needs w or w_plus"):
        Route([Latent(random(1, 8, seed=i), LatentSpace.Z, ()) for i in (1, 2)], kind="spline")
    with pytest.raises(SettingsError, match="needs at least 4"):
        steady(generator, Route(four), 3, measure=norms)


def test_frames_are_even_by_the_measure(generator):
    stops = on_a_line(0.0, 1.0, 4.0)
    walk = steady(generator, Route(stops), 17, measure=norms)
    assert [float(one.code[0, 0]) for one in walk] == pytest.approx([0.25 * i for i in range(17)], abs=1e-5)

    def uphill(latents) -> np.ndarray:  # pictures change faster the further one comes
        return np.abs(np.diff([float(one.code[0, 0]) ** 2 for one in latents]))

    even = uphill(steady(generator, Route(on_a_line(0.0, 3.0)), 31, measure=uphill))
    plain = uphill(path(on_a_line(0.0, 3.0), 31, ease=False))
    assert plain.max() / plain.mean() > 1.9 and even.max() / even.mean() < 1.05


def test_a_loop_stops_a_frame_short(generator):
    walk = steady(generator, Route(on_a_line(0.0, 1.0), loop=True), 8, measure=norms)
    assert [float(one.code[0, 0]) for one in walk] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25])


def test_shares_and_places():
    assert shares(np.array([1.0, 3.0]), 8) == [2, 6] and shares(np.array([0.0, 9.0]), 3) == [1, 2]
    found = placed(np.array([0.0, 0.5, 1.0, 1.5, 2.0]), np.array([1.0, 1.0, 1.0, 1.0]), 2)
    assert found == pytest.approx([0, 0.5, 1, 1.5, 2])


def test_pictures_are_what_is_measured(generator):
    ends = sample_latent(generator, batch=2, seed=3).split()
    steps = perceptual_steps(generator, [ends[0], ends[0], ends[1]])
    assert steps[0] == 0 < steps[1]
    walk = steady(generator, Route(ends, kind="spherical", center=generator.w_avg), 9)
    even, plain = perceptual_steps(generator, walk), perceptual_steps(generator, path(ends, 9))
    assert same(walk[0], ends[0]) and same(walk[-1], ends[1])
    assert even.max() / even.mean() < plain.max() / plain.mean()
