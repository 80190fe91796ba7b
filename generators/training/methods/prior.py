"""What makes samples of w lie where an encoder's codes lie: a flow fitted to them, or a critic that pulls a mapping.

Either one takes in the latest codes of photographs in `learn`, and moves the samples' distribution towards theirs.
Every process of a run does the same.
"""

from collections.abc import Iterator
from copy import deepcopy
from math import cos, inf, pi

import torch
from torch import Tensor, nn

from generators.parts.encoder import Encoder
from generators.parts.flow import Flow
from generators.parts.ops import EqualLinear
from generators.shapes import Float
from generators.stylegan2 import StyleGAN2
from generators.training.config import TrainConfig
from generators.training.data import Pictures
from generators.training.methods.method import Method
from generators.training.terms.losses import discriminator_loss, generator_loss, r1_penalty

CODES = 12_288  # that a flow is fitted to


@torch.no_grad()
def codes_of(model: StyleGAN2, pictures: Pictures, count: int, seed: int, *, mirror: bool) -> Float[Tensor, "count w"]:
    """The shared styles that model's encoder sees in so many pictures, as a run draws them."""
    assert isinstance(model.encoder, Encoder)
    rng, codes = torch.Generator().manual_seed(seed), []
    for part in torch.arange(count).split(64):
        images = pictures.draw(len(part), rng, mirror=mirror)
        codes.append(model.encoder.parts(images.to(model.w_avg.device))[0])
    return torch.cat(codes)


def fit_flow(
    flow: Flow, codes: Float[Tensor, "count w"], *, rounds: int, lr: float, seed: int = 0, batch: int = 256
) -> Iterator[float]:
    """Fit flow to codes, of which it keeps back a few; yields the loss on those after each tenth of the rounds.

    The weights are averaged over the last steps, and those stay under which the codes kept back cost least, so that
    it does not learn the others by heart.
    """
    rng = torch.Generator().manual_seed(seed)
    held, used = codes[: max(1, len(codes) // 20)], codes[max(1, len(codes) // 20) :]
    flow.fit_moments(used)
    average, best = deepcopy(flow), (inf, flow.state_dict())
    optimizer = torch.optim.Adam(flow.parameters(), lr=lr, betas=(0.9, 0.99))
    for k in range(rounds):
        optimizer.param_groups[0]["lr"] = lr * min(1, (k + 1) / 100) * (0.5 + 0.5 * cos(pi * k / rounds))
        some = torch.randint(len(used), (batch,), generator=rng).to(used.device)
        optimizer.zero_grad()
        flow.loss(used[some], rng).backward()
        optimizer.step()
        with torch.no_grad():
            for mean, now in zip(average.parameters(), flow.parameters(), strict=True):
                mean.lerp_(now, 1 / min(k + 1, 200))
            if (k + 1) * 10 // rounds > k * 10 // rounds:
                draws = torch.Generator().manual_seed(seed)
                loss = float(sum(average.loss(held, draws, dropout=0.0) for _ in range(8))) / 8
                best = min(best, (loss, deepcopy(average.state_dict())), key=lambda pair: pair[0])
                yield loss
    flow.load_state_dict(best[1])


class FlowPrior:
    """Regression to the latest codes. The discriminator has no say: samples cannot leave the codes to fool it."""

    kept, enough = CODES, 256  # codes
    batch, first_rounds = 128, 500  # codes, rounds

    def __init__(self, model: StyleGAN2, method: Method, config: TrainConfig) -> None:
        assert isinstance(model.map, Flow)
        self.flow, self.method = model.map, method
        self.rounds = config.mapping_rounds
        self.codes = torch.zeros(self.kept, model.w_dim, device=method.device)  # a ring
        self.count = 0  # codes that came so far
        method.optimize("mapping", list(self.flow.parameters()), config.flow_lr, 0.9)

    def learn(self, codes: Tensor, rng: torch.Generator, *, adversarial: bool) -> dict[str, Tensor]:
        place = (self.count + torch.arange(len(codes), device=codes.device)) % self.kept
        self.codes[place] = codes
        self.count += len(codes)
        have = min(self.count, self.kept)
        if not adversarial or have < self.enough:
            return {}
        rounds = self.rounds
        if not self.flow.fitted:  # all that the warm-up has gathered
            self.flow.fit_moments(self.codes[:have])
            rounds = max(rounds, min(self.first_rounds, have // 8))
        loss = torch.zeros((), device=codes.device)
        for _ in range(rounds):
            some = torch.randint(have, (self.batch,), generator=rng).to(codes.device)
            with self.method.autocast():
                loss = self.flow.loss(self.codes[some], rng)
            self.method.backward("mapping", loss)
            self.method.descend("mapping")
        return {"mapping": loss.detach()}

    def state(self) -> dict[str, object]:
        return {"codes": self.codes, "count": self.count}

    def restore(self, state: dict) -> None:
        self.codes, self.count = state["codes"].to(self.codes.device), state["count"]


class WCritic(nn.Module):
    """Tells samples of the mapping network from codes of photographs."""

    def __init__(self, w_dim: int, hidden: int = 512) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            EqualLinear(w_dim, hidden, activate=True),
            EqualLinear(hidden, hidden, activate=True),
            EqualLinear(hidden, 1),
        )

    def forward(self, w: Float[Tensor, "batch w_dim"]) -> Float[Tensor, "batch 1"]:
        return self.layers(w)


class CriticPrior:
    """An adversary in W, for models that have a mapping network; the pictures' gradient moves that as well.

    Makhzani et al. 2015, "Adversarial autoencoders"; Pidhorskyi et al. 2020, "ALAE".
    """

    kept, batch = 512, 64

    def __init__(self, model: StyleGAN2, method: Method, config: TrainConfig) -> None:
        self.model, self.method = model, method
        self.rounds = config.mapping_rounds
        self.critic = WCritic(model.w_dim).to(method.device)
        self.codes = torch.zeros(0, model.w_dim, device=method.device)
        method.optimize("mapping", list(model.map.parameters()), config.lr, 0.0)
        method.optimize("critic", list(self.critic.parameters()), config.d_lr, 0.0)

    def learn(self, codes: Tensor, rng: torch.Generator, *, adversarial: bool) -> dict[str, Tensor]:
        """The first of the rounds adds the images' gradient, which the mapping network holds already."""
        if not adversarial:
            return {}
        self.codes = torch.cat([codes, self.codes])[: self.kept]
        losses = {}
        for _ in range(self.rounds):
            z = torch.randn(self.batch, self.model.z_dim, generator=rng).to(codes.device)
            sampled = self.model.map(z, None)
            pull = generator_loss((self.critic(sampled),))
            (0.1 * pull * self.method.scale).backward(inputs=self.method.parameters("mapping"))
            self.method.descend("mapping")
            self.model.map.zero_grad(set_to_none=True)
            some = self.codes[torch.randint(len(self.codes), (self.batch,), generator=rng).to(codes.device)]
            real, fake = (self.critic(some),), (self.critic(sampled.detach()),)
            loss = discriminator_loss(real, fake) + 0.05 * r1_penalty(self.critic, some)
            self.method.backward("critic", loss)
            self.method.descend("critic")
            losses = {"mapping": pull.detach(), "critic": loss.detach()}
        return losses

    def state(self) -> dict[str, object]:
        return {"codes": self.codes, "critic": self.critic.state_dict()}

    def restore(self, state: dict) -> None:
        self.codes = state["codes"].to(self.codes.device)
        self.critic.load_state_dict(state["critic"])


def prior_for(model: StyleGAN2, method: Method, config: TrainConfig) -> FlowPrior | CriticPrior:
    return (FlowPrior if isinstance(model.map, Flow) else CriticPrior)(model, method, config)
