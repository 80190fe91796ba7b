"""z -> w by a learned flow, in place of a mapping network that an adversary trains.

Where w is what an encoder makes of photographs, its distribution is given, and can be learned by regression: a velocity
field moves N(0, I) to it along straight lines (Liu et al. 2023, "Flow Straight and Fast"; Lipman et al. 2023, "Flow
Matching for Generative Modeling"). A prior fitted to an encoder's codes after Preechakul et al. 2022, "Diffusion
Autoencoders".
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.shapes import Float

FREQUENCIES = 32  # of the embedding of time, a sine and a cosine each


class Flow(nn.Module):
    """A velocity field over w, and its integral from z in `steps` Euler steps. z and w have the same width.

    w is w_mean + y @ w_axes for the y that the field moves, where w_axes is the root of w's covariance, and the field
    starts as that of a Gaussian, so that only what is not Gaussian is left to learn. gaussian=False is the kind of
    earlier models: w is w_mean + w_scale * y, and all is left to learn.
    """

    w_mean: Tensor
    w_axes: Tensor
    w_scale: Tensor
    frequencies: Tensor

    def __init__(self, w_dim: int, *, hidden: int, blocks: int, steps: int, gaussian: bool = True) -> None:
        super().__init__()
        self.first = nn.Linear(w_dim + 2 * FREQUENCIES, hidden)
        self.blocks = nn.ModuleList(FlowBlock(hidden) for _ in range(blocks))
        self.last = nn.Linear(hidden, w_dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.steps, self.gaussian = steps, gaussian
        self.register_buffer("w_mean", torch.zeros(w_dim))
        if gaussian:
            self.register_buffer("w_axes", torch.zeros(w_dim, w_dim).fill_diagonal_(1))
        else:
            self.register_buffer("w_scale", torch.ones(w_dim))
        frequencies = torch.tensor([200 ** (i / (FREQUENCIES - 1)) for i in range(FREQUENCIES)])
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(
        self, z: Float[Tensor, "batch w_dim"], c: Float[Tensor, "batch c_dim"] | None = None
    ) -> Float[Tensor, "batch w_dim"]:
        """z ~ N(0, I) to w; the label c is not used."""
        y = z.float()
        for k in range(self.steps):
            y = y + self.velocity(y, torch.full((len(y),), k / self.steps, device=y.device)).float() / self.steps
        return self.w_mean + (y @ self.w_axes if self.gaussian else y * self.w_scale)

    def velocity(
        self,
        y: Float[Tensor, "batch w_dim"],
        t: Float[Tensor, " batch"],
        keep: Float[Tensor, "blocks batch hidden"] | None = None,
    ) -> Float[Tensor, "batch w_dim"]:
        """Where y moves at time t in [0, 1]; keep: the factors of dropout."""
        angles = t[:, None] * self.frequencies
        time = torch.cat([angles.sin(), angles.cos()], dim=1)
        x = self.first(torch.cat([y, time], dim=1))
        for i, block in enumerate(self.blocks):
            x = block(x, time, None if keep is None else keep[i])
        x, t = self.last(x), t[:, None]
        return x + y * (2 * t - 1) / (t**2 + (1 - t) ** 2) if self.gaussian else x

    @property
    def fitted(self) -> bool:
        """Says if it has learned anything yet."""
        return bool(self.last.weight.any())

    @torch.no_grad()
    def fit_moments(self, w: Float[Tensor, "count w_dim"]) -> None:
        """Take the mean of w, and its covariance, or scale, from examples.

        The fewer there are, the less of what they say of two numbers together is believed (Ledoit and Wolf 2004). The
        symmetric root changes little when they do, so that what was learned in its coordinates still holds.
        """
        self.w_mean.copy_(w.mean(dim=0))
        if not self.gaussian:
            self.w_scale.copy_(w.std(dim=0).clamp(min=1e-6))
            return
        covariance = w.double().T.cov()
        own = covariance.diagonal().clamp(min=1e-12).diag()
        values, axes = torch.linalg.eigh(covariance.lerp(own, w.shape[1] / (w.shape[1] + len(w))))
        self.w_axes.copy_((axes * values.clamp(min=float(values[-1]) * 1e-8).sqrt()) @ axes.T)

    def loss(
        self, w: Float[Tensor, "batch w_dim"], rng: torch.Generator, *, dropout: float = 0.02
    ) -> Float[Tensor, ""]:
        """Mean squared error of the velocity at a random point of the line from a random z to each w.

        In units of the variance of w.
        """
        y = w - self.w_mean
        y = torch.linalg.solve(self.w_axes, y, left=False) if self.gaussian else y / self.w_scale
        z = torch.randn(y.shape, generator=rng).to(y.device)
        t = torch.rand(len(y), generator=rng).to(y.device)
        keep = torch.rand(len(self.blocks), len(y), self.first.out_features, generator=rng).to(y.device)
        keep = (keep >= dropout).float() / (1 - dropout)
        error = self.velocity(z.lerp(y, t[:, None]), t, keep).float() - (y - z)
        if not self.gaussian:
            return error.square().mean()
        return (error @ self.w_axes).square().sum(dim=1).mean() / self.w_axes.square().sum()


class FlowBlock(nn.Module):
    """Residual block that knows the time."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.widen = nn.Linear(hidden + 2 * FREQUENCIES, hidden)
        self.narrow = nn.Linear(hidden, hidden)

    def forward(
        self, x: Float[Tensor, "batch hidden"], time: Float[Tensor, "batch times"], keep: Tensor | None
    ) -> Float[Tensor, "batch hidden"]:
        y = F.silu(self.widen(torch.cat([self.norm(x), time], dim=1)))
        return x + self.narrow(y if keep is None else y * keep)
