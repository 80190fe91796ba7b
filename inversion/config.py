"""Settings of an inversion, and the published ones by name. To add a recipe, write a line in RECIPES.

A setting stands here once: its field tells its default, range and help, and the command line has an option for it.
Nothing here needs torch.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generators.settings import check, setting
from inversion.errors import SettingsError

if TYPE_CHECKING:
    from generators.base import Generator

STARTS = ("encoder", "mean", "random")
FINER = "How latents are found, in detail"  # of the command line's help
RETURNS = ("best", "last")
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")  # of torch.optim


def losses() -> list[str]:
    """The names of the terms in losses.py, read from its source, since importing it would load torch."""
    tree = ast.parse(Path(__file__).with_name("losses.py").read_text())
    tables = [node for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TERMS"]
    assert isinstance(tables[0].value, ast.Dict)
    return [str(key.value) for key in tables[0].value.keys if isinstance(key, ast.Constant)]


class LatentSpace(StrEnum):
    """The kind of a code, and what an inversion moves."""

    Z = "z"  # (batch, z_dim), Gaussian
    W = "w"  # (batch, w_dim), one style for all layers
    W_PLUS = "w_plus"  # (batch, num_ws, w_dim), one style per layer


@dataclass(frozen=True, kw_only=True)
class InvertConfig:
    """Settings of one inversion; RECIPES holds published ones by name. SettingsError for what is out of range."""

    steps: int = setting(200, "Updates of the latent; 0 gives the first guess alone.", least=0)
    space: LatentSpace = setting(
        LatentSpace.W_PLUS, "What moves: one style a layer, one for all, or z.", choices=("w_plus", "w", "z")
    )
    loss: Mapping[str, float] = setting(
        lambda: {"pixel": 1.0}, lambda: f"What is made small, as in lpips=0.8,pixel=1; of {', '.join(losses())}."
    )
    lr: float = setting(0.05, "Peak learning rate, after ramp-up.", above=0)
    start: str = setting("encoder", "First guess; encoder is mean where the model has no encoder.", choices=STARTS)
    label: int | None = setting(
        None,
        "Class, from 0, where the generator knows classes; z needs it, w starts at its mean.",
        least=0,
        shown="none",
    )
    seed: int = setting(0, "Of random starts, jitter and samples; the same number gives the same result.", least=0)
    restarts: int = setting(1, "Random starts, of which the best after a tenth of the steps goes on.", least=1)
    patience: int | None = setting(
        None, "Stop after so many steps that gain under 0.1 %, even before the detail.", least=1, shown="never"
    )
    optimize_noise: bool = setting(
        False, "Move the noise beside the code, kept at unit variance; it starts as --seed draws it.", flag="noise"
    )
    detail: float = setting(
        0.0, "Share of the steps, the last ones, that move the noise alone: what no style draws.", least=0, most=1
    )
    detail_lr: float = setting(0.5, "Peak learning rate of the steps that move the noise alone.", above=0, group=FINER)
    optimizer: str = setting("adam", "Rule by which the gradient moves the latent.", choices=OPTIMIZERS, group=FINER)
    whiten: bool = setting(
        False,
        "Move w in its standard deviations along its principal axes; --lr is of those.",
        group=FINER,
    )
    looks: int = setting(
        2, "How often the encoder looks at its own rendering before it gives its guess.", least=0, group=FINER
    )
    returns: str = setting("best", "The step that is given: the best one, or the last.", choices=RETURNS, group=FINER)
    lr_rampup: float = setting(0.05, "Share of the steps over which --lr rises.", least=0, most=1, group=FINER)
    lr_rampdown: float = setting(0.25, "Share of the steps over which --lr falls.", least=0, most=1, group=FINER)
    w_jitter: float = setting(
        0.0, "Noise on w in units of its spread, falling to 0 (StyleGAN2's projector).", least=0, group=FINER
    )
    jitter_ramp: float = setting(
        0.75, "Share of the steps over which --w-jitter falls to 0.", above=0, most=1, group=FINER
    )
    bf16: bool | None = setting(
        None,
        "Compute in bf16, which is faster where the processor has units for it.",
        group=FINER,
        shown="where it is faster here, as timed once",
    )
    checkpoint: bool | None = setting(
        None,
        "Draw again for the gradient what memory then need not hold: a third slower, at a fraction of the memory.",
        group=FINER,
        shown="where memory does not hold it",
    )
    coarse: tuple[tuple[float, int], ...] = ()  # (share, px): up to that share of the steps pictures of that size do

    def size_at(self, done: float, full: int) -> int:
        """Pixels of the picture that is compared when this share of the steps is done; full is the generator's size."""
        return next((px for share, px in self.coarse if done < share and px < full), full)

    def __post_init__(self) -> None:
        check(self, SettingsError)
        shares = [share for share, _ in self.coarse]
        if shares != sorted(set(shares)) or any(not 0 < s < 1 for s in shares) or any(px < 1 for _, px in self.coarse):
            raise SettingsError(f"coarse is {self.coarse}; give rising shares between 0 and 1, each with a size in px")
        if self.whiten and self.space is LatentSpace.Z:
            raise SettingsError("whiten is on in space z, which is white already; leave it out, or choose w or w_plus")
        if self.w_jitter and self.space is LatentSpace.Z:
            raise SettingsError(f"w_jitter is {self.w_jitter} in space z; set it to 0, or choose w or w_plus")


def parse_weights(text: str) -> dict[str, float]:
    """Weights from text such as "lpips=0.8,pixel=1"; SettingsError for what cannot be read, or comes twice."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        try:
            weight = float(value)
        except ValueError:
            message = f"cannot read the loss {part.strip()!r}; write NAME=WEIGHT, as in pixel=1,laplacian=0.5"
            raise SettingsError(message) from None
        if name in weights:
            raise SettingsError(f"the loss {name} came twice in {text!r}; give it once")
        weights[name] = weight
    return weights


RECIPES = {
    # Karras et al. 2020 (StyleGAN2), appendix D: one w for all layers, noise optimised, LPIPS; the last step is given.
    # The noise is weighed as in their code, which averages where the paper doubles the averages.
    "projector": InvertConfig(
        space=LatentSpace.W,
        start="mean",
        steps=1000,
        lr=0.1,
        w_jitter=0.05,
        optimize_noise=True,
        returns="last",
        loss={"lpips-vgg": 1.0, "noise-code": 1e5},
    ),
    # Abdal et al. 2019 (Image2StyleGAN): one w a layer, perceptual and pixel loss, constant learning rate.
    "image2stylegan": InvertConfig(
        start="mean", steps=5000, lr=0.01, lr_rampup=0.0, lr_rampdown=0.0, loss={"lpips-vgg": 1.0, "pixel": 1.0}
    ),
    # The model's encoder alone, in milliseconds.
    "encode": InvertConfig(steps=0),
    # Alaluf et al. 2021 (ReStyle): five passes of an encoder that sees the photograph beside its last rendering.
    "restyle": InvertConfig(steps=0, looks=4),
    # Ours: from the encoder's guess, under the discriminator's features; held near the guess so that edits stay good.
    # What the styles then still miss goes to the noise, so that no style has to bend for it (the aim of Wang et al.
    # 2022, "High-Fidelity GAN Inversion for Image Attribute Editing", which learns its detail maps).
    "default": InvertConfig(
        steps=150,
        lr=0.1,
        detail=0.3,
        loss={"pixel": 2.0, "laplacian": 0.5, "features": 0.1, "anchor": 0.005, "detail": 0.002},
    ),
}
# The projector with a style for each layer, as its users run it for photographs.
RECIPES["projector-w-plus"] = replace(RECIPES["projector"], space=LatentSpace.W_PLUS)
# Roich et al. 2022 (pivotal tuning): the pivot, in W; the generator is then tuned, as TUNINGS says.
RECIPES["pti"] = replace(RECIPES["projector"], steps=450, lr=0.005)


def offline(config: InvertConfig) -> InvertConfig:
    """The settings with the perceptual network that pip brings in the place of LPIPS, whose weights are downloaded."""
    return replace(config, loss={"perceptual" if "lpips" in name else name: w for name, w in config.loss.items()})


RECIPES |= {f"{name}-offline": offline(c) for name, c in RECIPES.items() if any("lpips" in term for term in c.loss)}
# The default for faces of 128 px and more: it sees through networks that pip brings. Coarse to fine, as the fine sizes
# cost most; in whitened coordinates, where the same pictures lie nearer to W.
FACES = InvertConfig(
    steps=90,
    whiten=True,
    lr=0.25,
    coarse=((0.95, 256), (0.98, 512)),
    detail=0.25,
    detail_lr=0.3,
    loss={"pixel": 2.0, "laplacian": 0.5, "perceptual": 0.5, "identity": 0.1, "delta": 0.01, "detail": 0.0005},
)


def recipe(generator: "Generator", name: str = "default") -> InvertConfig:
    """The settings of that name, fitted to the generator.

    Features only where its file has them, detail only where it has noise. Where the encoder is the best that there is,
    its word stands: it looks once, and there are no steps by default. Pictures under 16 px are found soon, and are too
    small for bf16 to pay.
    """
    if name not in RECIPES:
        raise SettingsError(f"no recipe named {name!r}; known recipes: {', '.join(RECIPES)}")
    config = RECIPES[name]
    if name == "default" and draws_faces(generator):
        sizes = tuple((share, px) for share, px in FACES.coarse if generator.rendering(px) != "skip")
        config = replace(FACES, coarse=sizes)
    if name in ("default", "encode") and generator.closed_form:
        return replace(config, steps=0, looks=0, loss={"pixel": 1.0})
    if name == "default" and generator.img_resolution < 16:
        config = replace(config, steps=100, bf16=False)
    if "features" in config.loss and generator.discriminator is None:
        config = replace(config, loss={k: v for k, v in config.loss.items() if k != "features"} | {"ms_ssim": 0.5})
    if not generator.noise_shapes:
        config = replace(config, detail=0.0, loss={k: v for k, v in config.loss.items() if k != "detail"})
    return config


def draws_faces(generator: "Generator") -> bool:
    """Say whether it draws faces that networks trained on photographs can see."""
    return generator.subject == "face" and generator.img_resolution >= 128


def config_of(generator: "Generator", recipe_name: str, **given: Any) -> InvertConfig:
    """The recipe's settings, but for those that are given and not None; space and loss may come as text.

    Several restarts start at random unless start is given; SettingsError where it is another, or for what `recipe`,
    `parse_weights` and InvertConfig refuse.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("restarts", 1) > 1 and given.setdefault("start", "random") != "random":
        raise SettingsError(f"restarts are random starts, and start is {given['start']}; leave one of them out")
    for key, read in (("space", LatentSpace), ("loss", parse_weights)):
        if isinstance(given.get(key), str):
            given[key] = read(given[key])
    if given.get("space") is LatentSpace.Z:
        given.setdefault("whiten", False)  # z is white already
    return replace(recipe(generator, recipe_name), **given)


def settings_for(
    generator: "Generator",
    recipe: str | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    label: int | None = None,
) -> InvertConfig:
    """The settings that find codes: that recipe's, or None: the encoder's, or else, without one, the default ones."""
    recipe = recipe or ("default" if generator.encoder is None or steps else "encode")
    return config_of(generator, recipe, steps=steps, seed=seed, label=label)
