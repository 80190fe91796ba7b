"""What the generators package can fail with; every message says what to do next."""


class GeneratorError(Exception):
    """A generator could not be found, read or trusted."""


class ModelFileError(GeneratorError):
    """A model file that is truncated, of another format, or whose weights do not fit its settings."""


class DownloadError(GeneratorError):
    """A file that could not be fetched, or that is not the one fetched before."""


class TrainingError(GeneratorError):
    """Training data or settings that cannot be trained on, or a run that went astray."""
