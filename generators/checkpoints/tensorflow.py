"""Pickles of the TensorFlow StyleGAN2 and StyleGAN2-ADA: (G, D, Gs), each a Network of named variables.

Kernels are stored (height, width, inputs, outputs), matrices (inputs, outputs). An enlarging convolution there is zeros
between the pixels and then a correlation; a transposed convolution is its mirror image, so its kernel is flipped on
both axes. Modulation biases are stored without the one that is added to them.
"""

import re
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from generators.base import Generator
from generators.checkpoints.common import LARGEST, check_size, estimate_mean, stylegan2, taps, with_noise
from generators.errors import ModelFileError
from generators.stylegan2 import StyleGAN2Config
from generators.unpickle.allowed import StandIn, shown

MOST = 10_000  # variables, or networks: more than any generator has; one may be named in many places
OLD = "holds a {} generator, which is not supported: only StyleGAN2 and StyleGAN3 are. {}"


def is_network(tree: object) -> bool:
    return isinstance(tree, StandIn) and tree.kind == "Network"


def read_tensorflow(tree: object, card: dict[str, object]) -> Generator:
    """The averaged generator, Gs, in such a pickle; ModelFileError where it is of StyleGAN's first version or older."""
    among = tree if isinstance(tree, tuple | list) else [tree]
    networks = [part for part in among if isinstance(part, StandIn) and is_network(part)]
    if not networks:
        raise ModelFileError("is a pickle without a network; is it a generator's file?")
    network = networks[-1]  # of (G, D, Gs)
    values: dict[str, np.ndarray] = {}
    settings: dict[str, object] = {}
    collect(network, values, settings)
    if not any(name.endswith("/mod_weight") for name in values):
        refuse(values)
    card["format"] = "StyleGAN2 pickle of NVIDIA's TensorFlow code"
    made = {id(v): torch.from_numpy(np.array(v, dtype=np.float32)) for v in values.values()}  # once for all its names
    tensors = {name: made[id(value)] for name, value in values.items()}
    check_size(tensors.values())
    return read_stylegan2(tensors, settings, card)


def collect(network: StandIn, values: dict, settings: dict) -> None:
    """Variables and settings of a network and its components, as synthesis/..., mapping/... and the rest."""
    todo, seen = [("", network)], 0
    while todo:
        prefix, inner = todo.pop()
        seen += 1
        if seen > MOST or len(values) > MOST or prefix.count("/") > 4:
            raise ModelFileError("holds networks without end; it is damaged, get it again")
        given, held = inner.state.get("static_kwargs"), inner.state.get("variables")
        settings |= given if isinstance(given, dict) else {}
        for pair in held if isinstance(held, list) else ():
            if isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[1], np.ndarray | float | int):
                name = re.sub(r"^(?:Gs?_)?(synthesis|mapping)(?:_\d+)?/", r"\1/", f"{prefix}{pair[0]}")
                values[name] = np.asarray(pair[1])
        components = inner.state.get("components")
        for name, part in components.items() if isinstance(components, dict) else ():
            if isinstance(part, StandIn):
                todo.append((f"{prefix}{name}/", part))


def refuse(values: dict) -> None:
    """The line for generators before StyleGAN2."""
    if any("StyleMod" in name for name in values):
        help_ = "Convert it to PyTorch with its own project's tools, and load the module with generators.adapter.adapt"
        raise ModelFileError(OLD.format("StyleGAN (first version)", help_))
    if any(re.search(r"(^|/)\d+x\d+/", name) for name in values):
        help_ = "Convert it to PyTorch (pytorch_GAN_zoo reads it), and load the module with generators.adapter.adapt"
        raise ModelFileError(OLD.format("progressive GAN", help_))
    raise ModelFileError("holds a network that is no StyleGAN2 generator; a discriminator alone?")


def read_stylegan2(values: dict[str, Tensor], settings: dict, card: dict[str, object]) -> Generator:
    try:
        tensors = renamed(values)
        config = config_of(tensors, settings | {"joint": "mapping/LabelConcat/weight" in values})
    except (KeyError, RuntimeError, IndexError) as error:
        raise ModelFileError(f"has no whole StyleGAN2 in it ({error}); it is damaged, get it again") from error
    for name in ("nonlinearity", "mapping_nonlinearity"):
        if settings.get(name, "lrelu") != "lrelu":
            raise ModelFileError(f"uses {shown(settings[name])} as its {name}; lrelu is wanted")
    known, tensors = "w_avg" in tensors, with_noise(tensors, len(config.resolutions()))
    generator = stylegan2(config, {"w_avg": torch.zeros(config.w_dim)} | tensors, card)
    if not known:
        estimate_mean(generator)
    return generator


def config_of(tensors: dict[str, Tensor], settings: dict) -> StyleGAN2Config:
    blocks = 1 + max(int(re.match(r"blocks\.(\d+)", name)[1]) for name in tensors if name.startswith("blocks."))  # type: ignore
    if 4 << (blocks - 1) > LARGEST:
        raise ModelFileError(f"is for {4 << min(blocks - 1, 60)} px; {LARGEST} px is the most that is read")
    depth = sum(re.fullmatch(r"map\.layers\.\d+\.weight", name) is not None for name in tensors)
    embed = tensors.get("map.embed.weight")
    w_dim, inputs = tensors["blocks.0.conv1.affine.weight"].shape[1], tensors["map.layers.0.weight"].shape[1]
    inner = tensors["map.layers.0.weight"].shape[0]
    skip, rgb = "blocks.1.skip.weight" in tensors, "blocks.0.torgb.weight" in tensors
    kernel, clamp = settings.get("resample_kernel"), settings.get("conv_clamp")
    plain = "skip" if rgb or blocks == 1 else "orig"
    return StyleGAN2Config(
        img_resolution=4 << (blocks - 1),
        img_channels=tensors[f"blocks.{blocks - 1}.torgb.weight"].shape[0],
        z_dim=inputs - (0 if embed is None else embed.shape[0]),
        w_dim=w_dim,
        c_dim=0 if embed is None else embed.shape[1],
        mapping_layers=depth,
        mapping_lr=float(settings.get("mapping_lrmul", 0.01)),
        mapping_width=inner if depth > 1 and inner != w_dim else None,
        embed_joint=settings["joint"],
        embed_dim=None if embed is None or embed.shape[0] == w_dim else embed.shape[0],
        channels=tuple(tensors[f"blocks.{i}.conv1.weight"].shape[0] for i in range(blocks)),
        architecture="resnet" if skip else plain,
        resample=taps(torch.tensor(kernel, dtype=torch.float32) if is_line(kernel) else None),
        conv_clamp=float(clamp) if isinstance(clamp, int | float) else None,
    )


def is_line(kernel: object) -> TypeGuard[list[float]]:
    return isinstance(kernel, list | tuple) and len(kernel) <= 16 and all(type(x) in (int, float) for x in kernel)


def renamed(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """StyleGAN2's weights in our names and orders; counters and the like are left out."""
    ours: dict[str, Tensor] = {}
    sides = [int(found[1]) for name in values if (found := re.search(r"(?:^|/)(\d{1,6})x\1/", name))]
    last = f"{max(sides)}x{max(sides)}/ToRGB/" if sides else ""
    for name, value in values.items():
        network, _, rest = name.partition("/")
        rest = rest.replace("ToRGB_lod0/", last)  # of generators that grew; their coarser outputs have done their work
        if name == "dlatent_avg":
            ours["w_avg"] = value
        elif network == "mapping" and (found := re.fullmatch(r"Dense(\d+)/(weight|bias)", rest)):
            ours[f"map.layers.{found[1]}.{found[2]}"] = value.T if found[2] == "weight" else value
        elif network == "mapping" and (found := re.fullmatch(r"LabelEmbed/(weight|bias)", rest)):
            ours[f"map.embed.{found[1]}"] = value.T if found[1] == "weight" else value
        elif name == "mapping/LabelConcat/weight":  # whose code neither scales nor shifts it
            ours |= {"map.embed.weight": value.T * len(value) ** 0.5, "map.embed.bias": value.new_zeros(value.shape[1])}
        elif rest == "4x4/Const/const":
            ours["start"] = value
        elif found := re.fullmatch(r"noise(\d{1,2})", rest):
            block, conv = (int(found[1]) + 1) // 2, (int(found[1]) + 1) % 2
            ours[f"blocks.{block}.conv{conv}.noise_const"] = value[0, 0]
        elif found := re.fullmatch(r"(\d{1,6})x\1/(Conv|Conv0_up|Conv1|ToRGB|Skip)/(\w+)", rest):
            part = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}[found[2]]
            ours |= layer(f"blocks.{int(found[1]).bit_length() - 3}.{part}", found[3], value)
    return ours


def layer(ours: str, kind: str, value: Tensor) -> dict[str, Tensor]:
    match kind:
        case "weight":
            value = value.permute(3, 2, 0, 1)
            return {f"{ours}.weight": value.flip(2, 3) if ours.endswith(("conv0", "skip")) else value}
        case "mod_weight":
            return {f"{ours}.affine.weight": value.T}
        case "mod_bias":
            return {f"{ours}.affine.bias": value + 1}
        case "noise_strength" | "bias":
            return {f"{ours}.{kind}": value}
    return {}
