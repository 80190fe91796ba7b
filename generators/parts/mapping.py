"""The mapping network of StyleGAN2 and StyleGAN3: z, and a class, to w (Karras et al. 2019, section 2)."""

import torch
from torch import Tensor, nn

from generators.errors import GeneratorError
from generators.parts.ops import EqualLinear, normalize_2nd_moment
from generators.shapes import Float


class Mapping(nn.Module):
    """z (and class label) -> w: a fully connected network after normalisation."""

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        c_dim: int = 0,  # class labels, one-hot; 0 for none
        *,
        layers: int,
        lr: float,  # learning rate relative to the rest
        width: int | None = None,  # of the inner layers; None: w_dim
        embed_dim: int | None = None,  # numbers that a class label becomes; None: w_dim
        linear: bool = False,  # whether the last layer is without leaky ReLU
        joint: bool = False,  # whether z and the label are normalised together, as in StyleGAN2's first code
    ) -> None:
        super().__init__()
        self.joint = joint
        label = (embed_dim or w_dim) if c_dim else 0
        self.embed = EqualLinear(c_dim, label) if label else None
        widths = [z_dim + label, *[width or w_dim] * (layers - 1), w_dim] if layers else []
        last = layers - 1 if linear else None
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr=lr, activate=i != last)
            for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True))
        )

    def forward(
        self, z: Float[Tensor, "batch z_dim"], c: Float[Tensor, "batch c_dim"] | None
    ) -> Float[Tensor, "batch w_dim"]:
        x = z.float() if self.joint else normalize_2nd_moment(z.float())
        if self.embed is not None:
            if c is None:
                raise GeneratorError("this generator is conditional; pass c, one-hot labels (batch, c_dim)")
            label = self.embed(c.float())
            x = torch.cat([x, label if self.joint else normalize_2nd_moment(label)], dim=1)
        x = normalize_2nd_moment(x) if self.joint else x
        for layer in self.layers:
            x = layer(x)
        return x
