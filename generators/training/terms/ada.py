"""Adaptive discriminator augmentation: the pipeline of blitting, geometry and colour (Karras et al. 2020, appendix B).

"Training Generative Adversarial Networks with Limited Data". Each change is made to a picture with probability p, so
that unchanged pictures stay the commonest, and the changes do not leak into what the generator draws. Beyond the border
a picture goes on mirrored.
"""

from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

from generators.parts.ops import downsample2d, fir_kernel, upsample2d
from generators.shapes import Bool, Float, Int

CHANGES = (
    "flip",
    "turn",
    "move",
    "scale",
    "rotate_before",
    "stretch",
    "rotate_after",
    "drift",
    "brightness",
    "contrast",
    "luma_flip",
    "hue",
    "saturation",
)
GRID, GEOMETRY = slice(0, 3), slice(3, 8)
COLOUR = slice(8, 13)
UNIFORMS, NORMALS = 8, 7
PAD = 6  # pixels, as far as the filter reaches


def draw_numbers(batch: int, rng: torch.Generator) -> Float[Tensor, "batch numbers"]:
    """The random numbers of `adaptive_augment`, whatever its p: which changes, and how far each goes."""
    uniform = torch.rand(batch, len(CHANGES) + UNIFORMS, generator=rng)
    return torch.cat([uniform, torch.randn(batch, NORMALS, generator=rng)], dim=1)


def adaptive_augment(
    x: Float[Tensor, "batch c h w"], numbers: Float[Tensor, "batch numbers"], p: float
) -> Float[Tensor, "batch c h w"]:
    """Change square RGB pictures by numbers, each change with probability p; a picture without one stays exactly."""
    gates, uniform, normal = numbers.split([len(CHANGES), UNIFORMS, NORMALS], dim=1)
    on = gates < chances(p)
    x = x.float()
    if on[:, GRID].any():
        x = blit(x, on[:, GRID], uniform)
    if on[:, GEOMETRY].any():
        moved = resample(x, torch.linalg.inv(geometry(on[:, GEOMETRY], uniform, normal)))
        x = torch.where(on[:, GEOMETRY].any(dim=1).to(x.device)[:, None, None, None], moved, x)
    if on[:, COLOUR].any():
        matrix = colour(on[:, COLOUR], uniform, normal).to(x.device)
        rgb = x.expand(-1, 3, -1, -1)  # a grey picture is painted as one in colour, of which the mean stays
        painted = torch.einsum("bij,bjhw->bihw", matrix[:, :, :3], rgb) + matrix[:, :, 3, None, None]
        painted = painted if x.shape[1] == 3 else painted.mean(dim=1, keepdim=True)
        x = torch.where(on[:, COLOUR].any(dim=1).to(x.device)[:, None, None, None], painted, x)
    return x


def chances(p: float) -> Float[Tensor, " changes"]:
    """Probability of each change; the two rotations together come with p."""
    each = 1 - (1 - p) ** 0.5
    return torch.tensor([each if name.startswith("rotate") else p for name in CHANGES])


def blit(
    x: Float[Tensor, "batch c size size"], on: Bool[Tensor, "batch 3"], u: Float[Tensor, "batch uniforms"]
) -> Float[Tensor, "batch c size size"]:
    """Mirror, quarter turns counterclockwise, and a shift by up to an eighth: pixels move, and none is mixed."""
    size = x.shape[-1]
    flip = on[:, 0] & (u[:, 0] < 0.5)
    turns = torch.where(on[:, 1], (u[:, 1] * 4).long(), 0)
    shifts = torch.where(on[:, 2:], ((2 * u[:, 2:4] - 1) * size / 8).round().long(), 0)
    place = torch.arange(size)
    i = fold(place - shifts[:, :1], size)[:, :, None].expand(-1, -1, size)
    j = fold(place - shifts[:, 1:], size)[:, None, :].expand(-1, size, -1)
    back_i, back_j = size - 1 - i, size - 1 - j
    each = torch.arange(len(x))
    row = torch.stack([i, j, back_i, back_j])[turns, each]
    column = torch.stack([j, back_i, back_j, i])[turns, each]
    column = torch.where(flip[:, None, None], size - 1 - column, column)
    index = (row * size + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, index.to(x.device)).reshape(x.shape)


def fold(place: Int[Tensor, " *dims"], size: int) -> Int[Tensor, " *dims"]:
    """The pixel that is seen at place, the picture going on mirrored on both sides."""
    place = place.remainder(2 * size)
    return torch.where(place < size, place, 2 * size - 1 - place)


def geometry(
    on: Bool[Tensor, "batch 5"], u: Float[Tensor, "batch uniforms"], n: Float[Tensor, "batch normals"]
) -> Float[Tensor, "batch 3 3"]:
    """Where points of the picture go, in coordinates that are -1 and 1 at its edges."""
    zero, one = torch.zeros(len(on)), torch.ones(len(on))
    size, stretch = (torch.where(on[:, k], 2 ** (0.2 * n[:, i]), one) for k, i in ((0, 0), (2, 1)))
    before, after = (torch.where(on[:, k], (2 * u[:, i] - 1) * pi, zero) for k, i in ((1, 4), (3, 5)))
    right, down = (torch.where(on[:, 4], 2 * 0.125 * n[:, i], zero) for i in (2, 3))

    def matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)

    def rotation(angle: Tensor) -> Tensor:
        return matrix((angle.cos(), -angle.sin(), zero), (angle.sin(), angle.cos(), zero), (zero, zero, one))

    scale = matrix((size, zero, zero), (zero, size, zero), (zero, zero, one))
    wider = matrix((stretch, zero, zero), (zero, 1 / stretch, zero), (zero, zero, one))
    shift = matrix((one, zero, right), (zero, one, down), (zero, zero, one))
    return shift @ rotation(after) @ wider @ rotation(before) @ scale


def resample(
    x: Float[Tensor, "batch c size size"], back: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, "batch c size size"]:
    """Render pictures at the places that back takes each pixel to, at twice the resolution, then filter them down."""
    size, kernel = x.shape[-1], lowpass().to(x.device)
    around = fold(torch.arange(-PAD, size + PAD), size).to(x.device)
    with torch.autocast(x.device.type, enabled=False):
        large = upsample2d(x[:, :, around][:, :, :, around], kernel)
        line = (torch.arange(-PAD, 2 * size + PAD) + 0.5) / size - 1  # centres of half pixels
        y, across = torch.meshgrid(line, line, indexing="ij")
        points = torch.stack([across, y, torch.ones_like(y)], dim=-1).to(x.device)
        source = torch.einsum("bij,hwj->bhwi", back[:, :2].to(x.device), points)
        inside = 1 - ((source + 1).remainder(4) - 2).abs()  # mirrored at -1 and 1
        grid = inside * (size / (size + 2 * PAD))
        fine = F.grid_sample(large, grid, mode="bilinear", align_corners=False)
        edge = PAD // 2
        return downsample2d(fine, kernel)[:, :, edge:-edge, edge:-edge]


def lowpass(taps: int = 2 * PAD) -> Float[Tensor, "taps taps"]:
    """Half of the band: a sinc in a Kaiser window."""
    t = torch.arange(taps) - (taps - 1) / 2
    line = torch.sinc(t / 2) * torch.kaiser_window(taps, periodic=False, beta=4.0)
    return fir_kernel(tuple(line.tolist()))


def colour(
    on: Bool[Tensor, "batch 5"], u: Float[Tensor, "batch uniforms"], n: Float[Tensor, "batch normals"]
) -> Float[Tensor, "batch 3 4"]:
    """RGB in [-1, 1] to changed RGB: a matrix and, as its last column, what is added."""
    zero, one = torch.zeros(len(on)), torch.ones(len(on))
    eye = torch.eye(3)
    brightness = torch.where(on[:, 0], 0.2 * n[:, 4], zero)[:, None, None]
    contrast = torch.where(on[:, 1], 2 ** (0.5 * n[:, 5]), one)[:, None, None]
    mirrored = (on[:, 2] & (u[:, 6] < 0.5))[:, None, None]
    angle = torch.where(on[:, 3], (2 * u[:, 7] - 1) * pi, zero)[:, None, None]
    saturation = torch.where(on[:, 4], 2 ** n[:, 6], one)[:, None, None]
    grey = torch.full((3, 3), 1 / 3)  # v v^T of the luma axis v = (1, 1, 1) / sqrt(3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5  # v x
    flip = torch.where(mirrored, eye - 2 * grey, eye)
    hue = angle.cos() * eye + angle.sin() * cross + (1 - angle.cos()) * grey  # Rodrigues' rotation
    matrix = (grey + saturation * (eye - grey)) @ hue @ flip * contrast
    return torch.cat([matrix, matrix @ brightness.expand(-1, 3, 1)], dim=2)
