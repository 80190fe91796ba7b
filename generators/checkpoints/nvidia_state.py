"""State dicts of NVIDIA's StyleGAN2: the weights of such a pickle by their names, as torch.save writes them."""

import re

from torch import Tensor

from generators.base import Generator
from generators.checkpoints.common import check_size, remark
from generators.checkpoints.nvidia import read_stylegan2, shape
from generators.errors import ModelFileError
from generators.unpickle.allowed import StandIn

CLAMP = 256.0  # the bound on activations that published models were trained with


def read_nvidia_state(state: dict[str, Tensor], card: dict[str, object]) -> Generator:
    """The generator of a StyleGAN2's state dict, whose settings its shapes tell, but for those that all published have.

    ModelFileError for one of StyleGAN3, whose settings no shape tells.
    """
    if "synthesis.b4.const" not in state:
        raise ModelFileError("holds weights of StyleGAN3 without the settings that they need; get its .pkl")
    check_size(state.values())
    prefixes = {key.rpartition(".")[0] for key in state}
    modules = {inner: StandIn("Module") for key in prefixes for inner in leading(key)}
    blocks = [name for name in modules if re.fullmatch(r"synthesis\.b\d+", name)]
    last = max(blocks, key=lambda name: int(name[11:]))
    inputs, embed = shape(state, "mapping.fc0.weight")[-1], state.get("mapping.embed.weight")
    label, classes = (0, 0) if embed is None or embed.ndim != 2 else tuple(embed.shape)
    modules[""].state |= {
        "z_dim": inputs - label,
        "c_dim": classes,
        "w_dim": shape(state, "synthesis.b4.conv1.affine.weight")[-1],
        "img_channels": shape(state, f"{last}.torgb.weight")[0],
    }
    plain = "skip" if "synthesis.b4.torgb" in modules else "orig"
    modules[last].state["architecture"] = "resnet" if f"{last}.skip" in modules else plain
    modules.setdefault(f"{last}.conv1", StandIn("Module")).state["conv_clamp"] = CLAMP
    card["format"] = "StyleGAN2 state dict of NVIDIA's PyTorch code"
    remark(card, "notes", f"the file does not tell conv_clamp: taken as {CLAMP}, as in all published")
    return read_stylegan2(modules, state, card)


def leading(name: str) -> list[str]:
    """The name of a module and of all that it is in."""
    parts = name.split(".")
    return ["", *(".".join(parts[: i + 1]) for i in range(len(parts)))]
