"""Latents moved, mixed and drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inversion.commands.destination import Rendering, check_place, check_reads, destination, write
from inversion.commands.options import OUT, PASTE, PHOTO, SAVE, SEED, SHEET, with_generator
from inversion.commands.settings import Grouped, options
from inversion.commands.terminal import bars, counted, tell

if TYPE_CHECKING:
    from generators.base import Generator
    from generators.pictures.sources import Picture
    from inversion.commands.pasting import Pasting
    from inversion.latent import Latent


@click.command(cls=Grouped, epilog="Example: latent interpolate mother.jpg father.jpg -o morph.mp4 --frames 60")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("-o", "--out", required=True, metavar="FILE", help="A film: .mp4, .gif or .webp; or a strip: .png.")
@options(PHOTO)
@click.option("--frames", type=click.IntRange(2, 100_000), default=60, show_default=True)
@click.option("--fps", type=click.FloatRange(0, 240, min_open=True), default=30, show_default=True)
@click.option("--kind", type=click.Choice(["spherical", "linear", "spline"]), default="spherical", show_default=True)
@click.option("--loop", is_flag=True, help="Come back to the first source.")
@click.option("--ease/--no-ease", default=True, help="Slow down at each source; not at constant speed.")
@click.option(
    "--speed",
    type=click.Choice(["plain", "constant"]),
    default="plain",
    show_default=True,
    help="Constant: each frame looks as different from the one before as any other.",
)
@click.option("--scale", type=click.IntRange(1), metavar="N", help="Enlarge so many times.  [a film to 256 px]")
@with_generator
def interpolate(
    generator: "Generator",
    sources: Sequence[str],
    out: str,
    frames: int,
    fps: float,
    kind: str,
    loop: bool,
    ease: bool,
    speed: str,
    scale: int | None,
    **photo: Any,
) -> None:
    """Walk from source to source, as a film."""
    from inversion.config import LatentSpace
    from inversion.edit.move import Route, path
    from inversion.files.named import named
    from inversion.latent import at_a_time, render_all
    from inversion.views.video import check_film, write_video

    check_place(out, ("mp4", "gif", "webp", "png"))
    things = named(sources)
    check_reads([out], [*sources, *things])
    check_film(generator.img_resolution, out, fps=fps, scale=scale)
    if not 2 <= len(things) <= frames:
        raise click.UsageError("give two sources or more, and at least as many frames")
    latents = opened(generator, things, **photo)
    center = None if latents[0].space is LatentSpace.Z else generator.w_avg
    if speed == "constant":
        from inversion.edit.steady import steady

        walk = steady(generator, Route(latents, kind=kind, center=center, loop=loop), frames)
    else:
        walk = path(latents, frames, kind=kind, center=center, loop=loop, ease=ease)
    frames_drawn = counted(render_all(generator, walk, chunk=at_a_time(generator)), "frames", len(walk))
    write_video(frames_drawn, out, fps=fps, scale=scale)
    tell({"file": out, "frames": len(walk), "fps": fps, "sources": sources}, out)


@click.command(cls=Grouped, epilog="Example: latent mix a.jpg b.jpg --coarse a --middle b --fine b -o mixed.png")
@click.argument("sources", metavar="A B [C]", nargs=-1, required=True)
@options(OUT, PHOTO)
@click.option("--coarse", type=click.Choice(["a", "b", "c"]), default="a", help="Pose and shape: 4 and 8 px.  [a]")
@click.option("--middle", type=click.Choice(["a", "b", "c"]), default="b", help="Features: 16 and 32 px.  [b]")
@click.option("--fine", type=click.Choice(["a", "b", "c"]), help="Colours and detail: from 64 px on.  [as middle]")
@options(SAVE)
@with_generator
def mix(
    generator: "Generator",
    sources: Sequence[str],
    out: str,
    coarse: str,
    middle: str,
    fine: str | None,
    save_latents: bool,
    **photo: Any,
) -> None:
    """Mix two or three sources by resolution.

    Each group of layers comes from one source; they are called a, b and c in their order.
    """
    from inversion import edit
    from inversion.files.named import named

    letters = {"coarse": coarse, "middle": middle, "fine": fine or middle}
    things = named(sources)
    to = destination(out, save_latents=save_latents, kind="mix", reads=[*sources, *things])
    if not 2 <= len(things) <= 3 or max(letters.values()) > "abc"[len(things) - 1]:
        raise click.UsageError(f"{len(things)} sources came; give two or three, and name those that are there")
    latents = dict(zip("abc", opened(generator, things, **photo), strict=False))
    mixed = edit.mix(generator, **{band: latents[a].to_w_plus(generator) for band, a in letters.items()})
    write(generator, [Rendering("mix", mixed, letters)], to)


@click.command(epilog="Example: latent sample -n 16 --truncation 0.7 -o faces.png")
@options(OUT)
@click.option("-n", "count", type=click.IntRange(1), default=1, show_default=True, help="How many.")
@options(SEED)
@click.option("--truncation", type=float, default=1.0, show_default=True, help="0 is the average, 1 the full variety.")
@click.option("--label", type=int, metavar="N", help="Class to draw, from 0, where the generator knows classes.")
@options(SHEET, SAVE)
@with_generator
def sample(
    generator: "Generator",
    out: str,
    count: int,
    seed: int,
    truncation: float,
    label: int | None,
    sheet: bool | None,
    save_latents: bool,
) -> None:
    """Draw pictures from the generator."""
    from inversion.latent import check_factor, sample_latent

    check_factor("truncation", truncation)
    to = destination(out, count, sheet, save_latents, kind="sample")
    drawn = sample_latent(generator, batch=count, seed=seed, truncation_psi=truncation, label=label).split()
    about = {"seed": seed, "truncation": truncation} | ({} if label is None else {"label": label})
    made = [Rendering(f"sample {i}", latent, {"sample": i, **about}) for i, latent in enumerate(drawn, 1)]
    write(generator, made, to)


@click.command(epilog="Example: latent render me/me.latent.safetensors -o me.png")
@click.argument("files", metavar="LATENT...", nargs=-1, required=True)
@options(OUT, SHEET, PASTE)
@with_generator
def render(
    generator: "Generator", files: Sequence[str], out: str, sheet: bool | None, paste: bool, into: Path | None
) -> None:
    """Render saved latents again.

    On one machine the pictures are the same bit for bit.
    """
    from inversion.commands.pasting import pastings
    from inversion.files.latent_file import load_latent

    found = [(file, latent) for file in files for latent in load_latent(file, generator).split()]
    to = destination(out, len(found), sheet, kind="render", reads=[*files, *([] if into is None else [into])])
    places: Sequence[Pasting | None] = [None] * len(found)
    if paste or into is not None:
        places = pastings(generator, [Path(file) for file, _ in found], [None] * len(found), into)
    made = [
        Rendering(name_of(Path(file)), latent, {"latent": file}, place)
        for (file, latent), place in zip(found, places, strict=True)
    ]
    write(generator, made, to)


def opened(
    generator: "Generator",
    things: Sequence["Path | Picture"],
    *,
    recipe: str,
    steps: int | None,
    label: int | None,
    align: bool,
    face: int | None,
) -> list["Latent"]:
    """The latents of what sources name, all in one space; photographs are inverted now, or were before."""
    from generators.storage import cache_folder
    from inversion.config import config_of
    from inversion.inverter import Inverter

    config = config_of(generator, recipe, steps=steps, label=label)
    inverter = Inverter(generator, config, recipe, align=align, face=face, cache=cache_folder("inversions"))
    with bars(config.steps) as watch:
        return inverter.latents(things, watch)


def name_of(thing: "Path | Picture") -> str:
    """The name of a latent or a picture on a sheet."""
    from inversion.files.chosen import short_name

    return short_name(thing) if isinstance(thing, Path) else Path(thing.name).stem
