"""Traits: regions of a child's face that come from one of its people, or from several by shares."""

from collections.abc import Mapping, Sequence
from math import fsum, isfinite

import torch

from generators.base import Generator
from inversion.edit.local import face_regions, local
from inversion.errors import SettingsError
from inversion.latent import Latent, check_alike

TRAITS = ("eyes", "nose", "mouth", "jaw", "hair")
SHAPES = (
    32  # px: styles up to there decide the features of a face; above is colour, which a region shares with the rest
)
COLOURED = ("hair", "background")  # regions whose colour is their own


def inherit(
    generator: Generator, child: Latent, people: Sequence[Latent], traits: Mapping[str, Sequence[float]]
) -> Latent:
    """The child with regions of its face taken from people, all in w_plus, by local edits.

    traits: region -> a share of each of the people; what is missing to one remains the child's own. A region of the
    face keeps the child's colours. FaceError where a picture of the child shows no face, SettingsError for shares that
    are none.
    """
    if not traits:
        return child
    check_alike([child, *people])
    masks = face_regions(generator, child, traits)
    features = [i for i, size in enumerate(generator.ws_resolutions) if size <= SHAPES]
    whole = child
    for region, shares in traits.items():
        check_shares(region, shares, len(people))
        table = torch.tensor([1 - fsum(shares), *shares]).to(child.code)
        code = torch.einsum("p,pblw->blw", table, torch.stack([child.code, *(one.code for one in people)]))
        taken = Latent(code, child.space, child.noise)
        whole = local(generator, whole, taken, masks[region], layers=() if region in COLOURED else features)
    return whole


def check_shares(region: str, shares: Sequence[float], count: int) -> None:
    """SettingsError unless there are count shares from 0 to 1, of at most 1 in all."""
    if len(shares) != count:
        raise SettingsError(f"{region}: {len(shares)} shares came for {count} people; give one each")
    if not all(isfinite(share) and share >= 0 for share in shares) or fsum(shares) > 1 + 1e-6:
        told = ", ".join(f"{share:g}" for share in shares)
        raise SettingsError(f"{region}: shares are {told}; give numbers from 0 to 1, of at most 1 in all")
