"""Our generators in other people's formats: stylegan2-pytorch state dicts, and ONNX."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from generators.base import PARTS, Generator, Images, Styles
from generators.checkpoints.ours import assemble
from generators.checkpoints.rosinality import to_state
from generators.errors import GeneratorError
from generators.storage import replacing
from generators.stylegan2 import StyleGAN2, StyleGAN2Config

PLAIN = "stylegan2-pytorch"
OPSET = 18  # of ONNX: old enough for every runtime in use
MAPPING_LR = 0.01  # what stylegan2-pytorch multiplies its mapping network's weights by


def export(generator: Generator, path: Path, kind: str) -> list[str]:
    """Write generator to path as one of FORMATS, without its encoder and discriminator.

    Gives what is to be known before the file is loaded by the programs that it is for, a line each. GeneratorError says
    what the format cannot hold, or which package is missing; WriteError that path cannot be written.
    """
    if kind not in FORMATS:
        raise GeneratorError(f"no format is named {kind!r}; known formats: {', '.join(FORMATS)}")
    save = FORMATS[kind](generator)
    with replacing(path) as temporary:
        save(temporary)
    return strange_to_stylegan2_pytorch(generator.config) if isinstance(generator, StyleGAN2) and kind == PLAIN else []


def as_stylegan2_pytorch(generator: Generator) -> Callable[[Path], None]:
    """{g_ema, latent_avg}, as stylegan2-pytorch loads it; a bound on activations has no place there."""
    if not isinstance(generator, StyleGAN2):
        kind = type(generator).__name__
        raise GeneratorError(f"{generator.name} is a {kind} model; stylegan2-pytorch holds StyleGAN2, so choose onnx")
    if beyond := beyond_stylegan2_pytorch(generator.config):
        raise GeneratorError(f"{generator.name} has {beyond}, and stylegan2-pytorch knows no such thing; choose onnx")
    if bound_acts(generator):
        bound = f"its activations' bound of {generator.config.conv_clamp:g} (conv_clamp)"
        raise GeneratorError(
            f"{generator.name} draws other pictures without {bound}, which stylegan2-pytorch lacks; choose onnx"
        )
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


@torch.no_grad()
def bound_acts(generator: StyleGAN2, samples: int = 4) -> bool:
    """Tell whether the bound on activations changes any of so many samples."""
    if generator.config.conv_clamp is None:
        return False
    own = {key: value for key, value in generator.state_dict().items() if not key.startswith(PARTS)}
    free = assemble("stylegan2", replace(generator.config, conv_clamp=None), own, {})
    for w in generator.sample_w(samples).split(1):
        bounded, unbounded = generator.render(w), free.render(w)
        if (bounded - unbounded).abs().max() > 1e-4 * (bounded.max() - bounded.min()):
            return True
    return False


def strange_to_stylegan2_pytorch(config: StyleGAN2Config) -> list[str]:
    """The sizes by which its Generator has to be changed before it can load the file, in words."""
    sizes, told = config.resolutions(), []
    channels = tuple(config.channels_at(size) for size in sizes)
    usual = {times: tuple(min(512, 16384 * times // size) if size > 32 else 512 for size in sizes) for times in (1, 2)}
    if channels == usual[1] != usual[2]:
        told.append("stylegan2-pytorch loads it with channel_multiplier=1")
    elif channels != usual[2]:
        told.append(f"its channels are {channels}; stylegan2-pytorch makes {usual[2]}, so change its table to load it")
    if config.img_channels != 3:
        what = f"it draws {config.img_channels} channel{'s' if config.img_channels > 1 else ''} of colour"
        told.append(f"{what}; stylegan2-pytorch draws 3, so change its ToRGB to load it")
    return told


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


FORMATS = {PLAIN: as_stylegan2_pytorch, "onnx": as_onnx}  # to add one: a function, and a line here
