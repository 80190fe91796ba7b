"""How long `latent --help` takes, interpreter and all, and whether it loads torch.

python -m tests.benchmarks.startup --json
"""

import subprocess
import sys
from statistics import median
from time import perf_counter

import click

from tests.benchmarks.common import ROOT, json_option, report

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


@click.command()
@click.option("--runs", default=5, show_default=True)
@json_option
def main(runs: int, as_json: bool) -> None:
    """Time the help."""
    command, taken = [sys.executable, "-m", "cli", "--help"], []
    for _ in range(runs):
        began = perf_counter()
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        taken.append(perf_counter() - began)
        assert "Usage" in said
    probe = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, check=True, capture_output=True, text=True)
    figures = {"seconds": median(taken), "fastest": min(taken), "torch_imported": probe.stderr.endswith("loaded")}
    report(f"latent --help, median of {runs}", figures, as_json)


if __name__ == "__main__":
    main()
