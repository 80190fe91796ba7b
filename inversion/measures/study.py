"""The ground on which a model is measured: real pictures, and what was seen in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from generators.base import Generator
from generators.pictures.sources import Picture, pictures_of
from inversion.errors import InversionError, result_or_error
from inversion.measures.config import QualityConfig
from inversion.measures.diversity import FEWEST, FaceStats, frechet_distance, mean_pairwise, measure_pictures
from inversion.measures.reconstruction import first_of
from inversion.target import load_target
from inversion.watch import Watch

Record = dict[str, Any]


@dataclass(frozen=True)
class Portraits:
    """Real pictures, and what was seen in them at the generator's size."""

    files: tuple[Picture, ...]  # those that could be read
    stats: FaceStats
    failed: int


@dataclass(frozen=True)
class Study:
    """All that the measures of a model share."""

    generator: Generator
    config: QualityConfig
    photos: Sequence[Picture]  # held out
    held_out: Portraits
    training: Portraits | None
    no_faces_because: str | None  # why faces are not looked for; None: they are
    watch: Watch

    @property
    def faces(self) -> bool:
        """True where faces are looked for."""
        return self.no_faces_because is None

    @property
    def missing(self) -> dict[str, str]:
        """The word on faces that every record has where they are not looked for."""
        return {} if self.no_faces_because is None else {"faces": self.no_faces_because}


def prepare(
    generator: Generator, sources: Sequence[str | Path], data: Sequence[Path], config: QualityConfig, watch: Watch
) -> Study:
    """Look at the real pictures."""
    why = None if generator.subject == "face" else f"the model's subject is {generator.subject}"
    photos = first_of(pictures_of(sources), config.limit)
    held = read_all(generator, photos, "held-out pictures", config.align, why is None, watch)
    if why is None and not held.stats.face_rate:
        why = f"no picture of {names_of(sources)} has a face"
    files = pictures_of(data)
    if config.data_limit is not None:
        drawn = np.random.default_rng(config.seed).permutation(len(files))[: config.data_limit]
        files = [files[i] for i in sorted(drawn)]
    training = read_all(generator, files, "training pictures", False, why is None, watch) if files else None
    return Study(generator, config, photos, held, training, why, watch)


def read_all(
    generator: Generator, files: Sequence[Picture], what: str, align: bool, faces: bool, watch: Watch
) -> Portraits:
    """Read pictures, one at a time, and measure them; what cannot be read is counted."""
    good: list[Picture] = []

    def images() -> Iterator[Tensor]:
        for file in watch.counted(files, what, len(files)):
            found = result_or_error(partial(load_target, generator, align=align), file)
            if not isinstance(found, InversionError):
                good.append(file)
                yield found.image

    stats = measure_pictures(images(), faces=faces)
    return Portraits(tuple(good), stats, len(files) - len(good))


def names_of(sources: Sequence[str | Path]) -> str:
    """The names of sources, without their folders."""
    return ", ".join(Path(source).name for source in sources)


def face_figures(study: Study, stats: FaceStats, missing: dict[str, str]) -> Record:
    """Share with a face, and how different the faces are; or a word in missing why there are none."""
    missing |= study.missing
    if not study.faces:
        return {"face_rate": None, "identity_between": None}
    return {"face_rate": stats.face_rate, "identity_between": mean_pairwise(stats.faces, seed=study.config.seed)}


def frechet(a: np.ndarray, b: np.ndarray, missing: dict[str, str], wanted: str | None = None) -> float | None:
    """The distance, or a word in missing why there is none."""
    if wanted is None and min(len(a), len(b)) < FEWEST:
        wanted = f"{FEWEST} descriptors on each side; there are {len(a)} and {len(b)}"
    if wanted is not None:
        missing["frechet"] = f"needs {wanted}"
        return None
    return frechet_distance(a, b)
