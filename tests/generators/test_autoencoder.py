from collections import deque

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from torch.distributions import Bernoulli, Normal, kl_divergence

from generators import GeneratorError
from generators.autoencoder import Autoencoder, AutoencoderConfig, CodeEncoder
from generators.checkpoints.ours import load_model, save_model
from generators.errors import TrainingError
from generators.pictures.digits import digits
from generators.training.data import Pictures
from generators.training.methods.autoencode import (
    AutoencodeConfig,
    AutoencodeTrainer,
    ContractiveConfig,
    DenoisingConfig,
    SparseConfig,
    VAEConfig,
)
from generators.training.terms.penalties import (
    bernoulli_nll,
    contraction,
    corrupt,
    gaussian_nll,
    kl_to_normal,
    sparse_kl,
)

SMALL = {"resolution": 8, "img_channels": 1, "dim": 4, "widths": (32,), "batch": 32}


def tiny(seed: int = 0, **settings) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Autoencoder(AutoencoderConfig(**{"img_resolution": 8, "dim": 3, "widths": (8, 4)} | settings))


def encoder_of(**settings) -> CodeEncoder:
    encoder = tiny(**settings).double().encoder
    assert isinstance(encoder, CodeEncoder)
    return encoder


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def data() -> Pictures:
    images = torch.from_numpy(np.stack([d.pixels for d in digits("train")]))[:, None]
    return Pictures(images, torch.full((len(images),), 1 / len(images)), (), 0)


def trained(config: AutoencodeConfig, data: Pictures) -> AutoencodeTrainer:
    trainer = AutoencodeTrainer(config, data)
    deque(trainer.run(), maxlen=0)
    return trainer


def codes(model, data: Pictures) -> torch.Tensor:
    with torch.no_grad():
        return model.encoder(data.images.float() / 127.5 - 1)[:, 0]


# The networks


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "layers", "widths"),
    [
        (8, "dense", (8,)),
        (8, "dense", ()),
        (8, "conv", (4, 8)),
        (9, "conv", (4, 8)),
        (13, "conv", (4, 8, 8)),
        (28, "conv", (4, 8, 8)),
        (64, "conv", (4, 4, 4, 4, 4)),
        (11, "conv", (4,)),
    ],
)
def test_any_size_goes_in_and_comes_out(channels, size, layers, widths):
    model = tiny(img_resolution=size, img_channels=channels, layers=layers, widths=widths, dim=5)
    assert model.encoder is not None
    image = torch.rand(2, channels, size, size) * 2 - 1
    ws = model.encoder(image)
    assert ws.shape == (2, model.num_ws, 5) == (2, 1, model.w_dim)
    assert model.synthesis(ws, model.fixed_noise(2)).shape == image.shape
    assert len(model.ws_resolutions) == model.num_ws


def test_a_file_gives_the_same_model_back(tmp_path):
    model = tiny(variational=True, output="bernoulli").requires_grad_(False)
    model.w_avg.normal_()
    save_model(model, tmp_path / "a.safetensors")
    again = load_model(tmp_path / "a.safetensors")
    image = torch.rand(2, 1, 8, 8)
    assert isinstance(again, Autoencoder) and again.config == model.config and again.sha256() == model.sha256()
    assert again.encoder(image).equal(model.encoder(image))


def test_bernoulli_pixels_stay_between_black_and_white():
    model = tiny(output="bernoulli")
    image = model.synthesis(torch.full((1, 1, 3), 1e6), ())
    assert image.abs().max() <= 1
    torch.testing.assert_close((image + 1) / 2, model.logits(torch.full((1, 3), 1e6)).sigmoid())


def test_wrong_shapes_and_settings_are_refused():
    with pytest.raises(GeneratorError, match=r"takes \(batch, 1, 3\)"):
        tiny().synthesis(torch.zeros(1, 4, 3), ())
    with pytest.raises(GeneratorError, match="conv a width"):
        AutoencoderConfig(img_resolution=8, layers="conv", widths=())
    with pytest.raises(TrainingError, match="takes sigmoid"):
        SparseConfig(code="linear")
    with pytest.raises(TrainingError, match="linear layers have none"):
        AutoencodeConfig(layers="linear", widths=(4,)).model()
    with pytest.raises(TrainingError, match="resolution is 4"):
        AutoencodeConfig(resolution=4)


# Terms


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


# Training


@pytest.mark.slow
def test_a_linear_autoencoder_spans_the_principal_subspace(data):
    config = AutoencodeConfig(
        **SMALL | {"layers": "linear", "widths": None, "dim": 16, "images": 500_000, "batch": 256}
    )
    model = trained(config, data).ema
    x = (data.images.float() / 127.5 - 1).flatten(1).numpy()
    _, _, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    weight = model.decoder[0].weight.detach().numpy()
    assert np.degrees(subspace_angles(weight, axes[:16].T)).max() < 5


def test_sparse_codes_reach_their_target(data):
    model = trained(SparseConfig(**SMALL | {"dim": 16, "images": 16_000, "target": 0.15}), data).ema
    means = codes(model, data).mean(dim=0)
    assert float(means.mean()) == pytest.approx(0.15, abs=0.03) and means.max() < 0.3


def test_l1_makes_codes_small(data):
    sizes = SMALL | {"images": 10_000, "sparsity": "l1", "code": "linear"}
    small, large = (codes(trained(SparseConfig(**sizes, weight=w), data).ema, data).abs().mean() for w in (20.0, 0.0))
    assert small < 0.5 * large


def test_contraction_is_paid_for(data):
    sizes, image = SMALL | {"images": 6400}, data.images[:100].float() / 127.5 - 1
    loose, exact, estimated = (
        contraction(trained(ContractiveConfig(**sizes, weight=weight, probes=probes), data).encoder, image).mean()
        for weight, probes in ((0.0, 0), (30.0, 0), (30.0, 1))
    )
    assert exact < 0.5 * loose and estimated < 0.5 * loose


LARGER = SMALL | {"images": 20_000, "dim": 8, "widths": (64,), "batch": 64}


@pytest.fixture(scope="module")
def plain(data) -> Autoencoder:
    return trained(AutoencodeConfig(**LARGER), data).ema


@pytest.mark.parametrize(("noise", "level"), [("gaussian", 0.8), ("mask", 0.5)])
def test_denoising_draws_the_whole_picture(data, plain, noise, level):
    models = [trained(DenoisingConfig(**LARGER, noise=noise, noise_level=level), data).ema, plain]
    clean = data.images[:300].float() / 127.5 - 1
    spoiled = corrupt(clean, noise, level, torch.Generator().manual_seed(3))
    with torch.no_grad():
        errors = [float((m.synthesis(m.encoder(spoiled), ()) - clean).square().mean()) for m in models]
    assert errors[0] < 0.85 * errors[1]


def test_a_variational_space_is_filled_by_its_prior(data):
    trainer = trained(VAEConfig(**SMALL | {"images": 20_000, "sigma": 1.0}), data)
    model = trainer.finished()
    mean, log_variance = trainer.encoder.moments(data.images.float() / 127.5 - 1)
    drawn = mean.square().mean(dim=0) + log_variance.exp().mean(dim=0)  # second moment of all codes together
    assert ((drawn > 0.8) & (drawn < 1.25)).all()
    z = torch.randn(3, 4)
    assert model.mapping(z)[:, 0].equal(z)
    assert model.mapping(z, truncation_psi=0.0).abs().max() == 0


def test_beta_presses_codes_together_and_warms_up(data):
    sizes = SMALL | {"images": 6400}
    loose, firm = (trained(VAEConfig(**sizes, beta=b), data).finished() for b in (0.1, 10.0))
    assert codes(firm, data).var(dim=0).sum() < 0.5 * codes(loose, data).var(dim=0).sum()
    steps = list(AutoencodeTrainer(VAEConfig(**sizes, beta_warmup=0.5), data).run())
    assert steps[0].losses["kl"] == 0 < steps[1].losses["kl"]


def test_without_a_prior_samples_have_the_moments_of_the_codes(data):
    model = trained(AutoencodeConfig(**SMALL | {"images": 10_000, "likelihood": "bernoulli"}), data).finished()
    found = codes(model, data)
    torch.testing.assert_close(model.w_avg, found.mean(dim=0), atol=1e-4, rtol=1e-4)
    w = model.mapping(torch.randn(50_000, 4, generator=torch.Generator().manual_seed(0)))[:, 0]
    scale = float(found.var(dim=0).max())
    torch.testing.assert_close(w.T.cov() / scale, found.T.cov() / scale, atol=0.03, rtol=0)
    assert model.mapping(torch.randn(2, 4), truncation_psi=0.0)[:, 0].equal(model.w_avg.expand(2, -1))


KINDS = [AutoencodeConfig, SparseConfig, ContractiveConfig, DenoisingConfig, VAEConfig]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_an_unbroken_one(data, kind):
    config = kind(**SMALL | {"images": 320})
    whole = trained(config, data)
    first = AutoencodeTrainer(config, data)
    steps = first.run()
    for _ in range(4):
        next(steps)
    state = first.state()
    second = AutoencodeTrainer(config, data)
    second.restore(state)
    deque(second.run(), maxlen=0)
    for key, value in whole.ema.state_dict().items():
        assert value.equal(second.ema.state_dict()[key]), key


def test_the_state_loads_without_executing_anything(data, tmp_path):
    torch.save(trained(VAEConfig(**SMALL | {"images": 64}), data).state(), tmp_path / "s.pt")
    assert torch.load(tmp_path / "s.pt", weights_only=True)["images_seen"] == 64


def test_a_seed_decides_all_and_the_global_state_nothing(data):
    config = VAEConfig(**SMALL | {"images": 96})
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = trained(config, data).ema.sha256()
    assert torch.random.get_rng_state().equal(before)
    torch.manual_seed(2)
    assert trained(config, data).ema.sha256() == one
    assert trained(VAEConfig(**SMALL | {"images": 96, "seed": 1}), data).ema.sha256() != one


def test_a_run_can_start_from_a_model_of_its_sizes(data):
    config = AutoencodeConfig(**SMALL | {"images": 64})
    first = trained(config, data)
    second = AutoencodeTrainer(config, data, init=first.finished())
    assert second.ema.decoder[0].weight.equal(first.ema.decoder[0].weight)
    with pytest.raises(TrainingError, match="same sizes"):
        AutoencodeTrainer(AutoencodeConfig(**SMALL | {"dim": 5}), data, init=first.finished())


def test_a_loss_that_is_not_finite_is_skipped_and_then_said(data):
    trainer = AutoencodeTrainer(AutoencodeConfig(**SMALL | {"images": 10_000}), data)
    with torch.no_grad():
        trainer.ema.decoder[0].weight.fill_(float("inf"))
    kept = trainer.ema.decoder[-2].weight.clone()
    with pytest.raises(TrainingError, match="not finite 50 times"):
        deque(trainer.run(), maxlen=0)
    assert trainer.ema.decoder[-2].weight.equal(kept)
