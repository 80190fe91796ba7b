"""Small runs, and pictures for them."""

from dataclasses import replace

import torch

from generators.training.config import EncodeConfig, TrainConfig
from generators.training.data import Pictures
from generators.training.methods.averaged import AveragedTrainer
from generators.training.methods.encoder import EncoderTrainer
from generators.training.methods.stylegan2 import StyleGAN2Trainer

TINY = TrainConfig(
    resolution=8,
    channels=(8, 8),
    w_dim=8,
    mapping_layers=1,
    batch=4,
    images=40,
    warmup=8,
    precision="fp32",
    rampdown=0.5,
)
ADAPTIVE = {"augment_kind": "ada", "augment_speed": 16, "augment_target": -2.0}  # its probability always rises
PLAIN = replace(TINY, joint=False, path_length=2.0, path_every=2, r1_every=3, **ADAPTIVE)
ENCODER = EncodeConfig(resolution=8, batch=4, images=40, warmup=8, precision="fp32")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=rng(seed))


def flat(count: int = 8) -> Pictures:
    """Pictures of one colour each."""
    colours = torch.randint(0, 256, (count, 3, 1, 1), generator=rng()).to(torch.uint8)
    images = colours.expand(count, 3, 8, 8).contiguous()
    return Pictures(images=images, weights=torch.full((count,), 1 / count), skipped=(), resized=0)


def trainer_of(config: TrainConfig | EncodeConfig) -> AveragedTrainer:
    """A trainer, for a generator of its own where it needs one."""
    if isinstance(config, EncodeConfig):
        return EncoderTrainer(config, flat(), init=StyleGAN2Trainer(TINY, flat()).ema)
    return StyleGAN2Trainer(config, flat())


def state_equal(a: object, b: object) -> bool:
    """Say whether two nested states hold the same numbers, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(state_equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(state_equal, a, b))
    return a == b


def copied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in state.items()}
