from pathlib import Path

import pytest
import torch

from generators.base import Generator
from generators.stylegan2 import StyleGAN2, StyleGAN2Config

SHARED = Path(__file__).resolve().parents[2] / "shared" / "portraits"


def tiny_generator(seed: int = 0, **settings: object) -> Generator:
    """An untrained StyleGAN2 of 16 px that runs in a millisecond."""
    sizes = {"img_resolution": 16, "z_dim": 8, "w_dim": 8, "channels": (8, 8, 8), "mapping_layers": 2} | settings
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = StyleGAN2(StyleGAN2Config(**sizes))  # type: ignore[arg-type]
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.data.fill_(0.1)
    generator.name = "tiny"
    return generator.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/portraits beside the repository")
    return SHARED
