"""Families of test people: are children nearer to their parents than to others, do siblings differ, do dials act?

    python -m tests.benchmarks.families --generator ffhq --latents kept/ --json --sheet families.png

Pictures are drawn at 256 px at most, people as their latents render. Identity is the distance of dlib descriptors; the
unrelated are all other test people. Explained is as in `blending`. Perceptual distance in a region is that of
EfficientNet-Lite0's maps, weighted by the region's mask; outside, by what the mask leaves. A partner is found from a
parent and a child of it with somebody else, and has, as its mean with the parent, the child that is compared. Aged
children are first children, brought to an age as `latent blend --age` does; the age is that which the age net sees.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.benchmarks.blending import explained
from tests.benchmarks.common import (
    distance,
    generator_option,
    json_option,
    mean,
    median,
    path_type,
    report,
    seed_option,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from generators.base import Generator
    from inversion.edit.family import Child
    from inversion.latent import Latent

REGIONS = ("eyes", "nose", "mouth", "jaw", "hair")
People = dict[str, "Latent"]
Pairs = list[tuple[str, str]]


@click.command()
@generator_option
@click.option("--latents", type=path_type, required=True, help="Folder with the people's latents.")
@click.option("--families", default=40, show_default=True, help="Pairs that have children.")
@click.option("--children", "per_family", default=4, show_default=True, help="Children a pair.")
@click.option("--by-region", is_flag=True, help="Regions have shares of their own.")
@click.option("--dials", default=10, show_default=True, help="Pairs of whose first child each region is the mother's.")
@click.option("--partners", default=20, show_default=True, help="Pairs with a child of whom the partner is sought.")
@click.option("--aged", default=40, show_default=True, help="Pairs whose first child is brought to an age.")
@click.option("--age", default=8.0, show_default=True, help="That age, in years.")
@click.option("--sheet", type=path_type, help="Picture to write: a row a family.")
@seed_option
@json_option
def main(
    generator: str,
    latents: Path,
    families: int,
    per_family: int,
    by_region: bool,
    dials: int,
    partners: int,
    aged: int,
    age: float,
    sheet: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure families of test people."""
    import torch

    from generators import load
    from inversion.edit.family import ChildConfig, family
    from inversion.files.latent_file import load_latent
    from inversion.measures.smoothness import draw_pairs

    torch.set_grad_enabled(False)
    model = load(generator)
    paths = sorted(latents.glob("*.latent.safetensors"))
    people = {path.name.partition(".")[0]: load_latent(path, model).to_w_plus(model) for path in paths}
    pairs = draw_pairs(list(people), max(families, dials, partners, aged), seed)
    config = ChildConfig(by_region=by_region)
    drawn = [
        family(model, [people[a], people[b]], count=per_family, seed=seed + i, config=config)
        for i, (a, b) in enumerate(pairs[:families])
    ]
    figures = {
        **(measure_children(model, people, pairs[:families], drawn) if families else {}),
        **(measure_dials(model, people, pairs[:dials], seed) if dials else {}),
        **(measure_partners(model, people, pairs[:partners], seed) if partners else {}),
        **(measure_ages(model, people, pairs[:aged], age, seed) if aged else {}),
    }
    report(f"{generator}: {len(people)} people, pairs drawn with seed {seed}", figures, as_json)
    if sheet is not None:
        write_sheet(model, people, pairs, drawn, sheet)


def look(model: "Generator", latent: "Latent") -> "Tensor":
    """A latent's picture, at 256 px at most."""
    from inversion.latent import synthesize

    return synthesize(model, latent, resolution=min(model.img_resolution, 256))


def face(picture: "Tensor") -> "np.ndarray | None":
    """Whose face a picture shows."""
    from generators.pictures.image import to_pil
    from inversion.faces.detect import describe

    return describe(to_pil(picture))


def measure_children(model: "Generator", people: People, pairs: Pairs, drawn: "list[list[Child]]") -> dict[str, object]:
    """Likeness to parents and variety of siblings."""
    pictures = {name: look(model, latent) for name, latent in people.items()}
    known = {name: face(picture) for name, picture in pictures.items()}
    faces, nearer, further, shares, apart = [], [], [], [], []
    for (a, b), siblings in zip(pairs, drawn, strict=True):
        looks = [look(model, child.latent) for child in siblings]
        shares += [explained(one, [pictures[a], pictures[b]]) for one in looks]
        seen = [face(one) for one in looks]
        faces += [float(one is not None) for one in seen]
        apart += [distance(seen[i], seen[j]) for i in range(len(seen)) for j in range(i)]
        others = [one for name, one in known.items() if name not in (a, b)]
        for one in seen:
            to = [distance(one, known[name]) for name in (a, b)]
            away = [d for other in others if (d := distance(one, other)) is not None]
            if None not in to and away:
                worst = max(d for d in to if d is not None)
                nearer.append(sum(d > worst for d in away) / len(away))
                further.append(worst)
    return {
        "families": len(pairs),
        "children": len(faces),
        "children_with_face": mean(faces),
        "unrelated_further_than_both_parents": median(nearer),
        "nearer_to_both_parents_than_90_percent": mean([float(share >= 0.9) for share in nearer]),
        "identity_further_parent": median(further),
        "explained_by_parents": median(shares),
        "siblings_identity": median([d for d in apart if d is not None]),
        "siblings_least_identity": min((d for d in apart if d is not None), default=None),
    }


def measure_dials(model: "Generator", people: People, pairs: Pairs, seed: int) -> dict[str, object]:
    """Perceptual distances of regions that are the mother's, from hers and from the child without."""
    from inversion.edit.family import family
    from inversion.edit.local import face_regions
    from inversion.edit.traits import inherit
    from inversion.errors import FaceError

    before, after, outside = ({name: [] for name in REGIONS} for _ in range(3))
    for number, (a, b) in enumerate(pairs):
        child = family(model, [people[a], people[b]], count=1, seed=seed + number)[0].latent
        mother, plain = look(model, people[a]), look(model, child)
        try:
            masks = face_regions(model, child, REGIONS)
        except FaceError:
            continue
        for name, mask in masks.items():
            changed = look(model, inherit(model, child, [people[a]], {name: (1.0,)}))
            before[name].append(apart_in(plain, mother, mask))
            after[name].append(apart_in(changed, mother, mask))
            outside[name].append(apart_in(changed, plain, 1 - mask))
    figures: dict[str, object] = {"dials": len(before["eyes"])}
    for name in REGIONS:
        closer = [float(y < x) for x, y in zip(before[name], after[name], strict=True)]
        figures |= {f"{name}_nearer": mean(closer), f"{name}_before": median(before[name])}
        figures |= {f"{name}_after": median(after[name]), f"{name}_rest_moved": median(outside[name])}
    return figures


def apart_in(one: "Tensor", two: "Tensor", mask: "Tensor") -> float:
    """Perceptual distance of two pictures where a mask says."""
    from torch.nn.functional import adaptive_avg_pool2d

    from inversion.features import perceptual_maps

    found = []
    for x, y in zip(perceptual_maps(one), perceptual_maps(two), strict=True):
        weight = adaptive_avg_pool2d(mask, x.shape[-1])
        found.append(float(((x - y).square().sum(dim=1, keepdim=True) * weight).sum() / weight.sum()))
    return sum(found) / len(found)


def measure_partners(model: "Generator", people: People, pairs: Pairs, seed: int) -> dict[str, object]:
    """How near children of found partners are to the given ones; and partners to the true other parents."""
    from inversion.edit.family import family, partner
    from inversion.edit.mix import blend

    again, other, unlike = [], [], []
    for number, (a, b) in enumerate(pairs):
        child = family(model, [people[a], people[b]], count=1, seed=seed + number)[0].latent
        for given, kept in ((child, again), (people[b], unlike)):  # somebody's child, and a child like nobody
            found = partner(model, people[a], given)
            kept.append(distance(face(look(model, blend([people[a], found]))), face(look(model, given))))
            if given is child:
                other.append(distance(face(look(model, found)), face(look(model, people[b]))))
    return {
        "partners": len(pairs),
        "partners_child_to_given": median([d for d in again if d is not None]),
        "partners_to_true_parent": median([d for d in other if d is not None]),
        "partners_child_to_given_stranger": median([d for d in unlike if d is not None]),
    }


def measure_ages(model: "Generator", people: People, pairs: Pairs, age: float, seed: int) -> dict[str, object]:
    """What ages children are seen at that were asked to have one; parents' likeness to them is not asked for."""
    from generators.pictures.image import to_pil
    from inversion.attributes import attribute
    from inversion.commands.change import aged
    from inversion.edit.family import family

    years, change = attribute("age"), aged(model, age, None)
    seen = []
    for number, (a, b) in enumerate(pairs):
        child = family(model, [people[a], people[b]], count=1, seed=seed + number, change=change)[0].latent
        seen.append(years(to_pil(look(model, child))))
    found = [one for one in seen if one is not None]
    return {
        "aged_children": len(seen),
        "aged_median": median(found),
        "aged_within_four_years": sum(abs(one - age) <= 4 for one in found) / len(seen),
    }


def write_sheet(model: "Generator", people: People, pairs: Pairs, drawn: "list[list[Child]]", path: Path) -> None:
    """A row a family: mother, father, children."""
    from generators.pictures.image import to_pil, write_image
    from generators.pictures.sheet import sheet

    rows = [
        [people[a], people[b], *(child.latent for child in siblings)]
        for (a, b), siblings in zip(pairs, drawn[:8], strict=False)
    ]
    images = [to_pil(look(model, one)) for row in rows for one in row]
    labels = [name for row in rows for name in ("mother", "father", *(f"child {i}" for i in range(1, len(row) - 1)))]
    write_image(sheet(images, labels, columns=len(rows[0]), tile=256), path)


if __name__ == "__main__":
    main()
