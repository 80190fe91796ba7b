"""Settings of learning directions. Nothing here needs torch."""

from dataclasses import dataclass

from generators.settings import check, setting
from inversion.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """Samples to learn from, and how."""

    samples: int = setting(2000, "Samples of the generator that are labelled.", least=50)
    truncation: float = setting(0.9, "How far samples lie from the average face; 1 is as drawn.", above=0, most=1.5)
    method: str = setting(
        "ridge",
        "Regression over all samples, a boundary at the median, or the way between means.",
        choices=("ridge", "svm", "means"),
    )
    seed: int = setting(0, "Seed of the samples and of the folds.", least=0)

    between: tuple[float, float] | None = None  # values: of svm and means, from samples beyond the first to those
    # beyond the second; None: from below the median to above it

    def __post_init__(self) -> None:
        check(self, SettingsError)
        if self.between is not None and self.between[0] == self.between[1]:
            raise SettingsError(f"between is {self.between}; give two different numbers, as in 20,12")
        if self.between is not None and self.method == "ridge":
            raise SettingsError("between goes with the methods svm and means; a regression is over all samples")
