import pytest
import torch

from generators.base import layers_between
from generators.pca import PCA, PCAConfig
from inversion.directions.direction import deviation
from inversion.directions.discover import discover, matrix_of, sefa
from inversion.errors import SettingsError
from tests.conftest import tiny_generator, tiny_mobile


def test_sefa_solves_the_eigenvalue_problem_of_the_maps(generator):
    maps = [matrix_of(layer, generator.w_dim) for _, layer in generator.style_maps()]
    gram = sum(a.T @ a / a.square().sum() for a in maps)
    vectors = sefa(generator)
    values = torch.einsum("id,de,ie->i", vectors, gram, vectors)
    assert torch.allclose(gram @ vectors.T, vectors.T * values, atol=1e-5)
    assert values.diff().le(1e-6).all()  # strongest first
    assert torch.allclose(vectors @ vectors.T, torch.eye(generator.w_dim), atol=1e-5)


def test_a_matrix_is_what_the_map_does(generator):
    layer = generator.style_maps()[0][1]
    w, v = torch.randn(2, 1, generator.w_dim)
    assert torch.allclose(layer(w) - layer(v), (w - v) @ matrix_of(layer, generator.w_dim).T, atol=1e-5)


def test_a_map_that_sees_one_number_alone_gives_that_direction(generator):
    changed = tiny_generator()
    for _, layer in changed.style_maps():
        layer.weight.data.zero_()
        layer.weight.data[:, 3] = 1.0
    assert torch.allclose(sefa(changed)[0], torch.eye(changed.w_dim)[3], atol=1e-5)


def test_bands_ask_their_own_layers(generator):
    changed = tiny_generator()
    wanted = layers_between(changed, 4, 4)
    for i, layer in changed.style_maps():
        layer.weight.data.zero_()
        layer.weight.data[:, 2 if i in wanted else 5] = 1.0
    (first,) = discover(changed, "sefa", count=1, band=(4, 4))
    assert first.shift[0].argmax() == 2 and first.band == (4, 4)


def test_ganspace_finds_the_principal_components(generator):
    found = discover(generator, "ganspace", count=3)
    w = generator.sample_w(10_000, seed=0)
    expected = torch.linalg.eigh(w.T.cov()).eigenvalues.flip(0)[:3].sqrt()
    spread = [deviation(generator, one.shift) for one in found]
    assert spread == pytest.approx(expected.tolist(), rel=1e-3)
    assert [one.name for one in found] == ["ganspace-1", "ganspace-2", "ganspace-3"]


def test_every_architecture_with_styles_has_directions(generator):
    for model in (generator, tiny_mobile()):
        assert len(discover(model, "sefa", count=2)) == 2


def test_a_linear_model_has_no_maps_and_says_what_to_take():
    linear = PCA(PCAConfig(img_resolution=8, dim=4)).eval()
    with pytest.raises(SettingsError, match="no affine maps .* ganspace"):
        discover(linear, "sefa", count=1)
    assert len(discover(linear, "ganspace", count=2)) == 2


def test_bad_questions_are_refused(generator):
    with pytest.raises(SettingsError, match="'pca'; choose sefa or ganspace"):
        discover(generator, "pca")
    with pytest.raises(SettingsError, match="count is 9; tiny has 1 to 8"):
        discover(generator, count=9)
