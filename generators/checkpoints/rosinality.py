"""State dicts of stylegan2-pytorch (github.com/rosinality/stylegan2-pytorch), the layout of most `.pt` generators.

One table of names serves both ways: `from_state` reads such a state dict, `to_state` writes one.
"""

from typing import Any

import torch
from torch import Tensor

from generators.checkpoints.common import LARGEST, check_size, estimate_mean, filters_of, remark, stylegan2
from generators.errors import ModelFileError
from generators.parts.ops import fir_kernel
from generators.stylegan2 import StyleGAN2, StyleGAN2Config


def read_rosinality(saved: dict, card: dict[str, object]) -> StyleGAN2:
    """The generator in {g_ema, latent_avg}, in a training checkpoint, or in a state dict by itself."""
    state = next((saved[key] for key in ("g_ema", "g", "generator") if isinstance(saved.get(key), dict)), saved)
    average, left = saved.get("latent_avg"), sorted(str(key)[:40] for key in saved) if state is not saved else []
    card["format"] = "stylegan2-pytorch state dict"
    for key in left:
        if key not in ("g_ema", "latent_avg"):
            remark(card, "left_out", key)
    tensors = {str(key).removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}
    if "conv1.conv.weight" not in tensors:
        names = ", ".join(sorted(map(str, state))[:4])[:160] or "nothing"
        raise ModelFileError(f"holds no generator that is read here, but {names}, ...; is it a latent?")
    return from_state(tensors, average if isinstance(average, Tensor) else None, card)


def table(blocks: int, mapping_layers: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Our name, theirs, and the axes of length one that theirs has more, for a generator of 4 * 2^(blocks - 1) px."""
    names: list[tuple[str, str, tuple[int, ...]]] = [("start", "input.input", ())]
    for i in range(mapping_layers):
        names += [(f"map.layers.{i}.{part}", f"style.{i + 1}.{part}", ()) for part in ("weight", "bias")]
    convs = [("blocks.0.conv1", "conv1")]
    convs += [(f"blocks.{i // 2 + 1}.conv{i % 2}", f"convs.{i}") for i in range(2 * blocks - 2)]
    for index, (ours, theirs) in enumerate(convs):
        names += modulated(ours, theirs)
        names.append((f"{ours}.bias", f"{theirs}.activate.bias", ()))
        names.append((f"{ours}.noise_strength", f"{theirs}.noise.weight", (0,)))
        names.append((f"{ours}.noise_const", f"noises.noise_{index}", (0, 1)))
    for i in range(blocks):
        ours, theirs = f"blocks.{i}.torgb", f"to_rgbs.{i - 1}" if i else "to_rgb1"
        names += [*modulated(ours, theirs), (f"{ours}.bias", f"{theirs}.bias", (0, 2, 3))]
    return names


def modulated(ours: str, theirs: str) -> list[tuple[str, str, tuple[int, ...]]]:
    return [
        (f"{ours}.weight", f"{theirs}.conv.weight", (0,)),
        (f"{ours}.affine.weight", f"{theirs}.conv.modulation.weight", ()),
        (f"{ours}.affine.bias", f"{theirs}.conv.modulation.bias", ()),
    ]


def from_state(state: dict[str, Tensor], w_avg: Tensor | None, card: dict[str, object]) -> StyleGAN2:
    """A generator from a state dict; w_avg None: estimated. ModelFileError where names or shapes do not fit."""
    check_size(state.values())
    blocks, depth = sum(is_enlarged_rgb(key) for key in state) + 1, len(layers := mapping_of(state))
    config = StyleGAN2Config(
        img_resolution=4 * 2 ** (blocks - 1),
        img_channels=wanted(state, "to_rgb1.bias", 4).shape[1],
        z_dim=wanted(state, layers[0], 2).shape[1] if layers else 0,
        w_dim=wanted(state, "conv1.conv.modulation.weight", 2).shape[1],
        mapping_layers=depth,
        channels=tuple(
            wanted(state, f"{'conv1' if i == 0 else f'convs.{2 * i - 1}'}.conv.weight", 5).shape[1]
            for i in range(blocks)
        ),
        **filters(state, blocks),
    )
    if layers and config.z_dim != config.w_dim:
        raise ModelFileError(
            f"maps {config.z_dim} numbers to a w of {config.w_dim}, where stylegan2-pytorch has as many of both; the "
            "others may be a class embedding: get the file that this one was converted from"
        )
    if config.img_resolution > LARGEST:
        raise ModelFileError(f"is for {config.img_resolution} px; {LARGEST} px is the most that is read")
    tensors = {}
    for ours, theirs, axes in table(blocks, depth):
        if theirs in state:
            tensors[ours] = squeezed(theirs, state[theirs], axes)
    if "noises.noise_0" not in state:  # the oldest files hold none: every image draws its own
        tensors |= {name: torch.zeros(size, size) for name, size in noise_sizes(blocks)}
        remark(card, "notes", "the file holds no fixed noise: it is zero")
    if w_avg is not None and (not w_avg.numel() or w_avg.numel() % config.w_dim):
        raise ModelFileError(f"has a latent_avg of {tuple(w_avg.shape)}; (..., {config.w_dim}) is wanted")
    tensors["w_avg"] = torch.zeros(config.w_dim) if w_avg is None else w_avg.reshape(-1, config.w_dim).float().mean(0)
    known = {theirs for _, theirs, _ in table(blocks, depth)}
    spare = sorted(key for key in state if key not in known and not key.endswith(".kernel"))
    if spare:
        raise ModelFileError(f"holds {spare[0]!r:.80}, which a stylegan2-pytorch generator has not; a variant?")
    generator = stylegan2(config, tensors, card)
    if w_avg is None:
        estimate_mean(generator)
    return generator


def to_state(generator: StyleGAN2) -> dict[str, Tensor]:
    """The state dict that stylegan2-pytorch loads strictly: skip architecture, no labels, no maps, no sub-pixels."""
    config, ours = generator.config, generator.state_dict()
    blocks = len(config.resolutions())
    state = {}
    for name, theirs, axes in table(blocks, config.mapping_layers):
        value = ours[name]
        for axis in axes:
            value = value.unsqueeze(axis)
        state[theirs] = value.detach().clone()
    for i in range(blocks - 1):
        for key, line in zip(kernels_at(i), config.taps_at(8 << i), strict=True):
            state[key] = 4 * fir_kernel(line)
    return state


def noise_sizes(blocks: int) -> list[tuple[str, int]]:
    convs = [(0, 1), *((i // 2 + 1, i % 2) for i in range(2 * blocks - 2))]
    return [(f"blocks.{block}.conv{conv}.noise_const", 4 * 2**block) for block, conv in convs]


def is_enlarged_rgb(key: str) -> bool:
    """Tells the name of the RGB output that each doubling has."""
    return key.startswith("to_rgbs.") and key.endswith(".conv.weight")


def mapping_of(state: dict[str, Tensor]) -> list[str]:
    """The weights of the mapping network, first to last; layer 0 of theirs is the normalisation."""
    keys = [f"style.{i}.weight" for i in range(1, 1 + len(state))]
    return keys[: next(i for i, key in enumerate([*keys, ""]) if key not in state)]


def filters(state: dict[str, Tensor], blocks: int) -> dict[str, Any]:
    """The settings of the low-pass filters: one for all, or one for each doubling where they differ."""
    found = [[state.get(key) for key in kernels_at(i)] for i in range(blocks - 1)]
    return filters_of([conv for conv, _ in found], [rgb for _, rgb in found])


def kernels_at(index: int) -> tuple[str, str]:
    """The names of the filters of a doubling: of features, and of the picture."""
    return f"convs.{2 * index}.conv.blur.kernel", f"to_rgbs.{index}.upsample.kernel"


def wanted(state: dict[str, Tensor], key: str, dims: int) -> Tensor:
    if key not in state or state[key].ndim != dims:
        found = f"{tuple(state[key].shape)} for" if key in state else "no"
        raise ModelFileError(f"holds {found} {key}; it is no whole stylegan2-pytorch generator")
    return state[key]


def squeezed(key: str, value: Tensor, axes: tuple[int, ...]) -> Tensor:
    if value.ndim < len(axes) or any(value.ndim <= a or value.shape[a] != 1 for a in axes):
        raise ModelFileError(f"holds {tuple(value.shape)} for {key}, of another layout; is it a variant?")
    for axis in reversed(axes):
        value = value.squeeze(axis)
    return value
