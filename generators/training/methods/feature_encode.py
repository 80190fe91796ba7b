"""An encoder for MobileStyleGAN, which stays as it is: a head on EfficientNet-Lite0's maps (see `feature_encoder`).

It sees photographs, whose reconstructions are compared at a size that is rendered cheaply, and samples of the
generator, whose codes are known. Offsets from one style for all layers cost (Tov et al. 2021).
"""

import copy

import torch
from torch import Tensor

from generators.base import Generator
from generators.errors import TrainingError
from generators.mobilestylegan import MobileStyleGAN
from generators.parts.feature_encoder import WIDTHS, FeatureEncoder, FeatureEncoderConfig
from generators.parts.lite import maps_distance, unit_maps
from generators.shapes import Float
from generators.training.config import EncodeConfig
from generators.training.distributed import rows, wrap
from generators.training.methods.encode import samples_of
from generators.training.methods.method import Method
from generators.training.methods.preview import PreviewConfig, fit_preview
from generators.training.terms.losses import reconstruction

MAP_STD = (7.0, 6.7, 2.4)  # of Lite0's maps on photographs of faces
SPREAD = 50_000  # samples that W is measured on
SIZE, OFFSETS = 0.003, 0.02  # prices of coordinates and of offsets


def with_feature_encoder(source: Generator, config: EncodeConfig) -> MobileStyleGAN:
    """A copy of source with a preview head and an encoder, where it has none; TrainingError if it cannot be."""
    if not isinstance(source, MobileStyleGAN):
        raise TrainingError(f"{source.name} is no MobileStyleGAN, which this encoder is for")
    if source.img_resolution % config.resolution or config.resolution < 32:
        raise TrainingError(f"{source.name} is not rendered at {config.resolution} px; give --resolution 256")
    model = copy.deepcopy(source).requires_grad_(False)
    if model.preview is None and config.resolution <= model.img_resolution // 4:
        for _ in fit_preview(model, PreviewConfig(seed=config.seed)):
            pass
    if not isinstance(model.encoder, FeatureEncoder):
        model.encoder = build_feature_encoder(model, config.seed)
    return model


def build_feature_encoder(generator: MobileStyleGAN, seed: int) -> FeatureEncoder:
    """An untrained encoder that gives the mean, and coordinates along W's principal axes."""
    axes = min(96, generator.w_dim)
    encoder = FeatureEncoder(FeatureEncoderConfig(num_ws=generator.num_ws, w_dim=generator.w_dim, offset_axes=axes))
    encoder.axes.copy_(generator.statistics(samples=SPREAD, seed=seed).outward.flip(0))
    encoder.mean.copy_(generator.w_avg)
    first, second, _ = encoder.config.channels
    with torch.no_grad():  # maps enter with about unit variance
        encoder.down0.weight /= MAP_STD[0]
        encoder.down1.weight[:, first : first + WIDTHS[1]] /= MAP_STD[1]
        encoder.mix.weight[:, second : second + WIDTHS[2]] /= MAP_STD[2]
        torch.nn.init.zeros_(encoder.shared.bias)
        torch.nn.init.normal_(encoder.offsets.weight, std=0.01)
        torch.nn.init.zeros_(encoder.offsets.bias)
    return encoder


class FeatureEncode(Method):
    model: MobileStyleGAN
    averaged = "encoder"

    def __init__(self, model: MobileStyleGAN, config: EncodeConfig, device: torch.device) -> None:
        super().__init__(config, device)
        assert isinstance(model.encoder, FeatureEncoder)
        self.model, self.config = model, config
        self.optimize("encoder", list(model.encoder.requires_grad_(True).parameters()), config.lr, 0.9)
        self.head = wrap(Head(model.encoder))
        scale = model.encoder.axes.norm(dim=1)
        self.weight = scale / scale.square().mean().sqrt()  # of a coordinate, by how far it moves w
        self.inward = torch.linalg.inv(model.encoder.axes.double()).float()

    def step(self, real: Tensor, rng: torch.Generator, images_seen: int) -> dict[str, Tensor]:
        c, model = self.config, self.model
        assert isinstance(model.encoder, FeatureEncoder)
        real = real[rows(c.batch)].to(self.device)
        with self.autocast():
            wanted, samples = self.sample(rng)
            with torch.no_grad():
                maps = model.encoder.look(torch.cat([real, samples]))
            shared, offsets = self.head(*maps)
            ws = model.encoder.styles(shared[: len(real)], offsets[: len(real)])
            image = model.synthesis(ws, model.fixed_noise(len(real)), resolution=c.resolution).float()
            losses = {"reconstruction": reconstruction(image, real)}
            losses["perceptual"] = maps_distance(unit_maps(image), unit_maps(real)).mean()
        losses["penalty"] = SIZE * shared.square().mean() + OFFSETS * offsets.square().mean()
        if len(samples):
            losses["known"] = ((shared[len(real) :] - wanted).square() * self.weight).mean()
        weights = {"perceptual": c.matching, "known": c.supervised}
        self.backward("encoder", torch.stack([weights.get(k, 1.0) * v for k, v in losses.items()]).sum())
        return {k: v.detach() for k, v in losses.items()} if self.descend("encoder") else {}

    @torch.no_grad()
    def sample(self, rng: torch.Generator) -> tuple[Float[Tensor, "count w_dim"], Float[Tensor, "count c h w"]]:
        """Whitened codes of this process's samples, and their pictures."""
        count, size = samples_of(self.config), self.config.resolution
        model = self.model
        assert isinstance(model.encoder, FeatureEncoder)
        z = torch.randn(count, model.z_dim, generator=rng)[rows(count)].to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            w = model.styles_of(model.map(z), 0.8)[:, 0].float()
            codes = (w - model.encoder.mean) @ self.inward
        ws = w[:, None].expand(-1, model.num_ws, -1)
        return codes, model.synthesis(ws, model.fixed_noise(len(w)), resolution=size).float().clamp(-1, 1)


class Head(torch.nn.Module):
    """The encoder without Lite0, in a call that DistributedDataParallel follows."""

    def __init__(self, encoder: FeatureEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder.parts(maps)  # type: ignore[arg-type]
