"""How long the shell waits: for the help, for the package, and for the first step of a search; and if help loads torch.

    python -m tests.benchmarks.startup --json

Seconds of the clock, interpreter and all, and beside them those of the processor, which other work disturbs less.
"""

import subprocess
import sys
from collections.abc import Sequence
from os import times
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import click

from tests.benchmarks.common import PORTRAITS, ROOT, generator_option, json_option, median, report, source_option

PROBE = """
import sys
sys.argv = ["latent", "--help"]
import cli
try:
    cli.main()
except SystemExit:
    pass
sys.stderr.write("loaded" if "torch" in sys.modules else "absent")
"""
FIRST_STEP = """
import os, sys
os.environ["LATENT_CACHE"] = os.path.dirname(sys.argv[-1])  # where nothing was found yet
from cli import main
import inversion.loop as loop
whole = loop.optimize
def first(*args, **rest):
    next(whole(*args, **rest))
    os._exit(0)
loop.optimize = first
main(sys.argv[1:])
"""


def taken(arguments: Sequence[str], runs: int) -> tuple[float, float]:
    """Median seconds of a Python process by the clock and by the processor, after a run that does not count."""
    clock, processor = [], []
    for _ in range(runs + 1):
        began, before = perf_counter(), times()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
        after = times()
        clock.append(perf_counter() - began)
        processor.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return median(clock[1:]) or 0.0, median(processor[1:]) or 0.0


@click.command()
@click.option("--runs", default=5, show_default=True)
@generator_option
@source_option(PORTRAITS / "photos", "Folder, of which the first photograph is taken.")
@json_option
def main(runs: int, generator: str, source: Path, as_json: bool) -> None:
    """Time the starts."""
    photo = str(next(iter(sorted(source.glob("*.jpg"))), source).resolve())
    figures: dict[str, object] = {}
    with TemporaryDirectory() as folder:
        starts = {
            "help": ["-m", "cli", "--help"],
            "import": ["-c", "import inversion"],
            "first_step": ["-c", FIRST_STEP, "invert", photo, "-g", generator, "-o", f"{folder}/found"],
        }
        for name, arguments in starts.items():
            figures[name], figures[f"{name}_processor"] = taken(arguments, runs)
    probe = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, check=True, capture_output=True, text=True)
    report(f"median of {runs}, seconds", figures | {"torch_imported": probe.stderr.endswith("loaded")}, as_json)


if __name__ == "__main__":
    main()
