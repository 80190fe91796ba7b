"""Training of a StyleGAN2: with its encoder, as an autoencoder in W with an adversary (joint), or as published."""

from collections.abc import Iterator

import torch

from generators.base import Generator
from generators.parts.flow import Flow
from generators.stylegan2 import StyleGAN2
from generators.training.config import TrainConfig
from generators.training.methods.averaged import AveragedTrainer, check_batch, placed
from generators.training.methods.joint import Joint
from generators.training.methods.method import Method
from generators.training.methods.moments import match_moments, recolour
from generators.training.methods.plain import Plain
from generators.training.methods.prior import CODES, codes_of, fit_flow
from generators.training.start.build import build_model, start_from_pca
from generators.training.start.grow import check_source, sizes_from, start_from

GROUP = 4  # images of one minibatch deviation, which must lie within a process
FOR_MEAN, FOR_COVARIANCE = 1000, 4000  # pictures whose codes tell these; a flow needs the mean alone


class StyleGAN2Trainer(AveragedTrainer):
    config: TrainConfig
    ema: StyleGAN2

    def method_for(self, config: TrainConfig, init: Generator | None) -> tuple[TrainConfig, Method]:
        like = None
        if init is not None:
            config = sizes_from(config, init)
            like = check_source(init, config.img_channels)
        model = build_model(config, like)
        if like is not None:
            start_from(model, like)
        elif config.joint and config.linear:
            start_from_pca(model, self.pictures, min(config.linear, config.resolution), config.mirror)
        return config, (Joint if config.joint else Plain)(placed(model, self.device), config, self.device)

    @staticmethod
    def check(config: TrainConfig) -> None:
        check_batch(config.batch, group=GROUP * (2 if config.joint else 1))

    @property
    def finishes(self) -> bool:
        return self.config.joint and isinstance(self.ema.map, Flow)

    def finished(self) -> Generator:
        """The model as it would be saved now; in joint runs, its samples get the moments of the codes."""
        c = self.config
        if not c.joint:
            return self.ema
        count = min(FOR_MEAN if c.flow_steps else FOR_COVARIANCE, 4 * len(self.pictures.images))
        return match_moments(self.ema, self.pictures.subsample(count, c.seed))

    def finish(self, model: Generator) -> Iterator[dict[str, float]]:
        """Fit the flow of the kept model to what its encoder sees in all pictures."""
        c = self.config
        assert isinstance(model, StyleGAN2) and isinstance(model.map, Flow)
        model.map.load_state_dict(self.ema.map.state_dict())  # so that the end of a run can be repeated
        rounds = min(c.flow_rounds, c.images // 8)
        codes = codes_of(model, self.pictures, min(CODES, 4 * len(self.pictures.images)), c.seed, mirror=c.mirror)
        for loss in fit_flow(model.map.requires_grad_(), codes, rounds=rounds, lr=c.flow_lr, seed=c.seed):
            if rounds >= 100:
                yield {"flow": loss}
        if model.map.gaussian:
            recolour(model.map)
        with torch.no_grad():
            model.w_avg.copy_(codes.mean(dim=0))
        model.requires_grad_(False)
