"""A 1024 px StyleGAN2 (config F, random weights): seconds to load and a step of inversion, and the most memory taken.

python -m tests.benchmarks.big --checkpoint --json
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.benchmarks.common import ROOT, json_option, report

MAKE = """
import sys
from pathlib import Path
import torch
from generators.checkpoints.ours import save_model
from generators.stylegan2 import StyleGAN2, StyleGAN2Config
torch.manual_seed(0)
save_model(StyleGAN2(StyleGAN2Config()), Path(sys.argv[1]))
"""
PROBE = """
import sys
from time import perf_counter
import torch
from generators import load
from generators.device import peak_memory_mb
from inversion.inverter import steps_of
from inversion.config import config_of
began = perf_counter()
generator = load(sys.argv[1])
loaded = perf_counter()
with torch.no_grad():
    target = generator.synthesis(generator.mapping(torch.zeros(1, 512)), generator.fixed_noise(1)).clamp(-1, 1)
rendered = perf_counter()
given = {"steps": int(sys.argv[2]), "checkpoint": sys.argv[3] == "again"}
config = config_of(generator, "default", loss="pixel=1,laplacian=1", **given)
for step in steps_of(generator, target, config):
    if step.index == 0:
        started = perf_counter()
seconds = (perf_counter() - started) / max(step.index, 1)
print(loaded - began, rendered - loaded, seconds, peak_memory_mb())
"""


NAMES = ("load_seconds", "render_seconds", "seconds_a_step", "peak_memory_mb")


@click.command()
@click.option("--steps", default=3, show_default=True)
@click.option("--checkpoint", is_flag=True, help="Also with the layers drawn again for the gradient.")
@json_option
def main(steps: int, checkpoint: bool, as_json: bool) -> None:
    """Load, render and invert at 1024 px."""
    with TemporaryDirectory() as folder:
        model = str(Path(folder) / "big.safetensors")
        subprocess.run([sys.executable, "-c", MAKE, model], cwd=ROOT, check=True)
        figures: dict[str, object] = dict(zip(NAMES, probed(model, steps, "kept"), strict=True))
        if checkpoint:
            again = dict(zip(NAMES, probed(model, steps, "again"), strict=True))
            figures |= {f"checkpoint_{name}": again[name] for name in NAMES[2:]}
    report(f"StyleGAN2 at 1024 px, {steps} steps", figures, as_json)


def probed(model: str, steps: int, way: str) -> list[float]:
    """The figures of a process of its own."""
    command = [sys.executable, "-c", PROBE, model, str(steps), way]
    probe = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if probe.returncode:
        raise SystemExit(1)  # its own message is on standard error
    return [float(figure) for figure in probe.stdout.split()]


if __name__ == "__main__":
    main()
