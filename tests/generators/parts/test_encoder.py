import pytest
import torch

from generators.parts.discriminator import Discriminator, DiscriminatorConfig, group_deviation
from generators.parts.encoder import Encoder, EncoderConfig


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoder(**settings):
    sizes = {"img_resolution": 16, "num_ws": 6, "w_dim": 8, "channels": (8, 8, 8), "hidden": 16} | settings
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder(EncoderConfig(**sizes))


def discriminator(**settings):
    sizes = {"img_resolution": 32, "channels": (8, 8, 8, 8)} | settings
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(DiscriminatorConfig(**sizes))


def test_codes_begin_as_one_style_for_all_layers():
    e, image = encoder(), draw(3, 3, 16, 16)
    ws = e(image)
    assert ws.shape == (3, 6, 8) and ws.dtype == torch.float32
    assert torch.equal(ws, ws[:, :1].expand_as(ws))
    assert (ws[0] - ws[1]).abs().max() > 0.01


def test_codes_are_the_sum_of_their_parts():
    e, image = encoder(), draw(2, 3, 16, 16)
    torch.nn.init.normal_(e.offsets.weight, generator=torch.Generator().manual_seed(0))
    shared, offsets = e.parts(image)
    assert shared.shape == (2, 8) and offsets.shape == (2, 6, 8)
    torch.testing.assert_close(e(image), shared[:, None] + offsets)
    assert (offsets[:, 0] - offsets[:, 1]).abs().max() > 0.01


@pytest.mark.parametrize(("resolution", "channels"), [(4, (8,)), (8, (4, 8)), (32, (8, 4, 4, 2))])
def test_encoder_at_other_sizes(resolution, channels):
    e = encoder(img_resolution=resolution, channels=channels, img_channels=1, num_ws=2)
    assert e(draw(1, 1, resolution, resolution)).shape == (1, 2, 8)


def test_each_image_encodes_as_it_would_alone():
    e, image = encoder(), draw(3, 3, 16, 16)
    torch.testing.assert_close(e(image)[1:2], e(image[1:2]), rtol=1e-4, atol=1e-5)


def test_encoder_learns_all_of_itself():
    e = encoder()
    e(draw(2, 3, 16, 16)).mul(draw(2, 6, 8, seed=1)).sum().backward()
    for name, p in e.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_encoder_leaves_the_image_alone():
    image = draw(2, 3, 16, 16)
    before = image.clone()
    encoder()(image)
    discriminator(img_resolution=16, channels=(8, 8, 8)).features(image)
    assert torch.equal(image, before)


def test_features_halve_down_to_four_pixels():
    d, image = discriminator(channels=(10, 8, 6, 4)), draw(2, 3, 32, 32)
    assert [tuple(x.shape) for x in d.features(image)] == [(2, 6, 16, 16), (2, 8, 8, 8), (2, 10, 4, 4)]


@pytest.mark.parametrize(
    ("resolution", "patches", "scores"),
    [(32, (16, 8), [256, 64, 1]), (32, (), [1]), (16, (16, 8), [64, 1]), (8, (16, 8), [1]), (8, (4,), [16, 1])],
)
def test_one_score_a_patch_and_one_for_the_whole(resolution, patches, scores):
    channels = (8,) * (resolution.bit_length() - 2)
    d = discriminator(img_resolution=resolution, patches=patches, channels=channels)
    out = d(draw(4, 3, resolution, resolution))
    assert [tuple(s.shape) for s in out] == [(4, n) for n in scores]


def test_scores_come_from_the_features():
    d, image = discriminator(), draw(4, 3, 32, 32)
    for a, b in zip(d(image), d.logits(d.features(image)), strict=True):
        assert torch.equal(a, b)
    assert "kernel" not in d.state_dict()  # a constant is not a weight


def test_gradient_reaches_the_image_and_all_weights():
    d, image = discriminator(), draw(4, 3, 32, 32).requires_grad_()
    torch.stack([s.square().mean() for s in d(image)]).sum().backward()
    assert image.grad is not None and (image.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    for name, p in d.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_group_deviation_by_hand():
    x = torch.tensor([3.0, -3.0, 0.5, 0.5])[:, None, None, None].expand(4, 2, 4, 4)  # groups of two neighbours
    found = group_deviation(x, 2)
    assert found.shape == (4, 1, 4, 4)
    expected = torch.tensor([3.0, 3.0, 1e-4, 1e-4])[:, None, None, None].expand(4, 1, 4, 4)
    torch.testing.assert_close(found, expected)


def test_group_deviation_does_not_cross_groups():
    x = draw(8, 3, 4, 4)
    other = x.clone()
    other[7] += 1
    a, b = group_deviation(x, 4), group_deviation(other, 4)
    assert torch.equal(a[:4], b[:4]) and (a[4:] != b[4:]).all()


@pytest.mark.parametrize(("batch", "size"), [(1, 1), (2, 2), (3, 3), (5, 1), (6, 3), (12, 4)])
def test_groups_divide_the_batch(batch, size):
    x = torch.arange(batch * 1.0)[:, None, None, None].expand(batch, 1, 4, 4)
    deviation = torch.arange(size * 1.0).var(correction=0).sqrt().clamp(min=1e-4)  # of `size` numbers in a row
    torch.testing.assert_close(group_deviation(x, 4), deviation.expand(batch, 1, 4, 4))
