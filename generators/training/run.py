"""One training run on disk: checkpoints, the best model so far, its curve and its samples, all in one folder.

RUN/checkpoint.pt goes on where it stopped; RUN/log.csv has a row per measure; RUN/samples.png shows held-out
photographs, their reconstructions, midpoints of neighbours, and samples.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from generators.base import Generator
from generators.errors import TrainingError
from generators.files import save_model
from generators.training.data import Pictures
from generators.training.loop import TrainConfig, Trainer, save_checkpoint
from generators.training.moments import match_moments


@dataclass(frozen=True)
class Progress:
    """What a run reports now and then: losses, and the measures where they were just taken."""

    images_seen: int
    images: int
    images_per_second: float
    losses: dict[str, float]
    psnr: float | None  # dB, median over the held-out pictures, encoder alone


def train_config(
    *, resolution: int, images: int, channels: tuple[int, ...] | None = None, warmup: int | None = None, **settings: Any
) -> TrainConfig:
    """Settings of a run, from TrainConfig's where they are not given, fitted to its resolution and length.

    channels None: the default ones, which go on by halves, down to 16, where they end. warmup None: a fifth of the
    images, at most 25 000.
    """
    default, count = TrainConfig().channels, resolution.bit_length() - 2
    more = tuple(max(16, default[-1] >> i) for i in range(1, 1 + count - len(default)))
    warmup = min(12_000, images // 5) if warmup is None else warmup
    channels = channels or (*default[:count], *more)
    return TrainConfig(resolution=resolution, images=images, channels=channels, warmup=warmup, **settings)


def report_pictures(pictures: Pictures) -> list[str]:
    """What their user should know of the training pictures, in lines; TrainingError if they are too few."""
    count, skipped = len(pictures.images), pictures.skipped
    if count < 5:
        raise TrainingError(f"{count} pictures came; give at least 5, since a fifth is held out for measuring")
    lines = [f"{count} pictures, {pictures.resized} of them of another size or shape, which are cropped and resized"]
    if skipped:
        lines.append(f"warning: {len(skipped)} files cannot be read and are left out: {', '.join(skipped[:5])}")
    if count < 100:
        lines.append(f"warning: {count} pictures are few; under 100 a model learns them by heart")
    return lines


def train(
    pictures: Pictures,
    out: Path,
    config: TrainConfig,
    *,
    run: Path,
    resume: bool = False,
    card: dict | None = None,
    init: Generator | None = None,
    every: float = 240.0,
    holdout: int = 100,
    device: str = "cpu",
) -> Iterator[Progress]:
    """Train to config.images, yielding each step; every so many seconds measure, save, and keep the best in out.

    The best is judged by reconstruction of `holdout` pictures that training never sees. Leaving the loop early is
    fine: call it again with resume. TrainingError if resume finds nothing, or a run of another shape.
    """
    run.mkdir(parents=True, exist_ok=True)
    kept, held = pictures.without(min(holdout, len(pictures.images) // 5), config.seed)
    trainer = Trainer(config, kept, device=device, init=init)
    trainer.ema.card = trainer.model.card = card or {}
    best = restore(trainer, run) if resume else -1.0
    began = saved = monotonic()
    seen_before = trainer.images_seen
    for step in trainer.run():
        now, psnr = monotonic(), None
        done = step.images_seen >= config.images
        if now - saved >= every or done:
            psnr = held_out_psnr(trainer.ema, held)
            model = match_moments(trainer.ema, kept.some(4000, config.seed))
            if psnr > best and step.images_seen > config.warmup:
                best = psnr
                save_model(model, out, dtype=torch.float16)
            save_model(model, run / "latest.safetensors", dtype=torch.float16)
            save_checkpoint(trainer, run / "checkpoint.pt", best=best)
            write_row(run / "log.csv", {"images": step.images_seen, "psnr": psnr} | step.losses)
            contact_sheet(model, held).save(run / "samples.png")
            saved = monotonic()
        rate = (step.images_seen - seen_before) / max(now - began, 1e-9)
        yield Progress(step.images_seen, config.images, rate, step.losses, psnr)


def restore(trainer: Trainer, run: Path) -> float:
    """Take a run up again; gives its best measure so far."""
    path = run / "checkpoint.pt"
    if not path.exists():
        raise TrainingError(f"nothing to resume at {path}; start without --resume")
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        trainer.restore(state)
    except (RuntimeError, ValueError, KeyError) as error:
        shape = json.dumps({k: state["config"][k] for k in ("resolution", "channels", "w_dim")})
        raise TrainingError(
            f"{path} is a run of another shape ({shape}); give the same sizes, or start anew"
        ) from error
    return float(state.get("best", -1.0))


@torch.no_grad()
def held_out_psnr(model: Generator, held: UInt8[Tensor, "count 3 size size"]) -> float:
    """Median PSNR in dB of the encoder's reconstructions."""
    assert model.encoder is not None
    values = []
    for batch in held.split(25):
        target = batch.to(model.w_avg.device).float() / 127.5 - 1
        image = model.synthesis(model.encoder(target), model.fixed_noise(len(target))).clamp(-1, 1)
        values.append(10 * torch.log10(4 / (image - target).square().mean(dim=(1, 2, 3))))
    return float(torch.cat(values).median())


@torch.no_grad()
def contact_sheet(model: Generator, held: UInt8[Tensor, "count 3 size size"], columns: int = 12) -> Image.Image:
    """Four rows: photographs, reconstructions, midpoints with the next one, samples at truncation 0.7."""
    assert model.encoder is not None
    target = held[:columns].to(model.w_avg.device).float() / 127.5 - 1
    ws, noise = model.encoder(target), model.fixed_noise(len(target))
    z = torch.randn(len(target), model.z_dim, generator=torch.Generator().manual_seed(0)).to(target.device)
    rows = [target]
    rows += [
        model.synthesis(w, noise) for w in (ws, ws.lerp(ws.roll(-1, 0), 0.5), model.mapping(z, truncation_psi=0.7))
    ]
    return grid(torch.stack(rows))


def grid(images: Float[Tensor, "rows columns c h w"]) -> Image.Image:
    """Images in [-1, 1] as one picture."""
    pixels = (images.float().cpu() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    rows, columns, channels, height, width = pixels.shape
    array = pixels.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels).numpy()
    return Image.fromarray(np.squeeze(array))


def write_row(path: Path, row: dict[str, float | int | None]) -> None:
    """Append a row to a CSV file; a loss that was not taken leaves its field empty."""
    names = [
        "images",
        "psnr",
        "reconstruction",
        "penalty",
        "adversarial",
        "matching",
        "discriminator",
        "mapping",
        "critic",
    ]
    fresh = not path.exists()
    with path.open("a", newline="") as f:
        writer = csv.DictWriter(f, names, extrasaction="ignore")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
