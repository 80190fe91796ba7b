"""The settings of training runs."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What every run has."""

    resolution: int = 64  # pixels
    img_channels: int = 3  # 1: grey
    batch: int = 16  # photographs a step, over all processes
    images: int = 200_000  # photographs to see in all
    warmup: int = 12_000  # of them by reconstruction alone (encoder runs: with one style for all layers)
    lr: float = 0.002  # of generator and encoder
    rampdown: float = 0.3  # share of the run over which lr falls to a tenth
    matching: float = 2.0  # weight of feature matching, within the adversarial term where there is one
    w_penalty: float = 0.0005  # of the mean square of codes, and twenty times that of the offsets between layers
    ema: float = 0.998  # decay a step, at a batch of 16; less at first
    clip: float = 5.0  # gradient norm
    precision: str = "auto"  # of autocast: bf16, fp32, or fp16 for GPUs; auto: bf16 where the device has units for it
    mirror: bool = True  # photographs are mirrored half of the time
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopConfig):
    """A generator with its discriminator; with its encoder where the run is joint."""

    joint: bool = True  # an autoencoder in W with an adversary; False: StyleGAN2 as published, without encoder
    channels: tuple[int, ...] = (256, 256, 192, 96, 48)  # at 4, 8, ... px, for all three networks
    subpixel: int = 1  # 2: the networks' features end at half the resolution, and each draws 2 x 2 pixels
    w_dim: int = 512
    mapping_layers: int = 3
    flow_steps: int = 8  # of the flow that draws w, which is fitted to codes; 0: a mapping network; joint runs alone
    flow_lr: float = 0.002  # of the flow
    flow_rounds: int = 9000  # that fit it to the codes of all pictures once the run has ended; fewer in short runs
    mapping_lr: float = 0.3  # of a mapping network, relative to lr
    mapping_rounds: int = 2  # steps of flow, or mapping network and its critic, for each of the rest; joint runs alone
    linear: int = 32  # px of the pictures whose principal components the codes start from; 0: none; joint runs alone
    style_mixing: float | None = None  # share of samples with two styles; None: 0.9, and 0 in joint runs
    d_lr: float = 0.004  # of the discriminators
    adversarial: float = 0.8  # length of the adversarial gradient on the image, relative to reconstruction's
    imagined: float = 2.0  # weight of that gradient on mixtures and samples
    r1: float = 0.02  # weight of the discriminator's gradient penalty
    r1_every: int = 16  # steps from one penalty to the next, which counts as often
    path_length: float = 0.0  # weight of path length regularisation, 2 is usual; 0: none; not in joint runs
    path_every: int = 8  # steps from one to the next, which counts as often
    augment_kind: str = "diff"  # diff: DiffAugment; ada: adaptive augmentation; none
    augment: float = 0.2  # strength of DiffAugment
    augment_target: float = 0.6  # mean sign of the scores of photographs that adaptive augmentation steers to
    augment_speed: int = 500_000  # photographs over which its probability could go from 0 to 1
    w_noise: float = 0.1  # standard deviation, added to codes so that their neighbours render too


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(LoopConfig):
    """An encoder for a generator that stays as it is."""

    channels: tuple[int, ...] | None = None  # at 4, 8, ... px; None: the generator's, 256 at most
    released: float = 0.5  # share of the run after which every layer has its offset; from warmup on, coarse to fine
    samples: float = 0.5  # generated pictures, whose codes are known, for each photograph
    supervised: float = 0.5  # weight of the distance to known codes, relative to the variance of W
    matching: float = 0.5  # weight of the discriminator's features, where the model has them
    w_penalty: float = 0.005  # the same, relative to the variance of W
