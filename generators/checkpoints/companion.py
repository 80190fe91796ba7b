"""Parts that go with somebody else's generator: an encoder and a preview head, apart from weights we may not pass on.

A companion names the generator that it was fitted to by the hash of its weights, and is attached to no other.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from generators.base import Generator
from generators.checkpoints.ours import as_tuples
from generators.errors import GeneratorError, ModelFileError
from generators.mobilestylegan import MobileStyleGAN, Preview
from generators.parts.feature_encoder import FeatureEncoder, FeatureEncoderConfig
from generators.storage import from_json, replacing

FORMAT = "latent-companion-1"
FOLDER = Path(__file__).parents[1] / "pretrained" / "companions"


def save_companion(generator: Generator, path: Path) -> None:
    """Write encoder and preview of a generator, in float16, without the generator."""
    if not isinstance(generator, MobileStyleGAN) or not isinstance(generator.encoder, FeatureEncoder):
        raise GeneratorError(f"{generator.name} has no parts to write apart; train an encoder for it first")
    tensors = {
        key: value.detach().cpu().half().contiguous()
        for key, value in generator.state_dict().items()
        if key.startswith(("encoder.", "preview."))
    }
    header = {"generator": generator.sha256(), "encoder": asdict(generator.encoder.config)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": FORMAT, "header": json.dumps(header)})


def attach(generator: Generator, folder: Path = FOLDER) -> Generator:
    """The generator, with the parts that were fitted to it, where there are some and it has none of its own."""
    if isinstance(generator, MobileStyleGAN) and generator.encoder is None:
        for path in sorted(folder.glob("*.safetensors")):
            header, tensors = read(path)
            if header["generator"] == generator.sha256():
                join(generator, header, tensors)
    return generator


def read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Header and tensors of a companion; ModelFileError where it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            header = from_json((file.metadata() or {})["header"])
            return header, {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged ({error}); install the package again") from error


def join(generator: MobileStyleGAN, header: dict, tensors: dict[str, torch.Tensor]) -> None:
    """Give generator these parts."""
    settings = FeatureEncoderConfig(**as_tuples(header["encoder"]))
    parts: dict[str, torch.nn.Module] = {"encoder": FeatureEncoder(settings)}
    if any(key.startswith("preview.") for key in tensors):
        parts["preview"] = Preview(*generator.config.channels[-2:])
        generator.config = replace(generator.config, preview=True)
    for name, part in parts.items():
        part.load_state_dict({k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")})
        setattr(generator, name, part.to(generator.w_avg.device).eval().requires_grad_(False))
