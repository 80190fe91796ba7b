"""Differentiable augmentation of what the discriminator sees (Zhao et al. 2020, "DiffAugment")."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def diff_augment(
    x: Float[Tensor, "batch c h w"], rng: torch.Generator, strength: float = 1.0
) -> Float[Tensor, "batch c h w"]:
    """Shift, cut-out, brightness, saturation and contrast, drawn per image from rng; 0 leaves x as it is.

    The same rng state draws the same changes, so that pairs can be changed alike.
    """
    batch, _, height, width = x.shape
    u = torch.rand(batch, 6, 1, 1, 1, generator=rng).to(x.device)
    x = x + (u[:, 0] - 0.5) * strength
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + (2 * u[:, 1] - 1) * strength)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + (u[:, 2] - 0.5) * strength)
    reach = round(height / 8 * strength)
    moves = torch.randint(-reach, reach + 1, (batch, 2), generator=rng).tolist()
    shifted = [shift(image, dx, dy) for image, (dx, dy) in zip(x, moves, strict=True)]
    hole = round(height / 4 * strength)
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    top, left = u[:, 3, 0, 0] * (height - hole), u[:, 4, 0, 0] * (width - hole)
    inside_rows = ((rows >= top) & (rows < top + hole))[:, None, :, None]
    inside_columns = ((columns >= left) & (columns < left + hole))[:, None, None, :]
    return torch.stack(shifted) * ~(inside_rows & inside_columns)


def shift(image: Float[Tensor, "c h w"], dx: int, dy: int) -> Float[Tensor, "c h w"]:
    """Move an image, zeros moving in."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (max(dx, 0), max(-dx, 0), max(dy, 0), max(-dy, 0)))
    return padded[:, max(-dy, 0) : max(-dy, 0) + height, max(-dx, 0) : max(-dx, 0) + width]
