"""Published settings by name. To add one, write a line in RECIPES."""

from dataclasses import replace
from typing import Any

from generators.base import Generator
from inversion.errors import SettingsError
from inversion.latent import LatentSpace
from inversion.loop import InvertConfig
from inversion.losses import parse_weights

RECIPES = {
    # Karras et al. 2020 (StyleGAN2), appendix D: one w for all layers, noise optimised, LPIPS.
    "projector": InvertConfig(
        space=LatentSpace.W, start="mean", steps=1000, lr=0.1, w_jitter=0.05, optimize_noise=True,
        loss={"lpips-vgg": 1.0, "noise": 1e5},
    ),
    # Abdal et al. 2019 (Image2StyleGAN): one w a layer, perceptual and pixel loss, constant learning rate.
    "image2stylegan": InvertConfig(
        start="mean", steps=5000, lr=0.01, lr_rampup=0.0, lr_rampdown=0.0, loss={"lpips-vgg": 1.0, "pixel": 1.0}
    ),
    # The model's encoder alone, in milliseconds.
    "encode": InvertConfig(steps=0),
    # Ours: from the encoder's guess, under the discriminator's features; held near the guess so that edits stay good.
    # What the styles then still miss goes to the noise, so that no style has to bend for it (the aim of Wang et al.
    # 2022, "High-Fidelity GAN Inversion for Image Attribute Editing", which learns its detail maps).
    "default": InvertConfig(
        steps=150, lr=0.1, detail=0.3,
        loss={"pixel": 2.0, "laplacian": 0.5, "features": 0.1, "anchor": 0.005, "detail": 0.002},
    ),
}
# The default for faces of 256 px and more where the model brings no eyes of its own: it sees through networks that pip
# brings.
# Coarse to fine, as the fine sizes cost most; in whitened coordinates, where the same pictures lie nearer to W.
FACES = InvertConfig(
    steps=90, whiten=True, lr=0.25, coarse=((0.95, 256), (0.98, 512)), detail=0.25, detail_lr=0.3,
    loss={"pixel": 2.0, "laplacian": 0.5, "perceptual": 0.5, "identity": 0.1, "delta": 0.01, "detail": 0.0005},
)


def recipe(name: str, generator: Generator) -> InvertConfig:
    """The settings of that name, fitted to the generator.

    Features only where its file has them, detail only where it has noise. Where the encoder is the best that there is,
    its word stands: it looks once, and there are no steps by default. Pictures under 16 px are found soon, and are too
    small for bf16 to pay.
    """
    if name not in RECIPES:
        raise SettingsError(f"no recipe named {name!r}; known recipes: {', '.join(RECIPES)}")
    config = RECIPES[name]
    if name == "default" and is_large_face(generator):
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


def is_large_face(generator: Generator) -> bool:
    """Whether it draws faces that networks trained on photographs can see, and has no features of its own."""
    return generator.subject == "face" and generator.img_resolution >= 256 and generator.discriminator is None


def config_of(generator: Generator, name: str, **given: Any) -> InvertConfig:
    """The recipe's settings, but for those that are given and not None; space and loss may come as text.

    Several restarts start at random unless start is given; SettingsError where it is another, or for what `recipe`,
    `parse_weights` and InvertConfig refuse.
    """
    given = {setting: value for setting, value in given.items() if value is not None}
    if given.get("restarts", 1) > 1 and given.setdefault("start", "random") != "random":
        raise SettingsError(f"restarts are random starts, and start is {given['start']}; leave one of them out")
    for setting, read in (("space", LatentSpace), ("loss", parse_weights)):
        if isinstance(given.get(setting), str):
            given[setting] = read(given[setting])
    if given.get("space") is LatentSpace.Z:
        given.setdefault("whiten", False)  # z is white already
    return replace(recipe(name, generator), **given)
