import math

import pytest
import torch
import torch.nn.functional as F

from generators.parts.ops import (
    EqualConv,
    EqualLinear,
    downsample2d,
    fir,
    fir_kernel,
    modulated_conv2d,
    normalize_2nd_moment,
    upsample2d,
)

SKEWED = (1.0, 2.0, 3.0, 5.0)  # tells a filter from its mirror image


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stuffed(x):
    """Zeros between the pixels, twice the size."""
    batch, channels, height, width = x.shape
    out = x.new_zeros(batch, channels, 2 * height, 2 * width)
    out[:, :, ::2, ::2] = x
    return out


def convolved(x, weight):
    """The full convolution, written as the correlation with the mirrored kernel."""
    k = weight.shape[-1] - 1
    return F.conv2d(F.pad(x, (k, k, k, k)), weight.flip(2, 3))


def by_channel(x, kernel):
    """The full convolution of each channel with one kernel."""
    return torch.cat([convolved(x[:, i : i + 1], kernel[None, None]) for i in range(x.shape[1])], dim=1)


def per_image_weights(weight, styles, demodulate):
    """The weights as section 2.2 of the StyleGAN2 paper writes them, (batch, outputs, inputs, k, k)."""
    w = weight[None] * styles[:, None, :, None, None]
    return w / (w.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt() if demodulate else w


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("k", [1, 3])
def test_modulated_conv_is_a_grouped_convolution(demodulate, k):
    x, weight, styles = draw(3, 5, 8, 6), draw(4, 5, k, k, seed=1), draw(3, 5, seed=2)
    w = per_image_weights(weight, styles, demodulate)
    expected = F.conv2d(x.reshape(1, 15, 8, 6), w.reshape(12, 5, k, k), padding=k // 2, groups=3).reshape(3, 4, 8, 6)
    found = modulated_conv2d(x, weight, styles, demodulate=demodulate)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found = modulated_conv2d(x, weight, styles, demodulate=demodulate, gain=0.5)
    torch.testing.assert_close(found, 0.5 * expected, rtol=1e-5, atol=1e-5)


def test_demodulated_weights_have_unit_norm():
    # One impulse an input channel: what comes out of all of them together is the kernel that was used.
    inputs, outputs = 6, 4
    x = torch.zeros(inputs, inputs, 5, 5)
    x[range(inputs), range(inputs), 2, 2] = 1
    styles = 30 * draw(1, inputs).expand(inputs, -1)
    out = modulated_conv2d(x, draw(outputs, inputs, 3, 3, seed=1), styles)
    torch.testing.assert_close(out.square().sum(dim=(0, 2, 3)), torch.ones(outputs))


@pytest.mark.parametrize("taps", [(1.0, 3.0, 3.0, 1.0), SKEWED])
def test_up_path_is_zero_insertion_convolution_and_filter(taps):
    x, weight, styles = draw(2, 3, 5, 4), draw(4, 3, 3, 3, seed=1), draw(2, 3, seed=2)
    kernel = fir_kernel(taps)
    w = per_image_weights(weight, styles, True)
    full = torch.cat([by_channel(convolved(stuffed(x)[i : i + 1], w[i]), 4 * kernel) for i in range(2)])
    expected = full[:, :, 2:12, 2:10]  # of what the two kernels reach, the part above the pixels of x
    found = modulated_conv2d(x, weight, styles, up_kernel=kernel)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 3])
def test_up_path_sits_where_upsampling_sits(k):
    x, kernel = draw(2, 3, 6, 6), fir_kernel()
    weight = torch.zeros(3, 3, k, k)
    weight[range(3), range(3), k // 2, k // 2] = 1
    found = modulated_conv2d(x, weight, torch.ones(2, 3), demodulate=False, up_kernel=kernel)
    torch.testing.assert_close(found, upsample2d(x, kernel))


def test_modulated_conv_in_half_precision_stays_near():
    x, weight, styles = draw(2, 8, 8, 8), draw(8, 8, 3, 3, seed=1), draw(2, 8, seed=2)
    expected = modulated_conv2d(x, weight, styles)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = modulated_conv2d(x.bfloat16(), weight, styles)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).square().mean() < 1e-4 * expected.square().mean()


@pytest.mark.parametrize("taps", [(1.0, 3.0, 3.0, 1.0), SKEWED])
def test_upsampling_is_zero_insertion_and_filter(taps):
    x, kernel = draw(2, 3, 5, 4), fir_kernel(taps)
    expected = by_channel(stuffed(x), 4 * kernel)[:, :, 1:11, 1:9]
    torch.testing.assert_close(upsample2d(x, kernel), expected)


@pytest.mark.parametrize("taps", [(1.0, 3.0, 3.0, 1.0), SKEWED])
def test_downsampling_is_filter_and_every_second_pixel(taps):
    x, kernel = draw(2, 3, 10, 8), fir_kernel(taps)
    expected = by_channel(x, kernel)[:, :, 2:12:2, 2:10:2]
    torch.testing.assert_close(downsample2d(x, kernel), expected)


def test_upsampling_spreads_an_impulse():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 2] = 1
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    expected = torch.zeros(8, 8)
    expected[1:5, 3:7] = torch.outer(line, line)  # pixel (1, 2) lies between rows 2 and 3, columns 4 and 5
    torch.testing.assert_close(upsample2d(x, fir_kernel())[0, 0], expected)


def test_constants_stay_constant_inside():
    x = torch.full((1, 2, 8, 8), 0.7)
    up, down = upsample2d(x, fir_kernel()), downsample2d(x, fir_kernel())
    assert up.shape == (1, 2, 16, 16) and down.shape == (1, 2, 4, 4)
    torch.testing.assert_close(up[:, :, 1:-1, 1:-1], torch.full((1, 2, 14, 14), 0.7))
    torch.testing.assert_close(down[:, :, 1:-1, 1:-1], torch.full((1, 2, 2, 2), 0.7))
    torch.testing.assert_close(up[0, 0, 0, 0], torch.tensor(0.7 * 0.75**2))  # zeros come in at the border


def test_up_and_down_are_adjoint():
    x, y = draw(1, 2, 6, 6), draw(1, 2, 12, 12, seed=1)
    left, right = (upsample2d(x, fir_kernel()) * y).sum(), 4 * (x * downsample2d(y, fir_kernel())).sum()
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_fir_kernel_and_padding():
    kernel = fir_kernel()
    assert kernel.sum().item() == pytest.approx(1)
    assert (64 * kernel).tolist() == [[1, 3, 3, 1], [3, 9, 9, 3], [3, 9, 9, 3], [1, 3, 3, 1]]
    impulse = torch.ones(1, 2, 1, 1)
    torch.testing.assert_close(fir(impulse, fir_kernel(SKEWED), (3, 3))[0, 1], fir_kernel(SKEWED))


def test_normalize_gives_unit_mean_square():
    x = normalize_2nd_moment(draw(5, 16) * torch.tensor([0.01, 1.0, 7.0, 1e3, 1e-2])[:, None])
    torch.testing.assert_close(x.square().mean(dim=1), torch.ones(5), rtol=1e-3, atol=0)
    assert normalize_2nd_moment(torch.zeros(1, 4)).tolist() == [[0, 0, 0, 0]]


def test_linear_layer_by_hand():
    with torch.random.fork_rng():
        layer = EqualLinear(16, 4, bias=1.0, lr=0.01, activate=True)
    torch.testing.assert_close(layer(torch.zeros(1, 16)), torch.full((1, 4), math.sqrt(2)))
    layer.bias.data = 100 * draw(4, seed=3)
    x = draw(3, 16)
    y = x @ layer.weight.T * 0.01 / 4 + 0.01 * layer.bias
    torch.testing.assert_close(layer(x), torch.where(y > 0, y, 0.2 * y) * math.sqrt(2))


@pytest.mark.parametrize("activate", [True, False])
def test_conv_layer_by_hand(activate):
    with torch.random.fork_rng():
        layer = EqualConv(4, 5, 3, activate=activate)
    assert layer.bias is not None
    layer.bias.data = draw(5, seed=3)
    x = draw(2, 4, 6, 6)
    before = x.clone()
    y = 0.5 * (F.conv2d(x, layer.weight, padding=1) / 6 + layer.bias[:, None, None])
    expected = F.leaky_relu(y, 0.2) * math.sqrt(2) if activate else y
    torch.testing.assert_close(layer(x, 0.5), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x, before)  # the activation works in place, on its own values


def test_layers_keep_the_variance():
    # What equalised learning rate is for: N(0, 1) in, about N(0, 1) out, whatever the width.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear, conv = EqualLinear(256, 128), EqualConv(32, 32, 3)
    assert linear(draw(64, 256, seed=1)).var().item() == pytest.approx(1, rel=0.15)
    assert conv(draw(4, 32, 16, 16, seed=1))[:, :, 1:-1, 1:-1].var().item() == pytest.approx(1, rel=0.2)
