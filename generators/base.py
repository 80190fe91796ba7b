"""The contract every generator keeps: z -> ws -> image, with noise as an explicit input."""

import hashlib
from collections.abc import Callable, Iterable
from collections.abc import Generator as Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.errors import GeneratorError
from generators.shapes import Float
from generators.statistics import Statistics as Statistics
from generators.statistics import statistics_of as statistics_of

Gaussian = Float[Tensor, "batch z_dim"]  # samples of N(0, I)
Codes = Float[Tensor, "batch w_dim"]
Styles = Float[Tensor, "batch num_ws w_dim"]
Labels = Float[Tensor, "batch c_dim"] | None  # one-hot; None where there are no classes
Noise = tuple[Float[Tensor, "batch 1 _ _"], ...]
Images = Float[Tensor, "batch channels height width"]  # RGB or grey in [-1, 1]
PARTS = ("encoder.", "discriminator.", "preview.")  # of a generator, which do not change its pictures at full size
T = TypeVar("T")


class Stage(NamedTuple):
    """The maps that a generator has after some of its layers, all of which lie alike on the picture."""

    maps: tuple[Tensor, ...]  # each (batch, channels, h, w)
    used: int = 0  # styles from this one on decide the rest
    extent: float = 1.0  # of what they cover, in sides of the picture; above 1 where they have margins


Drawing = Coroutine[Stage, tuple[Tensor, ...], Images]  # gives stages, takes maps of the same shapes, ends in pictures


class Kept:
    """Results computed from tensors, kept until one of them is replaced or changes.

    torch counts the writes to a tensor, though not those of fused optimizers, nor any through `.data`: so the norms are
    compared as well.
    """

    def __init__(self) -> None:
        self.stamps: list[tuple[int, int, float]] = []
        self.results: dict[object, Any] = {}

    def __reduce__(self) -> tuple[type["Kept"], tuple[()]]:
        return Kept, ()  # a copied module has tensors of its own

    def get(self, tensors: Iterable[Tensor], key: object, compute: Callable[[], T]) -> T:
        """The result of that key, computed where it is not here yet or does not hold any more."""
        stamps = [(t.data_ptr(), 0 if t.is_inference() else t._version, float(t.double().norm())) for t in tensors]
        if stamps != self.stamps:
            self.stamps, self.results = stamps, {}
        if key not in self.results:
            self.results[key] = compute()
        return self.results[key]


@dataclass(frozen=True)
class Delta:
    """A change of a generator's weights, as its file holds it (`checkpoints.delta`)."""

    content: bytes  # of the file
    sha256: str  # of the content
    generator_name: str
    generator_sha256: str  # of the generator that it changes


class Generator(nn.Module):
    """A pretrained image generator, seen as two functions: `mapping` and `synthesis`.

    To add one, define `map_z` and `draw`, on which both stand; or them themselves, where they are of another kind. A
    generator without styles (an autoencoder, DCGAN, ProGAN) is the case num_ws = 1, w_dim = z_dim, with `map_z` the
    identity; nothing downstream needs to know.
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
    delta: Delta | None = None  # the change that made it of another generator, whose latents it draws too
    card: dict[str, object]  # training data, licence, measured quality, as the model file tells them

    def __init__(self) -> None:
        super().__init__()
        self.encoder = self.discriminator = None
        self.card = {}
        self._kept = Kept()

    def mapping(self, z: Gaussian, c: Labels = None, truncation_psi: float = 1.0) -> Styles:
        """Map z ~ N(0, I) to one style per layer; truncation_psi 0 gives w_avg, 1 leaves w as it is."""
        return self.styles_of(self.map_z(z, c), truncation_psi)

    def synthesis(self, ws: Styles, noise: Noise = (), *, resolution: int | None = None) -> Images:
        """Render styles to images, RGB in [-1, 1]; values may overshoot slightly.

        noise: a map for each of noise_shapes. resolution: a smaller picture, of img_resolution divided by a power of
        two, for previews and coarse searches; `rendering` tells what it is, and it costs less where the architecture
        allows. GeneratorError for what does not fit.
        """
        size = self.check_inputs(ws, noise, resolution)
        return averaged(self.draw(ws, noise, size), size)

    def map_z(self, z: Gaussian, c: Labels) -> Codes:
        """The w that `mapping` gives to every layer."""
        raise NotImplementedError(f"{type(self).__name__} defines neither map_z nor mapping")

    def draw(self, ws: Styles, noise: Noise, size: int) -> Images:
        """The pictures of checked inputs at that size, or larger, where `synthesis` averages them down to it."""
        raise NotImplementedError(f"{type(self).__name__} defines neither draw nor synthesis")

    def draw_in_stages(self, ws: Styles, noise: Noise, size: int) -> Drawing:
        """`draw`, halted after each stage to hand out its maps; it goes on with those that are sent back.

        One that tells no stages draws at once.
        """
        yield from ()
        return self.synthesis(ws, noise, **at(None if size == self.img_resolution else size))

    def render(self, codes: Float[Tensor, "batch *layers w_dim"], *, resolution: int | None = None) -> Images:
        """`synthesis` of w (batch, w_dim) or ws (batch, num_ws, w_dim) with the fixed noise."""
        ws = self.styles_of(codes) if codes.ndim == 2 else codes
        noise = self.fixed_noise(len(ws))
        return self.synthesis(ws, noise, **at(resolution))

    def rendering(self, resolution: int) -> str:
        """The kind of picture that `synthesis` gives at a resolution.

        "full": the picture itself; "averaged": its pixels averaged, exactly; "skip": what the RGB outputs up to there
        add up to; "fitted": an estimate by a small head, near the average.
        """
        return "full" if resolution == self.img_resolution else "averaged"

    def style_maps(self) -> tuple[tuple[int, nn.Module], ...]:
        """The affine maps that take styles to factors of features, each with the index of its style; () if none."""
        return ()

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

    def styles_of(self, w: Codes, truncation_psi: float = 1.0) -> Styles:
        """The same w for every layer, moved towards w_avg (the truncation trick, Karras et al. 2019, appendix B)."""
        if truncation_psi != 1.0:
            w = self.w_avg.lerp(w, truncation_psi)
        return w[:, None].expand(-1, self.num_ws, -1)

    def unbent(self, w: Float[Tensor, "*batch w_dim"]) -> Float[Tensor, "*batch w_dim"]:
        """w before the mapping's last leaky ReLU, where it is about Gaussian (P of Zhu et al. 2020)."""
        return torch.where(w < 0, w / self.w_slope, w)

    def bent(self, p: Float[Tensor, "*batch w_dim"]) -> Float[Tensor, "*batch w_dim"]:
        """w again, of what `unbent` gives."""
        return torch.where(p < 0, p * self.w_slope, p)

    def sample_z(self, count: int, rng: torch.Generator) -> tuple[Gaussian, Labels]:
        """z ~ N(0, I), and classes, each as likely as any other; drawn on the CPU, so the same on every device."""
        z, device = torch.randn(count, self.z_dim, generator=rng), self.w_avg.device
        if not self.c_dim:
            return z.to(device), None
        c = F.one_hot(torch.randint(self.c_dim, (count,), generator=rng), self.c_dim)
        return z.to(device), c.float().to(device)

    def labels(self, label: int | None, count: int) -> Labels:
        """The class of that number, from 0, as `mapping` takes it, so often; None is no class."""
        if label is None:
            return None
        return F.one_hot(torch.full((count,), label), self.c_dim).float().to(self.w_avg.device)

    @torch.no_grad()
    def sample_w(self, count: int, seed: int = 0, label: int | None = None) -> Float[Tensor, "count w_dim"]:
        """Mapped samples, as many as count says, the same on every device for a given seed.

        Where there are classes each has one of its own, or all that of label.
        """
        z, drawn = self.sample_z(count, torch.Generator().manual_seed(seed))
        return self.mapping(z, drawn if label is None else self.labels(label, count))[:, 0]

    def statistics(
        self, *, samples: int = 10_000, seed: int = 0, unbent: bool = False, label: int | None = None
    ) -> Statistics:
        """The statistics of W, or of W as `unbent` gives it, from samples; measured once for the same weights.

        label: those of one class alone.
        """

        def measure() -> Statistics:
            with torch.autocast(self.w_avg.device.type, enabled=False):  # whoever asks first, all get the same
                w = self.sample_w(samples, seed, label)
            return statistics_of(self.unbent(w) if unbent else w)

        return self._kept.get(weights_of(self).values(), (samples, seed, unbent and self.w_slope, label), measure)

    def fixed_noise(self, batch: int) -> Noise:
        """The noise saved with the weights as buffers `noise_const`, the same for every image; zeros where none was."""
        saved = [value for name, value in self.named_buffers() if name.endswith("noise_const")]
        if len(saved) != len(self.noise_shapes):
            return self.no_noise(batch)
        return tuple(value.expand(batch, 1, -1, -1) for value in saved)

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
        """The thing it draws, by its card: "face", or anything else; models in colour without a word draw faces."""
        return str(self.card.get("subject") or ("face" if self.img_channels == 3 else "other"))

    def sha256(self) -> str:
        """Hash of the weights that decide what `mapping` and `synthesis` give at full size, as they are now."""
        weights = weights_of(self)
        return self._kept.get(weights.values(), "sha256", lambda: hash_of(weights))

    def origin_sha256(self) -> str:
        """Hash of the generator that it was before its delta, to which its latents belong; else its own."""
        return self.sha256() if self.delta is None else self.delta.generator_sha256


def weights_of(generator: Generator) -> dict[str, Tensor]:
    """The tensors that its pictures depend on at full size, by their names in a model file."""
    return {key: value for key, value in generator.state_dict().items() if not key.startswith(PARTS)}


def hash_of(weights: dict[str, Tensor]) -> str:
    """sha256 of names, shapes and values in float32, sorted by name."""
    digest = hashlib.sha256()
    for key, value in sorted(weights.items()):
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def averaged(image: Float[Tensor, "batch channels h w"], size: int) -> Float[Tensor, "batch channels size size"]:
    """The image averaged down to size pixels, a divisor of its own; the same object where that is its size."""
    factor = image.shape[-1] // size
    return image if factor == 1 else F.avg_pool2d(image, factor)


def at(resolution: int | None) -> dict[str, int]:
    """The argument of `synthesis` for a size; none for the full one, as those take it too that know one size alone."""
    return {} if resolution is None else {"resolution": resolution}


def drawn(drawing: Drawing) -> Images:
    """The pictures that a drawing ends in, when it is left alone."""
    try:
        stage = next(drawing)
        while True:
            stage = drawing.send(stage.maps)
    except StopIteration as end:
        return end.value


def layers_between(generator: Generator, low: int, high: int) -> tuple[int, ...]:
    """Style indices that act at resolutions low..high inclusive, in pixels; GeneratorError if there is none."""
    layers = tuple(i for i, res in enumerate(generator.ws_resolutions) if low <= res <= high)
    if not layers:
        have = ", ".join(str(r) for r in sorted(set(generator.ws_resolutions)))
        raise GeneratorError(f"{generator.name} has no layer at {low} to {high} px; its layers act at {have} px")
    return layers
