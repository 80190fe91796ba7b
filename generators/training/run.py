"""One training run on disk: checkpoints, the best model so far, its curves and its samples, all in one folder.

RUN/checkpoint.pt goes on where it stopped, RUN/settings.json says with what; RUN/latest.safetensors is the model as it
is now. RUN/log.csv and RUN/curve.png have the losses and measures; RUN/samples.png shows held-out photographs, their
reconstructions, midpoints of neighbours, and samples, and RUN/samples-NNNNNNNN.png how that was after so many images.
"""

import errno
import json
from collections import deque
from collections.abc import Generator as Steps
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from generators.base import Generator
from generators.checkpoints.ours import load_model, save_model
from generators.errors import TrainingError, WriteError
from generators.parts.flow import Flow
from generators.shapes import UInt8
from generators.storage import reason, remove_unfinished, write_bytes
from generators.stylegan2 import StyleGAN2
from generators.training.checkpoint import load_checkpoint, save_checkpoint
from generators.training.data import Pictures
from generators.training.kinds import Step, Training, build_trainer, finished
from generators.training.methods.moments import recolour
from generators.training.methods.prior import CODES, codes_of, fit_flow
from generators.training.record.monitor import Log, contact_sheet, held_out_psnr, write_picture
from generators.training.settings import SETTINGS, check_fits


@dataclass(frozen=True)
class Progress:
    """What a run reports after each step."""

    images_seen: int
    images: int
    images_per_second: float  # over the last fifty steps
    seconds_left: float
    losses: dict[str, float]  # means since the last report
    psnr: float | None  # dB, median over the held-out pictures, encoder alone; where it was just measured
    due: bool  # whether this is a report: a row of the log


def report_pictures(pictures: Pictures) -> list[str]:
    """What their user should know of the training pictures, in lines; TrainingError if they are too few."""
    count, skipped = len(pictures.images), pictures.skipped
    if count < 5:
        raise TrainingError(f"{count} pictures came; give at least 5, since a fifth is held out for measuring")
    size = f"{pictures.images.shape[-1]} px, {pictures.images.numel() / 2**20:,.1f} MiB"
    place = "in memory" if pictures.mapped is None else f"in {pictures.mapped}, as they would fill the memory"
    lines = [f"{count} pictures of {size} {place}"]
    if pictures.resized:
        lines.append(f"{pictures.resized} of them were of another size or shape: cropped to their centre, and resized")
    if pictures.grey and pictures.images.shape[1] == 3:
        lines.append(f"{pictures.grey / count:.0%} of them have no colour")
    if pictures.duplicates:
        lines.append(f"warning: {pictures.duplicates} equal others; what is held out may be among those trained on")
    if skipped:
        more = f" and {len(skipped) - 20} more" if len(skipped) > 20 else ""
        lines.append(f"warning: {len(skipped)} files cannot be read and are left out: {', '.join(skipped[:20])}{more}")
    if count < 100:
        lines.append(f"warning: {count} pictures are few; under 100 a model learns them by heart")
    return lines


def model_card(
    kind: str, sources: Sequence[Path], pictures: Pictures, init: Generator | None, *, licence: str, subject: str | None
) -> dict[str, Any]:
    """What a model's file tells of where it comes from; an encoder's data stand beside those of its generator."""
    about: dict[str, Any] = {"data": [source.name for source in sources], "pictures": len(pictures.images)}
    about |= {"licence": licence} | ({"subject": subject} if subject else {})
    if init is None:
        return about
    return init.card | {"encoder": about} if kind == "encoder" else about | {"init": init.name}


def train(
    pictures: Pictures,
    out: Path,
    config: Any,
    *,
    run: Path,
    kind: str = "stylegan2",
    resume: bool = False,
    card: dict | None = None,
    init: Generator | None = None,
    every: float = 240.0,
    snapshot_every: int | None = None,
    holdout: int = 100,
    device: str = "cpu",
    main: bool = True,
) -> Steps[Progress]:
    """Train to config.images, yielding each step; keep the best model in out, and all else in the folder run.

    Every so many seconds there is a checkpoint; after snapshot_every images (None: a fiftieth of the run, or 1000 where
    that is more) there is a measure with its samples, and a report after each tenth of that. The best is judged by the
    reconstruction of `holdout` pictures that training never sees; without an encoder, and for autoencoders, the latest
    is the best. Leaving the loop early is fine: it writes a checkpoint, and the same call with resume goes on from
    there. main=False writes nothing, for all but one of several processes. TrainingError if resume finds nothing, or a
    run of another shape, or if the disk is full.
    """
    kept, held = pictures.without(min(holdout, len(pictures.images) // 5))
    trainer = build_trainer(kind, config, kept, device=device, init=init)
    trainer.ema.card = card or {}
    best = restore(trainer, kind, run) if resume else -1.0
    record = Record(trainer, kind, kept, held, out, run, every=every, snapshot_every=snapshot_every, best=best)
    if not main:
        yield from map(record.progress, trainer.run())
        return
    record.open({"pictures": len(pictures.images), "holdout": len(held), "card": card or {}})
    try:
        for step in trainer.run():
            yield record.write(step)
        yield from record.finish()
    except GeneratorExit:
        record.checkpoint()
        raise
    finally:
        record.close()


def restore(trainer: Training, kind: str, run: Path) -> float:
    """Take a run up again; gives its best measure so far."""
    path = run / "checkpoint.pt"
    state = load_checkpoint(path)
    check_fits(state.get("kind", kind), kind, state["config"], trainer.config, path)
    try:
        trainer.restore(state)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise TrainingError(f"{path} does not fit this run ({why:.200}); give its settings, or start anew") from error
    return float(state.get("best", -1.0))


class Record:
    """What a run leaves on disk as it goes: written after each step, as far as it is due."""

    def __init__(
        self,
        trainer: Training,
        kind: str,
        kept: Pictures,
        held: UInt8[Tensor, "count channels size size"],
        out: Path,
        run: Path,
        *,
        every: float,
        snapshot_every: int | None,
        best: float,
    ) -> None:
        self.trainer, self.kind, self.kept, self.held = trainer, kind, kept, held
        self.out, self.run, self.every, self.best = out, run, every, best
        self.config = trainer.config  # with the sizes that a model to start from fixes
        batch, total = self.config.batch, self.config.images
        self.snapshot_every: int = snapshot_every or max(batch, total // 50, min(1000, total // 5))
        self.meter, self.rate, self.log = Meter(), Rate(trainer.images_seen), None
        self.saved, self.saved_images = monotonic(), -1
        self.dtype = torch.float32 if kind == "encoder" and not survives_half(trainer.ema) else torch.float16

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
        """Whether the last batch reached or passed a multiple of every, or the end."""
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
            model = finished(self.trainer, self.kind, self.kept)
            if model.encoder is not None:
                psnr = held_out_psnr(model, self.held)
            if self.is_best(seen, psnr):
                self.best = self.best if psnr is None else psnr
                save_model(model, self.out, dtype=self.dtype)
            save_model(model, self.run / "latest.safetensors", dtype=self.dtype)
            sheet = contact_sheet(model, self.held)
            write_picture(sheet, self.run / f"samples-{seen:08}.png")
            write_picture(sheet, self.run / "samples.png")
        return psnr

    def is_best(self, seen: int, psnr: float | None) -> bool:
        """Whether a model is to be kept; the last one always is where none was, as after a warm-up without end."""
        if psnr is None or getattr(self.trainer, "keep_latest", False):
            return True
        warm = seen > getattr(self.config, "warmup", 0)
        return (warm and psnr > self.best) or (seen >= self.config.images and self.best < 0)

    def report(self, progress: Progress, *, curves: bool) -> None:
        """A row of the log, and the curves where they are wanted."""
        assert self.log is not None
        row = {name: getattr(progress, name) for name in ("psnr", "images_per_second")}
        with writing(self.run):
            self.log.add({"images": progress.images_seen} | row | progress.losses)
            if curves:
                self.log.draw(self.run / "curve.png")

    def finish(self) -> Iterator[Progress]:
        """Fit the flow of the model that was kept to what its encoder sees in all pictures; a tenth of it at a time."""
        c, last = self.config, self.trainer.ema
        if not (isinstance(last, StyleGAN2) and isinstance(last.map, Flow) and getattr(c, "joint", False)):
            return
        model = load_model(self.out, device=last.w_avg.device)
        assert isinstance(model, StyleGAN2) and isinstance(model.map, Flow)
        model.map.load_state_dict(last.map.state_dict())  # so that the end of a run can be repeated
        rounds, began = min(c.flow_rounds, c.images // 8), monotonic()
        codes = codes_of(model, self.kept, min(CODES, 4 * len(self.kept.images)), c.seed, mirror=c.mirror)
        losses = fit_flow(model.map.requires_grad_(), codes, rounds=rounds, lr=c.flow_lr, seed=c.seed)
        for tenth, loss in enumerate(losses, 1):
            left = (monotonic() - began) * (10 / tenth - 1)
            if rounds >= 100:
                yield Progress(self.trainer.images_seen, c.images, 0.0, left, {"flow": loss}, None, True)
        if model.map.gaussian:
            recolour(model.map)
        model.w_avg.copy_(codes.mean(dim=0))
        with writing(self.run):
            save_model(model.requires_grad_(False), self.out, dtype=self.dtype)
            write_picture(contact_sheet(model, self.held), self.run / "samples.png")

    def checkpoint(self) -> None:
        """Write the state after the last step, unless it is there."""
        if self.saved_images != self.trainer.images_seen:
            save_checkpoint(self.trainer.state() | {"kind": self.kind, "best": self.best}, self.run / "checkpoint.pt")
        self.saved, self.saved_images = monotonic(), self.trainer.images_seen


def survives_half(model: Generator) -> bool:
    """Whether half precision leaves model's sha256 as it is, so that latents made with it before still render."""
    own = (v for k, v in model.state_dict().items() if not k.startswith(("encoder.", "discriminator.", "preview.")))
    return all(torch.equal(v.half().to(v), v) for v in own)


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
        (began, first), (now, last) = self.marks[0], self.marks[-1]
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
