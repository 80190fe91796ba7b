from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from generators import load
from generators.pictures.digits import digits, write
from generators.pictures.sources import pictures
from inversion.config import recipe
from inversion.edit.mix import blend
from inversion.guess import encode
from inversion.inverter import Inverter, invert
from inversion.latent import sample_latent, synthesize
from inversion.measures.reconstruction import evaluate, summarize
from inversion.metrics import psnr
from inversion.target import load_target
from tests.conftest import pixels


def part(name: str | None) -> tuple[torch.Tensor, np.ndarray]:
    every = digits(name)
    images = torch.from_numpy(np.stack([d.pixels for d in every]))[:, None].float() / 127.5 - 1
    return images, np.array([d.label for d in every])


@pytest.fixture(scope="module")
def model():
    return load("digits")


@pytest.fixture(scope="module")
def gan():
    return load("digits-gan")


# The data


def test_the_digits_are_scikit_learns():
    images, labels = part(None)
    theirs = load_digits()
    np.testing.assert_allclose((images[:, 0].numpy() + 1) * 8, theirs.images, atol=16 / 255 / 2 + 1e-6)
    np.testing.assert_array_equal(labels, theirs.target)


def test_every_fifth_is_for_testing():
    train, test = ({d.number for d in digits(name)} for name in ("train", "test"))
    assert len(test) == 359 and test == set(range(4, 1797, 5))
    assert len(train) == 1438 and not train & test


def test_they_are_written_by_part_and_label(tmp_path):
    write(tmp_path)
    files = sorted(tmp_path.rglob("*.png"))
    assert len(files) == 1797
    for digit in (digits("train")[7], digits("test")[7]):
        where = tmp_path / ("test" if digit.number % 5 == 4 else "train") / digit.name
        np.testing.assert_array_equal(pixels(where)[..., 0], digit.pixels)


# The packaged autoencoder


@torch.no_grad()
def test_reconstruction_is_better_than_sixteen_principal_components(model):
    (train, _), (test, _) = part("train"), part("test")
    flat = test.flatten(1).numpy()
    pca = PCA(16).fit(train.flatten(1).numpy())
    theirs = ((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean()
    ours = float((synthesize(model, invert_all(model, test)) - test).square().mean())
    assert model.w_dim == 16 and ours < 0.75 * theirs


def invert_all(model, images):
    found = encode(model, images)
    assert found is not None
    return found


@torch.no_grad()
def test_like_lies_near_like(model):
    (train, known), (test, wanted) = (part("train"), part("test"))
    codes, asked = (invert_all(model, images).code[:, 0].numpy() for images in (train, test))
    assert KNeighborsClassifier(1).fit(codes, known).score(asked, wanted) > 0.95
    nearest = np.argsort(((asked[:, None] - codes[None]) ** 2).sum(axis=2), axis=1)[:, :5]
    assert (known[nearest] == wanted[:, None]).mean() > 0.95


def plausible(model, share: float) -> tuple[float, int]:
    """Samples as near to a training digit as that share of the test digits, and how many labels those digits have."""
    (train, known), (test, _) = part("train"), part("test")
    drawn = synthesize(model, sample_latent(model, batch=500, seed=1)).flatten(1)
    far = torch.cdist(test.flatten(1), train.flatten(1)).min(dim=1).values.quantile(share)
    nearest = torch.cdist(drawn, train.flatten(1)).min(dim=1)
    return float((nearest.values < far).float().mean()), len(set(known[nearest.indices.numpy()]))


def test_samples_are_digits(model):
    near, kinds = plausible(model, 0.95)
    assert near > 0.8 and kinds == 10


def test_inverting_is_better_than_the_first_guess(model):
    test, _ = part("test")
    for image in test[:2, None]:
        guess, found = (invert(model, image, recipe=name) for name in ("encode", "default"))
        assert found.metrics["psnr_db"] > guess.metrics["psnr_db"] > 15
        assert found.metrics["identity"] is None


def test_a_blend_of_two_is_a_picture_between_them(model):
    test, labels = part("test")
    pair = [invert(model, test[labels == label][:1], recipe="encode").latent for label in (0, 6)]
    ends, middle = [synthesize(model, latent) for latent in pair], synthesize(model, blend(pair))
    apart = (ends[0] - ends[1]).square().mean()
    assert all((middle - end).square().mean() < apart for end in ends)
    assert (middle - (ends[0] + ends[1]) / 2).square().mean() > 0.005  # and no double exposure


def test_the_card_says_what_it_is(model, gan):
    for one in (model, gan):
        assert one.subject == "digit" and one.card["data"] == ["digits"] and one.card["licence"] == "CC BY 4.0"
        assert (one.img_resolution, one.img_channels) == (8, 1)


# The packaged GAN


def test_a_digit_is_found_by_the_descent_alone(gan):
    test, _ = part("test")
    config = replace(recipe(gan, "default"), start="mean")
    for image in test[:2, None]:
        assert invert(gan, image, config=config).metrics["psnr_db"] > 18


def test_the_gans_samples_are_digits(gan):
    near, kinds = plausible(gan, 0.95)
    assert near > 0.7 and kinds == 10


def test_the_encoder_starts_it(gan):
    test, _ = part("test")
    found = [invert(gan, test[i : i + 1], recipe="encode") for i in range(20)]
    assert np.median([one.metrics["psnr_db"] for one in found]) > 15


# What is not a face


def test_nobody_looks_for_a_face(model, monkeypatch, tmp_path):
    def never(*args, **more):
        raise AssertionError("a digit was searched for a face")

    monkeypatch.setattr("inversion.target.align_face", never)
    monkeypatch.setattr("inversion.metrics.identity_distance", never)
    monkeypatch.setattr("inversion.measures.reconstruction.describe", never)
    Image.fromarray(digits("test")[0].pixels).save(tmp_path / "a.png")
    (record,) = evaluate(Inverter(model, recipe(model, "encode"), "encode"), pictures(tmp_path))
    assert record["identity"] is None and not record["target_face"]
    assert summarize([record])["same_person"] is None


def test_a_photograph_in_colour_becomes_its_luma(model):
    red = Image.new("RGB", (40, 20), (255, 0, 0))
    target = load_target(model, red)
    assert target.image.shape == (1, 1, 8, 8) and target.alignment is None
    assert target.image.unique().tolist() == pytest.approx([76 / 127.5 - 1])
    assert torch.isinf(psnr(target.image, target.image)).all()
