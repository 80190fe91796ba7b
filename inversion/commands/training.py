"""A model from a folder of pictures."""

import sys
from collections.abc import Generator as Steps
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generators.errors import TrainingError
from generators.storage import check_apart, check_file
from generators.training.settings import KINDS, config_of
from inversion.commands.options import DEVICE, FILE, JSON
from inversion.commands.process import stoppable
from inversion.commands.settings import Grouped, Numbers, Seconds, grouped, options, options_of
from inversion.commands.terminal import counted, device_of, fail, say, tell, wants_json

if TYPE_CHECKING:
    from generators.training.config import RunConfig
    from generators.training.data import Pictures
    from generators.training.record.record import Progress


@click.command(cls=Grouped, epilog="Example: latent train faces.zip more/ -o faces.safetensors --shares 3,1")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=FILE)
@click.option("-o", "--out", required=True, type=FILE, metavar="MODEL", help="The model file to write.")
@click.option(
    "--kind",
    type=click.Choice([*KINDS]),
    default="stylegan2",
    show_default=True,
    help="A generator, an encoder for the one of --init, or an autoencoder.",
)
@click.option("--init", metavar="NAME|FILE", help="Start from a model; it may be smaller than this run.")
@click.option("--shares", type=Numbers(), help="How often each source is drawn.  [default: by its pictures]")
@click.option("--holdout", type=click.IntRange(1), default=100, show_default=True, help="Pictures kept for measuring.")
@click.option("--licence", default="unknown", show_default=True, help="Of the pictures; stored with the model.")
@click.option("--subject", help="What they show, such as face; stored with the model.")
@options(DEVICE, JSON)
@grouped("The run", "--run", type=FILE, metavar="DIR", help="Checkpoints, curves, samples.  [MODEL.run]")
@grouped("The run", "--resume", is_flag=True, help="Go on from the last checkpoint, with its settings and those given.")
@grouped("The run", "--every", type=Seconds(), default="4m", help="Time between checkpoints.  [4m]")
@grouped(
    "The run",
    "--snapshot-every",
    type=click.IntRange(1),
    metavar="N",
    help="Images between sheets of samples; a report comes ten times as often.  [a fiftieth of --images, or 1000]",
)
@options_of({kind: config_of(kind) for kind in KINDS})
def train(
    sources: Sequence[Path],
    out: Path,
    shares: tuple[float, ...] | None,
    run: Path | None,
    resume: bool,
    init: str | None,
    device: str,
    **rest: Any,
) -> None:
    """Train a generator and its encoder.

    SOURCEs are folders or zips of aligned pictures, of which the centre square is taken; the word digits is
    scikit-learn's digits. MODEL always holds the best so far, by reconstruction of pictures that training never sees.

    The folder of the run has checkpoint.pt, log.csv, curve.png and samples.png. Ctrl-C saves a checkpoint; the same
    command with --resume goes on. Several GPUs: torchrun --nproc-per-node N --no-python -- latent train ...
    """
    from generators.pictures.sources import pictures_of
    from generators.training.distributed import session

    run = run or out.with_suffix(".run")
    check_file(out)
    check_apart([out, *written_in(run)], [*sources, *(picture.place for picture in pictures_of(sources))])
    if init is not None:
        check_apart([out], [init])
    if (run / "checkpoint.pt").exists() and not resume:
        raise TrainingError(f"{run} holds a run already; add --resume to go on, or name another folder with --run")
    with session(device_of(device)) as device:
        train_here(sources, out, shares, run, resume, device, init=init, **rest)


def written_in(run: Path) -> list[Path]:
    """The pictures and the models in the folder of a run."""
    return [path for kind in ("*.png", "*.safetensors", "*.pt", "*.u8") for path in run.glob(kind)]


def train_here(
    sources: Sequence[Path],
    out: Path,
    shares: tuple[float, ...] | None,
    run: Path,
    resume: bool,
    device: str,
    kind: str,
    init: str | None,
    licence: str,
    subject: str | None,
    **rest: Any,
) -> None:
    """Train in this process, which may be one of several; only the main one talks."""
    import torch

    import generators
    from generators.training.distributed import is_main
    from generators.training.run import about_pictures
    from generators.training.run import train as train_steps
    from generators.training.settings import train_config

    torch.set_flush_denormal(True)  # untrained networks are full of such numbers, which are slow
    start = None if init is None else generators.load(init)
    how = {name: rest.pop(name) for name in ("holdout", "every", "snapshot_every")}
    given = {name: value for name, value in rest.items() if value is not None}
    config = train_config(kind, sources=sources, resume=run if resume else None, init=start, **given)
    pictures = read(sources, config, shares, run, resume=resume)
    card = about_pictures(sources, pictures, licence=licence, subject=subject)
    how |= {"run": run, "kind": kind, "resume": resume, "card": card, "init": start, "device": device}
    steps = train_steps(pictures, out, config, main=is_main(), **how)
    if stopped := follow(steps, quiet=not is_main()):
        fail(f"stopped; the same command with --resume goes on from {run / 'checkpoint.pt'}", 128 + stopped)
    if is_main():
        say(f"the best model is {out}; the curves and samples of the run are in {run}")


def read(
    sources: Sequence[Path], config: "RunConfig", shares: tuple[float, ...] | None, run: Path, *, resume: bool
) -> "Pictures":
    """Read the pictures of a run, and tell of them."""
    from generators.training.data import load_pictures
    from generators.training.distributed import is_main
    from generators.training.run import report_pictures
    from generators.training.settings import report_resumed

    pictures = load_pictures(
        sources,
        config.resolution,
        channels=config.img_channels,
        shares=shares,
        cache=run / "pictures.u8",
        watch=lambda files: counted(files, "pictures", len(files)),
    )
    lines = report_pictures(pictures) + (report_resumed(run, config, len(pictures.images)) if resume else [])
    for line in lines if is_main() else []:
        say(line)
    return pictures


def follow(steps: "Steps[Progress]", *, quiet: bool = False) -> int | None:
    """Run a training to its end, with a bar where somebody looks, and else a line at each report.

    Ctrl-C, or being told to terminate, ends it after the step at hand, with a checkpoint; gives that signal's number.
    quiet: tell nothing, and let another process decide when to end.
    """
    from tqdm import tqdm

    with stoppable() as stopped, closing(steps), tqdm(disable=quiet or None, dynamic_ncols=True, unit="img") as bar:
        for step in steps:
            if bar.total is None:
                bar.total = step.images
                bar.initial = bar.n = step.images_seen
            bar.set_postfix_str(loss_line(step.losses), refresh=False)
            bar.update(step.images_seen - bar.n)
            if step.due and not quiet:
                report(step, bar.disable or step.psnr is not None)
            if (number := stopped()) and not quiet:
                return number
    return None


def report(step: "Progress", aloud: bool) -> None:
    """A step as JSON where it is wanted, else as a line on standard error if it is to be said aloud."""
    from dataclasses import asdict

    from tqdm import tqdm

    if wants_json():
        tell({name: value for name, value in asdict(step).items() if name != "due"}, "")
    elif aloud:
        parts = [f"{step.images_seen} of {step.images} images", f"{step.images_per_second:.1f}/s"]
        parts += [] if step.psnr is None else [f"{step.psnr:.2f} dB"]
        parts.append(loss_line(step.losses))
        with tqdm.external_write_mode(sys.stderr):
            say(", ".join([*parts, f"{tqdm.format_interval(step.seconds_left)} left"]))


def loss_line(losses: dict[str, float]) -> str:
    """Losses in one line, without counts of nothing."""
    return " ".join(f"{name} {value:.3g}" for name, value in losses.items() if value or name != "skipped")
