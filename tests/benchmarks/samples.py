"""The generator alone: how many of its samples are faces to dlib, and how different they are.

    python -m tests.benchmarks.samples --json --sheet samples.png
"""

from itertools import combinations
from pathlib import Path

import click

from tests.benchmarks.common import distance, generator_option, json_option, mean, path_type, report, seed_option

SHEET_TILES = 100


@click.command()
@generator_option
@click.option("-n", "--count", default=200, show_default=True, help="Samples.")
@click.option("--truncation", default=0.7, show_default=True)
@click.option("--sheet", type=path_type, help="Picture to write: the first hundred samples.")
@seed_option
@json_option
def main(generator: str, count: int, truncation: float, sheet: Path | None, seed: int, as_json: bool) -> None:
    """Measure samples of a generator."""
    from generators import load
    from inversion.align import describe
    from inversion.image import sheet as contact_sheet
    from inversion.image import to_pil, write_image
    from inversion.latent import sample_latent, synthesize

    model = load(generator)
    latents = sample_latent(model, batch=count, seed=seed, truncation_psi=truncation).split()
    images = [to_pil(synthesize(model, latent)) for latent in latents]
    seen = [describe(image) for image in images]
    faces = [face for face in seen if face is not None]
    apart = [d for a, b in combinations(faces, 2) if (d := distance(a, b)) is not None]
    figures: dict[str, object] = {
        "samples": count, "samples_with_face": len(faces) / count,
        "identity_between_samples": mean(apart), "identity_between_nearest": min(apart, default=None),
    }
    report(f"{generator}: samples at truncation {truncation}, seed {seed}", figures, as_json)
    if sheet is not None:
        labels = ["face" if face is not None else "no face" for face in seen]
        write_image(contact_sheet(images[:SHEET_TILES], labels[:SHEET_TILES], columns=10, tile=96), sheet)


if __name__ == "__main__":
    main()
