"""A smooth field with given values around it: the guided interpolation of Pérez et al. 2003, "Poisson Image Editing".

With a reach it fades from those values to zero: the screened equation of Bhat et al. 2008, "Fourier Analysis of the 2D
Screened Poisson Equation for Gradient Domain Problems".
"""

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

SMOOTH = Image.Resampling.BICUBIC
GRID = 96  # cells of the longer side: the field is smooth, so that a coarse grid tells it


def membrane(
    values: Float[np.ndarray, "h w c"],
    known: Bool[np.ndarray, "h w"],
    wanted: Bool[np.ndarray, "h w"],
    reach: float | None = None,
) -> Float[np.ndarray, "h w c"]:
    """The smoothest field over wanted that has the values where they are known; zero where nothing is known.

    reach: pixels, over which it falls to 1/e with the distance from what is known; None: it does not.
    """
    high, wide = known.shape
    step = max(1, -(-max(high, wide) // GRID))
    share = blocks(known[:, :, None].astype(np.float32), step)[:, :, 0]
    fixed = share > 0.1
    free = (blocks(wanted[:, :, None].astype(np.float32), step)[:, :, 0] > 0) & ~fixed
    means = blocks(values * known[:, :, None], step) / np.maximum(share, 1e-9)[:, :, None]
    field = np.where(fixed[:, :, None], means, 0.0)
    if fixed.any() and free.any():
        field[free] = solved(field, fixed, free, 0.0 if reach is None else (step / max(reach, 1e-9)) ** 2)
    size = (field.shape[1] * step, field.shape[0] * step)
    channels = [
        Image.fromarray(c.astype(np.float32)).resize(size, Image.Resampling.BICUBIC) for c in np.rollaxis(field, 2)
    ]
    return np.stack([np.asarray(c)[:high, :wide] for c in channels], axis=2)


def blocks(pixels: Float[np.ndarray, "h w c"], step: int) -> Float[np.ndarray, "h2 w2 c"]:
    """Means of squares of step x step pixels; what is missing at the far edges counts as zero."""
    high, wide = (-(-n // step) for n in pixels.shape[:2])
    padded = np.pad(pixels, ((0, high * step - pixels.shape[0]), (0, wide * step - pixels.shape[1]), (0, 0)))
    return padded.reshape(high, step, wide, step, -1).mean(axis=(1, 3))


def solved(
    field: Float[np.ndarray, "h w c"], fixed: Bool[np.ndarray, "h w"], free: Bool[np.ndarray, "h w"], screen: float
) -> Float[np.ndarray, "n c"]:
    """The values of the free cells: each the mean of its neighbours, drawn to zero by screen; no flow at an end."""
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import splu

    number = np.cumsum(free).reshape(free.shape) - 1
    count = int(free.sum())
    rows, columns = [], []
    degree, right = np.full(count, screen + 1e-9), np.zeros((count, field.shape[2]))
    for axis in (0, 1):
        for to in (1, -1):
            there = shifted(np.ones_like(free), axis, to) & free
            beside_free, beside_fixed = (there & shifted(x, axis, to) for x in (free, fixed))
            rows.append(number[beside_free])
            columns.append(np.roll(number, -to, axis)[beside_free])
            np.add.at(degree, number[beside_free | beside_fixed], 1.0)
            right[number[beside_fixed]] += np.roll(field, -to, axis)[beside_fixed]
    row, column = np.concatenate(rows), np.concatenate(columns)
    matrix = diags(degree) - coo_matrix((np.ones(len(row)), (row, column)), shape=(count, count))
    return splu(matrix.tocsc()).solve(right)


def shifted(mask: Bool[np.ndarray, "h w"], axis: int, to: int) -> Bool[np.ndarray, "h w"]:
    """The mask of each cell's neighbour, to the one or the other side; false beyond the edge."""
    moved = np.roll(mask, -to, axis)
    edge = [slice(None), slice(None)]
    edge[axis] = slice(-1, None) if to > 0 else slice(0, 1)
    moved[tuple(edge)] = False
    return moved
