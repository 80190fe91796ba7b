"""Training of an encoder for a generator that stays as it is."""

from typing import Any

import torch

from generators.base import Generator
from generators.mobilestylegan import MobileStyleGAN
from generators.parts.encoder import Encoder
from generators.training.config import EncodeConfig
from generators.training.methods.averaged import AveragedTrainer, check_batch, placed
from generators.training.methods.encode import Encode, samples_of, with_encoder
from generators.training.methods.feature_encode import FeatureEncode, with_feature_encoder
from generators.training.methods.method import Method


class EncoderTrainer(AveragedTrainer):
    config: EncodeConfig

    def method_for(self, config: EncodeConfig, init: Generator | None) -> tuple[EncodeConfig, Method]:
        if isinstance(init, MobileStyleGAN):
            model = placed(with_feature_encoder(init, config), self.device)
            return config, FeatureEncode(model, config, self.device)
        model, started = with_encoder(init, config), init is not None and isinstance(init.encoder, Encoder)
        return config, Encode(placed(model, self.device), config, self.device, started=started)

    @staticmethod
    def check(config: EncodeConfig) -> None:
        check_batch(config.batch, samples=samples_of(config))

    @property
    def dtype(self) -> torch.dtype:
        return torch.float16 if survives_half(self.ema) else torch.float32

    @classmethod
    def card(cls, about: dict[str, Any], init: Generator | None) -> dict[str, Any]:
        """The generator's card, with what tells of its encoder in it."""
        return about if init is None else init.card | {"encoder": about}


def survives_half(model: Generator) -> bool:
    """Say whether half precision leaves model's sha256 as it is, so that latents made with it before still render."""
    own = (v for k, v in model.state_dict().items() if not k.startswith(("encoder.", "discriminator.", "preview.")))
    return all(torch.equal(v.half().to(v), v) for v in own)
