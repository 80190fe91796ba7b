"""Quality against seconds: recipes on the same photographs, generator, networks and machine, a step of each in turn.

    python -m tests.benchmarks.speed --generator portraits --limit 4 --keep docs/speed-portraits

Only the steps are timed: the first guess and a target's features belong to the first one. At marks of time, a quarter
apart, and at its end each search is drawn at full size and measured as `latent evaluate` does, which is not timed. The
loss of a published recipe is what its own says of the picture, without terms on codes and noise. Ours reaches it where
its own picture first has no more of that loss. pti goes on with a tuning, as `latent invert --recipe pti` does; its
other half. Medians and quartiles are over photographs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from tests.benchmarks.common import (
    PORTRAITS,
    generator_option,
    json_option,
    path_type,
    report,
    source_option,
    write_json,
)
from tests.benchmarks.curves import Curve, at, curves, first_at, quartiles, write_figure

if TYPE_CHECKING:
    from torch import Tensor

    from generators.base import Generator
    from inversion.config import InvertConfig

RECIPES = "default,projector-offline,projector-w-plus-offline,image2stylegan-offline,pti-offline"
STRIDE = 1.25  # from one mark of time to the next
FIRST_MARK = 0.1  # seconds
MARKS = (2.0, 5.0, 10.0, 20.0, 60.0)  # seconds, of the table
IMAGE = ("pixel", "l2", "l1", "laplacian", "lpips", "perceptual")  # the terms of a loss that are of pictures, begin so
Draw = Callable[[Any], "Tensor"]


@dataclass
class Search:
    """One recipe on one photograph, as far as it is."""

    steps: Iterator[Any]
    draw: Draw  # the picture of a step
    measure: Callable[["Tensor"], dict[str, float | None]]
    seconds: float = 0.0
    count: int = 0
    last: Any = None
    curve: Curve = field(default_factory=list)

    def goes_on(self) -> bool:
        """Take a step, timed, and measure it where a mark was passed; tell whether there was one."""
        began = perf_counter()
        step = next(self.steps, None)
        before, self.seconds = self.seconds, self.seconds + perf_counter() - began
        if step is None:
            if self.last is not None and (not self.curve or self.curve[-1]["steps"] != self.count - 1):
                self.keep(before)
            return False
        self.last, self.count = step, self.count + 1
        mark = self.curve[-1]["mark"] if self.curve else FIRST_MARK
        assert mark is not None
        if self.count == 1 or self.seconds >= mark:
            self.keep(self.seconds)
        return True

    def keep(self, seconds: float) -> None:
        """Measure the last step; the next mark is a stride further on."""
        about = {"seconds": seconds, "steps": self.count - 1, "mark": max(seconds, FIRST_MARK) * STRIDE}
        self.curve.append(about | self.measure(self.draw(self.last)))


@click.command()
@generator_option
@source_option(PORTRAITS / "test-256.zip", "Folder or zip of aligned portraits.")
@click.option("--recipes", default=RECIPES, show_default=True, help="Recipes, ours first.")
@click.option("--limit", default=4, show_default=True, help="The first so many portraits.")
@click.option("--keep", type=path_type, help="Write KEEP.json, all curves, and KEEP.png, their picture.")
@json_option
def main(generator: str, source: Path, recipes: str, limit: int, keep: Path | None, as_json: bool) -> None:
    """Search the same photographs by several recipes."""
    from generators import load
    from generators.pictures.sources import pictures
    from inversion.target import load_target

    model, names = load(generator), recipes.split(",")
    found: dict[str, list[Curve]] = {name: [] for name in names}
    photos = pictures(source)[:limit]
    for number, photo in enumerate(photos):
        target = load_target(model, photo, align=False).image
        for search in searches(model, target, names).values() if number == 0 else ():
            search.goes_on()  # a warm-up
        for name, curve in together(searches(model, target, names)).items():
            found[name].append(curve)
        click.echo(f"{photo.name}: {', '.join(told(name, found[name][-1]) for name in names)}", err=True)
    figures = {"photographs": len(photos), **summary(found, names)}
    report(f"{generator}: {len(photos)} photographs", figures, as_json)
    if keep is not None:
        write_json(keep.with_name(f"{keep.name}.json"), {"generator": generator, "figures": figures, "curves": found})
        write_figure(keep.with_name(f"{keep.name}.png"), generator, found)


def told(name: str, curve: Curve) -> str:
    """A search's end, in a few words."""
    return f"{name} {curve[-1]['seconds']:.1f} s, {curve[-1]['psnr_db']:.1f} dB"


def together(running: dict[str, Search]) -> dict[str, Curve]:
    """The curves of searches that take their steps in turns, so that what else the machine does hits all alike."""
    left = dict(running)
    while left:
        left = {name: search for name, search in left.items() if search.goes_on()}
    return {name: search.curve for name, search in running.items()}


def searches(model: "Generator", target: "Tensor", names: list[str]) -> dict[str, Search]:
    """A search by each recipe, not begun yet."""
    from inversion.config import recipe
    from inversion.latent import synthesize

    configs = {name: recipe(model, name) for name in names}
    measure = measured(model, target, configs)
    found = {}
    for name, config in configs.items():
        tuned = Tuned(model, target, name, config)
        found[name] = Search(tuned.steps(), lambda step, of=tuned: synthesize(of.drawn_by(step), step.latent), measure)
    return found


class Tuned:
    """The steps of a recipe, and of the tuning that some go on with."""

    def __init__(self, model: "Generator", target: "Tensor", name: str, config: "InvertConfig") -> None:
        from inversion.tuning.config import TUNINGS

        self.model, self.target, self.config = model, target, config
        self.tuning = TUNINGS.get(name)

    def steps(self) -> Iterator[Any]:
        """The search's, then the tuning's."""
        from inversion.loop import steps_of
        from inversion.tuning.tune import steps_of as tuning_steps

        step = None
        for step in steps_of(self.model, self.target, self.config):
            yield step
        if self.tuning is not None and step is not None:
            yield from tuning_steps(self.model, step.latent, self.target, self.tuning)

    def drawn_by(self, step: Any) -> "Generator":
        """The generator that draws a step's latent."""
        from inversion.tuning.tune import TuneStep, tuned_by

        if not isinstance(step, TuneStep) or self.tuning is None:
            return self.model
        return tuned_by(self.model, step, self.tuning)


def measured(
    model: "Generator", target: "Tensor", configs: "dict[str, InvertConfig]"
) -> Callable[["Tensor"], dict[str, float | None]]:
    """The measures of a picture: those of `latent evaluate`, and each recipe's loss of it."""
    import torch

    from inversion.losses import Candidate, TermContext, objectives
    from inversion.metrics import compare

    context = TermContext(generator=model, target=target)
    terms = {
        name: objectives({k: v for k, v in config.loss.items() if k.startswith(IMAGE)}, context)(target.shape[-1])
        for name, config in configs.items()
    }

    def measure(image: "Tensor") -> dict[str, float | None]:
        with torch.no_grad():
            candidate = Candidate(image, torch.empty(0), ())
            losses = {
                f"loss of {name}": sum(weight * float(term(candidate)) for weight, term in own.values())
                for name, own in terms.items()
            }
        seen = compare(image, target, faces=model.subject == "face")
        return {key: seen[key] for key in ("psnr_db", "perceptual", "identity")} | losses

    return measure


def summary(found: dict[str, list[Curve]], names: list[str]) -> dict[str, object]:
    """The end of each recipe, how soon ours has its loss, and the quality of all at the same times."""
    ours, figures = names[0], {}
    for name in names:
        ends = [curve[-1] for curve in found[name]]
        for key in ("seconds", "steps", "psnr_db", "identity"):
            figures[f"{name}: {key}"] = quartiles([end[key] for end in ends])
    for name in names[1:]:
        key, shares = f"loss of {name}", []
        for own, other in zip(found[ours], found[name], strict=True):
            there = first_at(own, key, other[-1][key] or 0.0)
            shares.append((other[-1]["seconds"] or 0.0) / there if there else None)
        figures[f"{ours} has the loss of {name} in its time over"] = quartiles(shares)
        figures[f"{ours} never has the loss of {name}"] = sum(share is None for share in shares)
    for key in ("psnr_db", "identity"):
        for name, drawn in curves(found, key).items():
            figures |= {f"{name}: {key} at {mark:g} s": at(drawn, mark) for mark in MARKS}
    return figures


if __name__ == "__main__":
    main()
