"""Training of autoencoders: undercomplete, sparse, contractive, denoising and variational, one trainer for all.

They differ in what the encoder sees, and in what is asked of the code beside the picture. That part of a kind stands
with its settings, as `seen` and `extra`. Every loss is in nats a picture, so weights mean the same at every size.
"""

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from generators.autoencoder import Autoencoder, AutoencoderConfig, CodeEncoder
from generators.base import Generator
from generators.errors import TrainingError
from generators.shapes import Float
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


@dataclass(frozen=True, kw_only=True)
class AutoencodeConfig:
    """Settings of an undercomplete autoencoder, which those of the other kinds add to."""

    resolution: int = 64  # pixels, 8 or more
    img_channels: int = 3  # 1: grey
    dim: int = 16  # numbers in the code
    layers: Literal["linear", "dense", "conv"] | None = None  # None: dense up to 16 px, then convolutions
    widths: tuple[int, ...] | None = None  # of hidden layers, from the picture to the code; None: by resolution
    code: Literal["linear", "sigmoid"] = "linear"  # what the code's layer ends in
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"  # of the pixels, given the code
    sigma: float = 0.3  # standard deviation of a Gaussian pixel, in [-1, 1]; bernoulli has none
    images: int = 200_000  # pictures to see in all
    batch: int = 64
    lr: float | None = None  # None: 0.002, and 0.05 for linear layers, which find their last axes slowly
    rampdown: float = 0.5  # share of the run over which lr falls to nothing
    decay: float = 0.0  # of the decoder's weights, so that a small code cannot be made up for by large weights
    mirror: bool = False  # whether pictures are mirrored half of the time
    seed: int = 0

    def __post_init__(self) -> None:
        for name, fits in {
            "resolution": self.resolution >= 8,
            "img_channels": self.img_channels in (1, 3),
            "dim": self.dim >= 1,
            "images": self.images >= 1,
            "batch": self.batch >= 1,
            "lr": self.rate > 0,
            "sigma": self.sigma > 0,
            "rampdown": 0 <= self.rampdown <= 1,
            "decay": self.decay >= 0,
        }.items():
            if not fits:
                raise TrainingError(f"{name} is {getattr(self, name)}; see `latent train --help` for its range")

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        return (0.05 if self.layers == "linear" else 0.002) if self.lr is None else self.lr

    def model(self) -> AutoencoderConfig:
        """The networks that these settings train; TrainingError where widths do not suit the layers."""
        layers = "conv" if self.layers == "conv" or (self.layers is None and self.resolution > 16) else "dense"
        widths = default_widths(layers, self.resolution) if self.widths is None else self.widths
        if self.layers == "linear" and self.widths:
            raise TrainingError(f"widths is {self.widths}, and linear layers have none between; leave one of them out")
        return AutoencoderConfig(
            img_resolution=self.resolution,
            img_channels=self.img_channels,
            dim=self.dim,
            layers=layers,
            widths=() if self.layers == "linear" else widths,
            code=self.code,
            variational=isinstance(self, VAEConfig),
            output="bernoulli" if self.likelihood == "bernoulli" else "linear",
        )

    def seen(self, image: Float[Tensor, "batch c h w"], rng: torch.Generator) -> Float[Tensor, "batch c h w"]:
        """What the encoder is given for these pictures."""
        return image

    def extra(
        self,
        encoder: CodeEncoder,
        image: Tensor,
        mean: Tensor,
        log_variance: Tensor | None,
        done: float,
        rng: torch.Generator,
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms beside the likelihood, weighted, in nats a picture; done is the share of the run that is over."""
        return {}


@dataclass(frozen=True, kw_only=True)
class SparseConfig(AutoencodeConfig):
    """Most numbers of a code are nearly off, each for most pictures."""

    dim: int = 64
    code: Literal["linear", "sigmoid"] = "sigmoid"
    sparsity: Literal["kl", "l1"] = "kl"  # the divergence of mean activations from target, or the sum of sizes
    target: float = 0.1  # mean activation that kl asks for
    weight: float = 10.0
    decay: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity == "kl" and (self.code != "sigmoid" or not 0 < self.target < 1):
            raise TrainingError(f"sparsity kl with code {self.code}, target {self.target}; it takes sigmoid and (0, 1)")

    def extra(self, encoder, image, mean, log_variance, done, rng):
        sparse = sparse_kl(mean, self.target) if self.sparsity == "kl" else mean.abs().sum(dim=1).mean()
        return {"sparse": self.weight * sparse}


@dataclass(frozen=True, kw_only=True)
class ContractiveConfig(AutoencodeConfig):
    """Codes hardly move when a picture changes a little."""

    code: Literal["linear", "sigmoid"] = "sigmoid"
    weight: float = 10.0
    probes: int = 0  # directions that estimate the penalty; 0: all of them, exactly
    decay: float = 0.001

    def extra(self, encoder, image, mean, log_variance, done, rng):
        return {"contractive": self.weight * contraction(encoder, image, self.probes, rng).mean()}


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig(AutoencodeConfig):
    """The encoder sees a spoiled picture, and the decoder draws the whole one."""

    noise: Literal["gaussian", "mask"] = "gaussian"
    noise_level: float = 0.3  # standard deviation in [-1, 1], or the share of pixels that are blackened

    def seen(self, image, rng):
        return corrupt(image, self.noise, self.noise_level, rng)


@dataclass(frozen=True, kw_only=True)
class VAEConfig(AutoencodeConfig):
    """A picture is a Gaussian in code space, and all of them together are about N(0, I) (Kingma and Welling 2014)."""

    beta: float = 1.0  # weight of the divergence; 1 is the bound on the likelihood (Higgins et al. 2017)
    beta_warmup: float = 0.2  # share of the run over which beta grows from 0 (Bowman et al. 2016)

    def extra(self, encoder, image, mean, log_variance, done, rng):
        assert log_variance is not None
        grown = min(1.0, done / self.beta_warmup) if self.beta_warmup else 1.0
        return {"kl": self.beta * grown * kl_to_normal(mean, log_variance).mean()}


def default_widths(layers: str, resolution: int) -> tuple[int, ...]:
    """Of hidden layers; those of convolutions double with each halving, down to 4 to 7 px."""
    if layers == "dense":
        return (256, 128)
    halvings = next(i for i in range(20) if resolution / 2**i < 8)
    return tuple(min(32 * 2**i, 256) for i in range(halvings + 1))


@dataclass(frozen=True)
class AutoencodeStep:
    """What one step reports; losses by name, in nats a picture but for mse, which is a pixel's in [-1, 1]."""

    images_seen: int
    losses: dict[str, float]


class AutoencodeTrainer:
    """Holds all that a run moves. `state` and `restore` make a resumed run equal to an unbroken one."""

    keep_latest = True  # what the run ends in is what it was for, not the state with the best pictures

    def __init__(
        self, config: AutoencodeConfig, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None
    ) -> None:
        self.config, self.pictures, self.device = config, pictures, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.ema = Autoencoder(config.model())
        if init is not None:
            start_from(self.ema, init)
        self.ema.to(self.device)
        assert isinstance(self.ema.encoder, CodeEncoder)
        self.encoder = self.ema.encoder
        groups = [
            {"params": list(self.ema.decoder.parameters()), "weight_decay": config.decay},
            {"params": list(self.encoder.parameters()), "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate)
        self.step = self.images_seen = self.bad_steps = 0

    def run(self) -> Iterator[AutoencodeStep]:
        """Steps to the end of the run; the caller saves, shows and stops. TrainingError after 50 bad steps in a row."""
        while self.images_seen < self.config.images:
            losses = self.one_step()
            self.step, self.images_seen = self.step + 1, self.images_seen + self.config.batch
            self.bad_steps = 0 if losses else self.bad_steps + 1
            if self.bad_steps >= 50:
                raise TrainingError("the loss was not finite 50 times in a row; lower lr, and resume")
            yield AutoencodeStep(self.images_seen, losses)

    def one_step(self) -> dict[str, float]:
        """One update; empty if the gradients were not finite and it was skipped."""
        c, done = self.config, self.images_seen / self.config.images
        rng = torch.Generator().manual_seed(c.seed * 1_000_003 + self.step)  # so that resuming needs no state
        for group in self.optimizer.param_groups:
            group["lr"] = c.rate * min(1.0, (1 - done) / max(c.rampdown, 1e-9))
        image = self.pictures.draw(c.batch, rng, mirror=c.mirror).to(self.device)
        seen = c.seen(image, rng)
        mean, log_variance = self.encoder.moments(seen)
        code = mean if log_variance is None else sample(mean, log_variance, rng)
        logits = self.ema.logits(code)
        bernoulli = c.likelihood == "bernoulli"
        nll = (bernoulli_nll(logits, image) if bernoulli else gaussian_nll(logits, image, c.sigma)).mean()
        terms = {"nll": nll} | c.extra(self.encoder, seen, mean, log_variance, done, rng)
        self.optimizer.zero_grad(set_to_none=True)
        (torch.stack(list(terms.values())).sum() / image[0].numel()).backward()
        norm = nn.utils.clip_grad_norm_(self.ema.parameters(), 5.0)
        if not norm.isfinite():
            return {}
        self.optimizer.step()
        drawn = torch.tanh(logits.detach() / 2) if bernoulli else logits.detach()
        return {k: float(v.detach()) for k, v in terms.items()} | {"mse": float((drawn - image).square().mean())}

    def finished(self) -> Generator:
        """The model as it would be saved now: where codes have no prior, samples take their moments."""
        return settle(self.ema, self.pictures)

    def state(self) -> dict[str, object]:
        """Plain tensors, numbers and containers; enough to go on as if never stopped."""
        return {
            "config": asdict(self.config),
            "step": self.step,
            "images_seen": self.images_seen,
            "model": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict) -> None:
        self.step, self.images_seen = state["step"], state["images_seen"]
        self.ema.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def sample(
    mean: Float[Tensor, "batch dim"], log_variance: Float[Tensor, "batch dim"], rng: torch.Generator
) -> Float[Tensor, "batch dim"]:
    """A draw from each Gaussian that lets gradients through to both (the reparameterisation)."""
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
