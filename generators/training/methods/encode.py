"""An encoder for a trained generator, which stays as it is: image -> w_plus.

Every layer has the same style at first, and gets its offset later, coarse to fine, at a price: the closer codes stay to
W, the better they edit (Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation"). The encoder also sees
samples of the generator, whose codes are known.
"""

import copy

import torch
from torch import Tensor, nn

from generators.base import Generator
from generators.errors import TrainingError
from generators.parts.discriminator import Discriminator
from generators.parts.encoder import Encoder
from generators.shapes import Float
from generators.stylegan2 import StyleGAN2
from generators.training.config import EncodeConfig
from generators.training.distributed import rows, wrap
from generators.training.methods.method import Method
from generators.training.start.build import build_encoder, start_at_mean
from generators.training.start.grow import check_source
from generators.training.terms.losses import feature_matching, reconstruction


def with_encoder(source: Generator | None, config: EncodeConfig) -> StyleGAN2:
    """A copy of source, with an encoder that sees w_avg everywhere if it has none; TrainingError if it cannot be."""
    if source is None:
        raise TrainingError("an encoder run needs the generator that it is for; give --init MODEL")
    model = copy.deepcopy(check_source(source, config.img_channels)).requires_grad_(False)
    if config.resolution != model.img_resolution:
        raise TrainingError(
            f"{source.name} renders {model.img_resolution} px, and this run is at {config.resolution} px; "
            f"give --resolution {model.img_resolution}"
        )
    if not isinstance(model.encoder, Encoder):
        resolutions = model.config.resolutions()
        channels = config.channels or tuple(min(256, model.config.channels_at(r)) for r in resolutions)
        if len(channels) != len(resolutions):
            raise TrainingError(f"channels has {len(channels)} numbers; {source.name} needs {len(resolutions)}")
        model.encoder = build_encoder(model, channels)
        start_at_mean(model.encoder, model.w_avg)
    return model


class Parts(nn.Module):
    """The encoder's shared style and offsets, in a call that DistributedDataParallel follows."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Float[Tensor, "batch c h w"]) -> tuple[Tensor, Tensor]:
        return self.encoder.parts(images)


class Encode(Method):
    model: StyleGAN2
    averaged = "encoder"

    def __init__(self, model: StyleGAN2, config: EncodeConfig, device: torch.device, *, started: bool) -> None:
        """started: the encoder has been trained before, and keeps all of its offsets."""
        super().__init__(config, device)
        assert isinstance(model.encoder, Encoder)
        self.model, self.config = model, config
        self.started = started
        self.optimize("encoder", list(model.encoder.requires_grad_(True).parameters()), config.lr, 0.9)
        self.parts = wrap(Parts(model.encoder))
        z = torch.randn(4096, model.z_dim, generator=torch.Generator().manual_seed(config.seed)).to(device)
        with torch.no_grad():
            self.variance = model.map(z, None).float().var(dim=0).mean()  # of W, the unit of all that is in W

    def step(self, real: Tensor, rng: torch.Generator, images_seen: int) -> dict[str, Tensor]:
        c, model = self.config, self.model
        real = real[rows(c.batch)].to(self.device)
        with self.autocast():
            w, samples = self.sample(rng)
            shared, offsets = self.parts(torch.cat([real, samples]))
            ws = shared[:, None] + offsets * self.released(images_seen)
            image = model.synthesis(ws[: len(real)], model.fixed_noise(len(real)))
            losses = {"reconstruction": reconstruction(image, real)}
            if isinstance(model.discriminator, Discriminator) and c.matching:
                with torch.no_grad():
                    wanted = model.discriminator.features(real)
                losses["matching"] = feature_matching(model.discriminator.features(image), wanted)
        spread = (shared - model.w_avg).square().mean() + 20 * offsets.square().mean()
        losses["penalty"] = c.w_penalty * spread / self.variance
        if len(w):
            losses["known"] = (ws[len(real) :] - w[:, None]).square().mean() / self.variance
        weights = {"matching": c.matching, "known": c.supervised}
        self.backward("encoder", torch.stack([weights.get(k, 1.0) * v for k, v in losses.items()]).sum())
        return {k: v.detach() for k, v in losses.items()} if self.descend("encoder") else {}

    @torch.no_grad()
    def sample(self, rng: torch.Generator) -> tuple[Float[Tensor, "count w_dim"], Float[Tensor, "count c h w"]]:
        """Codes of this process's samples, and their pictures."""
        count, model = samples_of(self.config), self.model
        if not count:
            size = (0, model.img_channels, model.img_resolution, model.img_resolution)
            return torch.zeros(0, model.w_dim, device=self.device), torch.zeros(size, device=self.device)
        mine = rows(count)
        w = model.map(torch.randn(count, model.z_dim, generator=rng)[mine].to(self.device), None).float()
        noise = model.sample_noise(count, int(torch.randint(2**31, (), generator=rng)))
        noise = tuple(n[mine.to(n.device)] for n in noise)
        return w, model.synthesis(w[:, None].expand(-1, model.num_ws, -1), noise).float().clamp(-1, 1)

    def released(self, images_seen: int) -> Float[Tensor, "num_ws 1"]:
        """1 for each layer that has its offset by now."""
        c, layers = self.config, self.model.num_ws
        share = (images_seen - c.warmup) / max(c.released * c.images - c.warmup, 1)
        count = layers if self.started else round(min(max(share, 0.0), 1.0) * layers)
        return (torch.arange(layers, device=self.device) < count).float()[:, None]


def samples_of(config: EncodeConfig) -> int:
    """Generated pictures a step."""
    return round(config.batch * config.samples)
