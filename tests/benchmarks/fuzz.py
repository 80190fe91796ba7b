"""Forged files, read in processes of bounded memory and time: nothing runs, nothing crashes, nothing hangs.

    python -m tests.benchmarks.fuzz --count 25000 --seed 0

Each file is made of a small honest one, by changes to its bytes, to its pickle's opcodes or to its zip's entries, or is
one of the kinds that take time or memory without bound. It counts as refused if it ends in one line of ours.
"""

import argparse
import builtins
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from generators.checkpoints.open import read_checkpoint
from generators.errors import LatentError
from inversion.files.foreign import read_arrays
from inversion.files.latent_file import read_bundle
from tests.generators.unpickle.forge import forged, originals

MEMORY, SECONDS, PEAK = 4 << 30, 10, 1 << 30
EACH = 1000  # files that one process reads


def never(*args: object, **more: object) -> None:
    os.write(2, b"EXECUTED\n")
    os._exit(77)


def held(what: str = "VmHWM") -> int:
    """Bytes of this process: the most that it has had, or another line of its status."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith(what))


def read(path: Path) -> str:
    """One file through every reader that could be given it: read, refused, or the name of an error that is not ours."""
    outcome = "refused"
    readers = [read_checkpoint, read_arrays] + [read_bundle] * (path.suffix == ".safetensors")
    for reader in readers:
        try:
            reader(path)
            outcome = "read"
        except LatentError as error:
            if "\n" in str(error) or len(str(error)) > 1000:
                return f"lines of {type(error).__name__}"
        except Exception as error:  # counted, and kept
            return f"{type(error).__name__} ({' '.join(str(error).split())[:80]})"
    return outcome


def child(folder: Path, first: int, last: int, seed: int) -> None:
    """Read files first to last; a line of progress for each, so that the parent knows which one it died of."""
    whole = originals(folder)
    for suffix, files in whole.items():  # what readers import late is imported, before nothing may run any more
        for data in files:
            (folder / f"whole{suffix}").write_bytes(data)
            read(folder / f"whole{suffix}")
    for codec in ("raw-unicode-escape", "unicode-escape", "latin1", "ascii"):  # imported as they are first needed
        b"x".decode(codec)
    os.system = subprocess.Popen.__init__ = os.execve = os.posix_spawn = never  # type: ignore[assignment]
    builtins.eval = builtins.exec = never  # type: ignore[assignment]
    soft = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
    room = MEMORY + held("VmSize")  # torch itself maps some
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    before = held()
    for number in range(first, last):
        suffix, data = forged(whole, np.random.default_rng((seed, number)))
        path = folder / f"forged-{number}{suffix}"
        path.write_bytes(data)
        print(number, "begun", flush=True)
        spent = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
        resource.setrlimit(resource.RLIMIT_CPU, (max(soft, spent) + SECONDS + 1, resource.RLIM_INFINITY))
        outcome = read(path)
        if held() - before > PEAK:
            outcome = "over 1 GB"
            before = held()
        if outcome in ("read", "refused"):
            path.unlink()
        print(number, outcome, flush=True)


def run(count: int, seed: int, folder: Path) -> Counter:
    """Read so many forged files; how each ended. What is neither read nor refused stays in folder."""
    outcomes: Counter = Counter()
    first = 0
    while first < count:
        last = min(count, first + EACH)
        command = [sys.executable, "-m", "tests.benchmarks.fuzz", "--child", str(first), str(last)]
        command += ["--seed", str(seed), "--folder", str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        lines = [line.partition(" ") for line in done.stdout.splitlines()]
        ended = {int(number): what for number, _, what in lines}
        for number, what in ended.items():
            if what == "begun":
                kinds = {77: "executed", -signal.SIGXCPU: "hang"}
                what = kinds.get(done.returncode, f"crash ({done.returncode})")
            if what not in ("read", "refused"):
                print(number, what, flush=True)
            outcomes[what] += 1
        if done.returncode and not ended:
            raise SystemExit(f"the reader does not start ({done.returncode})")
        first = max(ended) + 1
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where bad files stay")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="forged-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given.child:
        return child(folder, *given.child, given.seed)
    for what, number in sorted(run(given.count, given.seed, folder).items()):
        print(f"{number:>8,}  {what}")
    print(f"bad files are in {folder}")


if __name__ == "__main__":
    main()
