from dataclasses import replace

import pytest
import torch

from generators.parts.discriminator import Discriminator
from generators.training.config import TrainConfig
from generators.training.data import Pictures
from generators.training.methods.plain import Plain
from generators.training.methods.stylegan2 import StyleGAN2Trainer
from generators.training.start.build import build_model, draw_partner, mix_styles
from generators.training.terms.losses import path_lengths

TINY = TrainConfig(
    joint=False, resolution=8, channels=(8, 8), w_dim=8, mapping_layers=2, batch=4, images=40, precision="fp32"
)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(value=None):
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 8, 8), generator=rng).to(torch.uint8)
    images = images if value is None else torch.full_like(images, value)
    return Pictures(images=images, weights=torch.full((8,), 1 / 8), skipped=(), resized=0)


def test_the_networks_are_those_of_the_paper():
    model = StyleGAN2Trainer(TINY, pictures()).model
    assert model.encoder is None and model.config.spatial == () and not model.config.mapping_linear
    assert isinstance(model.discriminator, Discriminator) and len(model.discriminator.heads) == 0
    assert float(model.map.layers[0].weight.detach().std()) == pytest.approx(1 / 0.3, rel=0.3)  # N(0, 1) / lr


def test_path_lengths_of_a_linear_generator():
    """|J^T y| of an image that is A w: the columns' products with y, over all layers a mean square."""
    a, y, ws = draw(48, 5), draw(2, 3, 4, 4, seed=1), draw(2, 6, 5, seed=2).requires_grad_()
    images = (ws.sum(dim=1) @ a.T).reshape(2, 3, 4, 4)
    wanted = (y.flatten(1) / 4 @ a).norm(dim=1)  # each of the six layers has the same
    torch.testing.assert_close(path_lengths(images, ws, y), wanted)
    one = (ws[:, 0] @ a.T).reshape(2, 3, 4, 4)
    torch.testing.assert_close(path_lengths(one, ws, y), wanted / 6**0.5)


def test_styles_are_mixed_from_a_layer_on():
    ws, other = torch.zeros(3, 4, 2), torch.ones(3, 2)
    mixed = mix_styles(ws, other, torch.tensor([1, 3, 4]))
    assert mixed[:, :, 0].tolist() == [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    model = build_model(TINY)
    _, first = draw_partner(model, 4000, 0.9, torch.Generator().manual_seed(0))
    shares = torch.bincount(first, minlength=model.num_ws + 1) / 4000
    expected = [0] + [0.9 / (model.num_ws - 1)] * (model.num_ws - 1) + [0.1]
    assert shares.tolist() == pytest.approx(expected, abs=0.03)
    _, none = draw_partner(model, 100, 0.0, torch.Generator().manual_seed(0))
    assert (none == model.num_ws).all()


def test_lazy_regularisation_corrects_its_optimiser():
    """With c = k / (k + 1): that share of the rate, and betas to the power c (Karras et al. 2020, appendix B)."""
    config = replace(TINY, r1_every=16, path_length=2.0, path_every=4, lr=0.002, d_lr=0.004)
    method = StyleGAN2Trainer(config, pictures()).method
    for name, lr, k in (("generator", 0.002, 4), ("discriminator", 0.004, 16)):
        c = k / (k + 1)
        assert method.rates[name] == pytest.approx(lr * c)
        assert method.optimizers[name].param_groups[0]["betas"] == pytest.approx((0.0, 0.99**c))
    method = StyleGAN2Trainer(replace(config, r1=0.0, path_length=0.0), pictures()).method
    assert method.rates == {"generator": 0.002, "discriminator": 0.004}


def test_a_penalty_is_a_step_of_its_own_that_counts_as_often_as_it_is_left_out(monkeypatch):
    taken = []
    original = Plain.backward
    monkeypatch.setattr(
        Plain, "backward", lambda self, name, loss: taken.append(float(loss.detach())) or original(self, name, loss)
    )
    found = []
    for every in (1, 4):
        taken.clear()
        config = replace(TINY, r1=0.5, r1_every=every)
        step = next(StyleGAN2Trainer(config, pictures()).run())
        found.append(step.losses["r1"])
        assert taken == [pytest.approx(step.losses["discriminator"]), pytest.approx(every * 0.25 * step.losses["r1"])]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_path_length_regularisation_evens_lengths():
    """The variance of path lengths falls against a run without it, and their mean is remembered."""
    spread = []
    for weight in (0.0, 5.0):
        config = replace(TINY, images=160, path_length=weight, path_every=1, lr=0.01, style_mixing=0.0)
        trainer = StyleGAN2Trainer(config, pictures())
        reported = [s.losses.get("path") for s in trainer.run()]
        assert (reported[0] is None) == (weight == 0)
        method = trainer.method
        images, ws, _ = method.render(method.draw(64, torch.Generator().manual_seed(0)))
        lengths = path_lengths(images, ws, draw(64, 3, 8, 8)).detach()
        spread.append(float((lengths / lengths.mean()).var()))
    assert 0 < float(trainer.method.mean_length) < max(reported)
    assert spread[1] < 0.8 * spread[0]


def test_w_avg_follows_the_mapping_network():
    trainer = StyleGAN2Trainer(replace(TINY, images=4 * 40, lr=1e-9), pictures())
    for _ in trainer.run():
        pass
    wanted = trainer.model.map(draw(4000, 8), None).detach().mean(dim=0) * (1 - 0.99**40)
    assert float((trainer.model.w_avg - wanted).norm() / wanted.norm()) < 0.2


@pytest.mark.slow
def test_samples_get_the_brightness_of_the_pictures():
    means = []
    for value in (30, 220):
        trainer = StyleGAN2Trainer(replace(TINY, images=4 * 60, lr=0.02, d_lr=0.02, ema=0.9), pictures(value))
        for _ in trainer.run():
            pass
        images = trainer.ema.synthesis(trainer.ema.mapping(draw(64, 8)), trainer.ema.fixed_noise(64))
        means.append(float(images.mean()))
    assert means[0] < -0.3 and means[1] > 0.3  # -0.76 and 0.73 are the pictures'
