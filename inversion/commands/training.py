"""A model from a folder of pictures."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as Steps
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generators.errors import TrainingError
from generators.training.settings import KINDS
from inversion.commands.options import DEVICE, FILE, JSON
from inversion.commands.settings import Grouped, Numbers, Seconds, grouped, options
from inversion.commands.terminal import counted, device_of, fail, say

if TYPE_CHECKING:
    from generators.training.record.record import Progress
from inversion.commands.terminal import tell, wants_json

N, X, LIST, CHOICE, FLAG = click.IntRange(1), click.FloatRange(0), Numbers(int), click.Choice, bool
NONE = click.IntRange(0)  # a number that may be none
SETTINGS: dict[str, dict[str, tuple[Any, str]]] = {  # group -> setting -> type, help; the settings of all kinds
    "Size and length": {
        "resolution": (N, "In pixels: 8, 16, 32 ...  [64, or that of --init]"),
        "img_channels": (N, "3 for colour, 1 for grey.  [3]"),
        "images": (N, "Pictures to see in all.  [200000]"),
        "batch": (N, "Pictures a step, over all processes.  [16; autoencoders 64]"),
        "lr": (X, "Learning rate.  [0.002; linear autoencoders 0.05]"),
        "rampdown": (X, "Share of the run over which it falls.  [0.3; autoencoders 0.5]"),
        "mirror": (FLAG, "Mirror half of the pictures.  [yes; autoencoders no]"),
        "seed": (NONE, "The same seed makes the same run, on one machine.  [0]"),
    },
    "Generator (stylegan2)": {
        "joint": (FLAG, "With an encoder, as an autoencoder in W; or as published.  [yes]"),
        "channels": (LIST, "At 4, 8, 16 ... px.  [256,256,192,96,48; an encoder's as its generator's]"),
        "subpixel": (N, "2: features end at half the resolution, which is faster.  [1]"),
        "w_dim": (N, "Numbers of a style.  [512]"),
        "mapping_layers": (N, "Layers of the mapping network.  [3]"),
        "mapping_lr": (X, "Its learning rate, relative to --lr.  [0.3]"),
        "mapping_rounds": (NONE, "Its steps, or the flow's, for each of the rest, in joint runs.  [2]"),
        "flow_steps": (NONE, "Steps of the flow that draws w in joint runs; 0: a mapping network.  [8]"),
        "flow_lr": (X, "Learning rate of the flow.  [0.002]"),
        "flow_rounds": (NONE, "Steps that fit the flow at the end; fewer in short runs.  [9000]"),
        "linear": (NONE, "Start from principal components of so many px; 0: from nothing.  [32]"),
        "style_mixing": (X, "Share of samples with two styles.  [0.9; 0 in joint runs]"),
        "path_length": (X, "Weight of path length regularisation, not in joint runs; 2 is usual.  [0]"),
        "path_every": (N, "Steps from one to the next.  [8]"),
        "ema": (X, "Decay a step of the averaged model, at a batch of 16.  [0.998]"),
        "clip": (X, "Largest gradient norm.  [5]"),
        "precision": (CHOICE(["auto", "bf16", "fp16", "fp32"]), "Of autocast; auto: bf16 if in hardware.  [auto]"),
    },
    "Its adversary": {
        "warmup": (NONE, "Images before it enters.  [a fifth of --images, to 12000]"),
        "adversarial": (X, "Weight, relative to reconstruction.  [0.8]"),
        "imagined": (X, "Weight on mixtures and samples.  [2]"),
        "matching": (X, "Weight of its features.  [2; encoder 0.5]"),
        "d_lr": (X, "Its learning rate.  [0.004]"),
        "r1": (X, "Weight of its gradient penalty.  [0.02]"),
        "r1_every": (N, "Steps from one penalty to the next.  [16]"),
        "augment_kind": (CHOICE(["diff", "ada", "none"]), "DiffAugment, adaptive, or none.  [diff]"),
        "augment": (X, "Strength of DiffAugment.  [0.2]"),
        "augment_target": (X, "Mean sign of real scores that ADA steers to.  [0.6]"),
        "augment_speed": (N, "Images over which ADA's probability could go from 0 to 1.  [500000]"),
    },
    "Encoder (in joint runs, and encoder)": {
        "w_noise": (X, "Added to codes, so that their neighbours render too.  [0.1]"),
        "w_penalty": (X, "Weight of the size of codes.  [0.0005; encoder 0.005]"),
        "released": (X, "Share of the run after which each layer has its own style (encoder).  [0.5]"),
        "samples": (X, "Generated pictures for each photograph (encoder).  [0.5]"),
        "supervised": (X, "Weight of the distance to known codes (encoder).  [0.5]"),
    },
    "Autoencoders (ae, sparse, contractive, denoising, vae, pca)": {
        "dim": (N, "Numbers of a code.  [16; sparse 64]"),
        "layers": (CHOICE(["linear", "dense", "conv"]), "[dense up to 16 px, then conv]"),
        "widths": (LIST, "Of the hidden layers.  [by --resolution]"),
        "code": (CHOICE(["linear", "sigmoid"]), "What a code ends in.  [linear; sparse, contractive sigmoid]"),
        "likelihood": (CHOICE(["gaussian", "bernoulli"]), "Of the pixels.  [gaussian]"),
        "sigma": (X, "Standard deviation of a Gaussian pixel.  [0.3]"),
        "decay": (X, "Of the decoder's weights.  [0; sparse, contractive 0.001]"),
        "weight": (X, "Of sparsity or contraction.  [10]"),
        "sparsity": (CHOICE(["kl", "l1"]), "Divergence from --target, or sum of sizes (sparse).  [kl]"),
        "target": (X, "Mean activation (sparse).  [0.1]"),
        "probes": (NONE, "Directions that estimate contraction; 0: exactly.  [0]"),
        "noise": (CHOICE(["gaussian", "mask"]), "What spoils the picture (denoising).  [gaussian]"),
        "noise_level": (X, "Standard deviation, or share of pixels (denoising).  [0.3]"),
        "beta": (X, "Weight of the divergence (vae).  [1]"),
        "beta_warmup": (X, "Share of the run over which it grows (vae).  [0.2]"),
    },
}


def settings(group: str) -> Callable:
    """The options of a group. Their own default is None, so that what was not given is known."""
    found = []
    for name, (kind, text) in SETTINGS[group].items():
        flag, metavar = "--" + name.replace("_", "-"), {click.IntRange: "N", click.FloatRange: "X"}.get(type(kind))
        flag = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
        found.append(grouped(group, flag, name, type=kind, default=None, help=text, metavar=metavar))
    return options(*found)


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
@options(*map(settings, SETTINGS))
def train(
    sources: Sequence[Path],
    out: Path,
    shares: tuple[float, ...] | None,
    run: Path | None,
    resume: bool,
    device: str,
    **rest: Any,
) -> None:
    """Train a generator and its encoder.

    SOURCEs are folders or zips of aligned pictures, of which the centre square is taken; the word digits is
    scikit-learn's digits. MODEL always holds the best so far, by reconstruction of pictures that training never sees.

    The folder of the run has checkpoint.pt, log.csv, curve.png and samples.png. Ctrl-C saves a checkpoint; the same
    command with --resume goes on. Several GPUs: torchrun --nproc-per-node N --no-python -- latent train ...
    """
    from generators.training.distributed import session

    run = run or out.with_suffix(".run")
    if (run / "checkpoint.pt").exists() and not resume:
        raise TrainingError(f"{run} holds a run already; add --resume to go on, or name another folder with --run")
    with session(device_of(device)) as device:
        train_here(sources, out, shares, run, resume, device, **rest)


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
    holdout: int,
    every: float,
    snapshot_every: int | None,
    **found: Any,
) -> None:
    """Train in this process, which may be one of several; only the main one talks."""
    import torch

    import generators
    from generators.training.data import load_pictures
    from generators.training.distributed import is_main
    from generators.training.run import model_card, report_pictures
    from generators.training.run import train as train_steps
    from generators.training.settings import report_resumed, train_config

    torch.set_flush_denormal(True)  # untrained networks are full of such numbers, which are slow
    start = None if init is None else generators.load(init)
    given = {name: value for name, value in found.items() if value is not None}
    config = train_config(kind, sources=sources, resume=run if resume else None, init=start, **given)
    channels = getattr(config, "img_channels", 3)
    pictures = load_pictures(
        sources,
        config.resolution,
        channels=channels,
        shares=shares,
        cache=run / "pictures.u8",
        watch=lambda files: counted(files, "pictures", len(files)),
    )
    lines = report_pictures(pictures) + (report_resumed(run, config, len(pictures.images)) if resume else [])
    for line in lines if is_main() else []:
        say(line)
    card = model_card(kind, sources, pictures, start, licence=licence, subject=subject)
    steps = train_steps(
        pictures,
        out,
        config,
        run=run,
        kind=kind,
        resume=resume,
        every=every,
        holdout=holdout,
        snapshot_every=snapshot_every,
        card=card,
        device=device,
        init=start,
        main=is_main(),
    )
    if stopped := follow(steps, quiet=not is_main()):
        fail(f"stopped; the same command with --resume goes on from {run / 'checkpoint.pt'}", 128 + stopped)
    if is_main():
        say(f"the best model is {out}; the curves and samples of the run are in {run}")


def follow(steps: "Steps[Progress]", *, quiet: bool = False) -> int | None:
    """Run a training to its end, with a bar where somebody looks, and else a line at each report.

    Ctrl-C, or being told to terminate, ends it after the step at hand, with a checkpoint; gives that signal's number.
    quiet: tell nothing, and let another process decide when to end.
    """
    from tqdm import tqdm

    with stoppable() as stopped, closing(steps), tqdm(disable=quiet or None, dynamic_ncols=True, unit="img") as bar:
        for step in steps:
            if bar.total is None:
                bar.total, bar.initial, bar.n = step.images, step.images_seen, step.images_seen
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


@contextmanager
def stoppable() -> Iterator[Callable[[], int]]:
    """A function that gives the signal of Ctrl-C, or to terminate, once it came, else 0; the second ends at once."""
    came: list[int] = []

    def ask(number: int, frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
