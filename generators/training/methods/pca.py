"""Fitting of principal components, by scikit-learn. One step, and the run is over."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from generators.base import Generator
from generators.errors import TrainingError
from generators.pca import PCA, PCAConfig
from generators.shapes import UInt8
from generators.training.data import Pictures
from generators.training.methods.autoencode import AutoencodeStep

MOST = 20_000  # pictures that the components are fitted to


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    resolution: int = 64  # pixels
    img_channels: int = 3  # 1: grey
    dim: int = 16  # components
    seed: int = 0  # of the randomised solver, which large pictures need
    images: int = 1  # the run is one step, whatever this says
    batch: int = 1


class PCATrainer:
    """Keeps what a run asks of a trainer."""

    keep_latest = True

    def __init__(
        self, config: FitConfig, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None
    ) -> None:
        if init is not None:
            raise TrainingError("components are fitted at once and start from no model; leave --init out")
        self.config, self.pictures, self.device, self.images_seen = config, pictures, device, 0
        size = {"img_resolution": config.resolution, "img_channels": config.img_channels, "dim": config.dim}
        self.ema = PCA(PCAConfig(**size)).to(device)

    def run(self) -> Iterator[AutoencodeStep]:
        if self.images_seen < self.config.images:
            rest = fit(self.ema, self.pictures.images[:MOST], self.config.seed)
            self.images_seen = self.config.images
            yield AutoencodeStep(self.images_seen, {"unexplained": rest})

    def finished(self) -> Generator:
        return self.ema

    def state(self) -> dict[str, object]:
        return {"config": asdict(self.config), "images_seen": self.images_seen, "model": self.ema.state_dict()}

    def restore(self, state: dict) -> None:
        self.images_seen = state["images_seen"]
        self.ema.load_state_dict(state["model"])


def fit(model: PCA, pictures: UInt8[Tensor, "count channels size size"], seed: int = 0) -> float:
    """Fit model to pictures; gives the share of their variance that it leaves out.

    TrainingError where they vary in fewer directions than it has components.
    """
    try:
        from sklearn.decomposition import PCA as Fit
    except ImportError:
        raise TrainingError("kind pca needs scikit-learn; run: pip install scikit-learn") from None
    x = (pictures.float() / 127.5 - 1).flatten(1).numpy()
    dim = model.config.dim
    found = Fit(n_components=min(dim, len(x) - 1, x.shape[1]), random_state=seed).fit(x)
    most = int((found.explained_variance_ > 1e-9 * found.explained_variance_[0]).sum())
    if dim > most:
        raise TrainingError(f"dim is {dim}, and {len(x)} pictures vary in {most} directions; give dim {most} or less")
    parts = (found.mean_, found.components_, found.explained_variance_**0.5)
    model.place(*(torch.from_numpy(part).float() for part in parts))
    return float(1 - found.explained_variance_ratio_.sum())
