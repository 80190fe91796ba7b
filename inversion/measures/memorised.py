"""Memorised faces: how near a generator's samples lie to its training faces, in numbers and as a picture."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from generators.storage import write_bytes
from inversion.measures.diversity import nearest, strangers
from inversion.metrics import SAME_PERSON

MEMORISED = 200  # samples whose nearest training face is looked for
PAIRS = 12  # shown in the picture
STRANGERS = 2000  # random pairs of training faces


@dataclass(frozen=True)
class Neighbours:
    """Identity distances to the nearest training face."""

    index: Int[np.ndarray, " samples"]  # of each sample's nearest training face
    samples: Float[np.ndarray, " samples"]
    held_out: Float[np.ndarray, " held_out"]  # of real people who were not trained on
    strangers: Float[np.ndarray, " pairs"]  # between random training faces


def find_neighbours(
    samples: Float[np.ndarray, "n dim"],
    training: Float[np.ndarray, "m dim"],
    held_out: Float[np.ndarray, "k dim"],
    *,
    seed: int = 0,
) -> Neighbours:
    """The nearest training descriptor of each sample and each held-out face; none of the three may be empty."""
    index, near = nearest(samples, training)
    return Neighbours(index, near, nearest(held_out, training)[1], strangers(training, STRANGERS, seed))


def memorised_figures(found: Neighbours) -> dict[str, Any]:
    """Medians and least distances, and the share of samples that lie nearer than a tenth of the held-out people do.

    That share is about 0.1 where samples are to the training faces what other people are; more where some are copies,
    and also where samples differ less than people do, so that all lie near the middle of them.
    """
    tenth = float(np.quantile(found.held_out, 0.1))
    return {
        "samples": len(found.samples),
        "nearest_median": float(np.median(found.samples)),
        "nearest_least": float(found.samples.min()),
        "held_out_median": float(np.median(found.held_out)),
        "held_out_least": float(found.held_out.min()),
        "nearer_than_tenth": float((found.samples < tenth).mean()),
        "strangers_median": float(np.median(found.strangers)) if len(found.strangers) else None,
    }


def write_memorised(
    found: Neighbours,
    path: Path,
    *,
    sample: Callable[[int], Image.Image],
    training: Callable[[int], Image.Image],
) -> None:
    """Draw the dozen samples that are nearest to a training face, each beside it, above the distances of all.

    sample and training give the picture of a row of the descriptors. path is a .png.
    """
    from generators.pictures.figure import figure_class

    Figure = figure_class()
    figure = Figure(figsize=(12, 9.5), layout="constrained")
    figure.suptitle("The samples (left) nearest to a training face (right), and how far they are from it")
    grid = figure.add_gridspec(PAIRS // 4 + 1, 4, height_ratios=[1] * (PAIRS // 4) + [2])
    for k, i in enumerate(np.argsort(found.samples, kind="stable")[:PAIRS]):
        place = figure.add_subplot(grid[k // 4, k % 4])
        place.imshow(np.hstack([np.asarray(sample(int(i))), np.asarray(training(int(found.index[i])))]))
        place.set_title(f"{found.samples[i]:.2f}", fontsize=10)
        place.axis("off")
    draw_distances(figure.add_subplot(grid[-1, :]), found)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_bytes(buffer.getvalue(), path)


def draw_distances(place: Any, found: Neighbours) -> None:
    """Draw three histograms of equal area."""
    sets = {
        f"{len(found.samples)} samples, nearest training face": found.samples,
        f"{len(found.held_out)} held-out people, nearest training face": found.held_out,
        f"{len(found.strangers)} pairs of training faces": found.strangers,
    }
    top = max(float(v.max(initial=1.0)) for v in sets.values())
    edges = np.arange(0, top + 0.05, 0.025)
    for (label, values), colour in zip(sets.items(), ("tab:red", "tab:blue", "tab:gray"), strict=True):
        if len(values):
            place.hist(values, edges, density=True, alpha=0.5, label=label, color=colour)
    place.axvline(SAME_PERSON, color="black", linestyle=":", label=f"{SAME_PERSON}: one person below")
    place.set(xlabel="identity: distance of dlib's descriptors", ylabel="density", xlim=(0, top))
    place.legend()
