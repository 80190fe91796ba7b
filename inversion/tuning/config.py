"""Settings of a tuning. Nothing here needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from generators.settings import check, setting
from inversion.errors import SettingsError

LARGEST_SHARE = 0.1  # of the generator's own weights in float32, which a delta never exceeds unless rank 1 does


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Settings of one tuning. SettingsError for what is out of range."""

    steps: int = setting(120, "Updates of the generator for each person.", least=1, flag="tune-steps")
    lr: float = setting(
        1.0, "Peak rate, 1 where the first slope would bring the loss to 0 in a step.", above=0, flag="tune-lr"
    )
    rank: int = setting(
        32,
        "Rank of each weight's change; lowered where the delta would pass 10 % of the model.",
        least=1,
        flag="tune-rank",
    )
    loss: Mapping[str, float] = setting(
        lambda: {"pixel": 10.0, "laplacian": 1.0, "perceptual": 0.5, "identity": 0.1},
        "What is made small, as for --loss.",
        flag="tune-loss",
        shown="pixel=10,laplacian=1,perceptual=0.5,identity=0.1",
    )
    locality: float = setting(
        0.1, "How firmly faces near the latent are held as they were; 0 lets them go.", least=0, flag="tune-locality"
    )
    every: int = setting(4, "Steps from one look at such a face to the next.", least=1, flag="tune-every")
    reach: float = setting(0.7, "How far off those faces are, in spreads of w.", above=0, most=10, flag="tune-reach")
    patience: int = setting(20, "Stop after so many steps that gain under 1 %.", least=1, flag="tune-patience")
    seed: int = setting(0, "Of the faces that are held; the same gives the same result.", least=0, flag="tune-seed")
    coarse: float = 0.95  # share of the steps that 256 px do, where the generator draws those well for less

    def __post_init__(self) -> None:
        check(self, SettingsError)
        if not 0 <= self.coarse <= 1:
            raise SettingsError(f"coarse is {self.coarse}; give a share from 0 to 1")


# What is tuned after a search by the recipe of that name. Roich et al. 2022, whose change of all weights is of low rank
# here, and whose rate is ours.
PTI = TuneConfig(steps=350, patience=350, loss={"l2": 1.0, "lpips-alex": 1.0})
TUNINGS = {"pti": PTI, "pti-offline": replace(PTI, loss={"l2": 1.0, "perceptual": 1.0})}
