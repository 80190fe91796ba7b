"""What the inversion package can fail with; every message says what came, what was wanted and what to do next."""


class InversionError(Exception):
    """Base of every failure a user can cause and fix."""


class ImageError(InversionError):
    """A photograph that cannot be read, or is not what was asked for."""


class FaceError(ImageError):
    """No face, or not the face asked for."""


class SettingsError(InversionError):
    """A value outside its range, or a name that is not known."""


class FeatureError(InversionError):
    """A feature network whose weights are not at hand."""


class SpaceMismatch(InversionError):
    """Two latents from different spaces, or a step a space does not allow."""


class LatentFileError(InversionError):
    """A latent file that cannot be read, or that belongs to another generator."""
