"""What a run leaves on disk as it goes: checkpoints, the best model, its curves and its samples."""

import errno
import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from torch import Tensor

from generators.checkpoints.ours import load_model, save_model
from generators.errors import TrainingError, WriteError
from generators.shapes import UInt8
from generators.storage import reason, remove_unfinished, write_bytes
from generators.training.checkpoint import save_checkpoint
from generators.training.record.monitor import Log, contact_sheet, held_out_psnr, write_picture
from generators.training.settings import SETTINGS
from generators.training.trainer import Step, Trainer


@dataclass(frozen=True)
class Progress:
    """A run's report after each step."""

    images_seen: int
    images: int
    images_per_second: float  # over the last fifty steps
    seconds_left: float
    losses: dict[str, float]  # means since the last report
    psnr: float | None  # dB, median over the held-out pictures, encoder alone; where it was just measured
    due: bool  # whether this is a report: a row of the log


class Record:
    """All that a run leaves on disk, written after each step, as far as it is due."""

    def __init__(
        self,
        trainer: Trainer,
        kind: str,
        held: UInt8[Tensor, "count channels size size"],
        out: Path,
        run: Path,
        *,
        every: float,
        snapshot_every: int | None,
        best: float,
    ) -> None:
        self.trainer, self.kind = trainer, kind
        self.held, self.best = held, best
        self.out, self.run = out, run
        self.every = every
        self.config = trainer.config  # with the sizes that a model to start from fixes
        batch, total = self.config.batch, self.config.images
        self.snapshot_every: int = snapshot_every or max(batch, total // 50, min(1000, total // 5))
        self.meter, self.rate = Meter(), Rate(trainer.images_seen)
        self.log: Log | None = None
        self.saved, self.saved_images = monotonic(), -1

    def open(self, about: dict[str, Any]) -> None:
        """Make the folder, and say in it what is trained."""
        settings = {"kind": self.kind, "settings": asdict(self.config)}
        with writing(self.run):
            self.run.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.run)
            remove_unfinished(self.out.parent, self.out.name)
            write_bytes(json.dumps(settings | about, indent=2).encode(), self.run / SETTINGS)
            self.log = Log(self.run / "log.csv", self.trainer.images_seen)

    def close(self) -> None:
        if self.log is not None:
            self.log.close()

    def progress(self, step: Step) -> Progress:
        """A step as it is reported, before anything is measured."""
        seen, total = step.images_seen, self.config.images
        self.meter.add(step.losses)
        due = self.passes(seen, self.snapshot_every) or self.passes(seen, max(1, self.snapshot_every // 10))
        losses, speed = self.meter.means(), self.rate.at(seen)
        if due:
            self.meter = Meter()
        return Progress(seen, total, speed, max(0, total - seen) / max(speed, 1e-9), losses, None, due)

    def passes(self, seen: int, every: int) -> bool:
        """Say whether the last batch reached or passed a multiple of every, or the end."""
        return seen >= self.config.images or seen // every > (seen - self.config.batch) // every

    def write(self, step: Step) -> Progress:
        """Whatever is due after a step: a measure with its samples, a row of the log, a checkpoint."""
        progress, shown = self.progress(step), self.passes(step.images_seen, self.snapshot_every)
        if shown:
            progress = replace(progress, psnr=self.snapshot())
        if progress.due:
            self.report(progress, curves=shown)
        if step.images_seen >= self.config.images or monotonic() - self.saved >= self.every:
            self.checkpoint()
        return progress

    def snapshot(self) -> float | None:
        """Measure the model, keep it if it is the best, and show its samples; gives the measure, in dB."""
        seen, psnr = self.trainer.images_seen, None
        with writing(self.run):
            model = self.trainer.finished()
            if model.encoder is not None:
                psnr = held_out_psnr(model, self.held)
            if self.is_best(seen, psnr):
                self.best = self.best if psnr is None else psnr
                save_model(model, self.out, dtype=self.trainer.dtype)
            save_model(model, self.run / "latest.safetensors", dtype=self.trainer.dtype)
            sheet = contact_sheet(model, self.held)
            write_picture(sheet, self.run / f"samples-{seen:08}.png")
            write_picture(sheet, self.run / "samples.png")
        return psnr

    def is_best(self, seen: int, psnr: float | None) -> bool:
        """Say whether a model is to be kept; the last one always is where none was, as after a warm-up without end."""
        if psnr is None or self.trainer.keep_latest:
            return True
        return (self.trainer.warm() and psnr > self.best) or (seen >= self.config.images and self.best < 0)

    def report(self, progress: Progress, *, curves: bool) -> None:
        """A row of the log, and the curves where they are wanted."""
        assert self.log is not None
        row = {name: getattr(progress, name) for name in ("psnr", "images_per_second")}
        with writing(self.run):
            self.log.add({"images": progress.images_seen} | row | progress.losses)
            if curves:
                self.log.draw(self.run / "curve.png")

    def finish(self) -> Iterator[Progress]:
        """Let the trainer finish the model that was kept, where it has more to do; a tenth at a time."""
        trainer, began = self.trainer, monotonic()
        if not trainer.finishes:
            return
        model = load_model(self.out, device=trainer.device)
        for tenth, losses in enumerate(trainer.finish(model), 1):
            left = (monotonic() - began) * (10 / tenth - 1)
            yield Progress(trainer.images_seen, self.config.images, 0.0, left, losses, None, True)
        with writing(self.run):
            save_model(model, self.out, dtype=trainer.dtype)
            write_picture(contact_sheet(model, self.held), self.run / "samples.png")

    def checkpoint(self) -> None:
        """Write the state after the last step, unless it is there."""
        if self.saved_images != self.trainer.images_seen:
            save_checkpoint(self.trainer.state() | {"kind": self.kind, "best": self.best}, self.run / "checkpoint.pt")
        self.saved, self.saved_images = monotonic(), self.trainer.images_seen


class Meter:
    """Means of the losses that were taken, by name."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self.sums.items()}


class Rate:
    """Images a second over the last fifty steps, with all that was done between them."""

    def __init__(self, seen: int) -> None:
        self.marks = deque([(monotonic(), seen)], maxlen=51)

    def at(self, seen: int) -> float:
        self.marks.append((monotonic(), seen))
        began, first = self.marks[0]
        now, last = self.marks[-1]
        return (last - first) / max(now - began, 1e-9)


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """Say in one line that a file of the run could not be written."""
    try:
        yield
    except (OSError, WriteError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "make room, then go on with --resume" if full else "name a folder that can be, with -o or --run"
        raise TrainingError(f"{run} cannot be written to ({reason(cause)}); {what}") from error
