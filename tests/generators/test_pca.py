import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as Fit

from generators import GeneratorError
from generators.checkpoints.ours import load_model, save_model
from generators.errors import TrainingError
from generators.pca import PCA, PCAConfig
from generators.pictures.digits import digits
from generators.training.config_codes import FitConfig
from generators.training.data import Pictures
from generators.training.methods.pca import PCATrainer, fit
from inversion.config import InvertConfig, LatentSpace
from inversion.inverter import invert
from inversion.latent import sample_latent, synthesize

SIZE = {"img_resolution": 8, "img_channels": 1}


def pictures(part: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([d.pixels for d in digits(part)]))[:, None]


def scaled(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1


@pytest.fixture(scope="module")
def fitted() -> PCA:
    model = PCA(PCAConfig(dim=16, **SIZE))
    fit(model, pictures("train"))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def theirs() -> Fit:
    return Fit(16, whiten=True).fit(scaled(pictures("train")).flatten(1).numpy())


def test_codes_are_scikit_learns_projection(fitted, theirs):
    test = scaled(pictures("test"))
    codes = fitted.encoder(test)[:, 0].numpy()
    flat = test.flatten(1).numpy()
    np.testing.assert_allclose(np.abs(codes), np.abs(theirs.transform(flat)), atol=1e-5)  # signs are free
    plain = Fit(16).fit(scaled(pictures("train")).flatten(1).numpy()).transform(flat)
    np.testing.assert_allclose(np.abs(codes * fitted.scale.numpy()), np.abs(plain), atol=1e-5)


def test_pictures_are_scikit_learns_reconstructions(fitted, theirs):
    test = scaled(pictures("test"))
    again = fitted.synthesis(fitted.encoder(test), ())
    wanted = theirs.inverse_transform(theirs.transform(test.flatten(1).numpy()))
    np.testing.assert_allclose(again.flatten(1), wanted, atol=1e-5)


def test_inverting_is_projecting_through_a_saved_file(fitted, theirs, tmp_path):
    save_model(fitted, tmp_path / "p.safetensors", dtype=torch.float16)  # half precision would not do: it is kept whole
    model = load_model(tmp_path / "p.safetensors")
    target = scaled(pictures("test"))[:1]
    found = invert(model, target)
    assert found.steps == 0 and found.metrics["identity"] is None
    wanted = np.abs(theirs.transform(target.flatten(1).numpy()))
    np.testing.assert_allclose(found.latent.code[:, 0].abs(), wanted, atol=1e-5)


def test_searching_from_the_mean_ends_in_the_projection(fitted):
    target = scaled(pictures("test"))[:1]
    config = InvertConfig(start="mean", steps=400, lr=0.1, loss={"pixel": 1.0}, space=LatentSpace.W, bf16=False)
    found = invert(fitted, target, config=config)
    torch.testing.assert_close(found.latent.code, fitted.encoder(target)[:, 0], atol=2e-3, rtol=0)


def test_samples_have_the_spread_of_the_data(fitted):
    codes = fitted.encoder(scaled(pictures("train")))[:, 0]
    torch.testing.assert_close(codes.T.cov(), torch.eye(16), atol=1e-3, rtol=0)
    ws = sample_latent(fitted, batch=4000, seed=1).code[:, 0]
    torch.testing.assert_close(ws.T.cov(), torch.eye(16), atol=0.1, rtol=0)
    middle = synthesize(fitted, sample_latent(fitted, seed=1, truncation_psi=0.0))
    mean = scaled(pictures("train")).mean(dim=0, keepdim=True)
    torch.testing.assert_close(middle, mean.clamp(-1, 1), atol=1e-5, rtol=0)


def test_what_is_unexplained_is_told(fitted):
    model = PCA(PCAConfig(dim=16, **SIZE))
    images = pictures("train")
    rest = fit(model, images)
    x = scaled(images)
    error = (model.synthesis(model.encoder(x), ()) - x).square().sum()
    assert rest == pytest.approx(float(error / (x - x.mean(dim=0)).square().sum()), abs=1e-4)


def test_colour_and_sizes_that_are_no_power_of_two():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 9, 9), generator=rng, dtype=torch.uint8)
    model = PCA(PCAConfig(dim=39, img_resolution=9, img_channels=3))
    assert fit(model, images) == pytest.approx(0, abs=1e-5)  # 40 pictures vary in 39 directions
    x = scaled(images)
    torch.testing.assert_close(model.synthesis(model.encoder(x), ()), x, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("dim", "most"), [(64, "61"), (1000, "61")])
def test_more_components_than_directions_are_refused(dim, most):
    with pytest.raises(TrainingError, match=f"give dim {most} or less"):
        fit(PCA(PCAConfig(dim=dim, **SIZE)), pictures(None))


def test_a_wrong_shape_is_refused(fitted):
    with pytest.raises(GeneratorError, match=r"takes \(batch, 1, 16\)"):
        fitted.synthesis(torch.zeros(1, 2, 16), ())


def test_the_trainer_is_one_step_and_resumes_to_nothing():
    images = pictures("train")
    data = Pictures(images, torch.full((len(images),), 1 / len(images)), (), 0)
    trainer = PCATrainer(FitConfig(resolution=8, img_channels=1, dim=4), data)
    (step,) = trainer.run()
    assert step.images_seen == trainer.config.images and 0 < step.losses["unexplained"] < 1
    again = PCATrainer(trainer.config, data)
    again.restore(trainer.state())
    assert not list(again.run()) and again.finished().sha256() == trainer.finished().sha256()
