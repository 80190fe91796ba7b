import numpy as np
import pytest
import torch

from generators.pictures.image import resize, to_tensor
from generators.pictures.sources import pictures
from inversion.errors import SettingsError
from inversion.measures import diversity
from inversion.measures.diversity import (
    FaceStats,
    frechet_distance,
    mean_pairwise,
    measure_pictures,
    nearest,
    ratio,
    strangers,
    subsample,
)
from inversion.metrics import laplacian_energy
from tests.conftest import picture


def cross(mean, deviations):
    """Points on the axes about a mean, whose covariance is exactly diagonal."""
    d = len(mean)
    arms = np.diag(deviations) * np.sqrt((2 * d - 1) / 2)
    return np.concatenate([mean + arms, mean - arms])


def draw(n, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)


def test_frechet_of_diagonal_gaussians():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 0.0])
    shift = np.array([3.0, 4.0, 0.0])
    found = frechet_distance(cross(np.zeros(3), a), cross(shift, b))
    assert found == pytest.approx(25 + ((a - b) ** 2).sum())
    assert frechet_distance(cross(shift, a), cross(np.zeros(3), a)) == pytest.approx(25)


def test_frechet_of_correlated_gaussians_agrees_with_the_formula():
    from scipy.linalg import sqrtm

    a, b = draw(50), draw(40, seed=1)
    c, d = np.cov(a.T), np.cov(b.T)
    wanted = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(c + d - 2 * sqrtm(c @ d).real)
    assert frechet_distance(a, b) == pytest.approx(wanted)
    assert frechet_distance(b, a) == pytest.approx(wanted)
    turn = np.linalg.qr(draw(5))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(wanted)


def test_frechet_of_equal_sets_is_zero():
    for points in (draw(50), draw(3), np.ones((4, 5)), draw(9, dim=1)):
        assert frechet_distance(points, points[::-1]) == pytest.approx(0, abs=1e-6)


def test_frechet_wants_a_covariance():
    with pytest.raises(SettingsError, match="9 and 1 descriptors"):
        frechet_distance(draw(9), draw(1))


def test_mean_pairwise():
    assert mean_pairwise(np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])) == pytest.approx(4)
    assert mean_pairwise(draw(1)) is None and mean_pairwise(np.zeros((0, 128))) is None


def test_many_points_are_drawn_from(monkeypatch):
    monkeypatch.setattr(diversity, "MOST", 20)
    points = draw(90)
    assert mean_pairwise(points, seed=1) == mean_pairwise(points, seed=1) != mean_pairwise(points, seed=2)
    drawn = subsample(points, 20, 0)
    assert len(np.unique(drawn, axis=0)) == 20 and subsample(points, 90, 0) is points


def test_nearest_agrees_with_all_distances():
    points, among = draw(150), draw(40, seed=1)
    table = np.linalg.norm(points[:, None] - among, axis=2)
    index, near = nearest(points, among)
    np.testing.assert_array_equal(index, table.argmin(axis=1))
    np.testing.assert_allclose(near, table.min(axis=1))
    index, near = nearest(points[:0], among)
    assert len(index) == len(near) == 0


def test_strangers_are_pairs_of_different_points():
    points = np.eye(4) / np.sqrt(2)  # all one apart
    np.testing.assert_allclose(strangers(points, 50, seed=0), 1)
    assert len(strangers(points[:1], 50, seed=0)) == 0


def test_look_counts_what_has_no_face(monkeypatch):
    described = iter([np.ones(128), None, np.zeros(128)])
    monkeypatch.setattr(diversity, "describe", lambda image: next(described))
    images = [to_tensor(picture(i)) for i in range(3)]
    seen = measure_pictures(images)
    assert seen.face_rate == pytest.approx(2 / 3) and seen.descriptors[1] is None and len(seen) == 3
    np.testing.assert_array_equal(seen.faces, [np.ones(128), np.zeros(128)])
    assert seen.energy == pytest.approx(float(laplacian_energy(torch.cat(images)).mean()))


def test_look_can_leave_faces_alone(monkeypatch):
    monkeypatch.setattr(diversity, "describe", lambda image: pytest.fail("looked for a face"))
    seen = measure_pictures([to_tensor(picture(0))], faces=False)
    assert seen.faces.shape == (0, 128) and seen.face_rate == 0 and seen.energies[0] > 0


def test_nothing_seen():
    assert (
        FaceStats((), ()).face_rate is None
        and FaceStats((), ()).energy is None
        and FaceStats((), ()).faces.shape == (0, 128)
    )


def test_ratio():
    assert ratio(1.0, 2.0) == 0.5 and ratio(0.0, 2.0) == 0
    assert ratio(None, 2.0) is None and ratio(1.0, None) is None and ratio(1.0, 0.0) is None


def test_real_people_are_different(shared):
    people = [to_tensor(resize(file.read(), 64)) for file in pictures(shared / "test-256.zip")[:3]]
    seen, apart = measure_pictures(people), mean_pairwise(measure_pictures(people).faces)
    assert seen.face_rate == 1 and apart is not None and 0.6 < apart < 1.1
