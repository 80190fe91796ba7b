"""Settings of training runs: what all have, and those of generators and their encoders. Nothing here needs torch.

A setting stands here once: its field tells its default, range, group and help, and the command line has an option for
it. `fixed` settings give the networks their sizes, which a run that goes on cannot change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from generators.errors import TrainingError
from generators.settings import check, default_of, setting, settings_of

SIZE, GENERATOR = "Size and length", "Generator (stylegan2)"  # groups of the help
ADVERSARY, ENCODER = "Its adversary", "Encoder (in joint runs, and encoder)"
PRECISIONS, AUGMENTATIONS = ("auto", "bf16", "fp16", "fp32"), ("diff", "ada", "none")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings that every run has; TrainingError for what is out of range."""

    resolution: int = setting(
        64, "In pixels: 8, 16, 32 ...", least=8, group=SIZE, fixed=True, shown="64, or that of --init"
    )
    img_channels: int = setting(3, "3 for colour, 1 for grey.", least=1, most=3, group=SIZE, fixed=True)
    images: int = setting(200_000, "Pictures to see in all.", least=1, group=SIZE)
    batch: int = setting(16, "Pictures a step, over all processes.", least=1, group=SIZE)
    seed: int = setting(0, "The same seed makes the same run, on one machine.", least=0, group=SIZE)

    def __post_init__(self) -> None:
        check(self, TrainingError)
        if self.img_channels == 2:
            raise TrainingError("img_channels is 2; wanted 3 for colour, or 1 for grey")

    @classmethod
    def fitted(cls, found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings for a run: those found of its model or pictures, those given, and what follows from both."""
        return {name: value for name, value in found.items() if name in cls.__dataclass_fields__} | dict(given)


@dataclass(frozen=True, kw_only=True)
class LoopConfig(RunConfig):
    """Settings that every run of a generator or an encoder has."""

    lr: float = setting(0.002, "Learning rate.", above=0, group=SIZE)
    rampdown: float = setting(0.3, "Share of the run over which it falls.", above=0, most=1, group=SIZE)
    mirror: bool = setting(True, "Mirror half of the pictures.", group=SIZE)
    ema: float = setting(
        0.998, "Decay a step of the averaged model, at a batch of 16; less at first.", least=0, most=1, group=GENERATOR
    )
    clip: float = setting(5.0, "Largest gradient norm.", above=0, group=GENERATOR)
    precision: str = setting("auto", "Of autocast; auto: bf16 if faster here.", choices=PRECISIONS, group=GENERATOR)
    warmup: int = setting(
        12_000,
        "Images by reconstruction alone, before it enters (an encoder's: with one style for all layers).",
        least=0,
        group=ADVERSARY,
        shown="a fifth of --images, to 12000",
    )
    matching: float = setting(2.0, "Weight of its features.", least=0, group=ADVERSARY)
    w_penalty: float = setting(
        0.0005, "Weight of the mean square of codes, and twenty times of their offsets.", least=0, group=ENCODER
    )

    @classmethod
    def fitted(cls, found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        settings = super().fitted(found, given)
        if "images" in given and "warmup" not in given:
            settings["warmup"] = min(default(cls, "warmup"), given["images"] // 5)
        return settings


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopConfig):
    """A generator with its discriminator; with its encoder where the run is joint."""

    joint: bool = setting(
        True, "With an encoder, as an autoencoder in W; or as published.", group=GENERATOR, fixed=True
    )
    channels: tuple[int, ...] = setting(
        (256, 256, 192, 96, 48), "At 4, 8, 16 ... px, in all networks.", group=GENERATOR, fixed=True
    )
    subpixel: int = setting(
        1, "2: features end at half the resolution, which is faster.", least=1, group=GENERATOR, fixed=True
    )
    w_dim: int = setting(512, "Numbers of a style.", least=1, group=GENERATOR, fixed=True)
    mapping_layers: int = setting(3, "Layers of the mapping network.", least=1, group=GENERATOR, fixed=True)
    mapping_lr: float = setting(0.3, "Its learning rate, relative to --lr.", above=0, group=GENERATOR, fixed=True)
    mapping_rounds: int = setting(
        2, "Its steps, or the flow's, for each of the rest, in joint runs.", least=0, group=GENERATOR
    )
    flow_steps: int = setting(
        8, "Steps of the flow that draws w in joint runs; 0: a mapping network.", least=0, group=GENERATOR, fixed=True
    )
    flow_lr: float = setting(0.002, "Learning rate of the flow.", above=0, group=GENERATOR)
    flow_rounds: int = setting(
        9000, "Steps that fit the flow at the end; fewer in short runs.", least=0, group=GENERATOR
    )
    linear: int = setting(
        32,
        "Start joint runs from principal components of so many px; 0: from nothing.",
        least=0,
        group=GENERATOR,
        fixed=True,
    )
    style_mixing: float | None = setting(
        None, "Share of samples with two styles.", least=0, most=1, group=GENERATOR, shown="0.9; 0 in joint runs"
    )
    path_length: float = setting(
        0.0, "Weight of path length regularisation, not in joint runs; 2 is usual.", least=0, group=GENERATOR
    )
    path_every: int = setting(8, "Steps from one to the next, which counts as often.", least=1, group=GENERATOR)
    adversarial: float = setting(
        0.8, "Length of its gradient on the picture, relative to reconstruction's.", least=0, group=ADVERSARY
    )
    imagined: float = setting(2.0, "Weight of that on mixtures and samples.", least=0, group=ADVERSARY)
    d_lr: float = setting(0.004, "Its learning rate.", above=0, group=ADVERSARY)
    r1: float = setting(0.02, "Weight of its gradient penalty.", least=0, group=ADVERSARY)
    r1_every: int = setting(16, "Steps from one penalty to the next, which counts as often.", least=1, group=ADVERSARY)
    augment_kind: str = setting("diff", "DiffAugment, adaptive, or none.", choices=AUGMENTATIONS, group=ADVERSARY)
    augment: float = setting(0.2, "Strength of DiffAugment.", least=0, group=ADVERSARY)
    augment_target: float = setting(0.6, "Mean sign of real scores that ADA steers to.", group=ADVERSARY)
    augment_speed: int = setting(
        500_000, "Images over which ADA's probability could go from 0 to 1.", least=1, group=ADVERSARY
    )
    w_noise: float = setting(0.1, "Added to codes, so that their neighbours render too.", least=0, group=ENCODER)

    @classmethod
    def fitted(cls, found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """As `RunConfig.fitted`; channels go on by halves above the default resolution, down to 16."""
        settings = super().fitted(found, given)
        if "channels" in given:
            return settings
        resolution, subpixel = (settings.get(name, default(cls, name)) for name in ("resolution", "subpixel"))
        channels, count = settings.get("channels", ()), (resolution // subpixel).bit_length() - 2
        if len(channels) != count:
            channels = default(cls, "channels")
            more = tuple(max(16, channels[-1] >> i) for i in range(1, 1 + count - len(channels)))
            channels = (*channels[:count], *more)
        return settings | {"channels": channels}


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(LoopConfig):
    """An encoder for a generator that stays as it is."""

    channels: tuple[int, ...] | None = setting(
        None,
        "At 4, 8, 16 ... px, in all networks.",
        group=GENERATOR,
        fixed=True,
        shown="its generator's, to 256",
    )
    matching: float = setting(0.5, "Weight of its features.", least=0, group=ADVERSARY)
    w_penalty: float = setting(
        0.005, "Weight of the mean square of codes, and twenty times of their offsets.", least=0, group=ENCODER
    )
    released: float = setting(
        0.5, "Share of the run after which each layer has its own style (encoder).", least=0, most=1, group=ENCODER
    )
    samples: float = setting(0.5, "Generated pictures for each photograph (encoder).", least=0, group=ENCODER)
    supervised: float = setting(0.5, "Weight of the distance to known codes (encoder).", least=0, group=ENCODER)

    @classmethod
    def fitted(cls, found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """As `RunConfig.fitted`, without the channels of a model: an encoder has its own."""
        return super().fitted({name: value for name, value in found.items() if name != "channels"}, given)


def default(config: type, name: str) -> Any:
    """The default of a setting."""
    return default_of(settings_of(config)[name][0])
