"""Models: listed, fetched, converted and exported."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generators.storage import check_apart, check_file
from inversion.commands.options import FILE, GENERATOR, JSON
from inversion.commands.process import stop_status
from inversion.commands.settings import options
from inversion.commands.terminal import fail, loaded, say, tell

if TYPE_CHECKING:
    from generators.hub.download import Progress
    from generators.hub.names import Entry


@click.command("generators", epilog="Example: latent generators --fetch stylegan3-t-ffhq-1024x1024")
@click.option("--fetch", "wanted", metavar="NAME", help="Download one: a name of the list, https://..., hf:owner/name.")
@click.option("--offline", is_flag=True, help="List, or take, only what is here.  [also: LATENT_OFFLINE=1]")
@options(JSON)
def list_generators(wanted: str | None, offline: bool) -> None:
    """List what can be loaded by name, or fetch it.

    With each its size, where it comes from, its data and their licence. What is fetched is kept in $LATENT_CACHE
    (~/.cache/latent); a download that was stopped is resumed.
    """
    from generators.hub.names import HERE, entries, is_offline

    if wanted is not None:
        return fetch_one(wanted, offline or is_offline())
    found = [entry for entry in entries() if entry.source in HERE or not (offline or is_offline())]
    for entry in found:
        record = packaged(entry) if entry.source == "packaged" else public(entry)
        size = "" if record["resolution"] is None else "  {resolution} px".format(**record)
        count = "" if record["parameters"] is None else "  {parameters:,} parameters".format(**record)
        data = ", ".join(record["data"]) if isinstance(record["data"], list) else record["data"]
        tell(
            record,
            "{name}{size}{count}  {source}  licence: {licence}  data: {data}".format(
                **record | {"size": size, "count": count, "data": data}
            ),
        )
    if not found:
        say("no generator is packaged; give the path of a model file, or make one with `latent train`")


def packaged(entry: "Entry") -> dict[str, Any]:
    """The record of a model of ours."""
    from generators.checkpoints.ours import read_file

    assert entry.path is not None
    header, tensors = read_file(entry.path)
    own = [t.numel() for key, t in tensors.items() if not key.startswith(("encoder.", "discriminator."))]
    card = header.get("card", {})
    return {
        "name": entry.name,
        "resolution": header["settings"]["img_resolution"],
        "parameters": sum(own),
        "source": entry.source,
        "licence": card.get("licence"),
        "data": card.get("data"),
        "file": str(entry.path),
        "card": None if entry.card is None else str(entry.card),
    }


def public(entry: "Entry") -> dict[str, Any]:
    """The record of a checkpoint of others."""
    known = entry.checkpoint
    return {
        "name": entry.name,
        "resolution": known and known.resolution,
        "parameters": None,
        "source": entry.source,
        "licence": known.licence if known else "not known here",
        "data": known.data if known else "not known here",
        "file": None if entry.path is None else str(entry.path),
        "card": None,
        "addresses": list(known.addresses) if known else [entry.name],
    }


def fetch_one(name: str, offline: bool) -> None:
    """Tell the terms of a name, download it where it is not here, and tell where it is."""
    from generators.hub.names import entries, fetch, is_remote
    from generators.storage import sha256_of

    entry = next((entry for entry in entries() if entry.name == name), None)
    known = None if entry is None else entry.checkpoint
    if known is not None:
        say(f"{name}: {known.resolution} px, {known.data}; licence: {known.licence}")
    elif is_remote(name):
        say(f"{name}: its licence is not known here; read it where it comes from")
    try:
        with downloading() as watch:
            path = fetch(name, offline=offline, watch=watch)
    except KeyboardInterrupt:
        fail("stopped; the same command goes on from there", stop_status())
    record = {
        "name": name,
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "licence": known and known.licence,
    }
    tell(record, "{file}  {bytes:,} bytes  sha256 {sha256}".format(**record))


@contextmanager
def downloading() -> Iterator[Callable[["Progress"], None]]:
    """A bar of bytes, to be fed with the steps of a download; what happens on the way is told in words."""
    from tqdm import tqdm

    with tqdm(disable=None, leave=False, dynamic_ncols=True, unit="B", unit_scale=True, unit_divisor=1000) as bar:

        def show(step: "Progress") -> None:
            if step.note is not None:
                with tqdm.external_write_mode():
                    say(step.note)
            elif not bar.disable:
                bar.total = step.total
                bar.initial = bar.initial or step.done  # so that the speed is that of this run
                bar.update(step.done - bar.n)

        yield show


@click.command(epilog="Example: latent convert ffhq.pkl ffhq.safetensors")
@click.argument("checkpoint")
@click.argument("model", type=FILE)
@click.option("--half", is_flag=True, help="Write float16: half the size, and a picture that differs a little.")
@click.option("--licence", help="Of the model, where you know it; stored with it.")
@options(JSON)
def convert(checkpoint: str, model: Path, half: bool, licence: str | None) -> None:
    """Convert somebody else's model.

    CHECKPOINT is a pickle of StyleGAN2 or StyleGAN3, or a .pt of stylegan2-pytorch, pSp, e4e or ReStyle; what it is is
    told by its content. Nothing in it is executed. --generator takes such files as they are, too.
    """
    import torch

    from generators import convert as convert_file

    record = convert_file(checkpoint, model, dtype=torch.float16 if half else torch.float32, licence=licence)
    text = "{file}  {architecture}  {resolution} px  {parameters:,} parameters  licence: {licence}  from: {format}"
    tell(record, text.format(**record))
    for what in record["left_out"]:
        say(f"left out: {what}")
    for note in record["notes"]:
        say(f"note: {note}")


@click.command("export", epilog="Examples: latent export portraits p.onnx; latent export me.latent.safetensors me.npz")
@click.argument("source", metavar="NAME|FILE")
@click.argument("out", type=FILE)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["stylegan2-pytorch", "onnx"]),
    help="Of a model.  [default: onnx where OUT ends in .onnx, stylegan2-pytorch where it ends in .pt]",
)
@options(GENERATOR, JSON)
def export_file(source: str, out: Path, kind: str | None, model: str | None) -> None:
    """Write a model or a latent for other people's programs.

    Of models, stylegan2-pytorch is the state dict of a plain StyleGAN2, and onnx draws pictures from styles and noise,
    of any model; encoder and discriminator stay behind. A latent goes to .npz, .npy or .pt, by the ending, and theirs
    come back as .latent.safetensors; --generator is the one that it belongs to.
    """
    from inversion.files.chosen import LATENTS, chosen
    from inversion.files.latent_file import holds_latent

    if (is_latent := holds_latent(source)) and kind is not None:
        raise click.UsageError(f"{source} is a latent, whose format the ending of OUT tells; leave out --format")
    is_latent = is_latent or chosen(source)[1] is not None
    if is_latent or (kind is None and out.suffix.lower() in set(LATENTS) - {".pt", ".pth"}):
        return export_latent(source, out, model)
    kind = kind or {".onnx": "onnx", ".pt": "stylegan2-pytorch"}.get(out.suffix)
    if kind is None:
        raise click.UsageError(f"{out} tells no format by its ending; add --format onnx or stylegan2-pytorch")
    export_model(source, out, kind)


def export_model(source: str, out: Path, kind: str) -> None:
    """Write the model, and tell what stays behind."""
    import generators
    from generators.checkpoints.export import export
    from generators.hub.names import find

    check_apart([out], [find(source)])
    check_file(out)
    generator = generators.load(source)
    notes = export(generator, out, kind)
    record = {"file": str(out), "format": kind, "generator": generator.name, "resolution": generator.img_resolution}
    tell(record, "{file}  {format}  {resolution} px".format(**record))
    for part in ("encoder", "discriminator"):
        if getattr(generator, part) is not None:
            say(f"left out: the {part}")
    for note in notes:
        say(note)


def export_latent(source: str, out: Path, model: str | None) -> None:
    """Write the latent, and tell what the format has no place for."""
    from inversion.files.chosen import chosen
    from inversion.files.latent_file import load_latent, save

    check_apart([out], [chosen(source)[0], *([] if model is None else [model])])
    check_file(out)
    generator = loaded(model, "cpu", [source])
    latent = load_latent(source, generator)
    save(latent, out, generator)
    kind = out.suffix.lower()
    record = {
        "file": str(out),
        "format": kind[1:],
        "generator": generator.name,
        "space": str(latent.space),
        "images": len(latent),
    }
    tell(record, "{file}  {space}  {images} image{s}".format(**record, s="" if len(latent) == 1 else "s"))
    if latent.noise and kind in (".npz", ".npy"):
        say("left out: the noise, without which it renders less exactly; .pt has a place for it")
