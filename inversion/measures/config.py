"""Settings and conventions of the measures of a generator and of its latent space. Nothing here needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generators.settings import check, setting
from inversion.errors import SettingsError

MODEL_CONVENTIONS = {
    "real": "real pictures at the generator's size. Identity: Euclidean distance of dlib's descriptors, pictures "
    "enlarged to 256 px, mean over all pairs with a face. Laplacian energy: mean square of luma minus blurred luma, "
    "mean over pictures, relative to the held-out ones'. Fréchet distance of the descriptors: held-out to training "
    "pictures; of training pictures, a part of them as many as the samples to the rest",
    "reconstruction": "held-out pictures. Medians; PSNR 10 log10(4 / MSE), images in [-1, 1]; identity: to the picture "
    "at the generator's size, under 0.6 is one person; milliseconds of inversion a picture on this machine",
    "midpoints": "of pairs of inverted held-out people: spherical about w_avg, linear, and the plain average of their "
    "reconstructions' pixels. Laplacian energy relative to the mean of the two reconstructions', median over pairs; "
    "sharpness is its root",
    "path_length": "perceptual path length, Karras et al. 2019, of straight whole paths between samples in w, epsilon "
    "1e-4, through the model's own discriminator (features of unit length, mean over pixels and levels): comparable "
    "under one discriminator only",
    "samples": "measured as the real pictures; Laplacian energy relative to held-out and to training pictures; Fréchet "
    "distance to the training pictures, or to the held-out ones where there are no others",
    "memorised": "identity distance of the first 200 samples at the last truncation to the nearest training face, "
    "beside that of held-out people and of random training faces to one another; nearer: share of samples that lie "
    "nearer than the nearest tenth of the held-out people, 10 % by chance, more also where samples are all alike",
}
SPACE_CONVENTIONS = (
    "MSE, PSNR: held-out pictures from their codes, images in [-1, 1]. Segments between codes of held-out pairs: step "
    "and worst, the change of the image a step (RMS); worst/mean of a segment, averaged, 1 is even; detour, the path's "
    "length over the cross-fade's; between, share of the images on the way that are plausible. complete: share of "
    "samples that are; coverage: share of held-out pictures that a sample is as near to. Plausible: as near to a data "
    "picture as {plausible:.0%} of the held-out ones are ({threshold} RMS). 1-NN, same label: the label of the "
    "nearest code, and of the {neighbours} nearest. trust: scikit-learn's trustworthiness"
)


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """The measures of a generator: which, and of how many."""

    recipe: str = "default"
    search: Mapping[str, Any] = field(default_factory=dict)  # settings that replace the recipe's; not its steps
    steps: tuple[int, ...] = setting(
        (20, 100, 500), "Updates of each inversion, beside the encoder alone.", flag="steps-list"
    )  # midpoints are of the longest
    budget: float | None = None  # seconds a picture and inversion
    samples: int = setting(500, "Pictures that are drawn at each truncation.", least=1)
    truncations: tuple[float, ...] = setting(
        (0.5, 0.7, 1.0), "Truncations of samples; those of the last are compared with training faces."
    )
    pairs: int = setting(100, "Pairs of people whose midpoint is looked at.", least=1)
    batch: int = 8  # pictures at a time
    align: bool = False  # cut faces out of the held-out pictures first; training pictures are taken as they are
    limit: int | None = setting(None, "Measure the first N held-out pictures alone.", least=1, shown="all")
    data_limit: int | None = setting(None, "Compare with N training pictures, drawn at random.", least=1, shown="all")
    seed: int = setting(0, "Seed of all that is drawn.", least=0)

    @property
    def label(self) -> int | None:
        """The class that is searched and drawn, where the generator knows classes."""
        return self.search.get("label")

    def __post_init__(self) -> None:
        check(self, SettingsError)
        if self.batch < 1:
            raise SettingsError(f"batch is {self.batch}; give a count from 1 on")
        if not self.steps or min(self.steps) < 0 or not self.truncations:
            raise SettingsError(f"steps are {self.steps}, truncations {self.truncations}; give at least one of each")


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """The measures of a latent space: of how many, and how finely."""

    held_out: float = setting(0.2, "Share of the pictures that is held out, without --data.", above=0, most=0.99)
    segments: int = setting(200, "Segments between random pairs of held-out pictures.", least=1)
    segment_steps: int = setting(16, "Steps along each segment.", least=2)
    samples: int = setting(1000, "Samples from the prior.", least=1)
    plausible: float = setting(
        0.95, "Share of held-out pictures that count as plausible, which sets the threshold.", above=0, most=0.999
    )
    neighbours: int = setting(5, "Nearest codes that are asked for their label.", least=1)
    seed: int = setting(0, "Seed of the split, the pairs and the samples.", least=0)

    def __post_init__(self) -> None:
        check(self, SettingsError)
