from collections import deque

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from generators.autoencoder import Autoencoder
from generators.errors import TrainingError
from generators.pictures.digits import digits
from generators.training.config_codes import (
    AutoencodeConfig,
    ContractiveConfig,
    DenoisingConfig,
    SparseConfig,
    VAEConfig,
)
from generators.training.data import Pictures
from generators.training.methods.autoencode import AutoencodeTrainer
from generators.training.settings import KINDS, trainer_of
from generators.training.terms.penalties import (
    contraction,
    corrupt,
)

SMALL = {"resolution": 8, "img_channels": 1, "dim": 4, "widths": (32,), "batch": 32}


@pytest.fixture(scope="module")
def data() -> Pictures:
    images = torch.from_numpy(np.stack([d.pixels for d in digits("train")]))[:, None]
    return Pictures(images, torch.full((len(images),), 1 / len(images)), (), 0)


def trainer_for(config: AutoencodeConfig, data: Pictures) -> AutoencodeTrainer:
    (kind,) = (kind for kind, (settings, _) in KINDS.items() if settings is type(config))
    trainer = trainer_of(kind)(config, data)
    assert isinstance(trainer, AutoencodeTrainer)
    return trainer


def trained(config: AutoencodeConfig, data: Pictures) -> AutoencodeTrainer:
    trainer = trainer_for(config, data)
    deque(trainer.run(), maxlen=0)
    return trainer


def codes(model, data: Pictures) -> torch.Tensor:
    with torch.no_grad():
        return model.encoder(data.images.float() / 127.5 - 1)[:, 0]


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
    steps = list(trainer_for(VAEConfig(**sizes, beta_warmup=0.5), data).run())
    assert steps[0].losses["kl"] == 0 < steps[1].losses["kl"]


def test_without_a_prior_samples_have_the_moments_of_the_codes(data):
    model = trained(AutoencodeConfig(**SMALL | {"images": 10_000, "likelihood": "bernoulli"}), data).finished()
    found = codes(model, data)
    torch.testing.assert_close(model.w_avg, found.mean(dim=0), atol=1e-4, rtol=1e-4)
    w = model.mapping(torch.randn(50_000, 4, generator=torch.Generator().manual_seed(0)))[:, 0]
    scale = float(found.var(dim=0).max())
    torch.testing.assert_close(w.T.cov() / scale, found.T.cov() / scale, atol=0.03, rtol=0)
    assert model.mapping(torch.randn(2, 4), truncation_psi=0.0)[:, 0].equal(model.w_avg.expand(2, -1))


@pytest.mark.parametrize("kind", [AutoencodeConfig, SparseConfig, ContractiveConfig, DenoisingConfig, VAEConfig])
def test_a_resumed_run_is_an_unbroken_one(data, kind):
    config = kind(**SMALL | {"images": 320})
    whole = trained(config, data)
    first = trainer_for(config, data)
    steps = first.run()
    for _ in range(4):
        next(steps)
    state = first.state()
    second = trainer_for(config, data)
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
