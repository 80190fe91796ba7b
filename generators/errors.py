"""What this project can fail with; every message says what came, what was wanted and what to do next."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Note(UserWarning):
    """A word on how an input was read that can be read in more than one way, or was read in part."""


def note(text: str) -> None:
    """Warn the caller of the library, or tell the user of the command line, and go on."""
    warnings.warn(text, Note, stacklevel=3)


class LatentError(Exception):
    """Root of every failure that a user can cause and fix."""


class WriteError(LatentError):
    """A file that could not be written; the one that stood there before is untouched."""


class InversionError(LatentError):
    """Root of what photographs, latents and their edits can fail with."""


class ImageError(InversionError):
    """A picture that cannot be read, or is not what was asked for."""


class GeneratorError(LatentError):
    """A generator could not be found, read or trusted."""


class ModelFileError(GeneratorError):
    """A model file that is truncated, of another format, or whose weights do not fit its settings."""


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """The file's name in front of a ModelFileError inside: readers raise what goes on from it, as "holds no model"."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path} {error}") from error


class DownloadError(GeneratorError):
    """A file that could not be fetched, or that is not the one fetched before."""


class TrainingError(GeneratorError):
    """Training data or settings that cannot be trained on, or a run that went astray."""
