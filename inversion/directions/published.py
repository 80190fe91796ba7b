"""Directions that others published: arrays without a word of whose they are, so that the numbers have to tell."""

from pathlib import Path

import torch
import torch.nn.functional as F

from generators.base import Generator
from generators.storage import sha256_of
from inversion.directions.direction import Direction, Shift, deviation, direction_of
from inversion.errors import DirectionError
from inversion.files.foreign import read_direction

DRAWN = 500  # vectors by chance
FAR = 4.0  # of their standard deviations: as far from what chance gives as no vector of another W comes


def import_direction(
    generator: Generator, path: Path | str, name: str, *, key: str | None = None, anyway: bool = False
) -> Direction:
    """A direction from .npy, .npz or .pt, in w or w_plus, a unit normal or a shift, for this generator.

    Such files do not tell whose they are. W spreads by far more, or less, along what is found in it than along any
    vector by chance, and a direction of another W is just that: DirectionError says so, unless anyway. key: which, of
    several in the file. LatentFileError for what is no direction, or has another shape.
    """
    vector = read_direction(path, generator if anyway else None, name=key)
    if len(vector) > 1 and bool((vector == vector[0]).all()):
        vector = vector[:1]  # the same for all layers, however many that generator had
    wanted = {(1, generator.w_dim), (generator.num_ws, generator.w_dim)}
    if tuple(vector.shape) not in wanted:
        takes = " or ".join(map(str, sorted(wanted)))
        raise DirectionError(f"{path} is {tuple(vector.shape)}; {generator.name} takes {takes}, it is of another W")
    if not anyway and (apart := beyond_chance(generator, vector)) < FAR:
        raise DirectionError(
            f"{path} is of another W than {generator.name}'s, as it seems: samples spread along it as along any "
            f"vector ({apart:.1f} standard deviations off, {FAR:.0f} are asked for); load the generator it is of, "
            "or import it with --anyway"
        )
    made = {"method": "import", "file": Path(path).name, "file_sha256": sha256_of(path)}
    return direction_of(generator, name, vector, made=made)


def beyond_chance(generator: Generator, vector: Shift) -> float:
    """How far the spread of W along a vector lies from that along random ones, in their standard deviations."""
    rng = torch.Generator().manual_seed(0)
    drawn = F.normalize(torch.randn(DRAWN, generator.w_dim, generator=rng), dim=1)
    outward = generator.statistics().outward
    by_chance = (drawn.to(outward) @ outward.T).norm(dim=1).log()
    found = torch.tensor(deviation(generator, vector)).log()
    return float((found - by_chance.mean()).abs() / by_chance.std())
