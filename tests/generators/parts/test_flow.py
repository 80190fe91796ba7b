"""The flow from z to w."""

import math

import pytest
import torch

import generators
from generators.checkpoints.ours import save_model
from generators.parts.flow import Flow
from generators.stylegan2 import StyleGAN2, StyleGAN2Config
from generators.training.methods.moments import recolour
from generators.training.methods.prior import fit_flow


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(w_dim: int = 2, **settings: object) -> Flow:
    torch.manual_seed(0)
    return Flow(w_dim, **({"hidden": 64, "blocks": 2, "steps": 16} | settings))


def test_an_untrained_flow_of_the_earlier_kind_only_scales():
    flow, w = small(gaussian=False), leaning(500)
    flow.fit_moments(w)
    z = torch.randn(7, 2, generator=rng(1))
    torch.testing.assert_close(flow(z), w.mean(dim=0) + w.std(dim=0) * z)


def leaning(count: int) -> torch.Tensor:
    """Gaussian numbers, of which the second follows the first."""
    w = torch.randn(count, 2, generator=rng()) * torch.tensor([3.0, 0.5]) + torch.tensor([1.0, -2.0])
    return w + 0.5 * (w[:, :1] - 1) * torch.tensor([0.0, 1.0])


def test_an_untrained_flow_is_the_gaussian_of_the_codes():
    flow, w = small(steps=64), leaning(20_000)
    flow.fit_moments(w)
    samples = flow(torch.randn(6000, 2, generator=rng(1)))
    torch.testing.assert_close(samples.mean(dim=0), w.mean(dim=0), atol=0.1, rtol=0)
    torch.testing.assert_close(samples.T.cov(), w.T.cov(), rtol=0.05, atol=0.05)


def test_of_few_codes_every_direction_stays_alive():
    flow, w = small(64), torch.randn(40, 64, generator=rng())
    flow.fit_moments(w)
    assert torch.linalg.eigvalsh(flow.w_axes).min() > 0.3
    assert flow.loss(torch.randn(200, 64, generator=rng(1)), rng(2)) < 2.5


def test_the_loss_of_a_field_that_stands_still_is_the_mean_square_of_the_way():
    flow, w = small(gaussian=False), torch.randn(20_000, 2, generator=rng()) * 4
    flow.fit_moments(w)
    assert flow.loss(w, rng(1)).item() == pytest.approx(2.0, abs=0.03)  # Var y + Var z


def test_the_loss_of_the_gaussian_field_on_a_gaussian():
    flow, w = small(), leaning(20_000)
    flow.fit_moments(w)
    assert flow.loss(w, rng(1)).item() == pytest.approx(math.pi / 2, abs=0.03)  # the mean over t of 1 / (t^2 + (1-t)^2)


def learned(flow: Flow, w: torch.Tensor) -> torch.Tensor:
    """Samples of the flow after it has learned from w."""
    flow.fit_moments(w)
    optimizer, draws = torch.optim.Adam(flow.parameters(), lr=3e-3), rng(2)
    for _ in range(400):
        batch = w[torch.randint(len(w), (256,), generator=draws)]
        optimizer.zero_grad()
        flow.loss(batch, draws, dropout=0.0).backward()
        optimizer.step()
    with torch.no_grad():
        return flow(torch.randn(1000, 2, generator=rng(3)))


def test_it_learns_a_distribution_that_no_scaling_gives():
    sides = torch.randint(0, 2, (2000, 1), generator=rng()) * 2.0 - 1  # two lumps, and the second number tells which
    w = torch.cat([sides, sides], dim=1) * 5 + 0.3 * torch.randn(2000, 2, generator=rng(1))
    samples = learned(small(gaussian=False), w)
    near = (samples.abs() - 5).abs().amax(dim=1) < 1.5
    assert near.float().mean() > 0.9
    assert (samples[near].prod(dim=1) > 0).float().mean() > 0.97  # never one number of this lump and one of that
    assert 0.4 < (samples[:, 0] > 0).float().mean() < 0.6


def test_it_learns_what_is_not_gaussian():
    waits = -torch.rand(4000, 1, generator=rng()).log()  # exponential: never below 0, skewness 2
    w = torch.cat([waits, -2 * waits], dim=1) + 0.1 * torch.randn(4000, 2, generator=rng(1))
    samples = learned(small(), w)
    assert (samples[:, 0] < -0.3).float().mean() < 0.02  # a Gaussian has a tenth there
    scores = (samples - samples.mean(dim=0)) / samples.std(dim=0)
    torch.testing.assert_close((scores**3).mean(dim=0), torch.tensor([2.0, -2.0]), atol=0.6, rtol=0)


@pytest.mark.parametrize("gaussian", [False, True])
def test_its_picture_follows_z(tmp_path, gaussian):
    sizes = {"img_resolution": 8, "z_dim": 16, "w_dim": 16, "channels": (8, 8), "mapping_layers": 2}
    model = StyleGAN2(StyleGAN2Config(**sizes, flow_steps=3, flow_gaussian=gaussian))
    torch.nn.init.normal_(model.map.last.weight, generator=rng())
    z = torch.randn(2, 16, generator=rng(1)).requires_grad_()
    model.eval().synthesis(model.mapping(z), model.fixed_noise(2)).square().sum().backward()
    assert z.grad is not None and z.grad.abs().min(dim=1).values.min() > 0
    save_model(model, tmp_path / "flow.safetensors")
    again = generators.load(tmp_path / "flow.safetensors")
    torch.testing.assert_close(again.mapping(z), model.mapping(z))


@pytest.mark.parametrize("settings", [{"z_dim": 8}, {"c_dim": 3}])
def test_what_it_cannot_map_is_refused(settings):
    config = StyleGAN2Config(**({"img_resolution": 8, "z_dim": 16, "w_dim": 16, "flow_steps": 3} | settings))
    with pytest.raises(generators.GeneratorError, match="flow"):
        StyleGAN2(config)


def test_fitting_keeps_what_the_codes_kept_back_like_best():
    flow, w = small(), torch.randn(60, 2, generator=rng()) * 2
    start = flow.state_dict()["last.weight"].clone()
    losses = list(fit_flow(flow, w, rounds=40, lr=1e-3))
    assert len(losses) == 10 and not torch.equal(flow.last.weight, start)
    held = w[:3]
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        kept = float(sum(flow.loss(held, draws, dropout=0.0) for _ in range(8))) / 8
    assert kept == pytest.approx(min(losses), rel=1e-5)


def test_recolouring_gives_samples_the_moments_of_the_codes():
    flow, w = small(steps=2), leaning(20_000)  # two steps: far too few
    flow.fit_moments(w)
    torch.nn.init.normal_(flow.last.weight, std=0.3, generator=rng())
    z = torch.randn(20_000, 2, generator=rng(0))
    assert not torch.allclose(flow(z).T.cov(), w.T.cov(), rtol=0.2)
    recolour(flow)
    torch.testing.assert_close(flow(z).mean(dim=0), w.mean(dim=0), atol=0.05, rtol=0)
    torch.testing.assert_close(flow(z).T.cov(), w.T.cov(), rtol=0.01, atol=0.01)
