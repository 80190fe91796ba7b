"""Model files: one NAME.safetensors with the weights, and a JSON header that says how to build what they fit.

Keys `encoder.*` and `discriminator.*` are optional parts; all others belong to the generator.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from generators.autoencoder import Autoencoder, AutoencoderConfig
from generators.base import Generator
from generators.errors import ModelFileError, naming
from generators.mobilestylegan import MobileStyleGAN, MobileStyleGANConfig
from generators.parts.discriminator import Discriminator, DiscriminatorConfig
from generators.parts.encoder import Encoder, EncoderConfig
from generators.parts.feature_encoder import FeatureEncoder, FeatureEncoderConfig
from generators.parts.pyramid import Pyramid, PyramidConfig
from generators.pca import PCA, PCAConfig
from generators.storage import from_json, replacing
from generators.stylegan2 import StyleGAN2, StyleGAN2Config
from generators.stylegan3 import StyleGAN3, StyleGAN3Config
from generators.unpickle.allowed import shown

FORMAT = "latent-model-1"
LARGEST = 2**20  # of the numbers in settings
ARCHITECTURES = {
    "stylegan2": (StyleGAN2, StyleGAN2Config),
    "stylegan3": (StyleGAN3, StyleGAN3Config),
    "mobilestylegan": (MobileStyleGAN, MobileStyleGANConfig),
    "autoencoder": (Autoencoder, AutoencoderConfig),
    "pca": (PCA, PCAConfig),
}  # to add one: a file, and a line here
ENCODERS = {
    "encoder": (Encoder, EncoderConfig),
    "pyramid": (Pyramid, PyramidConfig),
    "features": (FeatureEncoder, FeatureEncoderConfig),
}
DRAWS = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_)  # what torch's own layers call


def save_model(generator: Generator, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write generator, its encoder and its discriminator, where it has them; float16 halves the size.

    WriteError where the disk refuses it.
    """
    architecture = next(name for name, (cls, _) in ARCHITECTURES.items() if type(generator) is cls)
    settings = asdict(generator.config)  # type: ignore[arg-type]
    header: dict[str, object] = {"architecture": architecture, "settings": settings, "card": generator.card}
    for part in ("encoder", "discriminator"):
        config = getattr(getattr(generator, part), "config", None)  # None too for what the architecture has anyway
        header[part] = None if config is None else asdict(config)
    header["encoder_kind"] = next((n for n, (cls, _) in ENCODERS.items() if type(generator.encoder) is cls), None)
    dtype = torch.float32 if generator.closed_form else dtype
    tensors = {k: v.detach().cpu().to(dtype).contiguous() for k, v in generator.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": FORMAT, "header": json.dumps(header)})


def load_model(path: Path, *, device: str | torch.device = "cpu") -> Generator:
    """Read a model file: frozen, in eval mode, float32.

    ModelFileError says what is wrong with a file that cannot be read.
    """
    with naming(path):
        generator = fill(*contents(path))
    generator.name = path.name.removesuffix(".safetensors")
    return generator.to(device)


def assemble(architecture: str, config: object, tensors: dict[str, torch.Tensor], card: dict[str, object]) -> Generator:
    """A generator of an architecture and its settings from weights in our names."""
    settings = asdict(config)  # type: ignore[arg-type]
    return fill({"architecture": architecture, "settings": settings, "card": card}, tensors)


def fill(header: dict, tensors: dict[str, torch.Tensor]) -> Generator:
    """The generator of a header with these weights: frozen, in eval mode, float32.

    ModelFileError where they differ.
    """
    try:
        check_numbers({key: value for key, value in header.items() if key != "card"})
        with Counted(len(tensors)), torch.device("meta"):  # shapes first: no memory that the weights do not fill
            blank = build(header)
    except Exception as error:  # a header can be wrong in as many ways as there are settings
        why = " ".join(str(error).split())
        raise ModelFileError(f"has settings that no architecture here takes ({why}); make it again") from error
    if blank.img_channels not in (1, 3):
        raise ModelFileError(f"draws {blank.img_channels} channels; grey (1) and RGB (3) are read, RGBA is not")
    check_tensors(tensors, blank.state_dict())
    with undrawn():
        generator = build(header)
    generator.load_state_dict({k: v.float() for k, v in tensors.items()}, assign=True)
    return generator.eval().requires_grad_(False)


class Counted(TorchFunctionMode):
    """Ends the building of networks that make far more tensors than a file holds."""

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.left = 1000 + 20 * tensors  # StyleGANs take some three for each that they keep

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ModelFileError("they ask for many more weights than it holds")
        return func(*args, **(kwargs or {}))


def check_numbers(settings: object, depth: int = 0) -> None:
    """ModelFileError where settings hold a number or a list beyond all sizes of networks."""
    if isinstance(settings, dict | list | tuple):
        if depth > 4 or len(settings) > 10_000:
            raise ModelFileError("they are more than any network has")
        for one in settings.values() if isinstance(settings, dict) else settings:
            check_numbers(one, depth + 1)
    elif type(settings) is int and abs(settings) > LARGEST:
        raise ModelFileError(f"they hold {shown(settings)}, where {LARGEST} is the most")


def check_tensors(tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """ModelFileError unless tensors have the names and shapes of wanted, and finite values."""
    for key in sorted(wanted.keys() | tensors.keys()):
        have, want = (tuple(d[key].shape) if key in d else "nothing" for d in (tensors, wanted))
        if have != want:
            what = f"{have} for {key}, its settings want {want}"
            raise ModelFileError(f"holds {what}; it is damaged, get it again")
        if not is_finite(tensors[key].float()):
            raise ModelFileError(f"holds values that are not finite in {key}; it is damaged, get it again")


def is_finite(values: torch.Tensor) -> bool:
    """Tells whether all are finite; their sum tells it quickly, unless it overflows."""
    return bool(values.sum().isfinite() or values.isfinite().all())


def build(header: dict) -> Generator:
    """An untrained generator, with the parts that the header names."""
    cls, config = ARCHITECTURES[header["architecture"]]
    with torch.random.fork_rng(devices=[]):  # the weights are drawn, then replaced; nobody's random numbers move
        generator = cls(config(**as_tuples(header["settings"])))
        if header.get("encoder"):
            encoder, settings = ENCODERS[header.get("encoder_kind") or "encoder"]
            generator.encoder = encoder(settings(**as_tuples(header["encoder"])))
        if header.get("discriminator"):
            generator.discriminator = Discriminator(DiscriminatorConfig(**as_tuples(header["discriminator"])))
    generator.card = dict(header.get("card") or {})
    return generator


class undrawn(TorchFunctionMode):  # noqa: N801 - used as a word, as torch's own contexts are
    """A context in which modules are made without drawing their weights, as a file's are about to replace them."""

    def __torch_function__(
        self, func: Callable, types: object, args: Sequence = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.randn:
            return torch.empty(*args, **kwargs or {})
        if func in DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **kwargs or {})


def read_file(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Header and tensors of a model file, unchecked but for its format; ModelFileError where it has another."""
    with naming(path):
        return contents(path)


def contents(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """`read_file`, whose errors go on from the file's name."""
    metadata, tensors = read_tensors(path)
    if metadata.get("format") != FORMAT:
        found = metadata.get("format")
        raise ModelFileError(f"has format {found!r}, wanted {FORMAT!r}; a latent goes where a photograph goes")
    try:
        header = from_json(metadata["header"])
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"has a header that is not JSON ({error}); it is damaged, get it again") from error
    if not isinstance(header, dict):
        raise ModelFileError(f"has a header that is no JSON object: {header!r:.40}; it is damaged, get it again")
    return header, tensors


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of any .safetensors file; errors go on from the file's name."""
    try:
        with safe_open(path, "pt") as f:
            return f.metadata() or {}, {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError as error:
        raise ModelFileError("is no file; `latent generators` lists what can be loaded") from error
    except (OSError, SafetensorError, ValueError) as error:  # a header that is no UTF-8 is a ValueError
        raise ModelFileError(f"is not a readable model file ({error}); cut short, or another kind") from error


def as_tuples(settings: dict) -> dict:
    """JSON knows only lists; the settings hold tuples."""
    return {key: as_tuple(value) for key, value in settings.items()}


def as_tuple(value: object) -> object:
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value
