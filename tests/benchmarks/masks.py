"""Whose a face is of which a part was covered and filled in: at the mouth and chin, or at one side with an eye.

python -m tests.benchmarks.masks --generator ffhq --limit 20
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.benchmarks.common import (
    PORTRAITS,
    distance,
    generator_option,
    json_option,
    mean,
    median,
    path_type,
    report,
    source_option,
)

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SHARE = 0.3  # of the face that is covered
SAME = 0.6


@click.command()
@generator_option
@source_option(PORTRAITS / "test-256.zip", "Folder or zip of aligned portraits.")
@click.option("--recipe", default="default", show_default=True)
@click.option("--limit", default=20, show_default=True, help="Portraits, of which every second is covered at a side.")
@click.option("--sheet", type=path_type, help="Picture to write: covered, rendering, filled in, as it was.")
@json_option
def main(generator: str, source: Path, recipe: str, limit: int, sheet: Path | None, as_json: bool) -> None:
    """Cover faces, invert them, and compare with the faces as they were."""
    import numpy as np
    from PIL import Image

    from generators import load
    from generators.pictures.image import to_pil
    from generators.pictures.sources import pictures
    from inversion.faces.align import Alignment
    from inversion.faces.detect import describe
    from inversion.faces.paste import paste_back
    from inversion.inverter import invert

    model = load(generator)
    rows: list[Image.Image] = []
    labels: list[str] = []
    drawn, filled = [], []
    for number, picture in enumerate(pictures(source)[:limit]):
        photo = picture.read()
        mask = cover(photo, side=bool(number % 2))
        if mask is None:
            click.echo(f"left out: no face in {picture.name}", err=True)
            continue
        covered = np.where(mask[:, :, None], np.random.default_rng(number).integers(0, 256, (*mask.shape, 3)), photo)
        covered = Image.fromarray(covered.astype(np.uint8))
        found = invert(model, covered, recipe=recipe, align=False, mask=mask)
        whole = to_pil(found.image).resize(photo.size, Image.Resampling.LANCZOS)
        width, height = photo.size
        quad = ((0.0, 0.0), (0.0, float(height)), (float(width), float(height)), (float(width), 0.0))
        place = Alignment(quad=quad, photo_size=photo.size, face=1, faces=1)
        patched = paste_back(covered, whole, place, 0.02, inside=mask)
        was, one, two = (describe(image) for image in (photo, whole, patched))
        drawn.append(distance(was, one))
        filled.append(distance(was, two))
        click.echo(f"{picture.name}: {drawn[-1]} {filled[-1]}, covered {mask.mean():.3f} of the picture", err=True)
        rows += [covered, whole, patched, photo]
        labels += [picture.name, "rendering", "filled in", "as it was"]
        if sheet is not None:
            write(rows, labels, sheet)
    report(
        f"{generator}: {len(drawn)} faces, {SHARE:.0%} covered",
        {**told("rendering", drawn), **told("filled", filled)},
        as_json,
    )


def cover(photo: "Image.Image", *, side: bool) -> "np.ndarray | None":
    """SHARE of the face: its lowest part, or that at the right; None without a face."""
    import numpy as np

    from inversion.faces.mask import face_region

    region = face_region(photo)
    if region is None:
        return None
    axis = 0 if side else 1
    parts = region.sum(axis=axis)
    first = int(np.searchsorted(np.cumsum(parts), (1 - SHARE) * parts.sum()))
    box = np.zeros_like(region)
    across = np.flatnonzero(region.any(axis=1 - axis))
    along = slice(first, int(np.flatnonzero(parts)[-1]) + 1)
    over = slice(int(across[0]), int(across[-1]) + 1)
    box[(over, along) if side else (along, over)] = True
    return box


def told(name: str, distances: list[float | None]) -> dict[str, object]:
    """The share of one person's faces; those without a face count as another's."""
    known = [d for d in distances if d is not None]
    same = mean([float(d is not None and d < SAME) for d in distances])
    return {f"{name}_same_person": same, f"{name}_identity": median(known)}


def write(rows: "list[Image.Image]", labels: list[str], path: Path) -> None:
    from generators.pictures.image import write_image
    from generators.pictures.sheet import sheet

    write_image(sheet(rows, labels, columns=4), path)


if __name__ == "__main__":
    main()
