"""Small files in the formats that other people's models come in, written from one of our generators."""

import io
import pickle
import sys
import types
import warnings
from collections import OrderedDict
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch

from generators.stylegan2 import StyleGAN2
from generators.stylegan3 import StyleGAN3Config


class Persistent:
    """Pickles as torch_utils.persistence does: a function's name, and a dictionary of class, source text and state."""

    def __init__(self, class_name, source="", **state):
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


class EasyDict(dict):
    pass


class Network:
    pass


class Reference:
    """Pickles as a numpy array of whatever is given instead of an array's type."""

    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        return np._core.multiarray._reconstruct, (self.kind, (0,), b"b")


def _reconstruct_persistent_obj(meta):
    raise AssertionError("this must never run")


@contextmanager
def foreign_modules():
    """The modules whose names such pickles hold, there only while one is written."""
    homes = {
        "torch_utils.persistence": [_reconstruct_persistent_obj],
        "dnnlib.util": [EasyDict],
        "dnnlib.tflib.network": [Network],
    }
    made = {name.rpartition(".")[0]: types.ModuleType(name.rpartition(".")[0]) for name in homes}
    for name, things in homes.items():
        made[name] = types.ModuleType(name)
        for thing in things:
            setattr(made[name], thing.__name__, thing)
    moved = {thing: thing.__module__ for things in homes.values() for thing in things}
    with mock.patch.dict(sys.modules, made), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own pickling of storages warns of itself
        for name, things in homes.items():
            for thing in things:
                thing.__module__ = name
        try:
            yield
        finally:
            for thing, module in moved.items():
                thing.__module__ = module


def dumped(tree, protocol=4):
    with foreign_modules():
        return pickle.dumps(tree, protocol)


class Embedded:
    """Pickles as a tensor whose storage is the given bytes of torch.save."""

    def __init__(self, storage, like):
        self.storage, self.like = storage, like

    def __reduce__(self):
        size, stride = tuple(self.like.shape), self.like.stride()
        return torch._utils._rebuild_tensor_v2, (Storage(self.storage), 0, size, stride, False, OrderedDict())


class Storage:
    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)


def rewritten(tree, write):
    """The tree with each tensor as write gives it."""
    if isinstance(tree, Persistent):
        tree.meta = rewritten(tree.meta, write)
    elif isinstance(tree, dict):
        return type(tree)((key, rewritten(value, write)) for key, value in tree.items())
    elif isinstance(tree, torch.Tensor):
        return write(tree.data.contiguous())
    return tree


def embedded(tensor, *, legacy=True, place=b"cpu"):
    """A tensor as old and new versions of torch pickle it, from any device."""
    whole = tensor.clone().untyped_storage()
    storage = torch.storage.TypedStorage(wrap_storage=whole, dtype=tensor.dtype, _internal=True)
    data = saved(storage, _use_new_zipfile_serialization=not legacy)
    came, wanted = (b"X" + len(text).to_bytes(4, "little") + text for text in (b"cpu", place))
    assert place == b"cpu" or data.count(came) == 1
    return Embedded(data.replace(came, wanted) if place != b"cpu" else data, tensor)


def module(class_name, parameters=(), buffers=(), modules=(), **attributes):
    """A torch module as persistence pickles its state, with numbers of numpy; hooks where it holds others."""
    hooks = vars(torch.nn.Module()) if modules else {}
    state = (
        hooks
        | attributes
        | {
            "training": False,
            "_modules": dict(modules),
            "act_gain": np.sqrt(2),
            "padding": np.int64(1),
            "_parameters": {k: torch.nn.Parameter(v.clone(), requires_grad=False) for k, v in dict(parameters).items()},
            "_buffers": {k: None if v is None else v.clone() for k, v in dict(buffers).items()},
        }
    )
    return Persistent(class_name, state.pop("source", ""), **state)


def modules_of(class_name, tensors, **attributes):
    """A tree of torch modules from tensors by their dotted names."""
    own, below = {}, {}
    for name, value in tensors.items():
        head, _, rest = name.partition(".")
        (below.setdefault(head, {}) if rest else own)[rest or head] = value
    inner = {head: modules_of("Layer", held) for head, held in below.items()}
    return module(class_name, {}, own, inner, **attributes)


def linear(layer, activation="linear", lr=1.0):
    names = {"weight": layer.weight.data, "bias": layer.bias.data}
    return module("FullyConnectedLayer", names, activation=activation, bias_gain=lr)


def nvidia(generator: StyleGAN2, source="", **more):
    """{G, D, G_ema} of NVIDIA's PyTorch code, from our weights."""
    config = generator.config
    layers = {f"fc{i}": linear(layer, "lrelu", config.mapping_lr) for i, layer in enumerate(generator.map.layers)}
    if generator.map.embed is not None:
        layers["embed"] = linear(generator.map.embed)
    mapping = module("MappingNetwork", {}, {"w_avg": generator.w_avg}, layers, num_layers=config.mapping_layers)
    synthesis = module("SynthesisNetwork", {}, {}, dict(map(nvidia_block, generator.blocks, [generator] * 20)))
    sizes = {name: getattr(config, name) for name in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")}
    parts = {"synthesis": synthesis, "mapping": mapping}
    whole = module("Generator", {}, {}, parts, source=source, _init_args=(), _init_kwargs=EasyDict(sizes), **sizes)
    settings = EasyDict(class_name="training.dataset.ImageFolderDataset", path="/data/faces.zip")
    judge = module("Discriminator", modules={"b4": module("DiscriminatorEpilogue", {"weight": generator.w_avg})})
    augment = module("AugmentPipe", {}, {"p": torch.tensor(0.2), "Hz_geom": torch.ones(4)}, brightness_std=0.2)
    return {"G": whole, "D": judge, "G_ema": whole, "training_set_kwargs": settings, "augment_pipe": augment} | more


def nvidia_block(block, generator):
    config, kernel = generator.config, block.up_kernel
    resolution = block.conv1.noise_const.shape[-1]
    inner = {}
    for name in ("conv0", "conv1", "torgb", "skip"):
        layer = getattr(block, name)
        if layer is None:
            continue
        affine = {} if name == "skip" else {"affine": linear(layer.affine)}
        own = {"weight": layer.weight.data} | ({} if name == "skip" else {"bias": layer.bias.data})
        noise = {"resample_filter": layer.up_kernel if name.startswith("conv") else kernel}
        if name.startswith("conv"):
            own["noise_strength"] = layer.noise_strength.data
            noise["noise_const"] = layer.noise_const
        kind = {"torgb": "ToRGBLayer", "skip": "Conv2dLayer"}.get(name, "SynthesisLayer")
        extra = {"activation": "linear" if name == "skip" else "lrelu"} if name != "torgb" else {}
        inner[name] = module(kind, own, noise if name != "torgb" else {}, affine, conv_clamp=config.conv_clamp, **extra)
    own = {"const": generator.start.data[0]} if resolution == 4 else {}
    state = {"resolution": resolution, "architecture": config.architecture, "use_fp16": True}
    return f"b{resolution}", module("SynthesisBlock", own, {"resample_filter": kernel}, inner, **state)


def nvidia3_state(g):
    """Our StyleGAN3 weights under the names of the published pickles."""
    state = {"mapping.w_avg": g.w_avg}
    for key, value in g.state_dict().items():
        if key.startswith("layers."):
            _, index, rest = key.split(".", 2)
            size, channels = (36, g.layers[int(index)].weight.shape[0])
            state[f"synthesis.L{index}_{size}_{channels}.{rest}"] = value
        elif key.startswith("map."):
            state[key.replace("map.layers.", "mapping.fc").replace("map.embed", "mapping.embed")] = value
        elif key.startswith("input."):
            state[f"synthesis.{key}"] = value
    for index, layer in enumerate(g.layers[:-1]):
        name = f"synthesis.L{index}_36_{layer.weight.shape[0]}"
        state |= {f"{name}.up_filter": layer.up_taps, f"{name}.down_filter": layer.down_taps}
    return state


def nvidia3(g):
    """{G, D, G_ema} of NVIDIA's StyleGAN3 code, from our weights."""
    config, base = g.config, StyleGAN3Config()
    sizes = {name: getattr(config, name) for name in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")}
    other = {
        name: value
        for name, value in vars(config).items()
        if name not in sizes and not name.startswith("mapping") and value != getattr(base, name)
    }
    mapping = EasyDict(num_layers=np.int64(config.mapping_layers), lr_multiplier=config.mapping_lr)
    settings = EasyDict(sizes | other, mapping_kwargs=mapping, magnitude_ema_beta=0.9995, num_fp16_res=4)
    state = nvidia3_state(g) | {f"synthesis.L{config.num_layers}_32_3.up_filter": None}
    whole = modules_of("Generator", state, _init_args=(), _init_kwargs=settings, **sizes)
    return {"G": whole, "D": module("Discriminator"), "G_ema": whole, "augment_pipe": None}


def tensorflow(generator: StyleGAN2, scoped=False, average=True):
    """(G, D, Gs) of NVIDIA's TensorFlow code, from our weights."""
    config, state = generator.config, {k: v.numpy() for k, v in generator.state_dict().items()}
    variables = {"mapping": mapping_variables(config, state), "synthesis": synthesis_variables(generator, state)}
    settings = EasyDict(resolution=config.img_resolution, mapping_lrmul=config.mapping_lr, conv_clamp=config.conv_clamp)
    if scoped:
        flat = [(f"G_{part}/{name}", value) for part, all_ in variables.items() for name, value in all_]
        return [network("Gs", flat + [("dlatent_avg", state["w_avg"])], {}, settings)]
    parts = {name: network(f"G_{name}", held, {}, EasyDict()) for name, held in variables.items()}
    own = [("lod", state["w_avg"][0])] + ([("dlatent_avg", state["w_avg"])] if average else [])
    whole = network("Gs", own, EasyDict(parts), settings)
    return whole, network("D", [("4x4/Conv/weight", state["start"])], {}, EasyDict()), whole


def mapping_variables(config, state):
    found = []
    for i in range(config.mapping_layers):
        found.append((f"Dense{i}/weight", state[f"map.layers.{i}.weight"].T.copy()))
        found.append((f"Dense{i}/bias", state[f"map.layers.{i}.bias"]))
    if config.c_dim:
        found.append(("LabelEmbed/weight", state["map.embed.weight"].T.copy()))
        found.append(("LabelEmbed/bias", state["map.embed.bias"]))
    return found


def synthesis_variables(generator, state):
    found = [("4x4/Const/const", state["start"])]
    names, count = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}, 0
    for i, block in enumerate(generator.blocks):
        for part, theirs in names.items():
            if getattr(block, part) is None:
                continue
            ours, scope = f"blocks.{i}.{part}", f"{4 << i}x{4 << i}/{'Conv' if not i and part == 'conv1' else theirs}"
            kernel = state[f"{ours}.weight"]
            kernel = kernel[:, :, ::-1, ::-1] if part in ("conv0", "skip") else kernel
            own = [("weight", kernel.transpose(2, 3, 1, 0).copy())]
            if part != "skip":
                own += [
                    ("mod_weight", state[f"{ours}.affine.weight"].T.copy()),
                    ("mod_bias", state[f"{ours}.affine.bias"] - 1),
                    ("bias", state[f"{ours}.bias"]),
                ]
            if part.startswith("conv"):
                own.append(("noise_strength", state[f"{ours}.noise_strength"][()]))  # a numpy scalar, as TF gives it
                found.append((f"noise{count}", state[f"{ours}.noise_const"][None, None]))
                count += 1
            found += [(f"{scope}/{name}", value) for name, value in own]
    return found


def network(name, variables, components, settings):
    made = Network()
    vars(made).update(
        version=4,
        name=name,
        static_kwargs=settings,
        variables=variables,
        components=components,
        build_module_src="raise SystemExit('source was run')",
        build_func_name="G_main",
    )
    return made


def saved(thing, **how):
    """The bytes of torch.save."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(thing, file, **how)
    return file.getvalue()
