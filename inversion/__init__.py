"""Find the latent of a photograph in a trained generator, and edit it there.

Names load on first use, so that importing the package, and `latent --help`, load no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from inversion.errors import InversionError as InversionError

if TYPE_CHECKING:
    from inversion.edit import move as edit
    from inversion.edit.family import children as children
    from inversion.edit.move import blend as blend
    from inversion.edit.move import interpolate as interpolate
    from inversion.files.latent_file import export as export
    from inversion.files.latent_file import load_latent as load_latent
    from inversion.files.latent_file import save as save
    from inversion.latent import Latent as Latent
    from inversion.latent import LatentSpace as LatentSpace
    from inversion.latent import sample_latent as sample_latent
    from inversion.latent import synthesize as synthesize
    from inversion.loop import InvertConfig as InvertConfig
    from inversion.loop import optimize as optimize
    from inversion.photograph import Inversion as Inversion
    from inversion.photograph import invert as invert

HOMES = {
    "Inversion": "photograph", "InvertConfig": "loop", "Latent": "latent", "LatentSpace": "latent",
    "blend": "edit", "children": "family", "export": "bundle", "interpolate": "edit", "invert": "photograph",
    "load_latent": "bundle", "optimize": "loop", "sample_latent": "latent", "save": "bundle",
    "synthesize": "latent",
}
__all__ = [  # noqa: F822 - loaded on first use
    "Inversion", "InversionError", "InvertConfig", "Latent", "LatentSpace", "blend", "children", "edit", "export",
    "interpolate", "invert", "load_latent", "optimize", "sample_latent", "save", "synthesize",
]


def __getattr__(name: str) -> object:
    if name in HOMES:
        value = getattr(import_module(f"inversion.{HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name == "edit":
        return import_module("inversion.edit.move")
    raise AttributeError(f"module 'inversion' has no attribute {name!r}")
