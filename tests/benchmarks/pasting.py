"""Faces put back into their photographs: what changes outside of the crop (nothing), and pictures to look at.

python -m tests.benchmarks.pasting --generator portraits --recipe encode --sheet back.png
"""

from pathlib import Path

import click
import numpy as np

from tests.benchmarks.common import PORTRAITS, generator_option, json_option, median, path_type, report, source_option

PSI = 0.6  # of the edit that is carried over: this far from the average face


@click.command()
@generator_option
@source_option(PORTRAITS / "photos", "Folder of photographs.")
@click.option("--recipe", default="default", show_default=True)
@click.option("--limit", type=int, help="Only the first so many photographs.")
@click.option("--latents", type=path_type, help="Folder of `latent invert`: nothing is inverted.")
@click.option("--sheet", type=path_type, help="Picture to write: the photograph, its reconstruction put back, an edit.")
@json_option
def main(
    generator: str,
    source: Path,
    recipe: str,
    limit: int | None,
    latents: Path | None,
    sheet: Path | None,
    as_json: bool,
) -> None:
    """Put reconstructions and edits back."""
    from generators import load
    from generators.pictures.image import to_pil, write_image
    from generators.pictures.sheet import sheet as page
    from generators.pictures.sources import pictures
    from inversion.edit.move import truncate
    from inversion.faces.align import Alignment
    from inversion.faces.paste import paste_back
    from inversion.files.latent_file import load_latent, read_bundle
    from inversion.inverter import invert
    from inversion.latent import synthesize

    model = load(generator)
    outside, steps, rows, labels = [], [], [], []
    for picture in pictures(source)[:limit]:
        file = None if latents is None else latents / f"{Path(picture.name).stem}.latent.safetensors"
        if file is not None and not file.is_file():
            continue
        photo = picture.read()
        if file is None:
            found = invert(model, picture, recipe=recipe)
            latent, place = found.latent, found.target.alignment
        else:
            latent, place = load_latent(file, model), Alignment.from_json(read_bundle(file).history["alignment"])
        assert place is not None
        before, edited = (to_pil(synthesize(model, one)) for one in (latent, truncate(model, latent, PSI)))
        back = paste_back(photo, before, place)
        moved = paste_back(photo, edited, place, instead_of=before)
        same = paste_back(photo, before, place, instead_of=before)
        far = beyond(np.array(place.quad), photo.size)
        was = np.asarray(photo)
        outside.append(all(np.array_equal(np.asarray(one)[far], was[far]) for one in (back, moved)))
        steps.append(float(np.array_equal(np.asarray(same), was)))
        rows += [photo, back, moved]
        labels += [picture.name, "reconstruction", f"psi {PSI}"]
        if sheet is not None:
            write_image(page(rows, labels, columns=3, tile=384), sheet)
    figures = {
        "photographs": len(outside),
        "identical_outside": sum(outside),
        "identical_where_nothing_was_edited": median(steps),
    }
    report(f"{generator}: faces put back", dict(figures), as_json)


def beyond(quad: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a photograph whose middles lie outside of the quad."""
    upper_left, lower_left, _, upper_right = quad
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    axes = np.stack([upper_right - upper_left, lower_left - upper_left], axis=1)
    place = np.stack([x - upper_left[0], y - upper_left[1]], axis=-1) @ np.linalg.inv(axes).T
    return ((place < -0.01) | (place > 1.01)).any(axis=2)  # a pixel at the border may be touched


if __name__ == "__main__":
    main()
