"""One training run on disk: checkpoints, the best model so far, its curves and its samples, all in one folder.

RUN/checkpoint.pt goes on where it stopped, RUN/settings.json says with what; RUN/latest.safetensors is the model as it
is now. RUN/log.csv and RUN/curve.png have the losses and measures; RUN/samples.png shows held-out photographs, their
reconstructions, midpoints of neighbours, and samples, and RUN/samples-NNNNNNNN.png how that was after so many images.
"""

from collections.abc import Generator as Steps
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generators.base import Generator
from generators.errors import TrainingError
from generators.training.checkpoint import check_like, load_checkpoint
from generators.training.data import Pictures
from generators.training.record.record import Progress, Record
from generators.training.settings import check_fits, config_of, trainer_of
from generators.training.trainer import Trainer


def report_pictures(pictures: Pictures) -> list[str]:
    """Lines on the training pictures for their user; TrainingError if they are too few."""
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
    if pictures.guessed:
        lines.append(f"{len(pictures.guessed)} of them were read by a guess, as this one: {min(pictures.guessed)}")
    if skipped:
        more = f" and {len(skipped) - 20} more" if len(skipped) > 20 else ""
        lines.append(f"warning: {len(skipped)} files cannot be read and are left out: {', '.join(skipped[:20])}{more}")
    if count < 100:
        lines.append(f"warning: {count} pictures are few; under 100 a model learns them by heart")
    return lines


def about_pictures(sources: Sequence[Path], pictures: Pictures, *, licence: str, subject: str | None) -> dict[str, Any]:
    """The part of a model's card that tells of its pictures."""
    about: dict[str, Any] = {"data": [source.name for source in sources], "pictures": len(pictures.images)}
    return about | {"licence": licence} | ({"subject": subject} if subject else {})


def train(
    pictures: Pictures,
    out: Path,
    config: Any,
    *,
    run: Path,
    kind: str = "stylegan2",
    resume: bool = False,
    card: dict[str, Any] | None = None,
    init: Generator | None = None,
    every: float = 240.0,
    snapshot_every: int | None = None,
    holdout: int = 100,
    device: str = "cpu",
    main: bool = True,
) -> Steps[Progress]:
    """Train to config.images, yielding each step; keep the best model in out, and all else in the folder run.

    card tells of the pictures. Every so many seconds there is a checkpoint; after snapshot_every images (None: a
    fiftieth of the run, or 1000 where that is more) a measure with its samples, and a report after each tenth of that.
    The best is judged by the reconstruction of `holdout` pictures that training never sees; without an encoder, and for
    autoencoders, the latest is the best. Leaving the loop early is fine: it writes a checkpoint, and the same call with
    resume goes on from there. main=False writes nothing, for all but one of several processes. TrainingError if resume
    finds nothing, or a run of another shape, or if the disk is full.
    """
    if type(config) is not config_of(kind):
        told = f"the settings are {type(config).__name__}; the kind {kind} takes {config_of(kind).__name__}"
        raise TrainingError(f"{told}; make them with train_config({kind!r}, ...)")
    kept, held = pictures.without(min(holdout, len(pictures.images) // 5))
    trainer = trainer_of(kind)(config, kept, device=device, init=init)
    trainer.ema.card = trainer.card(card or {}, init)
    best = restore(trainer, kind, run) if resume else -1.0
    record = Record(trainer, kind, held, out, run, every=every, snapshot_every=snapshot_every, best=best)
    if not main:
        yield from map(record.progress, trainer.run())
        return
    record.open({"pictures": len(pictures.images), "holdout": len(held), "card": trainer.ema.card})
    try:
        for step in trainer.run():
            yield record.write(step)
        yield from record.finish()
    except GeneratorExit:
        record.checkpoint()
        raise
    finally:
        record.close()


def restore(trainer: Trainer, kind: str, run: Path) -> float:
    """Take a run up again; gives its best measure so far."""
    path = run / "checkpoint.pt"
    state = load_checkpoint(path)
    check_fits(state.get("kind", kind), kind, state["config"], trainer.config, path)
    try:
        parts = {key: value for key, value in state.items() if key not in ("config", "optimizer", "optimizers")}
        check_like(parts, trainer.state(), "it")
        best = float(state.get("best", -1.0))
        trainer.restore(state)
    except TrainingError:
        raise
    except Exception as error:  # damage goes wrong in as many ways as there are parts
        why = " ".join(str(error).split())
        raise TrainingError(f"{path} does not fit this run ({why:.200}); give its settings, or start anew") from error
    return best
