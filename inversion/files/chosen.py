"""Saved latents by name: FILE, or FILE#N for one of several, which are counted from 1."""

import os
import re
from dataclasses import replace
from pathlib import Path

from inversion.errors import SettingsError
from inversion.files.foreign import FOREIGN
from inversion.latent import Latent

LATENTS = (".safetensors", *FOREIGN)  # suffixes of saved latents; anything else is a photograph
NUMBERED = re.compile(r"(.+)#([0-9]{1,18})", re.DOTALL)


def is_latent(source: Path | str) -> bool:
    """Tell by its name that a source is a saved latent, or one of those in a file."""
    return chosen(source)[0].suffix.lower() in LATENTS and not os.path.isdir(source)


def chosen(source: Path | str) -> tuple[Path, int | None]:
    """The file of a saved latent, and which one of those in it is meant; a file of the very name is that file."""
    found = NUMBERED.fullmatch(str(source))
    if found is None or Path(found[1]).suffix.lower() not in LATENTS or os.path.lexists(source):
        return Path(source), None
    return Path(found[1]), int(found[2])


def one_of(latent: Latent, path: Path, number: int) -> Latent:
    """The latent of that number, from 1; SettingsError where a file has fewer."""
    if not 1 <= number <= len(latent):
        have = (
            "one latent; choose #1"
            if len(latent) == 1
            else f"{len(latent)} latents; choose one of #1 to #{len(latent)}"
        )
        raise SettingsError(f"{path} has no latent #{number}, it holds {have}")
    return replace(latent.split()[number - 1], source=f"{path}#{number}")


def short_name(source: Path | str) -> str:
    """The name of a saved latent, without its folder and its suffixes."""
    file, number = chosen(source)
    name = file.stem.removesuffix(".latent")
    return name if number is None else f"{name}-{number}"
