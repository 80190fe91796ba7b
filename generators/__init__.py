"""Trained generators behind one contract: `load` gives one by name or from a file."""

from typing import TYPE_CHECKING

from generators.errors import GeneratorError as GeneratorError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from torch import dtype as Dtype

    from generators.base import Generator

__all__ = ["GeneratorError", "convert", "load"]


def load(name: "str | Path", *, device: str = "cpu") -> "Generator":
    """A generator by name (`latent generators` lists them) or by the path of its file: frozen, in eval mode.

    Files of others (NVIDIA's pickles, stylegan2-pytorch, pSp ...) are told by their content and converted once, into
    the cache; nothing in them is executed. GeneratorError names what is known where the name is not, and what is wrong
    with a file that cannot be read.
    """
    from generators.checkpoints.open import open_model  # torch is imported here, not before
    from generators.hub.catalogue import checkpoints
    from generators.hub.names import find
    from generators.hub.wheels import WHEELS

    known = checkpoints().get(str(name))
    found = open_model(find(str(name)), device=device, licence=known.licence if known else None)
    if str(name) in WHEELS:
        found.name = str(name)  # also where it is read from the package itself
    return found


def convert(
    name: "str | Path", out: "str | Path", *, dtype: "Dtype | None" = None, licence: "str | None" = None
) -> "dict[str, Any]":
    """Write somebody else's model file as one of ours; what it is, as `generators.checkpoints.open.describe` tells it.

    dtype None keeps float32. Raises what `load` raises, and where out cannot be written.
    """
    from pathlib import Path

    import torch

    from generators.checkpoints.open import describe, read_checkpoint
    from generators.checkpoints.ours import save_model
    from generators.hub.catalogue import checkpoints
    from generators.hub.names import find

    generator, known = read_checkpoint(find(str(name))), checkpoints().get(str(name))
    if licence or known:
        generator.card["licence"] = licence or known.licence  # type: ignore[union-attr]
    save_model(generator, Path(out), dtype=dtype or torch.float32)
    return {"file": str(out), **describe(generator)}
