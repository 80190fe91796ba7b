"""Trained generators behind one contract: `load` gives one by name or from a file."""

from typing import TYPE_CHECKING

from generators.errors import GeneratorError as GeneratorError

if TYPE_CHECKING:
    from pathlib import Path

    from generators.base import Generator

__all__ = ["GeneratorError", "load"]


def load(name: "str | Path", *, device: str = "cpu") -> "Generator":
    """A generator by name (`latent generators` lists them) or by the path of its file: frozen, in eval mode.

    GeneratorError names what is known where the name is not, and what is wrong with a file that cannot be read.
    """
    from generators.files import load_model  # torch is imported here, not before
    from generators.hub import find

    return load_model(find(str(name)), device=device)
