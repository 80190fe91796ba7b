"""Settings of autoencoders, a class for each kind, and of principal components. Nothing here needs torch."""

from dataclasses import dataclass

from generators.errors import TrainingError
from generators.settings import setting
from generators.training.config import SIZE, RunConfig

CODES = "Autoencoders (ae, sparse, contractive, denoising, vae, pca)"  # group of the help
LAYERS = ("linear", "dense", "conv")
ENDS, LIKELIHOODS = ("linear", "sigmoid"), ("gaussian", "bernoulli")


@dataclass(frozen=True, kw_only=True)
class AutoencodeConfig(RunConfig):
    """Settings of an undercomplete autoencoder, which those of the other kinds add to."""

    batch: int = setting(64, "Pictures a step, over all processes.", least=1, group=SIZE)
    lr: float | None = setting(
        None, "Learning rate.", above=0, group=SIZE, shown="0.002, linear layers 0.05"
    )  # linear layers find their last axes slowly
    rampdown: float = setting(0.5, "Share of the run over which it falls.", least=0, most=1, group=SIZE)
    mirror: bool = setting(False, "Mirror half of the pictures.", group=SIZE)
    dim: int = setting(16, "Numbers of a code.", least=1, group=CODES, fixed=True)
    layers: str | None = setting(
        None, "Of encoder and decoder.", choices=LAYERS, group=CODES, fixed=True, shown="dense up to 16 px, then conv"
    )
    widths: tuple[int, ...] | None = setting(
        None, "Of hidden layers, from the picture to the code.", group=CODES, fixed=True, shown="by --resolution"
    )
    code: str = setting("linear", "What a code ends in.", choices=ENDS, group=CODES, fixed=True)
    likelihood: str = setting(
        "gaussian", "Of the pixels, given the code.", choices=LIKELIHOODS, group=CODES, fixed=True
    )
    sigma: float = setting(0.3, "Standard deviation of a Gaussian pixel, in [-1, 1].", above=0, group=CODES)
    decay: float = setting(
        0.0, "Of the decoder's weights, so that they do not make up for small codes.", least=0, group=CODES
    )

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        usual = 0.05 if self.layers == "linear" else 0.002
        return usual if self.lr is None else self.lr


@dataclass(frozen=True, kw_only=True)
class PenaltyConfig(AutoencodeConfig):
    """Settings of the kinds whose codes cost something."""

    code: str = setting("sigmoid", "What a code ends in.", choices=ENDS, group=CODES, fixed=True)
    decay: float = setting(
        0.001, "Of the decoder's weights, so that they do not make up for small codes.", least=0, group=CODES
    )
    weight: float = setting(10.0, "Of sparsity or contraction.", least=0, group=CODES)


@dataclass(frozen=True, kw_only=True)
class SparseConfig(PenaltyConfig):
    """Most numbers of a code are nearly off, each for most pictures."""

    dim: int = setting(64, "Numbers of a code.", least=1, group=CODES, fixed=True)
    sparsity: str = setting(
        "kl", "Divergence from --target, or the sum of sizes (sparse).", choices=("kl", "l1"), group=CODES
    )
    target: float = setting(0.1, "Mean activation that kl asks for (sparse).", group=CODES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity == "kl" and (self.code != "sigmoid" or not 0 < self.target < 1):
            raise TrainingError(f"sparsity kl with code {self.code}, target {self.target}; it takes sigmoid and (0, 1)")


@dataclass(frozen=True, kw_only=True)
class ContractiveConfig(PenaltyConfig):
    """Codes hardly move when a picture changes a little."""

    probes: int = setting(0, "Directions that estimate contraction; 0: exactly, by all.", least=0, group=CODES)


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig(AutoencodeConfig):
    """The encoder sees a spoiled picture, and the decoder draws the whole one."""

    noise: str = setting("gaussian", "What spoils the picture (denoising).", choices=("gaussian", "mask"), group=CODES)
    noise_level: float = setting(
        0.3, "Standard deviation in [-1, 1], or share of pixels (denoising).", least=0, group=CODES
    )


@dataclass(frozen=True, kw_only=True)
class VAEConfig(AutoencodeConfig):
    """A picture is a Gaussian in code space, and all of them together are about N(0, I) (Kingma and Welling 2014)."""

    beta: float = setting(
        1.0, "Weight of the divergence; 1 is the bound on the likelihood (vae).", least=0, group=CODES
    )  # Higgins et al. 2017
    beta_warmup: float = setting(
        0.2, "Share of the run over which it grows from 0 (vae).", least=0, most=1, group=CODES
    )  # Bowman et al. 2016


@dataclass(frozen=True, kw_only=True)
class FitConfig(RunConfig):
    """Principal components, which are fitted in one step."""

    dim: int = setting(16, "Numbers of a code.", least=1, group=CODES, fixed=True)
    images: int = 1  # the run is one step, whatever this says
    batch: int = 1
