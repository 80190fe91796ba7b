"""Checkpoints of pSp, e4e and ReStyle: the decoder becomes the generator, the encoder its first guess."""

import re
from typing import Literal

import torch
from torch import Tensor

from generators.checkpoints.common import remark
from generators.checkpoints.ours import check_tensors, undrawn
from generators.checkpoints.rosinality import from_state
from generators.errors import ModelFileError
from generators.parts.pyramid import Pyramid, PyramidConfig, shrunk
from generators.stylegan2 import StyleGAN2
from generators.unpickle.allowed import StandIn, shown

SHARED = ("Encoder4Editing", "ProgressiveBackboneEncoder")
PLAIN = ("GradualStyleEncoder", "BackboneEncoder")
WHOLE: dict[str, Literal["", "w", "w_plus"]] = {
    "BackboneEncoderUsingLastLayerIntoW": "w",
    "SingleStyleCodeEncoder": "w",
    "BackboneEncoderUsingLastLayerIntoWPlus": "w_plus",
}


def read_psp(saved: dict, card: dict[str, object]) -> StyleGAN2:
    """The generator with its encoder; card["left_out"] says why where the encoder could not come along."""
    state = {key: value for key, value in saved["state_dict"].items() if isinstance(value, Tensor)}
    decoder = {key.removeprefix("decoder."): value for key, value in state.items() if key.startswith("decoder.")}
    average = saved.get("latent_avg")
    card["format"] = "pSp, e4e or ReStyle checkpoint"
    generator = from_state(decoder, average if isinstance(average, Tensor) else None, card)
    encoder = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    options = saved.get("opts")
    if not isinstance(options, dict):
        options = options.state if isinstance(options, StandIn) else {}
    why = add_encoder(generator, encoder, options, average) if encoder else "the file holds none"
    if why:
        remark(generator.card, "left_out", f"the encoder: {why}")
    return generator


def add_encoder(generator: StyleGAN2, state: dict[str, Tensor], options: dict, average: object) -> str:
    """Give generator the encoder in state; the reason where that cannot be."""
    kind = options.get("encoder_type", "GradualStyleEncoder")
    if not isinstance(kind, str) or kind not in (*SHARED, *PLAIN, *WHOLE):
        return f"its kind {shown(kind)} is not read here"
    config = config_of(generator, state, kind)
    if isinstance(config, str):
        return config
    with torch.device("meta"):
        wanted = {key: value for key, value in Pyramid(config).state_dict().items() if key not in ("offset", "other")}
    check_tensors(state, wanted)
    start = torch.zeros(config.num_ws, config.w_dim)
    mean = generator.w_avg.expand(config.num_ws, -1)
    if isinstance(average, Tensor):
        rows = average.float().reshape(-1, config.w_dim)
        mean = (rows if len(rows) == config.num_ws else rows[:1]).expand(config.num_ws, -1).clone()
        start = mean if options.get("start_from_latent_avg", True) else start
    own = {"offset": start}
    if config.feedback:
        own["other"] = shrunk(generator.render(mean[None]), config.img_resolution)[0]
    with undrawn():
        encoder = Pyramid(config)
    encoder.load_state_dict({key: value.float() for key, value in state.items()} | own, assign=True)
    generator.encoder = encoder.eval().requires_grad_(False)
    return ""


def config_of(generator: StyleGAN2, state: dict[str, Tensor], kind: str) -> PyramidConfig | str:
    """The encoder's settings, from the shapes of its weights; or why it does not fit the generator."""
    whole, layers = WHOLE.get(kind, ""), generator.num_ws
    try:
        seen = state["input_layer.0.weight"].shape[1]
        widths, units = stages(state)
        squeezed = state["body.0.res_layer.5.fc1.weight"].shape[0]
        style = state["linear.weight" if whole else "styles.0.linear.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise ModelFileError(f"has an encoder without {error}; it is damaged, get it again") from error
    heads = [len(re.findall(rf"styles\.{i}\.convs\.\d+\.weight", " ".join(state))) for i in range(layers)]
    if seen not in (3, 6) or generator.img_channels != 3:
        return f"it sees {seen} channels, not an image"
    fits = style == generator.w_dim * (layers if whole == "w_plus" else 1)
    if not fits or not whole and (set(heads) - {4, 5, 6} or f"styles.{layers}.linear.weight" in state):
        return f"its styles do not fit the generator's {layers} of {generator.w_dim} numbers"
    return PyramidConfig(
        num_ws=layers,
        w_dim=generator.w_dim,
        widths=widths,
        units=units,
        halvings=() if whole else tuple(heads),
        whole=whole,
        stem=state["input_layer.0.weight"].shape[0],
        squeeze=max(1, widths[0] // max(1, squeezed)),
        shared=kind in SHARED,
        feedback=seen == 6,
    )


def stages(state: dict[str, Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and units of each stage of the backbone: a stage ends where the channels change."""
    widths, units = [], []
    for i in range(len(state)):
        weight = state.get(f"body.{i}.res_layer.3.weight")
        if weight is None:
            break
        if not widths or weight.shape[0] != widths[-1]:
            widths.append(weight.shape[0])
            units.append(0)
        units[-1] += 1
    if len(widths) != 4:
        raise IndexError(f"four stages ({len(widths)} came)")
    return tuple(widths), tuple(units)
