"""Latents of a tuned generator: the delta that they name, found beside them."""

import os
from collections.abc import Iterable
from pathlib import Path

from generators.base import Generator
from generators.checkpoints.delta import apply, find_delta, name_of
from generators.pictures.sources import Picture
from inversion.errors import LatentFileError, SettingsError
from inversion.files.latent_file import header_of
from inversion.files.named import latents_in


def tuned_for(generator: Generator, sources: Iterable[str | Path | Picture]) -> Generator:
    """The generator as saved latents among sources need it: a copy with the delta that they name, or else itself.

    A delta lies beside its latent, under whatever name. Folders count for the latents in them. Latents without a delta
    go with those of one; those of two deltas are refused (SettingsError), as is one whose delta is not to be found
    (LatentFileError).
    """
    found = deltas_of(generator, sources)
    if not found:
        return generator
    if len(found) > 1:
        (one, a), (two, b) = list(found.items())[:2]
        raise SettingsError(
            f"{a} and {b} are of two tunings ({one[:12]}, {two[:12]}), which no one generator draws; "
            "tune them together: latent invert A.jpg B.jpg --tune -o DIR"
        )
    (sha256, path) = next(iter(found.items()))
    if generator.delta is not None and generator.delta.sha256 == sha256:
        return generator
    delta = find_delta(path.parent, sha256)
    if delta is None:
        raise LatentFileError(
            f"{path} needs its delta {name_of(sha256)}, which does not lie beside it; copy it there, or invert the "
            "photograph again with --tune"
        )
    return apply(generator, delta)


def deltas_of(generator: Generator, sources: Iterable[str | Path | Picture]) -> dict[str, Path]:
    """The deltas that latents of a generator name: sha256 -> one of the latents."""
    found: dict[str, Path] = {}
    for source in sources:
        if isinstance(source, Picture):
            continue
        for path in latents_in(Path(source)) if os.path.isdir(source) else [Path(source)]:
            header = header_of(path)
            maker, delta = header.get("generator"), header.get("delta")
            own = isinstance(maker, dict) and maker.get("sha256") == generator.origin_sha256()
            if own and isinstance(delta, str):
                found.setdefault(delta, path)
    return found
