"""Errors of the inversion package; every message says what came, what was wanted and what to do next."""

from collections.abc import Callable
from typing import TypeVar

from generators.errors import ImageError as ImageError
from generators.errors import InversionError as InversionError
from generators.errors import LatentError as LatentError
from generators.errors import Note as Note
from generators.errors import WriteError as WriteError
from generators.errors import note as note

Thing = TypeVar("Thing")


class FaceError(ImageError):
    """No face, or not the face asked for."""


class SettingsError(InversionError):
    """A value outside its range, or a name that is not known."""


class FeatureError(InversionError):
    """A feature network whose weights are not at hand."""


class SpaceMismatch(InversionError):
    """Two latents from different spaces, or a step a space does not allow."""


class DirectionError(InversionError):
    """A direction that is not known, or that belongs to another generator."""


class LatentFileError(InversionError):
    """A latent file that cannot be read, or that belongs to another generator."""


def result_or_error(make: Callable[..., Thing], *args: object) -> Thing | ImageError:
    """The result of make, or the ImageError that it raises."""
    try:
        return make(*args)
    except ImageError as error:
        return error
