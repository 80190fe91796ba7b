"""Our generators in other people's formats: stylegan2-pytorch state dicts, and ONNX."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from generators.base import Generator, Images, Styles
from generators.checkpoints.rosinality import to_state
from generators.errors import GeneratorError
from generators.storage import replacing
from generators.stylegan2 import StyleGAN2, StyleGAN2Config

OPSET = 18  # of ONNX: old enough for every runtime in use
MAPPING_LR = 0.01  # what stylegan2-pytorch multiplies its mapping network's weights by


def export(generator: Generator, path: Path, kind: str) -> None:
    """Write generator to path as one of FORMATS, without its encoder and discriminator.

    GeneratorError says what the format cannot hold, or which package is missing; WriteError that path cannot be
    written.
    """
    if kind not in FORMATS:
        raise GeneratorError(f"no format is named {kind!r}; known formats: {', '.join(FORMATS)}")
    save = FORMATS[kind](generator)
    with replacing(path) as temporary:
        save(temporary)


def as_stylegan2_pytorch(generator: Generator) -> Callable[[Path], None]:
    """{g_ema, latent_avg}, as stylegan2-pytorch loads it; a bound on activations (conv_clamp) has no place there."""
    if not isinstance(generator, StyleGAN2):
        kind = type(generator).__name__
        raise GeneratorError(f"{generator.name} is a {kind} model; stylegan2-pytorch holds StyleGAN2, so choose onnx")
    if beyond := beyond_stylegan2_pytorch(generator.config):
        raise GeneratorError(f"{generator.name} has {beyond}, and stylegan2-pytorch knows no such thing; choose onnx")
    state = to_state(generator)
    for key in state:
        if key.startswith("style."):  # the scale that is applied at run time moves into the weights
            state[key] = state[key] * (generator.config.mapping_lr / MAPPING_LR)
    whole = {"g_ema": {key: value.cpu() for key, value in state.items()}, "latent_avg": generator.w_avg.detach().cpu()}
    return lambda path: torch.save(whole, path)


def beyond_stylegan2_pytorch(config: StyleGAN2Config) -> str:
    """The settings among these that stylegan2-pytorch lacks, in words; empty where it lacks nothing."""
    has = {
        f"the {config.architecture} architecture": config.architecture != "skip",
        "spatial style maps": any(config.spatial),
        "sub-pixel patches": config.subpixel != 1,
        "class labels": config.c_dim > 0,
        f"z of {config.z_dim} and w of {config.w_dim} numbers": config.z_dim != config.w_dim,
        "mapping layers of another width": config.mapping_width not in (None, config.w_dim),
        "a mapping network that ends in a linear layer": config.mapping_linear,
        "a flow in place of the mapping network": config.flow_steps > 0,
    }
    return ", ".join(what for what, is_so in has.items() if is_so)


class Rendering(nn.Module):
    """Synthesis alone, with each noise map as an input of its own."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, ws: Styles, *noise: Tensor) -> Images:
        return self.generator.synthesis(ws, noise)


def as_onnx(generator: Generator) -> Callable[[Path], None]:
    """Inputs ws (batch, num_ws, w_dim) and noise0, noise1, ... (batch, 1, H, W), output image; any batch size."""
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise GeneratorError(f"export to onnx needs {' and '.join(missing)}; pip install 'latent-inversion[export]'")
    count, batch = len(generator.noise_shapes), {0: torch.export.Dim("batch", min=1, max=4096)}
    example = 2  # a batch of one would be taken for a constant
    ws = torch.zeros(example, generator.num_ws, generator.w_dim, device=generator.w_avg.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own insides
        try:
            program = torch.onnx.export(
                Rendering(generator).eval(),
                (ws, *generator.no_noise(example)),
                dynamo=True,
                opset_version=OPSET,
                input_names=["ws", *(f"noise{i}" for i in range(count))],
                output_names=["image"],
                dynamic_shapes=(batch, (batch,) * count) if count else (batch,),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            why = str(error.__cause__ or error).strip().partition("\n")[0]
            raise GeneratorError(f"{generator.name} does what onnx cannot express ({why}); use it as it is") from error
    assert program is not None  # None comes from the older exporter alone
    shape = program.model.graph.inputs[0].shape
    if shape is None or isinstance(shape[0], int):  # the exporter falls back on its own, without an error
        raise GeneratorError(f"{generator.name} fixes its batch size where it is traced; take sizes from tensor.shape")
    return lambda path: program.save(path, external_data=False)


FORMATS = {"stylegan2-pytorch": as_stylegan2_pytorch, "onnx": as_onnx}  # to add one: a function, and a line here
