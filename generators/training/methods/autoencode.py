"""Training of autoencoders: undercomplete, sparse, contractive, denoising and variational.

They differ in what the encoder sees, and in what is asked of the code beside the picture. Every loss is in nats a
picture, so weights mean the same at every size.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from generators.autoencoder import Autoencoder, AutoencoderConfig, CodeEncoder
from generators.base import Generator
from generators.errors import TrainingError
from generators.shapes import Float
from generators.training.checkpoint import restore_optimizer
from generators.training.config_codes import (
    AutoencodeConfig,
    ContractiveConfig,
    DenoisingConfig,
    SparseConfig,
    VAEConfig,
)
from generators.training.data import Pictures
from generators.training.methods.moments import power
from generators.training.terms.penalties import (
    bernoulli_nll,
    contraction,
    corrupt,
    gaussian_nll,
    kl_to_normal,
    sparse_kl,
)
from generators.training.trainer import Trainer

Images = Float[Tensor, "batch c h w"]
Code = tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"] | None]  # mean and, of Gaussians, log variance
Losses = dict[str, Float[Tensor, ""]]


class AutoencodeTrainer(Trainer):
    """An undercomplete autoencoder; the other kinds say what the encoder sees, and what its codes cost."""

    keep_latest = True  # not the state with the best pictures
    variational = False

    def __init__(
        self, config: AutoencodeConfig, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None
    ) -> None:
        super().__init__(config, pictures, device=device, init=init)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = Autoencoder(networks(config, variational=self.variational))
        if init is not None:
            start_from(self.model, init)
        self.ema = self.model.to(self.device)
        assert isinstance(self.model.encoder, CodeEncoder)
        self.encoder = self.model.encoder
        groups = [
            {"params": list(self.model.decoder.parameters()), "weight_decay": config.decay},
            {"params": list(self.encoder.parameters()), "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate)

    def seen(self, image: Images, rng: torch.Generator) -> Images:
        """The pictures that the encoder is given for these."""
        return image

    def cost(self, seen: Images, code: Code, rng: torch.Generator) -> Losses:
        """The terms beside the likelihood, weighted, in nats a picture."""
        return {}

    def one_step(self) -> tuple[dict[str, float], bool]:
        """As `Trainer.one_step`; losses are in nats a picture but for mse, which is a pixel's in [-1, 1]."""
        c, rng = self.config, self.rng()
        for group in self.optimizer.param_groups:
            group["lr"] = c.rate * min(1.0, (1 - self.done) / max(c.rampdown, 1e-9))
        image = self.pictures.draw(c.batch, rng, mirror=c.mirror).to(self.device)
        seen = self.seen(image, rng)
        code = self.encoder.moments(seen)
        logits = self.model.logits(sample(*code, rng))
        bernoulli = c.likelihood == "bernoulli"
        nll = (bernoulli_nll(logits, image) if bernoulli else gaussian_nll(logits, image, c.sigma)).mean()
        terms = {"nll": nll} | self.cost(seen, code, rng)
        self.optimizer.zero_grad(set_to_none=True)
        (torch.stack(list(terms.values())).sum() / image[0].numel()).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        if not norm.isfinite():
            return {}, False
        self.optimizer.step()
        drawn = torch.tanh(logits.detach() / 2) if bernoulli else logits.detach()
        mse = float((drawn - image).square().mean())
        return {name: float(term.detach()) for name, term in terms.items()} | {"mse": mse}, True

    @property
    def done(self) -> float:
        """The share of the run that is over."""
        return self.images_seen / self.config.images

    def finished(self) -> Generator:
        """The model as it would be saved now: where codes have no prior, samples take their moments."""
        return settle(self.model, self.pictures)

    def weights(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_weights(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        restore_optimizer(self.optimizer, state["optimizer"])


class SparseTrainer(AutoencodeTrainer):
    config: SparseConfig

    def cost(self, seen: Images, code: Code, rng: torch.Generator) -> Losses:
        c, activation = self.config, code[0]
        kl = c.sparsity == "kl"
        return {"sparse": c.weight * (sparse_kl(activation, c.target) if kl else activation.abs().sum(dim=1).mean())}


class ContractiveTrainer(AutoencodeTrainer):
    config: ContractiveConfig

    def cost(self, seen: Images, code: Code, rng: torch.Generator) -> Losses:
        return {"contractive": self.config.weight * contraction(self.encoder, seen, self.config.probes, rng).mean()}


class DenoisingTrainer(AutoencodeTrainer):
    config: DenoisingConfig

    def seen(self, image: Images, rng: torch.Generator) -> Images:
        return corrupt(image, self.config.noise, self.config.noise_level, rng)


class VAETrainer(AutoencodeTrainer):
    variational = True
    config: VAEConfig

    def cost(self, seen: Images, code: Code, rng: torch.Generator) -> Losses:
        c, (mean, log_variance) = self.config, code
        assert log_variance is not None
        grown = min(1.0, self.done / c.beta_warmup) if c.beta_warmup else 1.0
        return {"kl": c.beta * grown * kl_to_normal(mean, log_variance).mean()}


def networks(config: AutoencodeConfig, *, variational: bool = False) -> AutoencoderConfig:
    """The networks that these settings train; TrainingError where widths do not suit the layers."""
    if config.layers == "linear" and config.widths:
        raise TrainingError(f"widths is {config.widths}, and linear layers have none between; leave one of them out")
    layers = "conv" if config.layers == "conv" or (config.layers is None and config.resolution > 16) else "dense"
    widths = default_widths(layers, config.resolution) if config.widths is None else config.widths
    return AutoencoderConfig(
        img_resolution=config.resolution,
        img_channels=config.img_channels,
        dim=config.dim,
        layers=layers,
        widths=() if config.layers == "linear" else widths,
        code="sigmoid" if config.code == "sigmoid" else "linear",
        variational=variational,
        output="bernoulli" if config.likelihood == "bernoulli" else "linear",
    )


def default_widths(layers: str, resolution: int) -> tuple[int, ...]:
    """Hidden layers' widths; those of convolutions double with each halving, down to 4 to 7 px."""
    if layers == "dense":
        return (256, 128)
    halvings = next(i for i in range(20) if resolution / 2**i < 8)
    return tuple(min(32 * 2**i, 256) for i in range(halvings + 1))


def sample(
    mean: Float[Tensor, "batch dim"], log_variance: Float[Tensor, "batch dim"] | None, rng: torch.Generator
) -> Float[Tensor, "batch dim"]:
    """A draw from each Gaussian that lets gradients through to both (the reparameterisation); a plain code as it is."""
    if log_variance is None:
        return mean
    return mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=rng).to(mean)


@torch.no_grad()
def settle(model: Autoencoder, pictures: Pictures, *, most: int = 20_000) -> Autoencoder:
    """A copy of model whose samples have the mean and covariance of pictures' codes; a variational one as it is."""
    model = copy.deepcopy(model)
    if model.config.variational:
        return model
    assert model.encoder is not None
    device = model.w_avg.device
    parts = pictures.images[:most].split(500)
    codes = torch.cat([model.encoder(part.to(device).float() / 127.5 - 1)[:, 0] for part in parts])
    model.w_avg.copy_(codes.mean(dim=0))
    model.spread.copy_(power(torch.atleast_2d(codes.T.cov()), 0.5))
    return model


def start_from(model: Autoencoder, source: Generator) -> None:
    """Copy source's weights into model; TrainingError if it is another network."""
    if not isinstance(source, Autoencoder) or source.config != model.config:
        have = getattr(source, "config", type(source).__name__)
        raise TrainingError(f"{source.name} is {have}; this run trains {model.config}; give it the same sizes")
    model.load_state_dict(source.state_dict())
