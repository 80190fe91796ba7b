"""Settings of learning directions. Nothing here needs torch."""

from dataclasses import dataclass

from generators.settings import check, setting
from inversion.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """Samples to learn from, and how."""

    samples: int = setting(2000, "Samples of the generator that are labelled.", least=50)
    truncation: float = setting(0.9, "How far samples lie from the average face; 1 is as drawn.", above=0, most=1.5)
    method: str = setting("ridge", "Regression, or a boundary at the median.", choices=("ridge", "svm"))
    seed: int = setting(0, "Seed of the samples and of the folds.", least=0)

    def __post_init__(self) -> None:
        check(self, SettingsError)
