"""Give samples of the mapping network, or flow, the mean and covariance that the codes of photographs have.

Its last layer is linear, so this is an exact change of that layer (Sun et al. 2016, "CORAL": whiten, then recolour).
"""

import copy

import torch
from torch import Tensor

from generators.parts.encoder import Encoder
from generators.parts.flow import Flow
from generators.parts.ops import EqualLinear, assign
from generators.shapes import Float, UInt8
from generators.stylegan2 import Mapping, StyleGAN2


@torch.no_grad()
def match_moments(
    model: StyleGAN2, pictures: UInt8[Tensor, "count channels size size"], *, samples: int = 20_000, seed: int = 0
) -> StyleGAN2:
    """A copy of model whose w has the moments of the pictures' codes, and whose w_avg is their mean.

    Where the mapping network does not end in a linear layer, as the published ones do not, only w_avg is set.
    """
    model = copy.deepcopy(model)
    encoder = model.encoder
    assert isinstance(encoder, Encoder)
    device = model.w_avg.device
    parts = [encoder.parts(batch.to(device).float() / 127.5 - 1)[0] for batch in pictures.split(100)]
    codes = torch.cat(parts)
    mean = codes.mean(dim=0)
    model.w_avg.copy_(mean)
    if not (isinstance(model.map, Mapping) and model.config.mapping_linear):
        return model
    last = model.map.layers[-1]
    assert isinstance(last, EqualLinear)
    z = torch.randn(samples, model.z_dim, generator=torch.Generator().manual_seed(seed)).to(device)
    w = model.map(z, None)
    recolour = power(codes.T.cov(), 0.5) @ power(w.T.cov(), -0.5)
    bias = recolour @ (last.bias * last.lr - w.mean(dim=0)) + mean
    assign(last, recolour @ (last.weight * last.gain), bias)
    return model


@torch.no_grad()
def recolour(flow: Flow, *, samples: int = 20_000, seed: int = 0) -> None:
    """Give what a flow draws the mean and covariance that it took from its codes, of which few steps draw too little.

    After its last fit: what it learned is in the coordinates that it had before.
    """
    z = torch.randn(samples, len(flow.w_mean), generator=torch.Generator().manual_seed(seed)).to(flow.w_mean.device)
    w = torch.cat([flow(part) for part in z.split(2000)])
    change = power(w.T.cov(), -0.5) @ flow.w_axes  # the symmetric root of the codes' covariance
    shift = (flow.w_mean - w.mean(dim=0)) @ change
    flow.w_axes.copy_(flow.w_axes @ change)
    flow.w_mean.add_(shift)


def power(matrix: Float[Tensor, "n n"], exponent: float) -> Float[Tensor, "n n"]:
    """A symmetric positive matrix to a power; directions under a millionth of the largest count as that."""
    values, axes = torch.linalg.eigh(matrix.double())
    return (axes * values.clamp(min=float(values[-1]) * 1e-6) ** exponent @ axes.T).float()
