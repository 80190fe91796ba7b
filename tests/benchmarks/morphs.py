"""How evenly a morph goes: the largest step between neighbouring frames to the mean one, plain and at constant speed.

python -m tests.benchmarks.morphs --generator ffhq --latents me/ --pairs 3
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.benchmarks.common import generator_option, json_option, median, path_type, report, seed_option

if TYPE_CHECKING:
    from inversion.latent import Latent


@click.command()
@generator_option
@click.option(
    "--latents", type=path_type, help="Folder of latents, as `latent invert` writes it; else samples are drawn."
)
@click.option("--pairs", default=5, show_default=True)
@click.option("--frames", default=30, show_default=True)
@click.option("--kind", default="spherical", show_default=True)
@seed_option
@json_option
def main(generator: str, latents: Path | None, pairs: int, frames: int, kind: str, seed: int, as_json: bool) -> None:
    """Measure morphs between pairs by EfficientNet's features, and by pixels, which nothing is fitted to."""
    import numpy as np
    import torch

    from generators import load
    from inversion.edit.move import Route, path
    from inversion.edit.steady import perceptual_steps, steady
    from inversion.files.latent_file import load_latent
    from inversion.latent import sample_latent

    model = load(generator)
    if latents is None:
        people = sample_latent(model, batch=2 * pairs, seed=seed, truncation_psi=0.7).split()
    else:
        files = sorted(latents.glob("*.latent.safetensors"))
        order = np.random.default_rng(seed).permutation(len(files))[: 2 * pairs]
        people = [load_latent(files[i], model) for i in order]
    found: dict[str, list[float]] = {}

    def pixel_steps(walk: "list[Latent]") -> np.ndarray:
        with torch.no_grad():
            size = min(256, model.img_resolution)
            images = [model.synthesis(one.to_ws(model), one.noise, resolution=size) for one in walk]
        return np.array([float((b - a).square().mean() ** 0.5) for a, b in zip(images[:-1], images[1:], strict=True)])

    for number in range(len(people) // 2):
        pair = people[2 * number : 2 * number + 2]
        walks = {
            "eased": path(pair, frames, kind=kind, center=model.w_avg),
            "plain": path(pair, frames, kind=kind, center=model.w_avg, ease=False),
            "constant": steady(model, Route(pair, kind=kind, center=model.w_avg), frames),
        }
        for name, walk in walks.items():
            for how, measure in (("perceptual", lambda w: perceptual_steps(model, w)), ("pixels", pixel_steps)):
                steps = measure(walk)
                found.setdefault(f"{name}_{how}", []).append(float(steps.max() / steps.mean()))
                if how == "perceptual":  # squared, as LPIPS tells it
                    found.setdefault(f"{name}_squared", []).append(float((steps**2).max() / (steps**2).mean()))
        click.echo(f"pair {number + 1}: " + ", ".join(f"{k} {v[-1]:.2f}" for k, v in found.items()), err=True)
    figures = {f"{name}_median": median(values) for name, values in found.items()}
    figures |= {f"{name}_most": max(values) for name, values in found.items()}
    report(f"{generator}: {len(people) // 2} morphs of {frames} frames, largest to mean step", dict(figures), as_json)


if __name__ == "__main__":
    main()
