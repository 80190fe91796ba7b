"""Pickles of NVIDIA's stylegan2-ada-pytorch and stylegan3 repositories, and of what is trained with them.

A dictionary of `G`, `D` and `G_ema`, each a module as torch_utils.persistence (version 6) writes it: class name, state,
and source text, which stays where it is. `G_ema` is what is used; the discriminator is left out.
"""

import re
from collections.abc import Mapping as Settings
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from generators.base import Generator
from generators.checkpoints.common import LARGEST, check_size, estimate_mean, filters_of, remark, stylegan2, with_noise
from generators.checkpoints.ours import assemble
from generators.errors import GeneratorError, ModelFileError
from generators.stylegan2 import StyleGAN2Config
from generators.stylegan3 import StyleGAN3, StyleGAN3Config
from generators.unpickle.allowed import StandIn, is_plain, shown

MODULES = 10_000  # more than any network has; a module may be named in many places
ARGUMENTS = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")


def read_nvidia(tree: object, card: dict[str, object]) -> Generator:
    """The generator in such a pickle; ModelFileError where there is none, or one of another kind."""
    module = generator_in(tree)
    modules, tensors = walk(module)
    check_size(tensors.values())
    data = tree.get("training_set_kwargs") if isinstance(tree, dict) else None
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        card["data"] = [re.split(r"[/\\]", data["path"])[-1][:80]]
    for name in ("D", "G"):
        if isinstance(tree, dict) and isinstance(tree.get(name), StandIn) and tree[name] is not module:
            remark(card, "left_out", {"D": "the discriminator (D)", "G": "the generator without averaging (G)"}[name])
    if "synthesis.b4" in modules:
        card["format"] = "StyleGAN2 pickle of NVIDIA's PyTorch code"
        return read_stylegan2(modules, tensors, card)
    if "synthesis.input" in modules:
        card["format"] = "StyleGAN3 pickle of NVIDIA's PyTorch code"
        return read_stylegan3(module, tensors, card)
    raise ModelFileError(f"holds a {module.kind!r:.60}, which is neither StyleGAN2 nor StyleGAN3")


def generator_in(tree: object) -> StandIn:
    """The averaged generator, or else the one that was trained."""
    places = [tree.get("G_ema"), tree.get("G")] if isinstance(tree, dict) else [tree]
    found = next((place for place in places if isinstance(place, StandIn) and "_modules" in place.state), None)
    if found is None:
        raise ModelFileError("is a pickle without a generator (G_ema or G); is it a whole snapshot?")
    return found


def walk(root: StandIn) -> tuple[dict[str, StandIn], dict[str, Tensor]]:
    """Modules and tensors by their dotted names, as state_dict has them."""
    modules: dict[str, StandIn] = {}
    tensors: dict[str, Tensor] = {}
    todo: list[tuple[str, StandIn]] = [("", root)]
    while todo:
        prefix, module = todo.pop()
        modules[prefix] = module
        if len(modules) > MODULES or prefix.count(".") > 16:
            raise ModelFileError("holds modules without end; it is damaged, get it again")
        for kind in ("_parameters", "_buffers", "_modules"):
            held = module.state.get(kind)
            for name, value in held.items() if isinstance(held, dict) else ():
                full = f"{prefix}.{name}" if prefix else str(name)
                if isinstance(value, Tensor):
                    tensors[full] = value
                elif isinstance(value, StandIn):
                    todo.append((full, value))
    return modules, tensors


def number(module: StandIn, name: str, low: int, high: int) -> int:
    """A setting of a module, within what can be."""
    value = module.state.get(name, (module.state.get("_init_kwargs") or {}).get(name))
    if type(value) is not int or not low <= value <= high:
        raise ModelFileError(f"has {name} {shown(value)}; {low} to {high} is wanted")
    return value


def read_stylegan2(modules: dict[str, StandIn], tensors: dict[str, Tensor], card: dict) -> Generator:
    config = stylegan2_config(modules, tensors)
    ours = {"w_avg": torch.zeros(config.w_dim)} | renamed(tensors, config.img_resolution)
    generator = stylegan2(config, ours, card)
    if "mapping.w_avg" not in tensors:
        estimate_mean(generator)
    return generator


def stylegan2_config(modules: dict[str, StandIn], tensors: dict[str, Tensor]) -> StyleGAN2Config:
    """The settings of a StyleGAN2, from its modules' own and the shapes of its weights."""
    blocks = 0
    while f"synthesis.b{4 << blocks}" in modules:
        blocks += 1
    resolution = 4 << (blocks - 1)
    if resolution > LARGEST:
        raise ModelFileError(f"is for {resolution} px; {LARGEST} px is the most that is read")
    check_activations(modules)
    root, last = modules[""], modules[f"synthesis.b{resolution}"]
    architecture = last.state.get("architecture", "skip")
    if architecture not in ("skip", "resnet", "orig"):
        raise ModelFileError(f"has architecture {shown(architecture)}; skip, resnet or orig is wanted")
    clamp = modules[f"synthesis.b{resolution}.conv1"].state.get("conv_clamp")
    w_dim, embed = number(root, "w_dim", 1, 2**16), tensors.get("mapping.embed.weight")
    depth = sum(name.startswith("mapping.fc") for name in modules)
    width, lr = mapping_of(modules, tensors, depth)
    return StyleGAN2Config(
        img_resolution=resolution,
        img_channels=number(root, "img_channels", 1, 64),
        z_dim=number(root, "z_dim", 0, 2**16),
        w_dim=w_dim,
        c_dim=number(root, "c_dim", 0, 2**20),
        mapping_layers=depth,
        mapping_lr=lr,
        mapping_width=width if depth > 1 and width != w_dim else None,
        embed_dim=None if embed is None or len(embed) == w_dim else len(embed),
        channels=tuple(shape(tensors, f"synthesis.b{4 << i}.conv1.weight")[0] for i in range(blocks)),
        architecture=architecture,
        **filters(tensors, blocks, "skip." if architecture == "resnet" else ""),
        conv_clamp=None if clamp is None else float(clamp),
    )


def filters(tensors: dict[str, Tensor], blocks: int, second: str) -> dict[str, Any]:
    """The settings of the low-pass filters, from their buffers; second: the layer that the block's own stands for."""
    names = [f"synthesis.b{8 << i}" for i in range(blocks - 1)]
    conv, other = ([tensors.get(f"{name}.{part}resample_filter") for name in names] for part in ("conv0.", second))
    return filters_of(conv, other)


def check_activations(modules: dict[str, StandIn]) -> None:
    """ModelFileError where a layer has another activation than the published ones."""
    for name, module in modules.items():
        expected = "linear" if name.endswith(("affine", "skip", "embed")) else "lrelu"
        if module.state.get("activation", expected) != expected:
            raise ModelFileError(f"uses {shown(module.state['activation'])} in {name}; {expected} is wanted")


def mapping_of(modules: dict[str, StandIn], tensors: dict[str, Tensor], depth: int) -> tuple[int, float]:
    """Width of the mapping network's first layer, which all but the last share, and its learning rate."""
    widths = [shape(tensors, f"mapping.fc{i}.weight")[0] for i in range(depth)]
    lrs = {float(modules[f"mapping.fc{i}"].state.get("bias_gain", 0.01)) for i in range(depth)} or {0.01}
    if len(lrs) != 1 or len(set(widths[:-1])) > 1:
        raise ModelFileError("has a mapping network whose layers differ in width or rate; that is not supported")
    return widths[0] if widths else 0, lrs.pop()


def renamed(tensors: dict[str, Tensor], resolution: int) -> dict[str, Tensor]:
    """StyleGAN2's weights in our names."""
    ours: dict[str, Tensor] = {}
    for name, value in tensors.items():
        network, _, rest = name.partition(".")
        block, _, inner = rest.partition(".")
        if name.endswith("resample_filter"):
            continue
        if network == "mapping":
            inner = f"layers.{rest[2:]}" if rest.startswith("fc") else rest
            ours["w_avg" if rest == "w_avg" else f"map.{inner}"] = value
        elif rest == "b4.const":
            ours["start"] = value[None]
        else:
            index = int(block[1:]).bit_length() - 3 if block[1:].isdecimal() else block
            ours[f"blocks.{index}.{inner}"] = value
    return with_noise(ours, (resolution // 2).bit_length() - 1)


def shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in tensors or not tensors[name].ndim:
        raise ModelFileError(f"has no {name}; it is damaged, get it again")
    return tuple(tensors[name].shape)


def read_stylegan3(module: StandIn, tensors: dict[str, Tensor], card: dict) -> Generator:
    given, named = module.state.get("_init_args"), module.state.get("_init_kwargs")
    settings: dict[str, Any] = dict(zip(ARGUMENTS, given if isinstance(given, tuple) else (), strict=False))
    settings |= named if isinstance(named, dict) else {}
    settings |= {name: module.state[name] for name in ARGUMENTS if name in module.state}
    for name, value in [*settings.items(), *dict(settings.get("mapping_kwargs") or {}).items()]:
        if name != "mapping_kwargs" and not is_plain(value):
            raise ModelFileError(f"has {shown(value)} for {shown(name)}; text or a number is wanted")
    for name, high in (
        ("img_resolution", LARGEST),
        ("channel_max", 2**13),
        ("channel_base", 2**20),
        ("num_layers", 64),
    ):
        if not 0 <= settings.get(name, 0) <= high:
            raise ModelFileError(f"has {name} {shown(settings[name])}; {high} is the most that is read")
    try:
        return from_nvidia(settings, tensors, card)
    except ModelFileError:
        raise
    except GeneratorError as error:
        raise ModelFileError(f"has settings that do not fit together ({error})") from error


def from_nvidia(kwargs: Settings[str, Any], state: Settings[str, Tensor], card: dict[str, object]) -> StyleGAN3:
    """The generator of a StyleGAN3 pickle, from the arguments it was made with and its tensors by their names there.

    ModelFileError names an argument that is unknown, and tensors that do not fit the arguments.
    """
    layer = r"synthesis\.L(\d+)_\d+_\d+\."
    ours, filters = {}, {}
    for name, value in state.items():
        key = re.sub(layer, r"layers.\1.", name).replace("synthesis.input.", "input.")
        key = re.sub(r"mapping\.fc(\d+)\.", r"map.layers.\1.", key).replace("mapping.embed.", "map.embed.")
        key = key.replace("mapping.w_avg", "w_avg").replace("_filter", "_taps")
        (filters if key.endswith("_taps") else ours)[key] = value
    generator = assemble("stylegan3", config_of(kwargs), ours, card)
    assert isinstance(generator, StyleGAN3)
    made = dict(generator.named_buffers())
    for key, value in filters.items():
        near = 1e-5 if value.dtype.itemsize >= 4 else 1e-3  # half precision rounds filters too
        if key not in made or made[key].shape != value.shape or not made[key].allclose(value.float(), atol=near):
            raise ModelFileError(f"holds a {key} that its settings do not make; it comes from a changed StyleGAN3")
    return generator


def config_of(kwargs: Settings[str, Any]) -> StyleGAN3Config:
    """NVIDIA's names of the settings -> ours; what only training or half precision look at is left out."""
    given: dict[str, Any] = {
        k: v for k, v in kwargs.items() if k not in ("mapping_kwargs", "num_fp16_res", "magnitude_ema_beta")
    }
    names = {"num_layers": "mapping_layers", "lr_multiplier": "mapping_lr"}
    for key, value in dict(kwargs.get("mapping_kwargs") or {}).items():
        if key != "w_avg_beta":
            given[names.get(key, f"mapping_kwargs.{key}")] = value
    given = {k: v.item() if hasattr(v, "item") else v for k, v in given.items()}  # numpy's numbers
    defaults = {field.name: field.default for field in fields(StyleGAN3Config)}
    unknown = sorted(given.keys() - defaults.keys())
    if unknown:
        raise ModelFileError(f"sets {', '.join(unknown)}, which StyleGAN3 does not know; it comes from a changed one")
    for key, value in given.items():
        if isinstance(value, int) and isinstance(defaults[key], float):
            given[key] = float(value)  # 256 is written for 256.0
    return StyleGAN3Config(**given)
