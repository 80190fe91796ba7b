"""Any network that draws images from vectors, as a Generator.

A TorchScript file is a program. It is loaded only where the caller says that it may run, or hands over the module that
they loaded; nothing here opens one on the strength of its name.
"""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generators.base import Generator, Images, Labels, Noise, Styles
from generators.errors import GeneratorError, ModelFileError

Network = nn.Module | Callable[..., Tensor]
Range = tuple[float | int, float | int]  # lowest and highest value of an image
SAMPLES = 4096  # of a mapping, for the mean of W


class Adapter(Generator):
    """A network behind the contract; `adapt` makes them.

    Without a mapping, W is z followed by the class label, so that both can be searched for. There is no noise.
    """

    value_range: Tensor

    def __init__(self, network: Network, mapping: Network | None, value_range: Range) -> None:
        super().__init__()
        self.network, self.mapper = network, mapping  # modules are registered, other callables are not
        self.spatial = False  # whether the network takes (batch, w_dim, 1, 1), as DCGAN's do
        self.register_buffer("value_range", torch.tensor(value_range, dtype=torch.float32))

    def mapping(self, z: Tensor, c: Labels = None, truncation_psi: float = 1.0) -> Styles:
        if self.c_dim and c is None:
            raise GeneratorError(f"{self.name} is conditional; pass c, one-hot labels (batch, {self.c_dim})")
        label = () if c is None or not self.c_dim else (c.to(z),)
        if self.mapper is None:
            if truncation_psi != 1.0:
                z = self.w_avg[: self.z_dim].lerp(z, truncation_psi)  # the label stays what it is
            return torch.cat([z, *label], dim=1)[:, None]
        w = first_of(self.mapper(z, *label))
        if not isinstance(w, Tensor) or w.ndim not in (2, 3) or len(w) != len(z):
            shape = tuple(w.shape) if isinstance(w, Tensor) else type(w).__name__
            raise GeneratorError(f"the mapping gives {shape} for {tuple(z.shape)}; wanted (batch, w_dim)")
        w = w[:, None].float() if w.ndim == 2 else w.float()
        return w if truncation_psi == 1.0 else self.w_avg.lerp(w, truncation_psi)

    def draw(self, ws: Styles, noise: Noise, size: int) -> Images:
        low, high = self.value_range
        gain = 2 / (high - low)
        return self.answer(ws).float() * gain - (1 + low * gain)  # from -1 to 1 it stays what it is, exactly

    def answer(self, ws: Styles) -> Any:
        """The network's own result, in its own range."""
        code = ws[:, 0] if self.num_ws == 1 else ws
        parts = (code,) if self.mapper is not None or not self.c_dim else code.split([self.z_dim, self.c_dim], dim=1)
        first = parts[0][:, :, None, None] if self.spatial else parts[0]
        return first_of(self.network(first, *parts[1:]))

    def sha256(self) -> str:
        """Hash of weights and range; of the name too where there are no weights to tell one callable from another."""
        own = "" if any(True for _ in self.parameters()) else self.name
        return hashlib.sha256(f"{super().sha256()} {own}".encode()).hexdigest()


def adapt(
    network: Network | str | Path,
    *,
    z_dim: int,
    value_range: Range = (-1, 1),
    c_dim: int = 0,
    mapping: Network | None = None,
    img_resolution: int | None = None,
    ws_resolutions: tuple[int, ...] | None = None,
    name: str | None = None,
    trust: bool = False,
    device: str | torch.device = "cpu",
) -> Generator:
    """A network as a Generator: z (batch, z_dim), or (batch, z_dim, 1, 1), to square images in value_range.

    network is called with z, and with one-hot labels (batch, c_dim) where c_dim is above 0; of several results it is
    the first that counts. With a mapping, that is called so, and network with what it gives: (batch, w_dim), or
    (batch, num_ws, w_dim). Modules are put in eval mode, frozen and moved to device as they are, not copied; other
    callables stay where they are. A path is that of a TorchScript file, which is a program: trust=True runs it.
    img_resolution, if given, is checked; ws_resolutions are the pixels at which each style acts, None for all at the
    last. GeneratorError where a trial shows that the network does not keep this contract: other shapes or values, no
    gradient, or another image each time.
    """
    if isinstance(network, (str, Path)):
        name = name or Path(network).stem
        network = load_torchscript(Path(network), trust=trust)
    if not value_range[0] < value_range[1] or z_dim < 1 or c_dim < 0:
        raise GeneratorError(
            f"z_dim {z_dim}, c_dim {c_dim}, value_range {value_range} came; wanted them from 1, from 0, and (low, high)"
        )
    adapter = Adapter(network, mapping, value_range)
    adapter.name = name or getattr(network, "__name__", type(network).__name__)
    adapter.z_dim, adapter.c_dim = z_dim, c_dim
    adapter.eval().requires_grad_(False).to(device)
    measure_styles(adapter)
    measure_images(adapter)
    adapter.ws_resolutions = ws_resolutions or (adapter.img_resolution,) * adapter.num_ws
    check_layout(adapter, img_resolution)
    return adapter


def load_torchscript(path: Path, *, trust: bool = False) -> nn.Module:
    """A TorchScript file as a module on the CPU; GeneratorError unless trust says that its program may run."""
    if not trust:
        raise GeneratorError(
            f"{path} would be loaded as TorchScript, which is a program; pass trust=True if you know who made it"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, and still the only reader
            return torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelFileError(f"{path} is not a readable TorchScript file ({why}); get it again") from error


@torch.no_grad()
def measure_styles(adapter: Adapter) -> None:
    """Find num_ws, w_dim and the mean of W: the samples' mean, or 0 and equal labels without a mapping."""
    z, c = trial_codes(adapter, 2 if adapter.mapper is None else SAMPLES)
    adapter.register_buffer("w_avg", torch.zeros(adapter.z_dim, device=z.device))
    ws = attempt(adapter, "mapping", lambda: adapter.mapping(z, c))
    adapter.num_ws, adapter.w_dim = ws.shape[1], ws.shape[2]
    labels = torch.full((adapter.c_dim,), 1 / max(adapter.c_dim, 1), device=z.device)
    mean = torch.cat([adapter.w_avg, labels]) if adapter.mapper is None else ws.mean(dim=(0, 1))
    adapter.register_buffer("w_avg", mean)


def measure_images(adapter: Adapter) -> None:
    """Find the images' size, and whether the network keeps the contract, by drawing two of them twice."""
    z, c = trial_codes(adapter, 2)
    with torch.no_grad():
        ws = adapter.mapping(z, c).contiguous()
    ws.requires_grad_()
    try:
        drawn = adapter.answer(ws)
    except Exception as error:
        adapter.spatial = True
        flat = reason(error)
        if adapter.num_ws > 1:
            raise GeneratorError(f"{adapter.name} cannot draw from {tuple(ws.shape)} ({flat}); check z_dim") from error
        drawn = attempt(adapter, "network", lambda: adapter.answer(ws), f"; with (batch, {adapter.w_dim}): {flat}")
    check_shape(adapter, drawn)
    check_values(adapter, drawn.detach().float())
    if not drawn.requires_grad:
        raise GeneratorError(f"no gradient comes from the images of {adapter.name} to z; remove no_grad and detach")
    with torch.no_grad():
        again, alone = adapter.answer(ws), adapter.answer(ws[:1])
    span = float(adapter.value_range[1] - adapter.value_range[0])
    if not torch.allclose(again, drawn, atol=2e-3 * span):
        raise GeneratorError(f"{adapter.name} draws another image each time; fix its noise, so that latents stay true")
    if not torch.allclose(alone, drawn[:1], atol=2e-2 * span):
        raise GeneratorError(f"{adapter.name} draws an image otherwise in a batch than alone; use its eval mode")
    adapter.img_channels, adapter.img_resolution = drawn.shape[1], drawn.shape[2]


def trial_codes(adapter: Adapter, count: int) -> tuple[Tensor, Tensor | None]:
    """Random z, and each class in turn."""
    device = adapter.value_range.device
    z = torch.randn(count, adapter.z_dim, generator=torch.Generator().manual_seed(0)).to(device)
    if not adapter.c_dim:
        return z, None
    return z, torch.nn.functional.one_hot(torch.arange(count, device=device) % adapter.c_dim, adapter.c_dim).float()


def check_layout(adapter: Adapter, img_resolution: int | None) -> None:
    """GeneratorError where sizes that the caller gave are not those that were measured."""
    if img_resolution not in (None, adapter.img_resolution):
        raise GeneratorError(f"{adapter.name} draws {adapter.img_resolution} px; img_resolution says {img_resolution}")
    if len(adapter.ws_resolutions) != adapter.num_ws:
        raise GeneratorError(f"{len(adapter.ws_resolutions)} ws_resolutions came; {adapter.name} has {adapter.num_ws}")


def check_shape(adapter: Adapter, drawn: object) -> None:
    """GeneratorError unless these are two square images, grey or RGB."""
    shape = tuple(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
    if not isinstance(drawn, Tensor) or drawn.ndim != 4 or len(drawn) != 2 or not drawn.is_floating_point():
        raise GeneratorError(f"{adapter.name} gives {shape} for two vectors; wanted float images (2, channels, h, w)")
    if drawn.shape[1] not in (1, 3) or drawn.shape[2] != drawn.shape[3]:
        raise GeneratorError(f"{adapter.name} gives images of {shape[1:]}; wanted 1 or 3 channels, and squares")


def check_values(adapter: Adapter, drawn: Images) -> None:
    """GeneratorError where most values are finite but lie far outside of the range, or are not finite."""
    low, high = adapter.value_range.tolist()
    least, most = drawn.flatten().quantile(torch.tensor([0.05, 0.95], device=drawn.device)).tolist()
    if not drawn.isfinite().all():
        raise GeneratorError(f"{adapter.name} draws values that are not finite; check its weights")
    if least < low - (high - low) / 4 or most > high + (high - low) / 4:
        raise GeneratorError(
            f"{adapter.name} draws values from {least:.2g} to {most:.2g}, and value_range is {low:g} to {high:g}; "
            "pass the range of its images"
        )


def attempt(adapter: Adapter, what: str, call: Callable[[], Any], more: str = "") -> Any:
    """The result of foreign code, whose errors become one line."""
    try:
        return call()
    except GeneratorError:
        raise
    except Exception as error:
        raise GeneratorError(
            f"the {what} of {adapter.name} fails ({reason(error)}{more}); check z_dim {adapter.z_dim} and c_dim "
            f"{adapter.c_dim}, or wrap it in a function that takes them so"
        ) from error


def first_of(result: Any) -> Any:
    """The first of several results."""
    return result[0] if isinstance(result, (tuple, list)) and result else result


def reason(error: Exception) -> str:
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[-1].split())[:160]
