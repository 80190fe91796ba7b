"""StyleGAN2 as published: generator and discriminator (Karras et al. 2020, "Analyzing and Improving ...").

Non-saturating logistic loss; R1 every few steps and path length regularisation every few others ("lazily", in steps of
their own); style mixing. The generator and the discriminator learn from the same samples of a step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generators.base import Noise
from generators.parts.discriminator import Discriminator
from generators.shapes import Float, Int
from generators.stylegan2 import StyleGAN2
from generators.training.config import TrainConfig
from generators.training.distributed import average, gather, rows, wrap
from generators.training.methods.method import Judge, Method
from generators.training.start.build import draw_partner, mix_styles
from generators.training.terms.augment import Augment
from generators.training.terms.losses import (
    discriminator_loss,
    generator_loss,
    path_lengths,
    r1_penalty,
)


@dataclass(frozen=True)
class Draws:
    """The random numbers of samples."""

    z: Float[Tensor, "batch z_dim"]
    other: Float[Tensor, "batch z_dim"]  # of the second style
    first: Int[Tensor, " batch"]  # the first layer that has it
    noise: Noise


class Render(nn.Module):
    """Mapping and synthesis in one call, as DistributedDataParallel follows it."""

    def __init__(self, model: StyleGAN2) -> None:
        super().__init__()
        self.map, self.blocks = model.map, model.blocks
        self.start, self.num_ws = model.start, model.num_ws
        self.synthesis = model.synthesis  # the method: the discriminator is no part of this module

    def forward(self, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Images, their styles, and the first style of each alone."""
        w = self.map(draws.z, None).float()
        ws = w[:, None].expand(-1, self.num_ws, -1)
        ws = mix_styles(ws, self.map(draws.other, None).float(), draws.first)
        return self.synthesis(ws, draws.noise), ws, w


class Plain(Method):
    model: StyleGAN2

    def __init__(self, model: StyleGAN2, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.model = model
        self.config, self.augment = config, Augment(config)
        self.mean_length = torch.zeros((), device=device)  # of paths, over time
        assert isinstance(model.discriminator, Discriminator)
        d = list(model.discriminator.parameters())
        held = {id(p) for p in d}
        paths, penalties = config.path_every if config.path_length else 0, config.r1_every if config.r1 else 0
        g = [p for p in model.parameters() if id(p) not in held]
        self.optimize("generator", g, config.lr, 0.0, lazy=paths / (paths + 1) if paths else 1.0)
        self.optimize("discriminator", d, config.d_lr, 0.0, lazy=penalties / (penalties + 1) if penalties else 1.0)
        self.render, self.judge = wrap(Render(model)), wrap(Judge(model.discriminator))

    def step(self, real: Tensor, rng: torch.Generator, images_seen: int) -> dict[str, Tensor]:
        c, step = self.config, images_seen // self.config.batch
        mine = rows(c.batch)
        draws = self.draw(c.batch, rng)
        changes = self.augment.draw(2 * c.batch, rng)
        real = self.augment(real[mine].to(self.device), changes[mine])
        with self.autocast():
            images, _, w = self.render(draws)
            leaf = images.detach().requires_grad_()
            (_, fake), (_, true) = self.judge(self.augment(leaf, changes[c.batch + mine]), real)
            g_loss, d_loss = generator_loss(fake), discriminator_loss(true, fake)
        losses = {"adversarial": g_loss.detach(), "discriminator": d_loss.detach()}
        gradient = self.push(g_loss, leaf)
        self.backward("discriminator", d_loss)
        self.descend("discriminator")
        self.optimizers["generator"].zero_grad(set_to_none=True)
        images.backward(gradient * self.scale)
        if not self.descend("generator"):
            return {}
        losses |= self.augment.observe(true)
        if c.r1 and step % c.r1_every == 0:
            losses["r1"] = self.penalise_gradients(real)
        if c.path_length and step % c.path_every == 0:
            losses["path"] = self.penalise_paths(rng)
        self.model.w_avg.lerp_(gather(w).mean(dim=0), 0.01)
        return losses

    def draw(self, batch: int, rng: torch.Generator) -> Draws:
        """For a whole batch, in a fixed order; what is kept is this process's."""
        mixing = 0.9 if self.config.style_mixing is None else self.config.style_mixing
        z = torch.randn(batch, self.model.z_dim, generator=rng)
        other, first = draw_partner(self.model, batch, mixing, rng)
        mine, seed = rows(batch), int(torch.randint(2**31, (), generator=rng))
        noise = tuple(n[mine.to(n.device)].to(self.device) for n in self.model.sample_noise(batch, seed))
        z, other, first = (x[mine].to(self.device) for x in (z, other, first))
        return Draws(z, other, first, noise)

    def penalise_gradients(self, real: Tensor) -> Tensor:
        """A step on R1, of the photographs as the discriminator sees them."""
        penalty = r1_penalty(lambda x: self.judge(x)[0][1], real)
        self.backward("discriminator", self.config.r1_every * self.config.r1 / 2 * penalty)
        self.descend("discriminator")
        return penalty.detach()

    def penalise_paths(self, rng: torch.Generator) -> Tensor:
        """A step on path length regularisation, with half a batch; gives the mean length."""
        c, half = self.config, self.config.batch // 2
        images, ws, _ = self.render(self.draw(half, rng))
        y = torch.randn(half, *images.shape[1:], generator=rng)[rows(half)].to(self.device)
        lengths = path_lengths(images, ws, y)
        mean = self.mean_length.lerp(average(lengths.mean()), 0.01)
        penalty = (lengths - mean).square().mean()
        # Nothing of the images: but every parameter is then in the graph, as DistributedDataParallel wants it.
        self.backward("generator", c.path_every * c.path_length * penalty + 0 * images.sum())
        if self.descend("generator"):
            self.mean_length = mean
        return average(lengths.mean())

    def state(self) -> dict[str, object]:
        return super().state() | {"mean_length": self.mean_length, "augment_p": self.augment.p}

    def restore(self, state: dict) -> None:
        super().restore(state)
        self.mean_length, self.augment.p = state["mean_length"].to(self.device), state["augment_p"]
