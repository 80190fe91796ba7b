from math import pi

import numpy as np
import pytest
import torch

from generators.parts.filters import low_pass, shrink, widen


def response(taps, frequency, rate):
    """How loud a wave of that frequency leaves a filter of odd or even length."""
    line = (torch.arange(len(taps)) - (len(taps) - 1) / 2) / rate
    return float((taps.double() * (2 * pi * frequency * line).cos()).sum())


@pytest.mark.parametrize(
    ("taps", "cutoff", "half_width", "rate"), [(12, 8.0, 6.0, 32), (24, 5.6, 10.3, 64), (12, 16.0, 3.7, 64)]
)
def test_low_pass_keeps_what_is_below_its_cutoff(taps, cutoff, half_width, rate):
    found = low_pass(taps, cutoff, half_width, rate)
    assert found.shape == (taps,) and torch.equal(found, found.flip(0))
    assert response(found, 0, rate) == pytest.approx(1)
    assert response(found, cutoff, rate) == pytest.approx(0.5, abs=0.07)  # the middle of the transition
    beyond = [response(found, f, rate) for f in np.linspace(cutoff + half_width, rate / 2, 20)]
    assert np.abs(beyond).max() < 0.07


def test_radial_low_pass_looks_the_same_in_each_direction():
    cutoff, half_width, rate = 4.0, 4.0, 32
    kernel = low_pass(24, cutoff, half_width, rate, radial=True)
    assert kernel.shape == (24, 24) and kernel.sum().item() == pytest.approx(1)
    assert torch.allclose(kernel, kernel.rot90()) and torch.allclose(kernel, kernel.T)
    line = (torch.arange(24, dtype=torch.float64) - 11.5) / rate
    for frequency, level in ((cutoff / 2, 0.95), (cutoff, 0.5), (2.2 * cutoff, 0.0)):
        loud = []
        for angle in np.linspace(0, pi / 4, 7):
            wave = (2 * pi * frequency * (np.cos(angle) * line[:, None] + np.sin(angle) * line)).cos()
            loud.append(float((kernel * wave).sum()))
        assert np.ptp(loud) < 0.01 and np.mean(loud) == pytest.approx(level, abs=0.07)
    odd = low_pass(13, cutoff, half_width, rate, radial=True)
    assert odd.isfinite().all() and odd.argmax() == 6 * 13 + 6


def test_resampling_there_and_back():
    rate = 16
    line = (torch.arange(40) - 19.5) / rate
    wave = (2 * pi * (line[:, None] + 0.5 * line)).cos().expand(1, 3, -1, -1)
    up, down = low_pass(24, 4.0, 4.0, 2 * rate), low_pass(24, 4.0, 4.0, 2 * rate)
    fine = widen(wave, up, 2, 22)
    assert fine.shape == (1, 3, 39 * 2 + 24 - 44, 39 * 2 + 24 - 44)
    back = shrink(fine, down, 2)
    lost = (40 - back.shape[-1]) // 2
    torch.testing.assert_close(back, wave[..., lost:-lost, lost:-lost], rtol=0, atol=0.02)
    radial = shrink(fine, torch.outer(down, down), 2)  # a separable kernel, run as one that is not
    torch.testing.assert_close(radial, back, rtol=0, atol=1e-5)
    constant = widen(torch.ones(1, 1, 30, 30), up, 2, 23)
    torch.testing.assert_close(constant, torch.ones_like(constant), rtol=0, atol=0.01)
