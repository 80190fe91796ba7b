"""The most memory that one default inversion takes, in a process of its own: interpreter, libraries, model and all.

python -m tests.benchmarks.memory --json
"""

import subprocess
import sys
from pathlib import Path
from time import perf_counter

import click

from tests.benchmarks.common import PORTRAITS, ROOT, generator_option, json_option, report, source_option

PROBE = """
import sys
from generators import load
from inversion import invert
from generators.device import peak_memory_mb
result = invert(load(sys.argv[1]), sys.argv[2], recipe=sys.argv[3])
print(result.seconds, peak_memory_mb())
"""


@click.command()
@generator_option
@source_option(PORTRAITS / "photos", "A photograph, or a folder, of which the first is taken.")
@click.option("--recipe", default="default", show_default=True)
@json_option
def main(generator: str, source: Path, recipe: str, as_json: bool) -> None:
    """Measure the memory of one inversion."""
    photo = next(iter(sorted(source.glob("*.jpg"))), source) if source.is_dir() else source
    model = str(Path(generator).resolve()) if Path(generator).is_file() else generator
    began = perf_counter()
    command = [sys.executable, "-c", PROBE, model, str(photo.resolve()), recipe]
    probe = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if probe.returncode:
        raise SystemExit(1)  # its own message is on standard error
    seconds, peak = map(float, probe.stdout.split())
    figures: dict[str, object] = {
        "peak_memory_mb": peak,
        "search_seconds": seconds,
        "process_seconds": perf_counter() - began,
    }
    report(f"{generator}: {photo.name} by recipe {recipe}", figures, as_json)


if __name__ == "__main__":
    main()
