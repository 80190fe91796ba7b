"""Strips: what a direction does, from one end to the other."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from generators.base import Generator
from generators.pictures.sheet import sheet
from inversion.directions.direction import Direction, along, check_direction
from inversion.latent import Latent, preview

ENDS, COUNT = (-3.0, 3.0), 7


def strips(
    generator: Generator,
    latents: Sequence[Latent],
    directions: Sequence[Direction],
    *,
    ends: tuple[float, float] = ENDS,
    count: int = COUNT,
    layers: Sequence[int] | None = None,
    tile: int = 192,
) -> Image.Image:
    """A row for each latent and direction: count pictures from one end to the other, in standard deviations."""
    strengths = np.linspace(*ends, count).tolist()
    rows = [(latent, direction) for latent in latents for direction in directions]
    for direction in directions:
        check_direction(generator, direction)
    moved = [along(generator, latent, one, s, layers) for latent, one in rows for s in strengths]
    pictures = [picture for latent in moved for picture in preview(generator, latent)]
    labels = [f"{direction.name} {s:+.1f}" for _, direction in rows for s in strengths]
    return sheet(pictures, labels, columns=count, tile=tile)
