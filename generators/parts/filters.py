"""Low-pass filters with a stated cutoff, and resampling with them (Karras et al. 2021, appendix C)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generators.shapes import Float


def low_pass(
    taps: int, cutoff: float, half_width: float, rate: int, *, radial: bool = False
) -> Float[Tensor, "*side taps"]:
    """Kaiser-windowed filter with sum 1: (taps,) to be run along both axes, or radial as one (taps, taps) kernel.

    cutoff is the middle of the transition, which reaches half_width to either side; both in the unit of rate.
    """
    from scipy.signal import firwin, kaiser_atten, kaiser_beta
    from scipy.special import j1

    if not radial:
        return torch.from_numpy(np.asarray(firwin(taps, cutoff, width=2 * half_width, fs=rate), np.float32))
    line = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(*np.meshgrid(line, line))
    with np.errstate(invalid="ignore"):
        kernel = j1(2 * np.pi * cutoff * radius) / radius  # "jinc": the impulse response of a disc of frequencies
    kernel[radius == 0] = np.pi * cutoff
    window = np.kaiser(taps, kaiser_beta(kaiser_atten(taps, 4 * half_width / rate)))
    kernel *= np.outer(window, window)
    return torch.from_numpy(np.asarray(kernel / kernel.sum(), np.float32))


def widen(x: Float[Tensor, "batch c h w"], taps: Float[Tensor, " taps"], factor: int, cut: int) -> Tensor:
    """factor times as many samples on each axis, without change of brightness; cut is taken off at each border.

    Before the cut the picture is (side - 1) * factor + taps wide: all that the filter reaches.
    """
    channels = x.shape[1]
    column = (factor * taps).to(x.dtype).reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    x = F.conv_transpose2d(x, column, stride=(factor, 1), padding=(cut, 0), groups=channels)
    return F.conv_transpose2d(x, column.transpose(2, 3), stride=(1, factor), padding=(0, cut), groups=channels)


def shrink(x: Float[Tensor, "batch c h w"], taps: Float[Tensor, "*side taps"], factor: int) -> Tensor:
    """Every factor-th sample on each axis, filtered, where the whole filter lies on the picture."""
    channels = x.shape[1]
    if taps.dim() == 2:
        return F.conv2d(x, taps.to(x.dtype).expand(channels, 1, -1, -1), stride=factor, groups=channels)
    column = taps.to(x.dtype).reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    x = F.conv2d(x, column, stride=(factor, 1), groups=channels)
    return F.conv2d(x, column.transpose(2, 3), stride=(1, factor), groups=channels)
