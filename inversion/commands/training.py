"""A model from a folder of pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from generators.errors import TrainingError
from inversion.terminal import (
    DEVICE,
    FILE,
    JSON,
    SEED,
    Numbers,
    Seconds,
    device_of,
    fail,
    follow,
    options,
    say,
)


@click.command(epilog="Example: latent train faces.zip more/ -o faces.safetensors --shares 3,1")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=FILE)
@click.option("-o", "--out", required=True, type=FILE, metavar="MODEL", help="The model file to write.")
@click.option("--kind", type=click.Choice(["stylegan2"]), default="stylegan2", show_default=True)
@click.option("--resolution", type=click.IntRange(8, 1024), default=64, show_default=True, help="8, 16, 32 ... px.")
@click.option("--channels", type=Numbers(int), help="At 4, 8, 16 ... px.  [default: 256,256,192,96,48]")
@click.option("--images", type=click.IntRange(1), default=200_000, show_default=True, help="Pictures to see in all.")
@click.option("--warmup", type=click.IntRange(0), help="Of them without adversary.  [default: a fifth, to 12000]")
@click.option("--batch", type=click.IntRange(4), default=16, show_default=True)
@click.option("--shares", type=Numbers(), help="How often each source is drawn.  [default: by its pictures]")
@click.option("--holdout", type=click.IntRange(1), default=100, show_default=True, help="Pictures kept for measuring.")
@click.option("--every", type=Seconds(), default="4m", show_default=True, help="Time between checkpoints.")
@click.option("--run", type=FILE, metavar="DIR", help="Checkpoints, curve, samples.  [default: MODEL.run]")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint.")
@click.option("--licence", default="unknown", show_default=True, help="Of the pictures; stored with the model.")
@options(SEED, DEVICE, JSON)
def train(sources: Sequence[Path], out: Path, shares: tuple[float, ...] | None, holdout: int, every: float,
          run: Path | None, resume: bool, licence: str, device: str, kind: str, **settings: Any) -> None:
    """Train a generator and its encoder.

    SOURCEs are folders or zips of aligned pictures, of which the centre square is taken. The model file always holds
    the best so far, by reconstruction of pictures that training never sees.
    """
    import torch

    from generators.training.data import load_pictures
    from generators.training.run import report_pictures, train_config
    from generators.training.run import train as train_steps

    torch.set_flush_denormal(True)  # untrained networks are full of such numbers, which are slow
    config, run = train_config(**settings), run or out.with_suffix(".run")
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists() and not resume:
        raise TrainingError(f"{run} holds a run already; add --resume to go on, or name another folder with --run")
    pictures = load_pictures(sources, config.resolution, shares=shares)
    for line in report_pictures(pictures):
        say(line)
    card = {"data": [source.name for source in sources], "pictures": len(pictures.images), "licence": licence}
    try:
        follow(train_steps(pictures, out, config, run=run, resume=resume, every=every, holdout=holdout, card=card,
                           device=device_of(device)))
    except KeyboardInterrupt:
        kept = f"the same command with --resume goes on from {checkpoint}"
        fail(f"stopped; {kept if checkpoint.exists() else 'there was no checkpoint yet, so nothing is kept'}", 130)
    say(f"the best model is {out}; the curve and samples of the run are in {run}")
