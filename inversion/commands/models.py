"""What can be loaded."""

import click

from inversion.terminal import (
    JSON,
    options,
    say,
    tell,
)


@click.command("generators", epilog="Example: latent generators --json")
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
