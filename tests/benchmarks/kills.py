"""Kills at random moments: no half file, no stale lock, and the rerun gives what an undisturbed run gives.

    python -m tests.benchmarks.kills [--times N] [--only COMMAND] [--signals SIGKILL,SIGTERM,SIGINT]

Each command runs on a tiny generator, once undisturbed, which tells how long it takes; then as often as asked it gets
each signal at moments drawn from that time, and is run again. A run is a fork of this process, which has imported all
that the commands need, so that the moments fall into their work; time is the processor's, so that a busy machine moves
none of them. A row for each command and signal.
"""

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

import cli
from generators.checkpoints.ours import save_model
from generators.checkpoints.rosinality import to_state
from generators.training.checkpoint import load_checkpoint
from tests.conftest import picture, tiny_generator

ROUNDING = 1e-4  # of latents that are found in batches of another size
PATIENCE = 120  # seconds of the clock, after which a run hangs
SMALL = "--resolution 8 --w-dim 8 --mapping-layers 1 --channels 8,8 --batch 4 --images 40 --holdout 2"
COMMANDS = {
    "invert": "invert {here}/photos -o out -g {here}/m.safetensors --no-align --steps 8 --batch 2",
    "blend": "blend {here}/photos/a.png {here}/photos/b.png -o out/x.png -g {here}/m.safetensors --no-align --steps 20",
    "train": f"train {{here}}/photos -o out/x.safetensors {SMALL} --every 0.02 --snapshot-every 20",
    "search": "search {here}/photos/a.png {here}/photos -o out/x.png -g {here}/m.safetensors --no-align --steps 6",
    "convert": "convert {here}/m.pt out/x.safetensors",
    "pca": "train {here}/photos -o out/x.safetensors --kind pca --dim 4 --resolution 16",
}
IMPORTED = (  # what commands import when they are called
    *(f"inversion.commands.{name}" for name in ("photos", "edits", "training", "library", "models", "destination")),
    *("inversion.batch", "inversion.edit", "inversion.files.named", "inversion.library.nearest"),
    *("inversion.library.collection", "inversion.views.page", "generators.checkpoints.export", "matplotlib.figure"),
    *("generators.training.run", "generators.training.distributed", "generators.training.methods.stylegan2"),
    *(
        "generators.training.methods.pca",
        "sklearn.decomposition",
        "matplotlib.backends.backend_agg",
        "torch._dynamo",
        "skimage.metrics",
    ),
)


def prepare(here: Path) -> None:
    """Photographs and models that the commands take."""
    (here / "photos").mkdir()
    for seed, name in enumerate("abcdef"):
        picture(seed).save(here / "photos" / f"{name}.png")
    generator = tiny_generator()
    generator.card["subject"] = "noise"  # in which no faces are sought
    save_model(generator, here / "m.safetensors")
    torch.save({"g_ema": to_state(tiny_generator()), "latent_avg": torch.zeros(8)}, here / "m.pt")  # type: ignore[arg-type]


def started(command: str, here: Path, work: Path) -> int:
    """The command in a fork of this process, in its own folder, with its own cache; gives its id."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.chdir(work)
        os.environ["LATENT_CACHE"] = str(work / "cache")
        os.dup2(os.open("told", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["latent", *command.format(here=here).split()]
        cli.run()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stderr.flush()
        os._exit(status)


def used(pid: int) -> float:
    """Seconds of the processor that a running process has used."""
    return time.clock_gettime((~pid << 3) | 2)


def ended(pid: int, number: int = 0, after: float = float("inf")) -> tuple[int, float]:
    """Wait for a process, and send it the signal after so many of its seconds; gives its status and its seconds."""
    began, sent = time.monotonic(), False
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        if time.monotonic() - began > PATIENCE:
            os.kill(pid, signal.SIGKILL)
        if not sent and used(pid) >= after:
            os.kill(pid, number)
            sent = True
        time.sleep(0.0005)


def contents(folder: Path) -> dict[str, np.ndarray]:
    """The pictures and tensors of a folder, which are equal for equal runs; any reader's error for a half file."""
    found = {}
    for path in sorted((folder / "out").rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".png":
            with Image.open(path) as image:
                found[name] = np.asarray(image)
        elif path.suffix == ".safetensors":
            found[name] = tensors(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".pt":
            load_checkpoint(path)
    return {name: value for name, value in found.items() if "curve.png" not in name and ".tmp" not in name}


def tensors(path: Path) -> np.ndarray:
    """The numbers in a safetensors file, in the order of their names."""
    with safe_open(path, "pt") as file:
        return np.concatenate([file.get_tensor(key).double().numpy().ravel() for key in sorted(file.keys())])


def apart(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Tell pictures that differ, and numbers that do by more than another size of batch rounds."""
    if a is None or b is None or a.shape != b.shape:
        return True
    return not (np.array_equal(a, b) if a.dtype == np.uint8 else np.allclose(a, b, atol=ROUNDING))


def after_a_signal(work: Path, number: int, status: int) -> list[str]:
    """All that is wrong in a folder in which a run was stopped."""
    told = (work / "told").read_text()
    wrong = ["a traceback"] if "Traceback" in told or "Exception ignored" in told else []
    if status not in (0, -number, 128 + number):
        wrong.append(f"status {status}")
    for left in work.rglob("*.tmp*"):
        if number != signal.SIGKILL:
            wrong.append(f"an unfinished file ({left.suffix})")
        left.unlink()
    try:
        left = contents(work)
    except Exception as error:  # of any reader
        return [*wrong, f"a half file ({error})"]
    if kept := re.search(r"stopped early: (\d+) of", told):
        latents = sum(name.endswith(".latent.safetensors") for name in left)
        wrong += [] if latents == int(kept[1]) else [f"{latents} kept of {kept[1]}"]
    if "--resume goes on" in told and not list(work.rglob("checkpoint.pt")):
        wrong.append("no checkpoint")
    return wrong


def faults(command: str, here: Path, work: Path, number: int, after: float, whole: dict[str, np.ndarray]) -> list[str]:
    """All that is wrong after a signal at that moment, and after the rerun; "in time" where it came before the end."""
    work.mkdir()
    (work / "told").touch()  # the signal may come before the run has opened it
    status, _ = ended(started(command, here, work), number, after)
    told = (work / "told").read_text()
    seen = ["in time"] * (status != 0) + ["best kept"] * ("stopped early" in told or "--resume goes on" in told)
    wrong = after_a_signal(work, number, status)
    more = " --resume" if command.startswith("train") and (work / "out/x.run/checkpoint.pt").exists() else ""
    status, _ = ended(started(command + more, here, work))
    if status:
        wrong.append(f"the rerun fails: {(work / 'told').read_text().splitlines()[-1:]}")
        return seen + [f"{one} [at {after:.2f} s]" for one in wrong]
    found = contents(work)
    if names := sorted(n for n in found.keys() | whole.keys() if apart(found.get(n), whole.get(n))):
        wrong.append(f"the rerun differs ({', '.join(names)})")
    return seen + [f"{one} [at {after:.2f} s]" for one in wrong]


def row(name: str, here: Path, number: int, moments: list[float], whole: dict[str, np.ndarray]) -> str:
    """A line on a command and a signal."""
    found = []
    for i, after in enumerate(moments):
        found += faults(COMMANDS[name], here, here / f"{name}-{number}-{i}", number, after, whole)
    wrong = [one for one in found if one not in ("in time", "best kept")]
    counts = f"{found.count('in time')} before the end, best kept {found.count('best kept')} times"
    told = "; ".join(wrong) or "nothing wrong"
    return f"{name:<8} {signal.Signals(number).name:<8} {len(moments)} times, {counts}: {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--only", choices=[*COMMANDS])
    parser.add_argument("--signals", default="SIGKILL,SIGTERM,SIGINT")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # for the forks, before they have a handler of their own
    for module in IMPORTED:
        import_module(module)
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepare(here)
        for name in [asked.only] if asked.only else COMMANDS:
            work = here / f"{name}-whole"
            work.mkdir()
            status, seconds = ended(started(COMMANDS[name], here, work))
            assert status == 0, (work / "told").read_text()
            print(f"{name:<8} takes {seconds:.2f} s", flush=True)
            for number in (signal.Signals[one] for one in asked.signals.split(",")):
                moments = [rng.uniform(0, seconds) for _ in range(asked.times)]
                print(row(name, here, number, moments, contents(work)), flush=True)


if __name__ == "__main__":
    main()
