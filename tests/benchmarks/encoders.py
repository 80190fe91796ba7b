"""Time and most memory of reading an e4e checkpoint and of one encoding, in a process of its own.

    python -m tests.benchmarks.encoders --px 1024

The file has the published shapes and random weights, and is made anew. The first load converts it, as the first one of
any foreign file does; the second finds what was kept. libraries_mb is what the process holds before it reads anything.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.benchmarks.common import ROOT, json_option, report

FINE = 7  # styles of e4e that see the two coarser maps
PROBE = """
import sys
from time import perf_counter
import torch
from generators import load
from generators.device import peak_memory_mb
libraries, began = peak_memory_mb(), perf_counter()
model = load(sys.argv[1])
loaded, seconds = peak_memory_mb(), perf_counter() - began
with torch.inference_mode():
    model.encoder(torch.zeros(1, 3, model.img_resolution, model.img_resolution))
print(libraries, loaded, peak_memory_mb(), seconds, perf_counter() - began - seconds)
"""
MAKE = """
import sys
from pathlib import Path
from tests.benchmarks.encoders import make
make(Path(sys.argv[1]), int(sys.argv[2]))
"""  # in a process of its own too: one that is started begins with the most memory of the one that starts it
FIGURES = ("libraries_mb", "load_mb", "encode_mb", "load_seconds", "encode_seconds")


@click.command()
@click.option("--px", default=256, show_default=True, help="The generator's size.")
@json_option
def main(px: int, as_json: bool) -> None:
    """Measure a first and a second load."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "e4e.pt"
        subprocess.run([sys.executable, "-c", MAKE, str(path), str(px)], cwd=ROOT, check=True)
        size = path.stat().st_size / 1e6
        for name in ("first", "second"):
            settings = os.environ | {"LATENT_CACHE": str(Path(folder) / "cache")}
            command = [sys.executable, "-c", PROBE, str(path)]
            probe = subprocess.run(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True)
            if probe.returncode:
                raise SystemExit(1)  # its own message is on standard error
            figures = dict(zip(FIGURES, map(float, probe.stdout.split()), strict=True))
            report(f"e4e at {px} px, {name} load", {"file_mb": size, **figures}, as_json)


def make(path: Path, px: int) -> None:
    """Write an e4e checkpoint of random weights."""
    import torch

    from generators.checkpoints.ours import undrawn
    from generators.checkpoints.rosinality import to_state
    from generators.parts.pyramid import Pyramid, PyramidConfig
    from generators.stylegan2 import StyleGAN2, StyleGAN2Config

    with undrawn():
        generator = StyleGAN2(StyleGAN2Config(img_resolution=px))
        styles = generator.num_ws
        halvings = (*[4] * 3, *[5] * (FINE - 3), *[6] * (styles - FINE))
        encoder = Pyramid(PyramidConfig(num_ws=styles, w_dim=generator.w_dim, halvings=halvings, shared=True))
    drawn = torch.Generator().manual_seed(0)
    for name, value in [*generator.state_dict().items(), *encoder.state_dict().items()]:
        if name.endswith("running_var"):
            value.fill_(1)
        elif value.is_floating_point():
            value.normal_(0, 0.02, generator=drawn)
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items() if name != "offset"}
    state |= {f"decoder.{name}": value for name, value in to_state(generator).items()}
    options = {"encoder_type": "Encoder4Editing", "start_from_latent_avg": True}
    average = torch.zeros(styles, generator.w_dim)
    torch.save({"state_dict": state, "latent_avg": average, "opts": options}, path)


if __name__ == "__main__":
    main()
