"""What the benchmarks share: options, the people they measure on, and a table. Nothing heavy is imported at the top."""

import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np

    from generators.base import Generator
    from inversion.inverter import Inversion

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = ROOT.parent / "shared" / "portraits"

generator_option = click.option("--generator", default="portraits", show_default=True, help="Name or model file.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
seed_option = click.option("--seed", default=0, show_default=True, help="Of what is drawn.")
path_type = click.Path(path_type=Path)


def source_option(default: Path, what: str) -> Callable:
    return click.option("--source", type=path_type, default=default, show_default="../shared/portraits", help=what)


def inverted(generator: "Generator", source: Path, recipe: str, limit: int | None = None) -> dict[str, "Inversion"]:
    """The inversions of a folder or zip of aligned portraits, by name; what cannot be inverted is told and left out."""
    from generators.pictures.sources import pictures
    from inversion.config import recipe as recipe_named
    from inversion.inverter import Inversion, Inverter

    found = {}
    photos = pictures(source)[:limit]
    inverter = Inverter(generator, recipe_named(generator, recipe), recipe, align=False)
    for photo, result in zip(photos, inverter.run(photos), strict=True):
        if isinstance(result, Inversion):
            found[photo.name] = result
        else:
            click.echo(f"left out: {result}", err=True)
    return found


def kept(generator: "Generator", folder: Path, limit: int | None = None) -> dict[str, "Inversion"]:
    """The inversions that `latent evaluate --keep` or `latent invert` wrote into a folder, by name."""
    from generators.pictures.image import read_image, to_tensor
    from inversion.files.latent_file import load_latent
    from inversion.inverter import Inversion
    from inversion.latent import synthesize
    from inversion.target import Target

    found = {}
    for path in sorted(folder.glob("*.latent.safetensors"))[:limit]:
        name = path.name.removesuffix(".latent.safetensors")
        latent = load_latent(path, generator)
        target = Target(to_tensor(read_image(folder / f"{name}.target.png")))
        found[name] = Inversion(latent, target, synthesize(generator, latent), {}, {}, 0, 0.0, {})
    return found


def distance(a: "np.ndarray | None", b: "np.ndarray | None") -> float | None:
    """Between two descriptors; None where a face is missing."""
    return None if a is None or b is None else float(((a - b) ** 2).sum() ** 0.5)


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def median(values: list[float]) -> float | None:
    from inversion.metrics import quantile

    return quantile(sorted(values), 0.5)


def report(title: str, figures: dict[str, object], as_json: bool) -> None:
    """Print the figures: a line each under the title, or one JSON object; None is a figure that could not be taken."""
    if as_json:
        click.echo(json.dumps(figures | {"where": where()}))
        return
    width = max(map(len, figures))
    click.echo(title)
    for name, value in figures.items():
        text = "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
        click.echo(f"  {name.replace('_', ' '):<{width}}  {text}")


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write what a benchmark found, and where."""
    path.write_text(json.dumps({"where": where(), **content}, indent=1) + "\n")


def where() -> dict[str, object]:
    """The machine, the libraries and the commit that figures are of."""
    import torch

    from generators.device import processor

    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    about = {
        "processor": processor(torch.device("cpu")),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": cuda,
    }
    return about | {"python": platform.python_version(), "torch": torch.__version__, "commit": commit or None}
