"""Trained generators behind one contract: `load` gives one by name or from a file.

Names load on first use, so that importing the package loads no torch.
"""

from typing import TYPE_CHECKING

from generators.errors import GeneratorError as GeneratorError

if TYPE_CHECKING:
    from generators.hub.load import convert as convert
    from generators.hub.load import load as load

__all__ = ["GeneratorError", "convert", "load"]


def __getattr__(name: str) -> object:
    if name not in ("convert", "load"):
        raise AttributeError(f"module 'generators' has no attribute {name!r}")
    from generators.hub import load as home

    globals()[name] = getattr(home, name)
    return globals()[name]
