import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cli import main
from generators import load
from generators.base import Generator
from generators.checkpoints.open import open_model
from generators.checkpoints.ours import save_model
from generators.hub.wheels import WHEELS, located
from generators.mobilestylegan import MobileStyleGAN, MobileStyleGANConfig
from generators.parts.discriminator import Discriminator, DiscriminatorConfig
from generators.parts.encoder import Encoder, EncoderConfig
from generators.stylegan2 import StyleGAN2, StyleGAN2Config
from inversion.files.latent_file import save
from inversion.latent import sample_latent

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "portraits"


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


def tiny_mobile(seed: int = 0) -> MobileStyleGAN:
    """An untrained MobileStyleGAN of 32 px."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"img_resolution": 32, "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channels": (16, 8, 8)}
        generator = MobileStyleGAN(MobileStyleGANConfig(**sizes))  # type: ignore[arg-type]
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.data.fill_(0.1)
            if "affine.bias" in name or "up.bias" in name:
                parameter.data.fill_(1.0)
    generator.name = "mobile"
    return generator.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def ffhq() -> Generator:
    """The real one, with the parts that come with this package."""
    if (inside := located(WHEELS["ffhq"])) is None:
        pytest.skip("needs the package random-face: pip install --no-deps random-face==2021.7.21.1")
    generator = open_model(inside)
    generator.name = "ffhq"
    return generator


@pytest.fixture(scope="session")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/portraits beside the repository")
    return SHARED


# For the tests of the command line


@pytest.fixture(scope="session")
def model(generator, tmp_path_factory) -> str:
    """The tiny generator as a file, with an encoder and a discriminator."""
    whole, sizes = copy.deepcopy(generator), {"img_resolution": 16, "channels": (8, 8, 8)}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        whole.encoder = Encoder(EncoderConfig(num_ws=whole.num_ws, w_dim=8, hidden=16, **sizes))
        whole.discriminator = Discriminator(DiscriminatorConfig(**sizes))
    whole.card = {"licence": "CC0", "data": ["noise"]}
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(whole, path)
    return str(path)


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    for i, name in enumerate("abc"):
        picture(i).save(folder / f"{name}.png")
    return [str(folder / f"{name}.png") for name in "abc"]


@pytest.fixture(scope="session")
def latents(model, tmp_path_factory) -> list[str]:
    folder, g = tmp_path_factory.mktemp("latents"), load(model)
    paths = [str(folder / f"{name}.latent.safetensors") for name in "abc"]
    for latent, path in zip(sample_latent(g, batch=3, seed=5).split(), paths, strict=True):
        save(latent, path, g)
    return paths


@pytest.fixture
def latent(model, monkeypatch, tmp_path):
    """The command line in this process, its cache in tmp_path."""
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LATENT_GENERATOR", model)
    return lambda *args, **more: CliRunner().invoke(main, [str(a) for a in args], **more)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures, two files that only look like some, and what is to be passed over."""
    home = tmp_path / "people"
    (home / "more").mkdir(parents=True)
    for seed, name in enumerate(("b.png", "more/a.PNG", "c.png")):
        (home / name).write_bytes(png(seed))
    (home / "empty.jpg").write_bytes(b"")
    (home / "text.jpg").write_text("not a picture")
    (home / ".half.png").write_bytes(png(0)[:40])
    (home / "notes.md").write_text("not meant to be one")
    return home


def picture(seed: int, size: int = 24) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


def png(seed: int) -> bytes:
    out = io.BytesIO()
    picture(seed, 20).save(out, "PNG")
    return out.getvalue()


def objects(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(result, *words: str, status: int = 1) -> None:
    """One line on standard error, with these words in it, and the right status."""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("objective:")]
    assert result.exit_code == status, result.output
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    assert all(word in lines[0] for word in words), lines[0]


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
