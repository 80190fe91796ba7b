"""Joint training of a StyleGAN2, its encoder and its discriminator: an autoencoder in W with an adversary.

Each step renders three kinds of styles: codes of photographs, mixtures of such codes, and samples of W, whose
distribution `prior` fits to that of the codes. The discriminator judges all of them; the reconstruction terms see the
first. Judging mixtures is what makes a blend of two faces a face and not a double exposure (Berthelot et al. 2019,
"ACAI").
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generators.base import Noise
from generators.parts.discriminator import Discriminator
from generators.parts.encoder import Encoder
from generators.parts.flow import Flow
from generators.shapes import Float
from generators.stylegan2 import StyleGAN2
from generators.training.config import TrainConfig
from generators.training.distributed import average, gather, rows, wrap
from generators.training.methods.method import Judge, Method
from generators.training.methods.prior import prior_for
from generators.training.start.build import draw_partner, mix_styles
from generators.training.terms.augment import Augment
from generators.training.terms.losses import (
    discriminator_loss,
    feature_matching,
    generator_loss,
    r1_penalty,
    reconstruction,
)


@dataclass(frozen=True)
class Draws:
    """The random numbers of what a step renders."""

    jitter: Float[Tensor, "photos w_dim"]  # added to codes
    keep: Float[Tensor, "photos 1 1"]  # 1 where a code keeps its offsets; the others must do without
    mix: Float[Tensor, "half _ 1"]  # place of a mixture between its two codes, of all layers or of each
    z: Float[Tensor, "half z_dim"]  # of samples; none before the adversary enters
    partner: tuple[Tensor, Tensor] | None  # a second z, and the first layer that has it
    noise: Noise


class Imagine(nn.Module):
    """All of a step that renders, in one call, as DistributedDataParallel follows it."""

    def __init__(self, model: StyleGAN2) -> None:
        super().__init__()
        assert isinstance(model.encoder, Encoder)
        self.encoder = model.encoder
        self.blocks, self.start = model.blocks, model.start
        self.flows = isinstance(model.map, Flow)
        self.map = None if self.flows else model.map  # a flow learns from codes alone
        self.sample, self.synthesis = model.map.forward, model.synthesis  # methods: their modules are no part of this

    def forward(self, real: Float[Tensor, "batch channels h w"], draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
        """Images (of codes, then mixtures, then samples), and the shared style and the offsets of each photograph."""
        shared, offsets = self.encoder.parts(real)
        shared = shared + draws.jitter
        ws = shared[:, None] + offsets * draws.keep
        if len(draws.z):
            half = len(draws.z)
            mixed = ws[:half].lerp(ws[len(ws) - half :], draws.mix)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.flows):
                sampled = self.sample(draws.z, None).float()[:, None].expand(-1, ws.shape[1], -1)
                if draws.partner is not None:
                    sampled = mix_styles(sampled, self.sample(draws.partner[0], None).float(), draws.partner[1])
            ws = torch.cat([ws, mixed, sampled])
        return self.synthesis(ws, draws.noise), shared, offsets


class Joint(Method):
    model: StyleGAN2

    def __init__(self, model: StyleGAN2, config: TrainConfig, device: torch.device) -> None:
        super().__init__(config, device)
        self.model = model
        assert isinstance(model.discriminator, Discriminator)
        self.discriminator = model.discriminator
        self.config = config
        self.augment = Augment(config)
        d, m = list(model.discriminator.parameters()), list(model.map.parameters())
        held = {id(p) for p in d + m}
        self.optimize("generator", [p for p in model.parameters() if id(p) not in held], config.lr, 0.8)
        self.optimize("discriminator", d, config.d_lr, 0.5)
        self.prior = prior_for(model, self, config)
        imagine = Imagine(model)
        self.imagine = wrap(imagine, unused=config.warmup > 0 and not imagine.flows)  # a mapping network waits for it
        self.judge = wrap(Judge(model.discriminator))
        layers = {r: i for i, r in enumerate(sorted(set(model.ws_resolutions)))}
        self.layers = [layers[r] for r in model.ws_resolutions]  # to which resolution each belongs, counted from 4 px

    def step(self, real: Tensor, rng: torch.Generator, images_seen: int) -> dict[str, Tensor]:
        c, adversarial = self.config, images_seen >= self.config.warmup
        draws = self.draw(rng, adversarial)
        real = real[rows(c.batch, 2)].to(self.device)
        with self.autocast():
            images, shared, offsets = self.imagine(real, draws)
            leaf = images.detach().requires_grad_()
            losses, gradient = self.image_gradients(leaf, real, rng, adversarial, images_seen)
        penalty = c.w_penalty * (shared.square().mean() + 20 * offsets.square().mean())
        losses["penalty"] = penalty.detach()
        self.model.zero_grad(set_to_none=True)
        torch.autograd.backward([images, penalty * self.scale], [gradient * self.scale, None])
        if not self.descend("generator"):
            return {}
        codes = gather(shared, 2)
        if codes.isfinite().all():
            losses |= self.prior.learn(codes, rng, adversarial=adversarial)
        self.model.w_avg.lerp_(codes.mean(dim=0), 0.01)
        return losses

    def draw(self, rng: torch.Generator, adversarial: bool) -> Draws:
        """For the whole batch, in a fixed order; what is kept is this process's."""
        c = self.config
        batch, half = c.batch, c.batch // 2
        mine, mine_of_half = rows(batch, 2), rows(half)
        jitter = c.w_noise * torch.randn(batch, self.model.w_dim, generator=rng)
        keep = (torch.rand(batch, 1, 1, generator=rng) < 0.7).float()
        mix, z = torch.zeros(0, 1, 1), torch.zeros(0, self.model.z_dim)
        partner = None
        rendered = mine
        if adversarial:
            by_image = torch.rand(half, 1, 1, generator=rng)
            by_layer = torch.rand(half, len(set(self.layers)), 1, generator=rng)[:, self.layers]
            mix = torch.where(torch.rand(half, 1, 1, generator=rng) < 0.5, by_image, by_layer)[mine_of_half]
            z = torch.randn(half, self.model.z_dim, generator=rng)[mine_of_half]
            if c.style_mixing:
                other, first = draw_partner(self.model, half, c.style_mixing, rng)
                partner = (other[mine_of_half].to(self.device), first[mine_of_half].to(self.device))
            rendered = torch.cat([mine, batch + mine_of_half, batch + half + mine_of_half])
        seed = int(torch.randint(2**31, (), generator=rng))
        noise = self.model.sample_noise(batch + 2 * half if adversarial else batch, seed)
        noise = tuple(n[rendered.to(n.device)].to(self.device) for n in noise)
        jitter, keep, mix, z = (x.to(self.device) for x in (jitter[mine], keep[mine], mix, z))
        return Draws(jitter, keep, mix, z, partner, noise)

    def image_gradients(
        self, leaf: Tensor, real: Tensor, rng: torch.Generator, adversarial: bool, images_seen: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses, and their gradient on the images; the discriminator takes its step on the way."""
        c, count = self.config, len(real)
        loss = reconstruction(leaf[:count], real)
        (gradient,) = torch.autograd.grad(loss, leaf)
        losses = {"reconstruction": loss.detach()}
        if not adversarial:
            return losses, gradient
        half = c.batch // 2
        draws = self.augment.draw(c.batch + 2 * half, rng)
        imagined = c.batch + torch.cat([rows(half), half + rows(half)])
        draws = draws[torch.cat([rows(c.batch, 2), imagined])]
        changed = self.augment(real, draws[:count])  # photographs and their reconstructions are changed alike
        (fake_maps, fake), (real_maps, true) = self.judge(self.augment(leaf, draws), changed)
        match = feature_matching(tuple(m[:count] for m in fake_maps), tuple(m.detach() for m in real_maps))
        signal = generator_loss(fake) + c.matching * match
        push = self.push(signal, leaf)
        # Measured on the reconstructions; mixtures and samples have no other gradient to measure it by.
        lengths = average(torch.stack([gradient.square().sum(), push[:count].square().sum()])).sqrt()
        scale = c.adversarial * lengths[0] / lengths[1].clamp(min=1e-12)
        d_loss = discriminator_loss(true, fake)
        losses |= {"adversarial": signal.detach(), "matching": match.detach(), "discriminator": d_loss.detach()}
        losses |= self.discriminator_step(d_loss, real, images_seen)
        losses |= self.augment.observe(true)
        push[count:] *= c.imagined
        return losses, gradient + scale * push

    def discriminator_step(self, loss: Tensor, real: Tensor, images_seen: int) -> dict[str, Tensor]:
        c, losses = self.config, {}
        if images_seen // c.batch % c.r1_every == 0:
            losses["r1"] = r1_penalty(self.discriminator, real)
            loss = loss + c.r1_every * c.r1 / 2 * losses["r1"]
        self.backward("discriminator", loss)
        self.descend("discriminator")
        return {k: v.detach() for k, v in losses.items()}

    def state(self) -> dict[str, object]:
        return super().state() | {"prior": self.prior.state(), "augment_p": self.augment.p}

    def restore(self, state: dict) -> None:
        super().restore(state)
        self.augment.p = state["augment_p"]
        self.prior.restore(state["prior"])
