"""The contract every generator keeps: z -> ws -> image, with noise as an explicit input."""

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.errors import GeneratorError
from generators.shapes import Float

Noise = tuple[Float[Tensor, "batch 1 _ _"], ...]


class Generator(nn.Module, ABC):
    """A pretrained image generator, seen as two functions: `mapping` and `synthesis`.

    A generator without styles (an autoencoder, DCGAN, ProGAN) is the case num_ws = 1, w_dim = z_dim,
    with `mapping` the identity; nothing downstream needs to know.
    """

    name: str = "unnamed"  # as `generators.load` takes it, or the stem of its file
    z_dim: int
    w_dim: int
    c_dim: int = 0  # width of the one-hot class label, 0 if unconditional
    num_ws: int  # style inputs of `synthesis`, one per layer
    img_resolution: int  # square images, in pixels
    img_channels: int
    ws_resolutions: tuple[int, ...]  # resolution each style acts at, len == num_ws
    noise_shapes: tuple[tuple[int, int], ...] = ()  # (H, W) of each noise input; () if none
    w_avg: Float[Tensor, " w_dim"]  # mean of W, the centre of truncation
    closed_form: bool = False  # the encoder gives the best latent there is, to float32: a search would gain nothing
    linear_layout: bool = False  # places features linearly in w, so that mixtures come near a cross-dissolve
    w_slope: float = 1.0  # below zero, of the mapping's last activation; 1 where that is linear
    encoder: nn.Module | None  # image -> ws, where the model file has one
    discriminator: nn.Module | None  # with `features(image)`, where the model file has one
    card: dict[str, object]  # training data, licence, measured quality, as the model file tells them

    def __init__(self) -> None:
        super().__init__()
        self.encoder = self.discriminator = None
        self.card = {}

    @abstractmethod
    def mapping(
        self,
        z: Float[Tensor, "batch z_dim"],
        c: Float[Tensor, "batch c_dim"] | None = None,
        truncation_psi: float = 1.0,
    ) -> Float[Tensor, "batch num_ws w_dim"]:
        """Map z ~ N(0, I) to one style per layer; truncation_psi 0 gives w_avg, 1 leaves w as it is."""

    @abstractmethod
    def synthesis(
        self, ws: Float[Tensor, "batch num_ws w_dim"], noise: Noise, *, resolution: int | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """Render styles to images, RGB in [-1, 1]; values may overshoot slightly.

        resolution: a smaller picture, of img_resolution divided by a power of two, for previews and coarse searches;
        `rendering` tells what it is, and it costs less where the architecture allows. GeneratorError for what does not
        fit.
        """

    def rendering(self, resolution: int) -> str:
        """What `synthesis` gives at a resolution: "full", the picture itself; "averaged", its pixels averaged, exactly;
        "skip", what the RGB outputs up to there add up to; "fitted", an estimate by a small head, near the average.
        """
        return "full" if resolution == self.img_resolution else "averaged"

    def check_inputs(self, ws: Tensor, noise: Noise, resolution: int | None) -> int:
        """The size to render at; GeneratorError unless styles, noise and size are such as `synthesis` takes."""
        if ws.shape[1:] != (self.num_ws, self.w_dim):
            raise GeneratorError(f"ws is {tuple(ws.shape)}; {self.name} takes (batch, {self.num_ws}, {self.w_dim})")
        if len(noise) != len(self.noise_shapes):
            raise GeneratorError(f"{len(noise)} noise maps came; {self.name} takes {len(self.noise_shapes)}")
        for came, wanted in zip((tuple(n.shape[2:]) for n in noise), self.noise_shapes, strict=True):
            if came != wanted:
                raise GeneratorError(f"a noise map of {came} came; {self.name} takes {wanted} there")
        full = self.img_resolution
        size = full if resolution is None else resolution
        if size < 1 or full % size or (full // size).bit_count() != 1:
            can = f"{self.name} renders {full} px, and a half, a quarter ... of it"
            raise GeneratorError(f"resolution is {size} px; {can}")
        return size

    def styles_of(
        self, w: Float[Tensor, "batch w_dim"], truncation_psi: float = 1.0
    ) -> Float[Tensor, "batch num_ws w_dim"]:
        """The same w for every layer, moved towards w_avg (the truncation trick, Karras et al. 2019, appendix B)."""
        if truncation_psi != 1.0:
            w = self.w_avg.lerp(w, truncation_psi)
        return w[:, None].expand(-1, self.num_ws, -1)

    @torch.no_grad()
    def sample_w(self, count: int, seed: int = 0) -> Float[Tensor, "count w_dim"]:
        """So many mapped samples, the same on every device for a given seed; classes are drawn too."""
        rng, device = torch.Generator().manual_seed(seed), self.w_avg.device
        z, c = torch.randn(count, self.z_dim, generator=rng).to(device), None
        if self.c_dim:
            c = F.one_hot(torch.randint(self.c_dim, (count,), generator=rng), self.c_dim).float().to(device)
        return self.mapping(z, c)[:, 0]

    def fixed_noise(self, batch: int) -> Noise:
        """The noise saved with the weights, the same for every image; zeros where none was saved."""
        return self.no_noise(batch)

    def sample_noise(self, batch: int, seed: int) -> Noise:
        """One N(0, 1) tensor per noise input, the same on every device for a given seed."""
        rng = torch.Generator().manual_seed(seed)
        device = self.w_avg.device
        return tuple(torch.randn(batch, 1, h, w, generator=rng).to(device) for h, w in self.noise_shapes)

    def no_noise(self, batch: int) -> Noise:
        """All-zero noise: the image without its random detail."""
        return tuple(torch.zeros(batch, 1, h, w, device=self.w_avg.device) for h, w in self.noise_shapes)

    @property
    def subject(self) -> str:
        """What it draws, as its card says: "face", or anything else; models in colour without a word draw faces."""
        return str(self.card.get("subject") or ("face" if self.img_channels == 3 else "other"))

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights that decide what `mapping` and `synthesis` give at full size."""
        digest = hashlib.sha256()
        for key, value in sorted(self.state_dict().items()):
            if not key.startswith(("encoder.", "discriminator.", "preview.")):
                digest.update(f"{key} {tuple(value.shape)}".encode())
                digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def averaged(image: Float[Tensor, "batch channels h w"], size: int) -> Float[Tensor, "batch channels size size"]:
    """The image averaged down to size pixels, a divisor of its own; the same object where that is its size."""
    factor = image.shape[-1] // size
    return image if factor == 1 else F.avg_pool2d(image, factor)


def layers_between(generator: Generator, low: int, high: int) -> tuple[int, ...]:
    """Style indices that act at resolutions low..high inclusive, in pixels; GeneratorError if there is none."""
    layers = tuple(i for i, res in enumerate(generator.ws_resolutions) if low <= res <= high)
    if not layers:
        have = ", ".join(str(r) for r in sorted(set(generator.ws_resolutions)))
        raise GeneratorError(f"{generator.name} has no layer at {low} to {high} px; its layers act at {have} px")
    return layers
