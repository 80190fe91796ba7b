from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from generators.base import Generator
from inversion.config import LatentSpace
from inversion.errors import FeatureError
from inversion.inverter import Inversion
from inversion.latent import mean_latent, sample_latent, synthesize
from inversion.measures import diversity
from inversion.measures.smoothness import (
    KINDS,
    draw_pairs,
    measure_midpoints,
    midpoints,
    perceptual_path_length,
    write_midpoints,
)
from inversion.target import Target
from tests.conftest import pixels, tiny_generator


def person(generator, latent):
    image = synthesize(generator, latent)
    return Inversion(latent, Target(image), image, {}, {}, 0, 0.0, {})


@pytest.fixture
def people(generator):
    latents = sample_latent(generator, batch=4, seed=1).split()
    return {name: person(generator, latent) for name, latent in zip("abcd", latents, strict=True)}


def test_pairs_are_different_and_drawn_by_the_seed():
    pairs = draw_pairs("dbca", 100, 0)
    assert len(pairs) == len(set(pairs)) == 6 and all(a < b for a, b in pairs)
    assert draw_pairs("dbca", 3, 0) == pairs[:3] and draw_pairs("abcd", 6, 1) != pairs
    assert draw_pairs("a", 3, 0) == []


def test_midpoints_lie_half_way(generator, people):
    one, two = people["a"], people["b"]
    found = midpoints(generator, one, two)
    assert tuple(found) == KINDS
    straight = replace(one.latent, code=(one.latent.code + two.latent.code) / 2)
    torch.testing.assert_close(found["linear"], synthesize(generator, straight))
    torch.testing.assert_close(found["pixel average"], (one.image + two.image) / 2)
    for kind, image in midpoints(generator, one, one).items():
        torch.testing.assert_close(image, one.image, atol=1e-5, rtol=0, msg=kind)


def test_spherical_midpoints_keep_their_distance_from_the_average(people):
    generator = tiny_generator()
    generator.w_avg = torch.ones(8)
    codes = torch.randn(2, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    far = {
        name: replace(people[name], latent=replace(people[name].latent, code=codes[i])) for i, name in enumerate("ab")
    }
    kept = []
    generator.synthesis = lambda ws, noise: kept.append(ws) or torch.zeros(1, 3, 16, 16)  # type: ignore[method-assign]
    midpoints(generator, far["a"], far["b"])
    lengths = [(ws - 1).norm(dim=-1) for ws in (kept[0], far["a"].latent.code, far["b"].latent.code)]
    torch.testing.assert_close(lengths[0], (lengths[1] + lengths[2]) / 2)


def test_midpoints_in_z_turn_about_the_origin(generator):
    one, two = (
        person(generator, replace(mean_latent(generator, LatentSpace.Z), code=torch.eye(8)[i : i + 1])) for i in (0, 1)
    )
    middle = replace(one.latent, code=(one.latent.code + two.latent.code) / 2**0.5)
    torch.testing.assert_close(midpoints(generator, one, two)["spherical"], synthesize(generator, middle))


def test_sharpness_of_known_pairs(generator, people):
    same = {"a": people["a"], "b": people["a"]}
    for figures in measure_midpoints(generator, same, [("a", "b")], faces=False).values():
        assert figures == {
            "face_rate": None,
            "laplacian_ratio": pytest.approx(1, abs=1e-4),
            "sharpness": pytest.approx(1),
        }
    opposite = {"a": people["a"], "b": replace(people["b"], image=-people["a"].image)}
    assert measure_midpoints(generator, opposite, [("a", "b")], faces=False)["pixel average"]["sharpness"] == 0


def test_face_rate_of_midpoints(generator, people, monkeypatch):
    answers = iter([np.zeros(128), None, None, np.zeros(128), np.zeros(128), None])
    monkeypatch.setattr(diversity, "describe", lambda image: next(answers))
    found = measure_midpoints(generator, people, [("a", "b"), ("c", "d")])
    assert [found[kind]["face_rate"] for kind in KINDS] == [1, 0.5, 0]
    assert all(figures["sharpness"] is None for figures in measure_midpoints(generator, people, []).values())


def test_a_sheet_of_midpoints(generator, people, tmp_path):
    write_midpoints(generator, people, [("a", "b"), ("c", "d")], tmp_path / "m.png")
    height, width, _ = pixels(tmp_path / "m.png").shape
    assert width > 5 * 128 and 2 * 128 < height < 3 * 128
    write_midpoints(generator, people, [], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


class Angle(nn.Module):
    """Features that are a unit vector turned by the image's first value."""

    def features(self, image):
        angle = image[:, :1]
        return (3 * torch.cat([angle.cos(), angle.sin()], dim=1),)


class Line(Generator):
    """w = z, a number, and the image shows it."""

    z_dim = w_dim = num_ws = img_channels = 1
    img_resolution = 4

    def __init__(self):
        super().__init__()
        self.register_buffer("w_avg", torch.zeros(1))
        self.discriminator = Angle()

    def mapping(self, z, c=None, truncation_psi=1.0):
        return z[:, None] * truncation_psi

    def synthesis(self, ws, noise):
        return ws[:, :, :, None].expand(-1, 1, 4, 4)


def test_path_length_of_known_features():
    # Each path turns by its ends' difference, wherever on it one looks: the length is that difference squared.
    generator = Line()
    ends = sample_latent(generator, batch=20, seed=3).code[:, 0, 0]
    wanted = (ends[:10] - ends[10:]).square().mean().item()
    for batch in (3, 10):
        found = perceptual_path_length(generator, pairs=10, batch=batch, seed=3, epsilon=1e-2)
        assert found == pytest.approx(wanted, rel=1e-3)


def test_path_length_needs_a_discriminator(generator):
    with pytest.raises(FeatureError, match="no discriminator features"):
        perceptual_path_length(generator, pairs=2)
