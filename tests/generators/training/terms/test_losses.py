import math

import torch
from torch import nn

from generators.training.terms.losses import (
    discriminator_loss,
    feature_matching,
    generator_loss,
    r1_penalty,
    reconstruction,
)
from tests.generators.training.small import draw


def test_reconstruction_by_hand():
    x = draw(2, 3, 16, 16)
    assert reconstruction(x, x) == 0
    a = torch.zeros(2, 3, 4, 4)  # so small that the pyramid is the image itself
    torch.testing.assert_close(reconstruction(a + 0.5, a), torch.tensor(0.5 + 0.25 + 0.5))
    torch.testing.assert_close(reconstruction(x, 0 * x), reconstruction(-x, 0 * x))


def test_adversarial_losses_at_chance():
    scores = (torch.zeros(4, 16), torch.zeros(4, 1))
    torch.testing.assert_close(generator_loss(scores), torch.tensor(math.log(2)))
    torch.testing.assert_close(discriminator_loss(scores, scores), torch.tensor(2 * math.log(2)))


def test_adversarial_losses_pull_the_right_way():
    high, low = (torch.full((2, 1), 9.0),), (torch.full((2, 1), -9.0),)
    assert generator_loss(high) < 1e-3 and generator_loss(low) > 8.9
    assert discriminator_loss(high, low) < 1e-3 and discriminator_loss(low, high) > 17.9


def test_each_head_counts_alike():
    many, one = torch.full((2, 64), 1.0), torch.full((2, 1), -1.0)
    torch.testing.assert_close(generator_loss((many, one)), (generator_loss((many,)) + generator_loss((one,))) / 2)


def test_feature_matching_is_relative_to_each_level():
    real = (draw(2, 4, 8, 8), 100 * draw(2, 8, 4, 4, seed=1))
    assert feature_matching(real, real) == 0
    torch.testing.assert_close(feature_matching((2 * real[0], real[1]), real), torch.tensor(0.5))
    torch.testing.assert_close(feature_matching((real[0], 2 * real[1]), real), torch.tensor(0.5))


def test_r1_of_a_linear_critic_is_its_squared_norm():
    with torch.random.fork_rng():
        critic = nn.Linear(12, 1)
    penalty = r1_penalty(critic, draw(5, 12))
    torch.testing.assert_close(penalty, critic.weight.square().sum())
    penalty.backward()  # the penalty is what is descended
    assert critic.weight.grad is not None
    torch.testing.assert_close(critic.weight.grad, 2 * critic.weight)


def test_r1_adds_the_heads():
    class Two(nn.Module):
        def forward(self, x):
            return x[:, :4], 3 * x[:, :1]  # slopes 1/4 each of four, and 3 of the first

    torch.testing.assert_close(r1_penalty(Two(), draw(2, 6)), torch.tensor(3.25**2 + 3 * 0.25**2))
