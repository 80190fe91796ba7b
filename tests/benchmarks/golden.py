"""The checkpoints in ../shared/checkpoints: the most that styles and pictures differ from the reference renderings.

python -m tests.benchmarks.golden --json
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.benchmarks.common import ROOT, json_option

CHECKPOINTS = ROOT.parent / "shared" / "checkpoints"
FILES = ("stylegan2-ada-a.pkl", "stylegan3-t.pkl", "stylegan3-r.pkl", "rosinality.pt")


def differences(path: Path, scratch: Path) -> dict[str, float]:
    """Largest differences of a checkpoint from the arrays beside it: of styles as they are, of images by their range.

    Those that can be written as stylegan2-pytorch are, and read again: reexported, of images in [-1, 1].
    """
    import numpy as np
    import torch

    from generators import load
    from generators.checkpoints.export import export
    from generators.stylegan2 import StyleGAN2

    g = load(path)
    golden = {name: torch.from_numpy(value) for name, value in np.load(path.with_suffix(".golden.npz")).items()}
    ws = golden["ws"] if "ws" in golden else golden["w"][:, None].expand(-1, g.num_ws, -1)
    noise, none = g.fixed_noise(len(ws)), g.no_noise(len(ws))
    pictures = {"image": (ws, noise), "image_const": (ws, noise), "image_psi07_none": (golden.get("ws_psi07"), none)}
    found = {"ws": float((g.mapping(golden["z"]) - ws).abs().max())}
    if "ws_psi07" in golden:
        found["ws_psi07"] = float((g.mapping(golden["z"], None, 0.7) - golden["ws_psi07"]).abs().max())
    for name in [name for name in pictures if name in golden]:
        image = golden[name]
        found[name] = float((g.synthesis(*pictures[name]) - image).abs().max() / (image.max() - image.min()))
    if isinstance(g, StyleGAN2):
        export(g, scratch / "again.pt", "stylegan2-pytorch")
        again = load(scratch / "again.pt")
        found["reexported"] = float((again.synthesis(ws, noise) - g.synthesis(ws, noise)).abs().max())
    return found


@click.command()
@json_option
def main(as_json: bool) -> None:
    """Compare with the golden arrays."""
    if not CHECKPOINTS.is_dir():
        raise SystemExit(f"nothing to compare with: there is no {CHECKPOINTS}")
    with TemporaryDirectory() as folder:
        os.environ["LATENT_CACHE"] = folder
        for name in FILES:
            found = differences(CHECKPOINTS / name, Path(folder))
            text = f"{name:<20}  " + "  ".join(f"{key} {value:.1e}" for key, value in found.items())
            click.echo(json.dumps({"file": name} | found) if as_json else text)


if __name__ == "__main__":
    main()
