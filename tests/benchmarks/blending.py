"""Children and midpoints of test people: do they have faces, whose are they, and are they more than a cross-dissolve?

    python -m tests.benchmarks.blending --json --sheet blends.png

Identity is the distance of dlib descriptors, of what is rendered, averaged down to 256 px where it is larger.
Explained is the share of a child's pixel variance that the best mixture of its parents' reconstructions explains: least
squares with a constant, at 128 px; of plain means, and of a third person's reconstruction, beside it.
Sharpness is the root of: Laplacian energy over the mean of the two parents' reconstructions'. Midpoints are taken
spherically about w_avg, as `latent interpolate` goes, and beside it linearly; landmarks are dlib's 68 points.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.benchmarks.common import (
    PORTRAITS,
    distance,
    generator_option,
    inverted,
    json_option,
    kept,
    mean,
    median,
    path_type,
    report,
    seed_option,
    source_option,
)

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    from generators.base import Generator
    from inversion.inverter import Inversion

SHEET_ROWS = 12
Pairs = list[tuple[str, str]]
People = dict[str, "Inversion"]


@click.command()
@generator_option
@source_option(PORTRAITS / "test-256.zip", "Folder or zip of aligned portraits.")
@click.option("--recipe", default="default", show_default=True)
@click.option("--families", default=20, show_default=True, help="Pairs that have children.")
@click.option("--children", "per_family", default=4, show_default=True, help="Children a pair.")
@click.option("--midpoints", default=40, show_default=True, help="Pairs whose midpoint is looked at.")
@click.option("--limit", type=int, help="Only the first so many portraits.")
@click.option("--latents", type=path_type, help="Folder that `latent evaluate --keep` wrote: nothing is inverted.")
@click.option("--sheet", type=path_type, help="Picture to write: A, midpoint, plain average of the pixels, B.")
@seed_option
@json_option
def main(
    generator: str,
    source: Path,
    recipe: str,
    families: int,
    per_family: int,
    midpoints: int,
    limit: int | None,
    latents: Path | None,
    sheet: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure children and midpoints of pairs of test people."""
    from generators import load
    from inversion.measures.smoothness import draw_pairs

    model = load(generator)
    people = inverted(model, source, recipe, limit) if latents is None else kept(model, latents, limit)
    pairs = draw_pairs(list(people), max(families, midpoints), seed)
    figures = {
        **measure_children(model, people, pairs[:families], per_family, seed),
        **measure_midpoints(model, people, pairs[:midpoints]),
    }
    report(f"{generator}: {len(people)} people, pairs drawn with seed {seed}", figures, as_json)
    if sheet is not None and pairs:
        write_sheet(model, people, pairs[:SHEET_ROWS], sheet)


def measure_children(model: "Generator", people: People, pairs: Pairs, per_family: int, seed: int) -> dict[str, object]:
    """Faces, likeness and variety of the pairs' children."""
    from generators.pictures.image import to_pil
    from inversion.edit.family import family
    from inversion.edit.mix import blend
    from inversion.faces.detect import describe
    from inversion.latent import synthesize

    known = {name: describe(to_pil(small(person.target.image))) for name, person in people.items()}
    faces, verdicts, apart_identity, apart_pixels, shares, means, strangers = [], [], [], [], [], [], []
    for number, (a, b) in enumerate(pairs):
        siblings = family(model, [people[a].latent, people[b].latent], count=per_family, seed=seed + number)
        images = [small(synthesize(model, child.latent)) for child in siblings]
        both = [small(people[a].image), small(people[b].image)]
        shares += [explained(image, both) for image in images]
        means.append(explained(small(synthesize(model, blend([people[a].latent, people[b].latent]))), both))
        strangers += [explained(small(people[c].image), both) for c in list(people)[:5] if c not in (a, b)]
        seen = [describe(to_pil(image)) for image in images]
        faces += [face is not None for face in seen]
        verdicts += [likeness(face, known, a, b) for face in seen]
        apart_identity += [distance(seen[i], seen[j]) for i in range(per_family) for j in range(i)]
        apart_pixels += [rms(images[i], images[j]) for i in range(per_family) for j in range(i)]
    judged = [v for v in verdicts if v is not None]
    nearer = sum(max(to_a, to_b) < others for to_a, to_b, others in judged)
    return {
        "children": len(faces),
        "children_with_face": mean([float(f) for f in faces]),
        "judged": len(judged),  # child, both parents and somebody else have a face
        "nearer_to_both_parents": nearer / len(judged) if judged else None,
        "identity_nearer_parent": median([min(v[:2]) for v in judged]),
        "identity_further_parent": median([max(v[:2]) for v in judged]),
        "identity_unrelated": median([v[2] for v in judged]),
        "explained_by_parents": median(shares),
        "explained_mean_of_parents": median(means),
        "explained_third_person": median(strangers),
        "siblings_identity": median([d for d in apart_identity if d is not None]),
        "siblings_least_identity": min((d for d in apart_identity if d is not None), default=None),
        "siblings_least_rms": min(apart_pixels, default=None),
    }


def likeness(
    face: "np.ndarray | None", known: "dict[str, np.ndarray | None]", a: str, b: str
) -> tuple[float, float, float] | None:
    """Identity distance to parent a, to parent b, and to the average other person; None where faces are missing."""
    to_a, to_b = distance(face, known[a]), distance(face, known[b])
    others = [d for name, other in known.items() if name not in (a, b) and (d := distance(face, other)) is not None]
    return None if to_a is None or to_b is None or not others else (to_a, to_b, sum(others) / len(others))


def measure_midpoints(model: "Generator", people: People, pairs: Pairs) -> dict[str, object]:
    """Sharpness and shape of the pairs' midpoints, beside the plain average of their parents' pixels."""
    from inversion.edit.mix import blend
    from inversion.latent import synthesize
    from inversion.metrics import laplacian_energy, psnr

    sharp, linear, dissolved, alike, errors, widths = [], [], [], [], [], []
    for a, b in pairs:
        one, middle, average, two = (small(image) for image in row(model, people[a], people[b]))
        energy = [float(laplacian_energy(image)[0]) for image in (one, middle, average, two)]
        parents = (energy[0] + energy[3]) / 2
        straight = small(synthesize(model, blend([people[a].latent, people[b].latent])))
        sharp.append((energy[1] / parents) ** 0.5)
        linear.append((float(laplacian_energy(straight)[0]) / parents) ** 0.5)
        dissolved.append((energy[2] / parents) ** 0.5)
        alike.append(float(psnr(middle, average)[0]))
        shape = landmark_errors(one, middle, two)
        if shape is not None:
            errors.append(shape[0])
            widths.append(shape[1])
    return {
        "midpoints": len(pairs),
        "midpoint_sharpness": median(sharp),
        "linear_midpoint_sharpness": median(linear),
        "pixel_average_sharpness": median(dissolved),
        "midpoint_against_pixel_average_db": median(alike),
        "midpoints_with_landmarks": len(errors),
        "landmarks_off_the_mean_percent": median(errors),
        "landmarks_between_parents_percent": median(widths),
    }


def row(model: "Generator", one: "Inversion", two: "Inversion") -> "tuple[Tensor, Tensor, Tensor, Tensor]":
    """A's reconstruction, the midpoint of the latents, the average of the reconstructions' pixels, B's."""
    from inversion.edit.move import interpolate
    from inversion.latent import synthesize

    middle = interpolate(one.latent, two.latent, 0.5, kind="spherical", center=model.w_avg)
    return one.image, synthesize(model, middle), (one.image + two.image) / 2, two.image


def landmark_errors(one: "Tensor", middle: "Tensor", two: "Tensor") -> tuple[float, float] | None:
    """Mean distance of the midpoint's landmarks from the parents' mean, and between the parents, in % of the eyes'."""
    import numpy as np

    from generators.pictures.image import to_pil
    from inversion.faces.detect import landmarks

    a, m, b = (landmarks(to_pil(image)) for image in (one, middle, two))
    if a is None or m is None or b is None:
        return None
    wanted = (a + b) / 2
    eyes = float(np.linalg.norm(wanted[42:48].mean(axis=0) - wanted[36:42].mean(axis=0)))
    error, width = (float(np.linalg.norm(x - y, axis=1).mean()) for x, y in ((m, wanted), (a, b)))
    return 100 * error / eyes, 100 * width / eyes


def small(image: "Tensor") -> "Tensor":
    """The image, averaged down to 256 px where it is larger."""
    from generators.base import averaged

    return averaged(image, min(image.shape[-1], 256))


def explained(child: "Tensor", parents: "list[Tensor]") -> float:
    """Share of the variance of child's pixels, at 128 px, that the best sum of its parents' and a constant explains."""
    import torch

    from generators.base import averaged

    pixels = [averaged(image, min(image.shape[-1], 128)).flatten().double() for image in (child, *parents)]
    wanted, given = pixels[0], torch.stack([*pixels[1:], torch.ones_like(pixels[0])], dim=1)
    rest = wanted - given @ torch.linalg.lstsq(given, wanted).solution
    return float(1 - rest.square().sum() / (wanted - wanted.mean()).square().sum())


def rms(a: "Tensor", b: "Tensor") -> float:
    """Root mean squared difference of two images in [-1, 1]."""
    return float((a - b).square().mean().sqrt())


def write_sheet(model: "Generator", people: People, pairs: Pairs, path: Path) -> None:
    """A row a pair: A, midpoint, pixel average, B."""
    from generators.pictures.image import to_pil, write_image
    from generators.pictures.sheet import sheet

    images: list[Image.Image] = []
    labels: list[str] = []
    for a, b in pairs:
        images += [to_pil(image) for image in row(model, people[a], people[b])]
        labels += [Path(a).stem, "midpoint", "pixel average", Path(b).stem]
    write_image(sheet(images, labels, columns=4), path)


if __name__ == "__main__":
    main()
