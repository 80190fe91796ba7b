"""The flow from z to w."""

import pytest
import torch

import generators
from generators.files import save_model
from generators.flow import Flow
from generators.stylegan2 import StyleGAN2, StyleGAN2Config


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(w_dim: int = 2, **settings: object) -> Flow:
    torch.manual_seed(0)
    return Flow(w_dim, **({"hidden": 64, "blocks": 2, "steps": 16} | settings))


def test_an_untrained_flow_only_scales():
    flow, w = small(), torch.randn(500, 2, generator=rng()) * torch.tensor([3.0, 0.5]) + torch.tensor([1.0, -2.0])
    flow.fit_scale(w)
    z = torch.randn(7, 2, generator=rng(1))
    torch.testing.assert_close(flow(z), w.mean(dim=0) + w.std(dim=0) * z)


def test_the_loss_of_a_field_that_stands_still_is_the_mean_square_of_the_way():
    flow, w = small(), torch.randn(20_000, 2, generator=rng()) * 4
    flow.fit_scale(w)
    assert flow.loss(w, rng(1)).item() == pytest.approx(2.0, abs=0.03)  # Var y + Var z


def test_it_learns_a_distribution_that_no_scaling_gives():
    flow, optimizer = small(), None
    sides = torch.randint(0, 2, (2000, 1), generator=rng()) * 2.0 - 1  # two lumps, and the second number tells which
    w = torch.cat([sides, sides], dim=1) * 5 + 0.3 * torch.randn(2000, 2, generator=rng(1))
    flow.fit_scale(w)
    optimizer, draws = torch.optim.Adam(flow.parameters(), lr=3e-3), rng(2)
    for _ in range(400):
        batch = w[torch.randint(2000, (256,), generator=draws)]
        optimizer.zero_grad()
        flow.loss(batch, draws, dropout=0.0).backward()
        optimizer.step()
    with torch.no_grad():
        samples = flow(torch.randn(1000, 2, generator=rng(3)))
    near = (samples.abs() - 5).abs().amax(dim=1) < 1.5
    assert near.float().mean() > 0.9
    assert (samples[near].prod(dim=1) > 0).float().mean() > 0.97  # never one number of this lump and one of that
    assert 0.4 < (samples[:, 0] > 0).float().mean() < 0.6


def test_its_picture_follows_z(tmp_path):
    config = StyleGAN2Config(img_resolution=8, z_dim=16, w_dim=16, channels=(8, 8), mapping_layers=2, flow_steps=3)
    model = StyleGAN2(config)
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
