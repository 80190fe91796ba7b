"""First guesses: the encoder's, the mean, and random ones."""

import copy

import pytest
import torch
from torch import nn

from generators.base import Generator
from generators.parts.encoder import Encoder, EncoderConfig
from inversion.config import LatentSpace
from inversion.guess import CORRECTION, encode, first_guess
from inversion.latent import mean_latent
from tests.inversion.descents import targets


@pytest.fixture(scope="module")
def with_encoder(generator):
    generator = copy.deepcopy(generator)
    config = EncoderConfig(img_resolution=16, num_ws=generator.num_ws, w_dim=8, channels=(8, 8, 8), hidden=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator.encoder = Encoder(config)
        nn.init.normal_(generator.encoder.offsets.weight)  # so that the layers differ
    return generator.eval().requires_grad_(False)


def test_without_an_encoder_the_first_guess_is_the_mean(generator):
    images = targets(generator, 2)
    assert encode(generator, images) is None
    for space in LatentSpace:
        guess, mean = first_guess(generator, images, "encoder", space), mean_latent(generator, space, batch=2)
        assert torch.equal(guess.code, mean.code) and guess.space is space


def test_the_encoders_guess(with_encoder):
    images = targets(with_encoder, 2)
    guess = first_guess(with_encoder, images, "encoder", LatentSpace.W_PLUS)
    assert torch.equal(guess.code, with_encoder.encoder(images)) and not guess.code.requires_grad
    assert all(map(torch.equal, guess.noise, with_encoder.fixed_noise(2)))
    in_w = first_guess(with_encoder, images, "encoder", LatentSpace.W)
    torch.testing.assert_close(in_w.code, guess.code.mean(dim=1))
    in_z = first_guess(with_encoder, images, "encoder", LatentSpace.Z)
    assert torch.equal(in_z.code, torch.zeros(2, 8))
    mean = first_guess(with_encoder, images, "mean", LatentSpace.W)
    assert torch.equal(mean.code, with_encoder.w_avg.expand(2, -1))


@pytest.mark.parametrize("space", LatentSpace)
def test_random_guesses_are_the_same_for_every_image(generator, space):
    images = targets(generator, 3)
    guess = first_guess(generator, images, "random", space, seed=4)
    assert guess.space is space and guess.code.shape[0] == 3
    assert torch.equal(guess.code[0], guess.code[2])
    assert torch.equal(guess.code[:1], first_guess(generator, images[:1], "random", space, seed=4).code)
    assert not torch.equal(guess.code, first_guess(generator, images, "random", space, seed=5).code)


class Halfway(torch.nn.Module):
    """Sees half of the logarithm of what there is."""

    def forward(self, images):
        return images.mean(dim=(2, 3)).clamp(min=0.01).log()[:, None, :] * 0.5


class Exponential(Generator):
    def __init__(self):
        super().__init__()
        self.z_dim = self.w_dim = self.img_channels = 3
        self.num_ws, self.img_resolution, self.ws_resolutions, self.w_avg = 1, 4, (4,), torch.zeros(3)
        self.encoder = Halfway()

    def mapping(self, z, c=None, truncation_psi=1.0):
        return truncation_psi * z[:, None]

    def synthesis(self, ws, noise):
        return ws[:, 0, :, None, None].exp().expand(-1, -1, 4, 4)


def test_looking_again_mends_the_guess_and_never_harms_it():
    images = torch.tensor([0.2, 0.5, 0.9])[:, None, None, None].expand(3, 3, 4, 4)
    model, truth = Exponential(), images[:, :, 0, 0].log()
    first, second, later = ((encode(model, images, looks=n).code[:, 0] - truth) for n in (0, 2, 8))
    left = 1 - CORRECTION / 2  # of the error, after each look: half of it is seen
    torch.testing.assert_close(second, left**2 * first)
    torch.testing.assert_close(later, left**8 * first, atol=1e-6, rtol=1e-4)
    model.encoder.forward = lambda images: 4 * images.mean(dim=(2, 3)).log()[:, None, :]  # each look leads astray
    first, later = encode(model, images[:2]), encode(model, images[:2], looks=1)
    assert torch.equal(first.code, later.code)
