"""Find the latent of a photograph in a trained generator, and edit it there.

Names load on first use, so that importing the package, and `latent --help`, load no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from inversion.errors import InversionError as InversionError

if TYPE_CHECKING:
    from inversion import edit as edit
    from inversion.config import InvertConfig as InvertConfig
    from inversion.config import LatentSpace as LatentSpace
    from inversion.edit.family import children as children
    from inversion.edit.mix import blend as blend
    from inversion.edit.move import interpolate as interpolate
    from inversion.files.latent_file import export as export
    from inversion.files.latent_file import load_latent as load_latent
    from inversion.files.latent_file import save as save
    from inversion.inverter import Inversion as Inversion
    from inversion.inverter import invert as invert
    from inversion.latent import Latent as Latent
    from inversion.latent import sample_latent as sample_latent
    from inversion.latent import synthesize as synthesize
    from inversion.loop import optimize as optimize

HOMES = {
    "Inversion": "inverter",
    "InvertConfig": "loop",
    "Latent": "latent",
    "LatentSpace": "latent",
    "blend": "edit.mix",
    "children": "edit.family",
    "export": "files.latent_file",
    "interpolate": "edit.move",
    "invert": "inverter",
    "load_latent": "files.latent_file",
    "optimize": "loop",
    "sample_latent": "latent",
    "save": "files.latent_file",
    "synthesize": "latent",
}
__all__ = [  # noqa: F822 - loaded on first use
    "Inversion",
    "InversionError",
    "InvertConfig",
    "Latent",
    "LatentSpace",
    "blend",
    "children",
    "edit",
    "export",
    "interpolate",
    "invert",
    "load_latent",
    "optimize",
    "sample_latent",
    "save",
    "synthesize",
]


def __getattr__(name: str) -> object:
    if name in HOMES:
        value = getattr(import_module(f"inversion.{HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name == "edit":
        return import_module("inversion.edit")
    raise AttributeError(f"module 'inversion' has no attribute {name!r}")
