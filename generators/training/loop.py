"""Joint training of a StyleGAN2, its encoder and its discriminator: an autoencoder in W with an adversary.

Each step renders three kinds of styles: codes of photographs, mixtures of such codes, and samples of the mapping
network. The discriminator judges all of them; the reconstruction terms see the first. The mapping network also has a
small critic in W that pulls its samples to where the codes lie (Makhzani et al. 2015, "Adversarial autoencoders";
Pidhorskyi et al. 2020, "ALAE"). Judging mixtures is what makes a blend of two faces a face and not a double exposure
(Berthelot et al. 2019, "ACAI").
"""

import copy
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from generators.base import Generator
from generators.discriminator import Discriminator
from generators.encoder import Encoder
from generators.errors import TrainingError
from generators.training.augment import diff_augment
from generators.training.data import Pictures
from generators.training.grow import start_from
from generators.training.losses import (
    discriminator_loss,
    feature_matching,
    generator_loss,
    r1_penalty,
    reconstruction,
)
from generators.training.model import TrainConfig, WCritic, build_model, start_from_pca


@dataclass(frozen=True)
class TrainStep:
    """What one step reports; losses by name."""

    images_seen: int
    losses: dict[str, float]


class Trainer:
    """Holds all that a run moves. `state` and `restore` make a resumed run equal to an unbroken one."""

    def __init__(
        self, config: TrainConfig, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None
    ) -> None:
        self.config, self.pictures, self.device = config, pictures, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = build_model(config)
            self.critic = WCritic(config.w_dim)
            if init is not None:
                start_from(self.model, init)
            elif config.linear:
                start_from_pca(self.model, pictures, min(config.linear, config.resolution))
        self.model.to(self.device).to(memory_format=torch.channels_last)
        self.critic.to(self.device)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.codes = torch.zeros(0, config.w_dim, device=self.device)  # the latest codes of photographs
        self.step = self.images_seen = self.bad_steps = 0
        d = list(self.discriminator.parameters())
        m = list(self.mapping_network.parameters())
        held = {id(p) for p in d + m}
        g = [p for p in self.model.parameters() if id(p) not in held]
        self.optimizers = {
            "generator": torch.optim.Adam(g, lr=config.lr, betas=(0.8, 0.99)),
            "discriminator": torch.optim.Adam(d, lr=config.d_lr, betas=(0.5, 0.99)),
            "mapping": torch.optim.Adam(m, lr=config.lr, betas=(0.0, 0.99)),
            "critic": torch.optim.Adam(self.critic.parameters(), lr=config.d_lr, betas=(0.0, 0.99)),
        }

    @property
    def encoder(self) -> Encoder:
        assert isinstance(self.model.encoder, Encoder)
        return self.model.encoder

    @property
    def mapping_network(self) -> nn.Module:
        return self.model.map

    @property
    def discriminator(self) -> Discriminator:
        assert isinstance(self.model.discriminator, Discriminator)
        return self.model.discriminator

    def run(self) -> Iterator[TrainStep]:
        """Steps to the end of the run; the caller saves, shows and stops. TrainingError after 50 bad steps in a row."""
        while self.images_seen < self.config.images:
            losses = self.one_step()
            self.step, self.images_seen = self.step + 1, self.images_seen + self.config.batch
            self.bad_steps = 0 if losses else self.bad_steps + 1
            if self.bad_steps >= 50:
                raise TrainingError(
                    "the loss was not finite 50 times in a row; lower lr, and resume from the last checkpoint"
                )
            yield TrainStep(self.images_seen, losses)

    def one_step(self) -> dict[str, float]:
        """One update of everything; empty if the gradients were not finite and the step was skipped."""
        c = self.config
        rng = torch.Generator().manual_seed(c.seed * 1_000_003 + self.step)  # so that resuming needs no state
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = (
                c.d_lr if name in ("discriminator", "critic") else c.lr
            ) * self.lr_factor()
        real = self.pictures.draw(c.batch, rng).to(self.device)
        adversarial = self.images_seen >= c.warmup
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=c.bf16):
            ws, shared, offsets = self.styles(real, rng, adversarial)
            noise = tuple(
                n.to(self.device)
                for n in self.model.sample_noise(len(ws), int(torch.randint(2**31, (), generator=rng)))
            )
            images = self.model.synthesis(ws, noise)
            leaf = images.detach().requires_grad_()
            losses, gradient = self.image_gradients(leaf, real, rng, adversarial)
        penalty = c.w_penalty * (shared.square().mean() + 20 * offsets.square().mean())
        losses["penalty"] = float(penalty.detach())
        optimizer = self.optimizers["generator"]
        self.model.zero_grad(set_to_none=True)
        torch.autograd.backward([images, penalty], [gradient, None])
        if not self.descend(optimizer):
            return {}
        if adversarial:
            self.codes = torch.cat([shared.detach(), self.codes])[:512]
            losses |= self.map_rounds(rng)
        self.update_average(shared.detach())
        return losses

    def styles(
        self, real: Float[Tensor, "batch 3 h w"], rng: torch.Generator, adversarial: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Styles to render (codes, then mixtures, then samples), and the parts that they were made of."""
        c, batch = self.config, len(real)
        shared, offsets = self.encoder.parts(real)
        shared = shared + c.w_noise * torch.randn(shared.shape, generator=rng).to(self.device)
        keep = (torch.rand(batch, 1, 1, generator=rng) < 0.7).to(self.device)  # the others must do without offsets
        codes = shared[:, None] + offsets * keep
        if not adversarial:
            return codes, shared, offsets
        half = batch // 2
        t = torch.rand(half, 1, 1, generator=rng)
        by_resolution = torch.rand(half, len(set(self.model.ws_resolutions)), 1, generator=rng)
        order = {r: i for i, r in enumerate(sorted(set(self.model.ws_resolutions)))}
        by_layer = by_resolution[:, [order[r] for r in self.model.ws_resolutions]]
        t = torch.where(torch.rand(half, 1, 1, generator=rng) < 0.5, t, by_layer).to(self.device)
        mixed = codes[:half].lerp(codes[batch - half :], t)
        z = torch.randn(half, self.model.z_dim, generator=rng).to(self.device)
        return torch.cat([codes, mixed, self.model.mapping(z).float()]), shared, offsets

    def image_gradients(
        self, leaf: Tensor, real: Tensor, rng: torch.Generator, adversarial: bool
    ) -> tuple[dict[str, float], Tensor]:
        """Losses, and their gradient on the images; the discriminator takes its step on the way."""
        c, batch = self.config, len(real)
        loss = reconstruction(leaf[:batch], real)
        (gradient,) = torch.autograd.grad(loss, leaf)
        losses = {"reconstruction": float(loss.detach())}
        if not adversarial:
            return losses, gradient
        state = rng.get_state()
        fake_maps = self.discriminator.features(diff_augment(leaf, rng, c.augment))
        rng.set_state(state)  # photographs and their reconstructions are changed alike
        real_maps = self.discriminator.features(
            diff_augment(torch.cat([real, leaf[batch:].detach()]), rng, c.augment)[:batch]
        )
        fake, true = self.discriminator.logits(fake_maps), self.discriminator.logits(real_maps)
        match = feature_matching(tuple(m[:batch] for m in fake_maps), tuple(m.detach() for m in real_maps))
        signal = generator_loss(fake) + c.matching * match
        (push,) = torch.autograd.grad(signal, leaf, retain_graph=True)
        # Measured on the reconstructions; mixtures and samples have no other gradient to measure it by.
        scale = c.adversarial * gradient.norm() / push[:batch].norm().clamp(min=1e-12)
        d_loss = discriminator_loss(true, fake)
        losses |= {
            "adversarial": float(signal.detach()),
            "matching": float(match.detach()),
            "discriminator": float(d_loss.detach()),
        }
        self.discriminator_step(d_loss, real)
        push[batch:] *= c.imagined
        return losses, gradient + scale * push

    def discriminator_step(self, loss: Tensor, real: Tensor) -> None:
        c, optimizer = self.config, self.optimizers["discriminator"]
        parameters = optimizer.param_groups[0]["params"]
        optimizer.zero_grad(set_to_none=True)
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.grad = g
        if self.step % 16 == 0:
            (16 * c.r1 / 2 * r1_penalty(self.discriminator, real)).backward()
        self.descend(optimizer)

    def map_rounds(self, rng: torch.Generator) -> dict[str, float]:
        """Pull samples of the mapping network to where the codes lie; the first round adds the images' gradient."""
        losses = {}
        for _ in range(self.config.mapping_rounds):
            z = torch.randn(64, self.model.z_dim, generator=rng).to(self.device)
            sampled = self.mapping_network(z, None)
            pull = generator_loss((self.critic(sampled),))
            (0.1 * pull).backward()
            self.descend(self.optimizers["mapping"])
            self.mapping_network.zero_grad(set_to_none=True)
            codes = self.codes[torch.randint(len(self.codes), (64,), generator=rng).to(self.device)]
            real, fake = (self.critic(codes),), (self.critic(sampled.detach()),)
            loss = discriminator_loss(real, fake) + 0.05 * r1_penalty(self.critic, codes)
            self.critic.zero_grad(set_to_none=True)
            loss.backward()
            self.descend(self.optimizers["critic"])
            losses = {"mapping": float(pull.detach()), "critic": float(loss.detach())}
        return losses

    def descend(self, optimizer: torch.optim.Optimizer) -> bool:
        """Clip and step; False, and no step, if a gradient is not finite."""
        norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], self.config.clip)
        if norm.isfinite():
            optimizer.step()
        return bool(norm.isfinite())

    @torch.no_grad()
    def update_average(self, shared: Tensor) -> None:
        """Move the averaged model towards the trained one; early on it follows closely."""
        self.model.w_avg.lerp_(shared.mean(dim=0), 0.01)
        decay = min(self.config.ema ** (self.config.batch / 16), (1 + self.step) / (10 + self.step))
        for average, value in zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True):
            average.lerp_(value, 1 - decay)

    def lr_factor(self) -> float:
        left = 1 - self.images_seen / self.config.images
        return min(1.0, 0.1 + 0.9 * left / self.config.rampdown) * min(1.0, (self.step + 1) / 100)

    def state(self) -> dict[str, object]:
        """Plain tensors, numbers and containers; enough to go on as if never stopped."""
        return {
            "config": asdict(self.config),
            "step": self.step,
            "images_seen": self.images_seen,
            "codes": self.codes,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "critic": self.critic.state_dict(),
            "optimizers": {k: o.state_dict() for k, o in self.optimizers.items()},
        }

    def restore(self, state: dict) -> None:
        self.step, self.images_seen = state["step"], state["images_seen"]
        self.codes = state["codes"].to(self.device)
        for part in ("model", "ema", "critic"):
            getattr(self, part).load_state_dict(state[part])
        for key, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][key])


def save_checkpoint(trainer: Trainer, path: Path, **more: float) -> None:
    """Write the run's state, and what else belongs to it, complete or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    torch.save(trainer.state() | more, temporary)
    os.replace(temporary, path)
