"""Command line: one command per library function, no logic of its own. What is heavy is imported by who needs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generators.errors import TrainingError
from inversion.report import objective_line, record_line, summary_table
from inversion.terminal import (
    BATCH,
    CROP,
    DEVICE,
    FILE,
    JSON,
    OUT,
    PHOTO,
    SAVE,
    SEARCH,
    SEED,
    SHEET,
    Group,
    Numbers,
    Seconds,
    counted,
    destination,
    device_of,
    fail,
    follow,
    options,
    progress,
    say,
    show_version,
    tell,
    with_generator,
    write,
)

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.latent import Latent


@click.group(cls=Group)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version)
def main() -> None:
    """Find the latent of a photograph in a trained generator, and edit it there.

    A SOURCE is a photograph, or a saved latent (.safetensors, .npz, .npy, .pt). A photograph is inverted on the way,
    and its latent is kept in $LATENT_CACHE (~/.cache/latent) for the next time.
    """


@main.command(epilog="Example: latent invert me.jpg -o me/")
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, type=FILE, metavar="DIR", help="Folder for the results.")
@options(SEARCH, CROP, BATCH)
@click.option("--init", type=FILE, metavar="LATENT", help="Start from a saved latent.")
@with_generator
def invert(generator: "Generator", photos: Sequence[str], out: Path, recipe: str, init: Path | None, batch: int,
           budget: float | None, align: bool, face: int | None, **settings: Any) -> None:
    """Find the latent of each photograph.

    PHOTO is a file, a folder for all pictures in it, or - for standard input.

    Writes STEM.latent.safetensors, STEM.png (the reconstruction), STEM.target.png and report.json. Ctrl-C keeps the
    best so far.
    """
    from inversion.batch import invert_files, pictures_in
    from inversion.bundle import load_latent
    from inversion.recipes import config_of

    photos, done, failed = pictures_in(photos), 0, 0
    start = None if init is None else load_latent(init, generator)
    if start is not None and settings["space"] is None:
        settings["space"] = start.space
    config = config_of(generator, recipe, **settings)
    say(objective_line(config.loss))
    try:
        with progress(config.steps) as bar:
            for record in invert_files(generator, photos, out, config, recipe=recipe, batch=batch, init=start,
                                       budget=budget, align=align, face=face, progress=bar):
                done, failed = done + 1, failed + ("error" in record)
                tell(record, record_line(record), err="error" in record)
    except KeyboardInterrupt:
        fail(f"stopped early: {done} of {len(photos)} photographs are in {out}, the last at their best so far", 130)
    if failed:
        fail(f"error: {failed} of {len(photos)} photographs failed")


@main.command(epilog="Example: latent blend mother.jpg father.jpg -o child.png --children 4 --seed 1")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@options(OUT, PHOTO)
@click.option("--weights", type=Numbers(), metavar="W,W,...", help="Share of each source.  [default: equal]")
@click.option("--children", type=click.IntRange(1), metavar="N", help="N siblings, drawn anew at each resolution.")
@options(SEED, SHEET, SAVE)
@with_generator
def blend(generator: "Generator", sources: Sequence[str], out: str, weights: tuple[float, ...] | None,
          children: int | None, seed: int, sheet: bool | None, save_latents: bool, **photo: Any) -> None:
    """Blend sources: their mean, or children.

    The mean is weighted; children draw how much of each parent they take at each resolution, so that siblings differ.

    Several children in one file come as a sheet, after their parents; in a folder/ as numbered files. --json tells
    the shares.
    """
    from inversion import edit, family
    from inversion.output import Made

    if len(sources) < 2 or (weights and children):
        raise click.UsageError("give two sources or more" if len(sources) < 2 else "children draw their own weights")
    shares = edit.normalized(weights or [1.0] * len(sources), len(sources))
    to = destination(out, children or 1, sheet, save_latents)
    latents = opened(generator, sources, **photo)
    if children:
        drawn = enumerate(family.children(latents, generator, count=children, seed=seed), 1)
        made = [Made(f"child {i}", child.latent, {"child": i, "weights": child.weights}) for i, child in drawn]
    else:
        made = [Made("blend", edit.blend(latents, shares), {"weights": shares})]
    parents = [Made(name_of(source), latent) for source, latent in zip(sources, latents, strict=True)]
    write(generator, made, to, "child", parents)


@main.command(epilog="Example: latent interpolate mother.jpg father.jpg -o morph.mp4 --frames 60")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, metavar="FILE", help="A film: .mp4, .gif or .webp; or a strip: .png.")
@options(PHOTO)
@click.option("--frames", type=click.IntRange(2), default=60, show_default=True)
@click.option("--fps", type=click.FloatRange(0, 240, min_open=True), default=30, show_default=True)
@click.option("--kind", type=click.Choice(["spherical", "linear"]), default="spherical", show_default=True)
@click.option("--loop", is_flag=True, help="Come back to the first source.")
@click.option("--ease/--no-ease", default=True, help="Slow down at each source.")
@with_generator
def interpolate(generator: "Generator", sources: Sequence[str], out: str, frames: int, fps: float, kind: str,
                loop: bool, ease: bool, **photo: Any) -> None:
    """Walk from source to source, as a film."""
    from inversion.edit import path
    from inversion.latent import LatentSpace
    from inversion.output import check_place, render_all
    from inversion.video import write_video

    if not 2 <= len(sources) <= frames:
        raise click.UsageError("give two sources or more, and at least as many frames")
    check_place(out, ("mp4", "gif", "webp", "png"))
    latents = opened(generator, sources, **photo)
    center = None if latents[0].space is LatentSpace.Z else generator.w_avg
    walk = path(latents, frames, kind=kind, center=center, loop=loop, ease=ease)
    write_video(counted(render_all(generator, walk, chunk=8), "frames", len(walk)), out, fps=fps)
    tell({"file": out, "frames": len(walk), "fps": fps, "sources": sources}, out)


@main.command(epilog="Example: latent mix a.jpg b.jpg --coarse a --middle b --fine b -o mixed.png")
@click.argument("sources", metavar="A B [C]", nargs=-1, required=True)
@options(OUT, PHOTO)
@click.option("--coarse", type=click.Choice(["a", "b", "c"]), default="a", help="Pose and shape: 4 and 8 px.  [a]")
@click.option("--middle", type=click.Choice(["a", "b", "c"]), default="b", help="Features: 16 and 32 px.  [b]")
@click.option("--fine", type=click.Choice(["a", "b", "c"]), help="Colours and detail: from 64 px on.  [as middle]")
@options(SAVE)
@with_generator
def mix(generator: "Generator", sources: Sequence[str], out: str, coarse: str, middle: str, fine: str | None,
        save_latents: bool, **photo: Any) -> None:
    """Mix two or three sources by resolution.

    Each group of layers comes from one source; they are called a, b and c in their order.
    """
    from inversion import edit
    from inversion.output import Made

    letters = {"coarse": coarse, "middle": middle, "fine": fine or middle}
    if not 2 <= len(sources) <= 3 or max(letters.values()) > "abc"[len(sources) - 1]:
        raise click.UsageError(f"{len(sources)} sources came; give two or three, and name those that are there")
    to = destination(out, save_latents=save_latents)
    latents = dict(zip("abc", opened(generator, sources, **photo), strict=False))
    mixed = edit.mix(generator, **{band: latents[a].to_w_plus(generator) for band, a in letters.items()})
    write(generator, [Made("mix", mixed, letters)], to, "mix")


@main.command(epilog="Example: latent sample -n 16 --truncation 0.7 -o faces.png")
@options(OUT)
@click.option("-n", "count", type=click.IntRange(1), default=1, show_default=True, help="How many.")
@options(SEED)
@click.option("--truncation", type=float, default=1.0, show_default=True, help="0 is the average, 1 the full variety.")
@options(SHEET, SAVE)
@with_generator
def sample(generator: "Generator", out: str, count: int, seed: int, truncation: float, sheet: bool | None,
           save_latents: bool) -> None:
    """Draw pictures from the generator."""
    from inversion.edit import check_finite
    from inversion.latent import sample_latent
    from inversion.output import Made

    check_finite("truncation", truncation)
    to = destination(out, count, sheet, save_latents)
    drawn = sample_latent(generator, batch=count, seed=seed, truncation_psi=truncation).split()
    about = {"seed": seed, "truncation": truncation}
    made = [Made(f"sample {i}", latent, {"sample": i, **about}) for i, latent in enumerate(drawn, 1)]
    write(generator, made, to, "sample")


@main.command(epilog="Example: latent render me/me.latent.safetensors -o me.png")
@click.argument("files", metavar="LATENT...", nargs=-1, required=True)
@options(OUT, SHEET)
@with_generator
def render(generator: "Generator", files: Sequence[str], out: str, sheet: bool | None) -> None:
    """Render saved latents again.

    On one machine the pictures are the same bit for bit.
    """
    from inversion.bundle import load_latent
    from inversion.output import Made

    found = [(file, latent) for file in files for latent in load_latent(file, generator).split()]
    made = [Made(name_of(file), latent, {"latent": file}) for file, latent in found]
    write(generator, made, destination(out, len(made), sheet), "render")


@main.command(epilog="Example: latent evaluate portraits.zip --json")
@click.argument("source", type=FILE)
@options(SEARCH)
@click.option("--align/--no-align", default=False, help="Cut faces out first.  [default: they are portraits already]")
@click.option("--limit", type=int, metavar="N", help="The first N pictures alone.")
@options(BATCH)
@with_generator
def evaluate(generator: "Generator", source: Path, recipe: str, align: bool, limit: int | None, batch: int,
             budget: float | None, **settings: Any) -> None:
    """Measure reconstruction over portraits.

    SOURCE is a folder or a zip of pictures that are aligned already. A line for each, then a summary.

    PSNR in dB at the generator's size; SSIM over RGB; identity: distance of dlib's descriptors at 256 px, under 0.6 is
    the same person, - without a face; seconds of search on this machine.
    """
    from inversion.evaluate import evaluate as measure
    from inversion.evaluate import summarize
    from inversion.recipes import config_of

    config, records = config_of(generator, recipe, **settings), []
    say(objective_line(config.loss))
    with progress(config.steps) as bar:
        for record in measure(generator, source, config, recipe=recipe, batch=batch, align=align, limit=limit,
                              budget=budget, progress=bar):
            records.append(record)
            tell(record, record_line(record), err="error" in record)
    summary = summarize(records)
    tell(summary, summary_table(summary))
    if summary["failed"]:
        fail(f"error: {summary['failed']} of {summary['n']} pictures failed")


@main.command(epilog="Example: latent train faces.zip more/ -o faces.safetensors --shares 3,1")
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


@main.command("generators", epilog="Example: latent generators --json")
@options(JSON)
def list_generators() -> None:
    """List what can be loaded by name.

    With each its size, where it comes from, its data and their licence.
    """
    from generators.files import read_file
    from generators.hub import entries

    for entry in (found := entries()):
        header, tensors = read_file(entry.path)
        own = [t.numel() for key, t in tensors.items() if not key.startswith(("encoder.", "discriminator."))]
        card = header.get("card", {})
        record = {"name": entry.name, "resolution": header["settings"]["img_resolution"], "parameters": sum(own),
                  "source": entry.source, "licence": card.get("licence"), "data": card.get("data"),
                  "file": str(entry.path), "card": None if entry.card is None else str(entry.card)}
        text = "{name}  {resolution} px  {parameters:,} parameters  {source}  licence: {licence}  data: {data}"
        tell(record, text.format(**record))
    if not found:
        say("no generator is packaged; give the path of a model file, or make one with `latent train`")


def opened(generator: "Generator", sources: Sequence[str], *, recipe: str, steps: int | None, align: bool,
           face: int | None) -> list["Latent"]:
    """A latent for each source, photographs inverted on the way, all in one space."""
    from inversion.cache import cache_folder, latents_of
    from inversion.recipes import config_of

    config = config_of(generator, recipe, steps=steps)
    with progress(config.steps) as bar:
        return latents_of(sources, generator, config, recipe=recipe, align=align, face=face, cache=cache_folder(),
                          progress=bar)


def name_of(source: str) -> str:
    """What to call a source on a sheet."""
    return "stdin" if source == "-" else Path(source).stem.removesuffix(".latent")


if __name__ == "__main__":
    main(prog_name="latent")
