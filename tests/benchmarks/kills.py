"""Kills at random moments: no half file, no stale lock, and the rerun gives what an undisturbed run gives.

    python -m tests.benchmarks.kills [--times N] [--only COMMAND]

Each command runs on a tiny generator, once undisturbed, which tells how long it takes; then as often as asked it gets
SIGKILL, SIGTERM and SIGINT at moments drawn from that time, and is run again. A row for each command and signal.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors import safe_open

from generators.checkpoints.ours import save_model
from generators.checkpoints.rosinality import to_state
from tests.conftest import ROOT, picture, tiny_generator

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COMMANDS = {
    "invert": "invert {here}/photos -o out -g {here}/m.safetensors --no-align --steps 60 --batch 2",
    "blend": "blend {here}/photos/a.png {here}/photos/b.png -o out/x.png -g {here}/m.safetensors --no-align --steps 60",
    "search": "search {here}/photos/a.png {here}/photos -o out/x.png -g {here}/m.safetensors --no-align --steps 20",
    "convert": "convert {here}/m.pt out/x.safetensors",
    "train": "train {here}/photos -o out/x.safetensors --kind pca --dim 4",
}


def prepare(here: Path) -> None:
    """Photographs and models that the commands take."""
    (here / "photos").mkdir()
    for seed, name in enumerate("abcdefgh"):
        picture(seed).save(here / "photos" / f"{name}.png")
    save_model(tiny_generator(), here / "m.safetensors")
    torch.save({"g_ema": to_state(tiny_generator()), "latent_avg": torch.zeros(8)}, here / "m.pt")  # type: ignore[arg-type]


def started(command: str, here: Path, work: Path) -> subprocess.Popen:
    """The command as a process in its own folder, with its own cache."""
    env = os.environ | {"LATENT_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(ROOT / "cli.py"), *command.format(here=here).split()]
    return subprocess.Popen(words, cwd=work, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def contents(folder: Path) -> dict[str, bytes]:
    """The pictures and tensors of a folder, which are equal for equal runs; no times, no reports."""
    found = {}
    for path in sorted((folder / "out").rglob("*")):
        if path.suffix == ".png" and ".run" not in path.parent.name:
            found[path.name] = path.read_bytes()
        elif path.suffix == ".safetensors" and ".run" not in path.parent.name:
            found[path.name] = tensors(path)
    return found


def tensors(path: Path) -> bytes:
    """The numbers in a safetensors file, in the order of their names."""
    with safe_open(path, "pt") as file:
        return b"".join(file.get_tensor(key).numpy().tobytes() for key in sorted(file.keys()))


def faults(command: str, here: Path, work: Path, number: int, after: float, whole: dict[str, bytes]) -> list[str]:
    """All that is wrong after a signal at that moment, and after the rerun."""
    process = started(command, here, work)
    time.sleep(after)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    wrong = ["a traceback"] if "Traceback" in told or "Exception ignored" in told else []
    try:
        left = contents(work)
    except Exception as error:  # of any reader
        return [*wrong, f"a half file ({error})"]
    if number != signal.SIGKILL and list(work.rglob("*.tmp*")):
        wrong.append("an unfinished file")
    if number == signal.SIGTERM and "stopped early" in told and not left:
        wrong.append("nothing kept")
    again = command + (
        " --resume" if command.startswith("train") and (work / "out/x.run/checkpoint.pt").exists() else ""
    )
    rerun = started(again, here, work)
    why = rerun.communicate(timeout=60)[1]
    if rerun.returncode:
        wrong.append(f"the rerun fails: {why.splitlines()[-1:]}")
    elif contents(work) != whole:
        wrong.append("the rerun differs")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--only", choices=[*COMMANDS])
    asked = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here)
        for name in [asked.only] if asked.only else COMMANDS:
            work = here / f"{name}-whole"
            work.mkdir()
            began = time.monotonic()
            assert started(COMMANDS[name], here, work).wait() == 0, name
            seconds, whole = time.monotonic() - began, contents(work)
            for number in SIGNALS:
                wrong = []
                for i in range(asked.times):
                    work = here / f"{name}-{number}-{i}"
                    work.mkdir()
                    wrong += faults(COMMANDS[name], here, work, number, rng.uniform(0.02, seconds), whole)
                told = ", ".join(f"{wrong.count(one)} x {one}" for one in dict.fromkeys(wrong)) or "nothing wrong"
                print(f"{name:<8} {signal.Signals(number).name:<8} {asked.times} times: {told}", flush=True)


if __name__ == "__main__":
    main()
