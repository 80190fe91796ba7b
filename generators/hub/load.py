"""A generator by name or from a file, and somebody else's model file written as one of ours."""

from pathlib import Path
from typing import Any

import torch

from generators.base import Generator
from generators.checkpoints.open import describe, open_model, read_checkpoint
from generators.checkpoints.ours import save_model
from generators.device import keep_pages
from generators.hub.catalogue import checkpoints
from generators.hub.names import find
from generators.hub.wheels import WHEELS
from generators.storage import check_apart, check_file


@torch.inference_mode(False)  # so that what is loaded can be searched, whatever mode the caller is in
def load(name: str | Path, *, device: str | torch.device = "cpu") -> Generator:
    """A generator by name (`latent generators` lists them) or by the path of its file: frozen, in eval mode.

    Files of others (NVIDIA's pickles, stylegan2-pytorch, pSp ...) are told by their content and converted once, into
    the cache; nothing in them is executed. GeneratorError names what is known where the name is not, and what is wrong
    with a file that cannot be read. From then on the process keeps the memory that it has had (`device.keep_pages`).
    """
    keep_pages()
    known = checkpoints().get(str(name))
    found = open_model(find(str(name)), device=device, licence=known.licence if known else None)
    if str(name) in WHEELS:
        found.name = str(name)  # also where it is read from the package itself
    return found


def convert(
    name: str | Path, out: str | Path, *, dtype: torch.dtype | None = None, licence: str | None = None
) -> dict[str, Any]:
    """Write somebody else's model file as one of ours; what it is, as `generators.checkpoints.open.describe` tells it.

    dtype None keeps float32. Raises what `load` raises, and where out cannot be written.
    """
    found = find(str(name))
    check_apart([out], [found])
    check_file(out)
    generator, known = read_checkpoint(found), checkpoints().get(str(name))
    if licence or known:
        generator.card["licence"] = licence or known.licence  # type: ignore[union-attr]
    save_model(generator, Path(out), dtype=dtype or torch.float32)
    return {"file": str(out), **describe(generator)}
