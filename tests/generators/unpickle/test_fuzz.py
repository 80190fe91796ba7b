import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROBE = """
import builtins, os, resource, subprocess, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import numpy as np
import torch
torch.set_num_threads(1)
import warnings
warnings.simplefilter("ignore")
from generators.checkpoints.open import read_checkpoint
from generators.errors import GeneratorError
from tests.generators.unpickle.forge import mutated, originals
folder = Path({folder!r})
whole = originals(folder)
kinds = {{"pickles": whole[".pkl"] + whole[".npy"], "others": whole[".pt"] + whole[".safetensors"]}}
for original in kinds["pickles"] + kinds["others"]:
    (folder / "whole").write_bytes(original)
    try:
        read_checkpoint(folder / "whole")
    except GeneratorError:
        pass
def never(*args, **more):
    raise SystemExit("something was executed")
os.system = subprocess.Popen.__init__ = os.execve = os.posix_spawn = never
builtins.eval = never
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
counts = {{"read": 0, "refused": 0}}
for kind, count in {counts!r}.items():
    rng = np.random.default_rng({seed})
    for i in range(count):
        data = mutated(kinds[kind][i % len(kinds[kind])], rng)
        (folder / "mutated").write_bytes(data)
        try:
            read_checkpoint(folder / "mutated")
            counts["read"] += 1
        except GeneratorError as error:
            assert "\\n" not in str(error), str(error)
            counts["refused"] += 1
        except BaseException as error:
            (folder / f"failed-{{kind}}-{{i}}").write_bytes(data)
            raise
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
status = Path("/proc/self/status")  # on Linux the number above begins as that of the process that started this one
if status.exists():
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
print(counts["read"], counts["refused"], peak // 1024)
"""


def fuzz(folder: Path, pickles: int, others: int, seed: int, timeout: float) -> tuple[int, int, int]:
    """Read mutated files in a process of its own, so that a crash is seen: read, refused, most memory in MB."""
    counts = {"pickles": pickles, "others": others}
    paths = [str(ROOT)]
    code = PROBE.format(paths=paths, folder=str(folder), counts=counts, seed=seed)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    read_, refused_, peak = map(int, done.stdout.split())
    return read_, refused_, peak


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(tmp_path):
    read_, refused_, peak = fuzz(tmp_path, 120, 60, seed=0, timeout=300)
    assert read_ + refused_ == 180 and read_ > 3 and refused_ > 50 and peak < 2000


@pytest.mark.fuzz
def test_many_mutated_files_are_read_or_refused(tmp_path):
    read_, refused_, peak = fuzz(tmp_path, 20_000, 5_000, seed=1, timeout=3600)
    assert read_ + refused_ == 25_000 and peak < 2000
