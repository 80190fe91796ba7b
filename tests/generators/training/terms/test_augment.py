from math import pi

import pytest
import torch

from generators.training.config import TrainConfig
from generators.training.terms.ada import (
    CHANGES,
    COLOUR,
    GEOMETRY,
    GRID,
    adaptive_augment,
    blit,
    chances,
    colour,
    draw_numbers,
    geometry,
    resample,
)
from generators.training.terms.augment import Augment, diff_augment, draw_changes, shift


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed))


def smooth(batch=2, size=24):
    """Pictures of a few waves."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    waves = [torch.sin(2 * x + k) * torch.cos(3 * y - k * x) for k in range(3 * batch)]
    return torch.stack(waves).reshape(batch, 3, size, size)


def alone(name, batch=2):
    """Gates that let one change through."""
    on = torch.zeros(batch, len(CHANGES), dtype=torch.bool)
    on[:, CHANGES.index(name)] = True
    return on


# --- DiffAugment


def changed(x, generator, strength=1.0):
    return diff_augment(x, draw_changes(len(x), x.shape[-1], generator, strength), strength)


def test_no_strength_changes_nothing():
    x = draw(3, 3, 16, 16)
    torch.testing.assert_close(changed(x, rng(), 0.0), x)


def test_same_state_same_changes():
    x = draw(4, 3, 16, 16)
    a, b, c = (changed(x, rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert (a - x).abs().amax(dim=(1, 2, 3)).min() > 0.01  # every image is changed
    two = changed(torch.cat([x[:1]] * 2), rng())
    assert not torch.equal(two[0], two[1])  # each in its own way


def test_augmentation_passes_the_gradient():
    x = draw(3, 3, 16, 16).requires_grad_()
    changed(x, rng()).square().sum().backward()
    assert x.grad is not None and (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_the_hole_is_a_quarter_of_the_image():
    x = torch.full((8, 3, 16, 16), 5.0)  # brightness moves it by at most a half
    black = changed(x, rng()).eq(0).all(dim=1).flatten(1).sum(dim=1)
    assert (black >= 16).all() and (black <= 16 + 2 * 2 * 16).all()  # 4 x 4 pixels, and what was shifted in
    assert changed(x, rng(), 0.1).ne(0).all()  # too weak for either


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -2), (-3, 3)])
def test_shift_moves_and_fills_with_zeros(dx, dy):
    x = torch.zeros(2, 8, 8)
    x[:, 3, 4] = torch.tensor([1.0, 2.0])
    expected = torch.zeros(2, 8, 8)
    expected[:, 3 + dy, 4 + dx] = torch.tensor([1.0, 2.0])
    assert torch.equal(shift(x, dx, dy), expected)
    ones = shift(torch.ones(1, 8, 8), dx, dy)
    assert ones.shape == (1, 8, 8) and ones.sum() == (8 - abs(dx)) * (8 - abs(dy))


# --- adaptive augmentation


def test_no_probability_changes_nothing_at_all():
    x = draw(5, 3, 16, 16)
    assert torch.equal(adaptive_augment(x, draw_numbers(5, rng()), 0.0), x)


def test_pictures_without_a_change_stay_exactly():
    x, numbers = draw(200, 3, 8, 8), draw_numbers(200, rng())
    found = adaptive_augment(x, numbers, 0.1)
    still = ~(numbers[:, : len(CHANGES)] < chances(0.1)).any(dim=1)
    assert 20 < still.sum() < 100  # 0.9 ** 12 of them
    assert torch.equal(found[still], x[still])
    assert (found[~still] != x[~still]).flatten(1).any(dim=1).float().mean() > 0.6  # a mirror or a turn may be none


def test_each_change_comes_with_its_probability():
    on = draw_numbers(20_000, rng())[:, : len(CHANGES)] < chances(0.3)
    rotated = on[:, CHANGES.index("rotate_before")] | on[:, CHANGES.index("rotate_after")]
    rates = dict(zip(CHANGES, on.float().mean(dim=0).tolist(), strict=True))
    assert float(rotated.float().mean()) == pytest.approx(0.3, abs=0.015)
    assert all(rate == pytest.approx(0.3, abs=0.015) for k, rate in rates.items() if not k.startswith("rotate"))
    assert chances(1.0).tolist() == [1.0] * len(CHANGES)


def test_changes_are_differentiable():
    x = draw(6, 3, 16, 16).requires_grad_()
    adaptive_augment(x, draw_numbers(6, rng(3)), 1.0).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_draws_serve_rows_alike():
    """A picture is changed by its own row alone, so that a batch can be shared."""
    x, numbers = draw(6, 3, 16, 16), draw_numbers(6, rng())
    whole = adaptive_augment(x, numbers, 0.7)
    torch.testing.assert_close(
        torch.cat([adaptive_augment(x[i : i + 1], numbers[i : i + 1], 0.7) for i in range(6)]), whole
    )


def test_pixels_move_and_none_is_mixed():
    x, u = draw(1, 3, 8, 8), torch.zeros(1, 8)
    assert torch.equal(blit(x, alone("flip", 1)[:, GRID], u), x.flip(3))
    assert torch.equal(blit(x, alone("flip", 1)[:, GRID], u + 0.6), x)
    for k in range(4):
        u[0, 1] = (k + 0.5) / 4
        assert torch.equal(blit(x, alone("turn", 1)[:, GRID], u), torch.rot90(x, k, (2, 3)))
    u[0, 2:4] = torch.tensor([1.0, 0.0])  # an eighth of the size down, and one to the left
    moved = blit(x, alone("move", 1)[:, GRID], u)
    assert torch.equal(moved[:, :, 1:, :-1], x[:, :, :-1, 1:])
    assert torch.equal(moved[:, :, 0, :-1], x[:, :, 0, 1:]) and torch.equal(moved[:, :, 1:, -1], x[:, :, :-1, -1])


def test_resampling_in_place_keeps_smooth_pictures():
    x = smooth()
    torch.testing.assert_close(resample(x, torch.eye(3).repeat(2, 1, 1)), x, rtol=0, atol=0.02)
    flat = torch.full((1, 3, 8, 8), 0.7)
    matrix = geometry(*(g.expand(1, -1) for g in (torch.ones(1, 5).bool(), torch.rand(1, 8), torch.randn(1, 7))))
    torch.testing.assert_close(resample(flat, torch.linalg.inv(matrix)), flat, rtol=0, atol=0.01)  # no dark border


def test_quarter_rotation_and_shift_by_resampling():
    x, u, n = smooth(), torch.zeros(2, 8), torch.zeros(2, 7)
    u[:, 4] = 0.25  # of the way from -180 to 180 degrees: a quarter turn
    turn = geometry(alone("rotate_before")[:, GEOMETRY], u, n)
    torch.testing.assert_close(resample(x, torch.linalg.inv(turn)), torch.rot90(x, 1, (2, 3)), rtol=0, atol=0.02)
    n[:, 2] = 8 * 3 / 24  # three pixels to the right
    shifted = resample(x, torch.linalg.inv(geometry(alone("drift")[:, GEOMETRY], u, n)))
    torch.testing.assert_close(shifted[:, :, :, 3:], x[:, :, :, :-3], rtol=0, atol=0.02)
    torch.testing.assert_close(shifted[:, :, :, :3], x[:, :, :, :3].flip(3), rtol=0, atol=0.05)  # goes on mirrored


def test_scales_are_powers_of_two_around_one():
    u, n = torch.zeros(2, 8), torch.tensor([[5.0, 5, 0, 0, 0, 0, 0], [-5, -5, 0, 0, 0, 0, 0]])
    scale = geometry(alone("scale")[:, GEOMETRY], u, n)
    torch.testing.assert_close(scale, torch.stack([torch.diag(torch.tensor([s, s, 1.0])) for s in (2, 0.5)]))
    wider = geometry(alone("stretch")[:, GEOMETRY], u, n)
    torch.testing.assert_close(wider[0], torch.diag(torch.tensor([2, 0.5, 1.0])))
    stripes = torch.ones(1, 3, 32, 32) * (torch.arange(32) % 2 * 2.0 - 1)
    small = resample(stripes, torch.linalg.inv(scale[1:]))[:, :, :, 12:20]  # away from the mirrored borders
    assert small.abs().max() < 0.01  # too fine to be seen at half the size: no pattern comes in its place


def test_colours_by_hand():
    u, n = torch.zeros(2, 8), torch.full((2, 7), 1.0)
    eye, grey = torch.eye(3), torch.full((3, 3), 1 / 3)
    matrix = {name: colour(alone(name)[:, COLOUR], u, n)[0] for name in CHANGES[COLOUR]}
    for name, wanted in {
        "brightness": eye,
        "contrast": 2**0.5 * eye,
        "luma_flip": eye - 2 * grey,
        "saturation": grey + 2 * (eye - grey),
    }.items():
        torch.testing.assert_close(matrix[name][:, :3], wanted)
        added = torch.full((3,), 0.2 if name == "brightness" else 0.0)
        torch.testing.assert_close(matrix[name][:, 3], added)
    flip = matrix["luma_flip"][:, :3]
    torch.testing.assert_close(flip @ flip, eye)


@pytest.mark.parametrize("turn", [0.0, 0.2, 0.5, 0.9])
def test_hue_keeps_luma_and_size(turn):
    u = torch.full((2, 8), turn)
    matrix = colour(alone("hue")[:, COLOUR], u, torch.zeros(2, 7))[0, :, :3]
    torch.testing.assert_close(matrix.sum(dim=0), torch.ones(3))  # luma, the mean of red, green and blue
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3), rtol=0, atol=1e-6)
    assert float(matrix.trace()) == pytest.approx(1 + 2 * torch.cos(torch.tensor((2 * turn - 1) * pi)).item(), abs=1e-5)


def test_probability_follows_the_sign_of_the_scores():
    augment = Augment(TrainConfig(batch=16, augment_kind="ada", augment_speed=160, augment_target=0.6))
    real = (torch.ones(8, 4), torch.ones(8, 1))
    report = augment.observe(real)
    assert augment.p == pytest.approx(0.1) and float(report["augment_p"]) == pytest.approx(0.1)
    assert float(report["real_sign"]) == 1
    for _ in range(20):
        augment.observe(real)
    assert augment.p == 1
    augment.observe((torch.ones(8, 4), -torch.ones(8, 1)))  # a mean sign of 0 is below the target
    assert augment.p == pytest.approx(0.9)
    augment.observe((torch.full((8, 1), float("nan")),))
    assert augment.p == pytest.approx(0.9)
    for _ in range(20):
        augment.observe((-torch.ones(8, 1),))
    assert augment.p == 0


@pytest.mark.parametrize("kind", ["diff", "none"])
def test_other_augmentations_have_no_probability(kind):
    augment, x = Augment(TrainConfig(augment_kind=kind, resolution=8)), draw(4, 3, 8, 8)
    assert augment.observe((torch.ones(4, 1),)) == {} and augment.p == 0
    assert torch.equal(augment(x, augment.draw(4, rng())), x) is (kind == "none")
