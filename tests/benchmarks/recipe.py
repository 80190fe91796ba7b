"""The gain of each part of the default recipe: the same portraits with one part left out, and with each loss added.

    python -m tests.benchmarks.recipe --generator ffhq --limit 6

Medians; the conventions are those of `latent evaluate`. from_w is the mean squared distance of the styles from the mean
of their layers in units of W's variance: the less, the better a latent edits (Tov et al. 2021).
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tests.benchmarks.common import PORTRAITS, generator_option, json_option, median, report, source_option

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.config import InvertConfig
    from inversion.inverter import Inversion

PIXEL = {"pixel": 2.0, "laplacian": 0.5}
LOSSES = {"features": 0.1, "perceptual": 0.5, "identity": 0.1}  # each is added to what stands before it
HOLD = ("anchor", "delta", "detail")  # terms that keep latents in place


@click.command()
@generator_option
@source_option(PORTRAITS / "test-256.zip", "Folder or zip of aligned portraits.")
@click.option("--limit", default=6, show_default=True, help="The first so many portraits.")
@click.option("--only", help="A part of the names of the rows that are wanted.")
@json_option
def main(generator: str, source: Path, limit: int, only: str | None, as_json: bool) -> None:
    """Invert a few portraits in several ways."""
    from generators import load
    from inversion.config import recipe

    model = load(generator)
    for name, config in variants(model, recipe(model, "default")).items():
        if only is None or only in name:
            report(f"{generator}, {name}", measure(model, source, config, limit), as_json)


def variants(model: "Generator", default: "InvertConfig") -> dict[str, "InvertConfig"]:
    """The default recipe, without each of its parts, and with other losses."""
    found = {"default": default, "from the mean, not the encoder": replace(default, start="mean")}
    if default.detail:
        found["without detail in the noise"] = replace(default, detail=0.0)
    if default.whiten:
        found["w as it is, not whitened"] = replace(default, whiten=False, lr=0.1)
    if default.coarse:
        found["every step at full size"] = replace(default, coarse=())
    held = {name: default.loss[name] for name in HOLD if name in default.loss}
    loss: dict[str, Any] = dict(PIXEL)
    found["loss: pixels alone"] = replace(default, loss=loss | held)
    for name, weight in LOSSES.items():
        if name != "features" or model.discriminator is not None:
            loss[name] = weight
            found[f"loss: + {name}"] = replace(default, loss=loss | held)
    return found


def measure(model: "Generator", source: Path, config: "InvertConfig", limit: int) -> dict[str, object]:
    """Medians over the portraits."""
    from generators.pictures.sources import pictures
    from inversion.inverter import Inversion, Inverter

    results = Inverter(model, config, align=False, batch=1).run(pictures(source)[:limit])
    people = [one for one in results if isinstance(one, Inversion)]
    names = ("psnr_db", "identity", "perceptual", "landmarks")
    figures: dict[str, object] = {
        name: median([value for one in people if (value := one.metrics[name]) is not None]) for name in names
    }
    return figures | {
        "from_w": median([from_w(model, one) for one in people]),
        "seconds": median([one.seconds for one in people]),
        "portraits": len(people),
    }


def from_w(model: "Generator", found: "Inversion") -> float:
    """How far the layers' styles are apart, in variances of W."""
    ws = found.latent.to_ws(model)
    return float((ws - ws.mean(dim=1, keepdim=True)).square().mean() / model.sample_w(4096).var(dim=0).mean())


if __name__ == "__main__":
    main()
