"""The weights of a generator inside of whatever a script saved around them: found by what they are, not by a name.

A state dict is known by two of its names; what stands before those is a wrapper's prefix (module., decoder.), and the
dictionary that it stands in may lie in others.
"""

from collections.abc import Iterator

from torch import Tensor

from generators.checkpoints.common import remark
from generators.unpickle.allowed import StandIn

DEEP, MOST = 3, 1000  # dictionaries inside of each other, and in all, that are looked into
ROSINALITY = ("conv1.conv.weight", "input.input")  # names that each layout's generators have
NVIDIA = ("synthesis.b4.conv1.weight", "synthesis.b4.const")
CLAMP = 256.0  # of all that NVIDIA's own training makes; a state dict does not tell it


def states(saved: dict) -> list[tuple[str, dict]]:
    """The dictionaries in a file with the way to each; averaged ones first, then those that lie higher."""
    found: list[tuple[str, dict]] = [("", saved)]
    for way, here in found:
        if way.count("/") < DEEP:
            inner = [(f"{way}/{str(key)[:80]}", value) for key, value in here.items() if isinstance(value, dict)]
            found += inner[: MOST - len(found)]
    return sorted(found, key=lambda one: ("ema" not in one[0].lower(), one[0].count("/")))


def prefixes(state: dict, names: tuple[str, str]) -> Iterator[str]:
    """Each prefix under which a dictionary has tensors of both names."""
    first, second = names
    for key, value in state.items():
        if isinstance(key, str) and key.endswith(first) and isinstance(value, Tensor):
            prefix = key.removesuffix(first)
            if (not prefix or prefix.endswith(".")) and isinstance(state.get(prefix + second), Tensor):
                yield prefix


def unwrapped(saved: dict) -> dict:
    """The file as its readers know it: the generator's weights under g_ema or state_dict, whatever was around them."""
    all_ = states(saved)
    for way, state in all_:
        for prefix in sorted(prefixes(state, ROSINALITY), key=lambda p: ("ema" not in p, p)):
            top = way.split("/")[1] if way else None
            averages = [here["latent_avg"] for there, here in all_ if "latent_avg" in here and way.startswith(there)]
            about = {"latent_avg": averages[-1] if averages else None} | saved
            around = {key: value for key, value in about.items() if way and key != top or key in ("latent_avg", "opts")}
            if f".{prefix}".endswith(".decoder."):
                return around | {"state_dict": below(state, prefix.removesuffix("decoder."))}
            return around | {"g_ema": below(state, prefix)}
    return saved


def below(state: dict, prefix: str) -> dict:
    """The items whose names begin so, without that."""
    return {key.removeprefix(prefix): v for key, v in state.items() if isinstance(key, str) and key.startswith(prefix)}


def nvidia_state(saved: dict) -> dict[str, Tensor] | None:
    """The state dict of a generator of NVIDIA's code; None where there is none."""
    for _, state in states(saved):
        for prefix in prefixes(state, NVIDIA):
            return {key: value for key, value in below(state, prefix).items() if isinstance(value, Tensor)}
    return None


def nvidia_module(state: dict[str, Tensor], card: dict[str, object]) -> StandIn:
    """The module that such a state dict is of; what it does not tell is as NVIDIA's own training has it."""
    root = StandIn("Generator", {"_modules": {}})
    for name, value in state.items():
        *path, last = name.split(".")
        module = root
        for part in path[:16]:
            module = module.state["_modules"].setdefault(part, StandIn("Module", {"_modules": {}, "_parameters": {}}))
        module.state.setdefault("_parameters", {})[last] = value
    embed, first = state.get("mapping.embed.weight"), state.get("mapping.fc0.weight")
    affine = state.get("synthesis.b4.conv1.affine.weight")
    rgb = next((value for key, value in state.items() if key.endswith("torgb.bias")), None)
    c_dim, width = (embed.shape[1], len(embed)) if embed is not None and embed.ndim == 2 else (0, 0)
    inputs = first.shape[1] if first is not None and first.ndim == 2 else 0
    root.state |= {"z_dim": max(0, inputs - width), "c_dim": c_dim}
    root.state |= {"w_dim": affine.shape[-1] if affine is not None and affine.ndim else 0}
    root.state |= {"img_channels": len(rgb) if rgb is not None and rgb.ndim else 3}
    blocks = [block.state for block in root.state["_modules"]["synthesis"].state["_modules"].values()]
    plain = "skip" if "synthesis.b4.torgb.bias" in state else "orig"
    for block in blocks:
        block["architecture"] = "resnet" if any("skip" in one["_modules"] for one in blocks) else plain
        for name, conv in block["_modules"].items():
            conv.state |= {"conv_clamp": CLAMP} if name.startswith("conv") else {}
    remark(card, "notes", "a state dict: how activations are clamped is not in it, 256 is taken")
    return root
