import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from generators.autoencoder import CodeEncoder
from generators.training.terms.penalties import (
    bernoulli_nll,
    contraction,
    corrupt,
    gaussian_nll,
    kl_to_normal,
    sparse_kl,
)
from tests.generators.test_autoencoder import tiny


def encoder_of(**settings) -> CodeEncoder:
    encoder = tiny(**settings).double().encoder
    assert isinstance(encoder, CodeEncoder)
    return encoder


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_kl_is_that_of_the_distributions():
    mean, log_variance = noise(5, 7), noise(5, 7, seed=1)
    wanted = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0 * mean, 1.0 + 0.0 * mean)).sum(dim=1)
    torch.testing.assert_close(kl_to_normal(mean, log_variance), wanted, atol=1e-10, rtol=0)
    assert kl_to_normal(0 * mean, 0 * mean).abs().max() == 0


def test_likelihoods_are_those_of_the_distributions():
    image, target = noise(2, 1, 3, 3), noise(2, 1, 3, 3, seed=1)
    wanted = Normal(image, 0.3).log_prob(image) - Normal(image, 0.3).log_prob(target)  # the constant falls out
    torch.testing.assert_close(gaussian_nll(image, target, 0.3), wanted.sum(dim=(1, 2, 3)), atol=1e-10, rtol=0)
    white = (target > 0).double()
    wanted = -Bernoulli(logits=image).log_prob(white).sum(dim=(1, 2, 3))
    torch.testing.assert_close(bernoulli_nll(image, 2 * white - 1), wanted, atol=1e-10, rtol=0)


def test_sparse_kl_is_that_of_the_distributions():
    code = noise(6, 4).sigmoid()
    wanted = kl_divergence(Bernoulli(torch.full((4,), 0.1).double()), Bernoulli(code.mean(dim=0))).sum()
    torch.testing.assert_close(sparse_kl(code, 0.1), wanted, atol=1e-6, rtol=0)
    assert float(sparse_kl(torch.full((3, 4), 0.2), 0.2)) == pytest.approx(0, abs=1e-6)


def frobenius(encoder: CodeEncoder, image: torch.Tensor) -> torch.Tensor:
    rows = [torch.autograd.functional.jacobian(lambda x: encoder(x)[:, 0], one[None]) for one in image]
    return torch.stack([row.square().sum() for row in rows])  # type: ignore[union-attr]


@pytest.mark.parametrize("code", ["linear", "sigmoid"])
@pytest.mark.parametrize("widths", [(), (8, 4)])
@pytest.mark.parametrize("variational", [False, True])
def test_contraction_is_the_jacobians_norm(code, widths, variational):
    encoder = encoder_of(code=code, widths=widths, variational=variational)
    image = noise(3, 1, 8, 8)
    torch.testing.assert_close(contraction(encoder, image), frobenius(encoder, image), atol=1e-5, rtol=0)


def test_contraction_moves_the_encoder():
    encoder = encoder_of(code="sigmoid")
    contraction(encoder, noise(3, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())


def test_hutchinsons_mean_is_the_norm():
    encoder, image = encoder_of(layers="conv", widths=(4, 4)), noise(2, 1, 8, 8)
    exact = contraction(encoder, image)
    rng = torch.Generator().manual_seed(0)
    draws = torch.stack([contraction(encoder, image, 1, rng).detach() for _ in range(600)])
    error = draws.std(dim=0) / len(draws) ** 0.5
    assert ((draws.mean(dim=0) - exact).abs() < 4 * error).all() and (error < 0.1 * exact).all()
    many = contraction(encoder, image, 600, torch.Generator().manual_seed(0))
    torch.testing.assert_close(many, draws.mean(dim=0))


def test_noise_is_as_large_as_it_says():
    image = torch.zeros(400, 3, 8, 8) + 0.5
    rng = torch.Generator().manual_seed(0)
    added = corrupt(image, "gaussian", 0.3, rng) - image
    assert float(added.mean()) == pytest.approx(0, abs=0.005) and float(added.std()) == pytest.approx(0.3, abs=0.005)
    masked = corrupt(image, "mask", 0.25, rng)
    black = (masked == -1).all(dim=1)
    assert float(black.float().mean()) == pytest.approx(0.25, abs=0.01)
    assert masked[~black[:, None].expand_as(masked)].unique().tolist() == [0.5]  # whole pixels, or not at all
    assert corrupt(image, "mask", 0.0, rng).equal(image)
