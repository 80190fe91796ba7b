"""Fitting of principal components, by scikit-learn."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from generators.base import Generator
from generators.errors import TrainingError
from generators.pca import PCA, PCAConfig
from generators.shapes import UInt8
from generators.training.config_codes import FitConfig
from generators.training.data import Pictures
from generators.training.trainer import Trainer

MOST = 20_000  # pictures that the components are fitted to


class PCATrainer(Trainer):
    """One step, and the run is over."""

    keep_latest = True
    config: FitConfig

    def __init__(
        self, config: FitConfig, pictures: Pictures, *, device: str = "cpu", init: Generator | None = None
    ) -> None:
        super().__init__(replace(config, images=1, batch=1), pictures, device=device, init=init)
        if init is not None:
            raise TrainingError("components are fitted at once and start from no model; leave --init out")
        size = {"img_resolution": config.resolution, "img_channels": config.img_channels, "dim": config.dim}
        self.model = PCA(PCAConfig(**size)).to(self.device)
        self.ema = self.model

    def one_step(self) -> tuple[dict[str, float], bool]:
        return {"unexplained": fit(self.model, self.pictures.images[:MOST], self.config.seed)}, True

    def weights(self) -> dict[str, Any]:
        return {"model": self.model.state_dict()}

    def load_weights(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])


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
