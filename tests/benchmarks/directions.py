"""Directions on test people: what each moves, what it moves besides, and whose face it stays.

    python -m tests.benchmarks.directions --generator ffhq --latents kept/ --json

A row for each direction, at two standard deviations of w. Moved: the share of faces whose own attribute is larger at
+2 than at -2. Besides: the largest change of another direction's attribute, as a part of the change of its own, each in
standard deviations over samples of the generator; and, of these people, over the faces. Identity is the distance of
dlib descriptors from the face at 0, under 0.6 is one person. Of age: the median of the age net at -2, 0 and +2, and the
share of pictures at -2 and +2 whose gender presentation changed its sign, of those that were sure of it (odds of ten to
one).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from tests.benchmarks.common import generator_option, json_option, path_type, report

if TYPE_CHECKING:
    from inversion.directions.effects import Effect, Sight

SURE = np.log(10)  # odds of a gender presentation


@click.command()
@generator_option
@click.option("--latents", type=path_type, required=True, help="Folder of saved latents, one person each.")
@click.option("--limit", type=int, help="Only the first so many people.")
@click.option("--names", help="Directions, with commas between.  [all]")
@click.option("--directions", "files", type=path_type, multiple=True, help="More directions; may be given again.")
@json_option
def main(
    generator: str, latents: Path, limit: int | None, names: str | None, files: Sequence[Path], as_json: bool
) -> None:
    """Measure the directions of a generator on people."""
    from generators import load
    from inversion.attributes import ATTRIBUTES
    from inversion.directions.effects import look, measure_one
    from inversion.directions.store import chosen, directions_for
    from inversion.directions.undo import moves
    from inversion.files.latent_file import load_latent

    model = load(generator)
    known = directions_for(model, files)
    wanted = [chosen(known, name, model) for name in (names.split(",") if names else sorted(known))]
    moved = [moves(one) for one in known.values()]
    measured = list(dict.fromkeys(["age", "gender", *(name for name in moved if name in ATTRIBUTES)]))
    paths = sorted(latents.rglob("*.latent.safetensors"))[:limit]
    people = [load_latent(path, model).to_w_plus(model) for path in paths]
    starts = [(latent, sight) for latent in people if (sight := look(model, latent, measured))]
    here = {name: float(np.std([sight.values[name] for _, sight in starts])) for name in measured}
    learned = [one for one in known.values() if moves(one) == one.name and "spread" in one.made]
    samples = {one.name: float(one.made["spread"]) for one in learned}
    spreads = {name: samples.get(name, here[name]) for name in measured}
    figures: dict[str, object] = {"people": len(starts)}
    for one in wanted:
        effect = measure_one(model, starts, one, measured, far=())
        own = moves(one) if moves(one) in measured else "age"
        figures |= {f"{one.name}: {key}": value for key, value in row(effect, own, spreads, here).items()}
        if own == "age":
            figures |= {f"{one.name}: {key}": value for key, value in ages(effect, [s for _, s in starts]).items()}
    report(f"{generator}: directions at 2 standard deviations", figures, as_json)


def row(effect: "Effect", own: str, spreads: dict[str, float], here: dict[str, float]) -> dict[str, object]:
    """The figures of one direction; spreads of attributes over samples, and over these people."""
    worst, share = besides(effect, own, spreads)
    worst_here, share_here = besides(effect, own, here)
    return {
        "moved": effect.moved(own, 2.0),
        "deviations a deviation": abs(effect.effects[own]) / spreads[own],
        "besides": share,
        "besides, which": worst,
        "besides, of these people": share_here,
        "besides, of these people, which": worst_here,
        "identity at 1": effect.identity(1.0),
        "same person at 1": effect.same_person(1.0),
        "identity at 2": effect.identity(2.0),
        "same person at 2": effect.same_person(2.0),
    }


def besides(effect: "Effect", own: str, spreads: dict[str, float]) -> tuple[str, float]:
    """The attribute that moves most beside its own, and how far, as a part of that."""
    shares = {name: abs(effect.effects[name]) / spreads[name] for name in spreads}
    worst = max((name for name in shares if name != own), key=lambda name: shares[name])
    return worst, shares[worst] / shares[own]


def ages(effect: "Effect", starts: "Sequence[Sight]") -> dict[str, object]:
    """Median ages, and how often gender presentation flips."""
    age, gender = (np.array([sight.values[name] for sight in starts]) for name in ("age", "gender"))
    back, forth = effect.at(2.0)
    sure = np.abs(gender) > SURE
    flips = [np.sign(gender + step.changes["gender"]) != np.sign(gender) for step in (back, forth)]
    return {
        "age at -2": float(np.nanmedian(age + back.changes["age"])),
        "age at 0": float(np.median(age)),
        "age at +2": float(np.nanmedian(age + forth.changes["age"])),
        "gender flips": float(np.mean([flip[sure].mean() for flip in flips])),
        "gender flips, unsure too": float(np.mean([flip.mean() for flip in flips])),
    }


if __name__ == "__main__":
    main()
