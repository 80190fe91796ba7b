"""Small files in the formats that other people's models come in, written from one of our generators."""

import io
import pickle
import sys
import types
import warnings
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch

from generators.checkpoints import read_checkpoint
from generators.errors import ModelFileError
from generators.stylegan2 import StyleGAN2


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
        "torch_utils.persistence": [_reconstruct_persistent_obj], "dnnlib.util": [EasyDict],
        "dnnlib.tflib.network": [Network],
    }  # fmt: skip
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


def module(class_name, parameters=(), buffers=(), modules=(), **attributes):
    """A torch module as persistence pickles its state."""
    return Persistent(
        class_name, attributes.pop("source", ""), training=False,
        _parameters={k: torch.nn.Parameter(v.clone(), requires_grad=False) for k, v in dict(parameters).items()},
        _buffers={k: v.clone() for k, v in dict(buffers).items()}, _modules=dict(modules), **attributes,
    )  # fmt: skip


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
    return {"G": whole, "D": module("Discriminator"), "G_ema": whole, "training_set_kwargs": settings,
            "augment_pipe": None} | more  # fmt: skip


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
        noise = {"resample_filter": kernel}
        if name.startswith("conv"):
            own["noise_strength"] = layer.noise_strength.data
            noise["noise_const"] = layer.noise_const
        kind = {"torgb": "ToRGBLayer", "skip": "Conv2dLayer"}.get(name, "SynthesisLayer")
        extra = {"activation": "linear" if name == "skip" else "lrelu"} if name != "torgb" else {}
        inner[name] = module(kind, own, noise if name != "torgb" else {}, affine, conv_clamp=config.conv_clamp, **extra)
    own = {"const": generator.start.data[0]} if resolution == 4 else {}
    state = {"resolution": resolution, "architecture": config.architecture, "use_fp16": True}
    return f"b{resolution}", module("SynthesisBlock", own, {"resample_filter": kernel}, inner, **state)


def tensorflow(generator: StyleGAN2, scoped=False, average=True):
    """(G, D, Gs) of NVIDIA's TensorFlow code, from our weights."""
    config, state = generator.config, {k: v.numpy() for k, v in generator.state_dict().items()}
    variables = {"mapping": [], "synthesis": [("4x4/Const/const", state["start"])]}
    for i in range(config.mapping_layers):
        variables["mapping"] += [(f"Dense{i}/weight", state[f"map.layers.{i}.weight"].T.copy()),
                                 (f"Dense{i}/bias", state[f"map.layers.{i}.bias"])]  # fmt: skip
    if config.c_dim:
        variables["mapping"] += [("LabelEmbed/weight", state["map.embed.weight"].T.copy()),
                                 ("LabelEmbed/bias", state["map.embed.bias"])]  # fmt: skip
    names, count = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}, 0
    for i, block in enumerate(generator.blocks):
        for part, theirs in names.items():
            if getattr(block, part) is None:
                continue
            ours, scope = f"blocks.{i}.{part}", f"{4 << i}x{4 << i}/{'Conv' if not i and part == 'conv1' else theirs}"
            kernel = state[f"{ours}.weight"]
            kernel = kernel[:, :, ::-1, ::-1] if part in ("conv0", "skip") else kernel
            found = [("weight", kernel.transpose(2, 3, 1, 0).copy())]
            if part != "skip":
                found += [("mod_weight", state[f"{ours}.affine.weight"].T.copy()),
                          ("mod_bias", state[f"{ours}.affine.bias"] - 1), ("bias", state[f"{ours}.bias"])]  # fmt: skip
            if part.startswith("conv"):
                found.append(("noise_strength", state[f"{ours}.noise_strength"][()]))  # a numpy scalar, as TF gives it
                variables["synthesis"].append((f"noise{count}", state[f"{ours}.noise_const"][None, None]))
                count += 1
            variables["synthesis"] += [(f"{scope}/{name}", value) for name, value in found]
    settings = EasyDict(resolution=config.img_resolution, mapping_lrmul=config.mapping_lr, conv_clamp=config.conv_clamp)
    if scoped:
        flat = [(f"G_{part}/{name}", value) for part, all_ in variables.items() for name, value in all_]
        return [network("Gs", flat + [("dlatent_avg", state["w_avg"])], {}, settings)]
    parts = {name: network(f"G_{name}", held, {}, EasyDict()) for name, held in variables.items()}
    own = [("lod", state["w_avg"][0])] + ([("dlatent_avg", state["w_avg"])] if average else [])
    whole = network("Gs", own, EasyDict(parts), settings)
    return whole, network("D", [("4x4/Conv/weight", state["start"])], {}, EasyDict()), whole


def network(name, variables, components, settings):
    made = Network()
    vars(made).update(version=4, name=name, static_kwargs=settings, variables=variables, components=components,
                      build_module_src="raise SystemExit('source was run')", build_func_name="G_main")  # fmt: skip
    return made


def saved(thing, **how):
    """The bytes of torch.save."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(thing, file, **how)
    return file.getvalue()


# For the tests that read them


def with_mean(generator):
    generator.w_avg.copy_(torch.randn(generator.w_dim, generator=torch.Generator().manual_seed(7)))
    return generator


def write(path, data):
    path.write_bytes(data)
    return path


def rendered(generator, c=None):
    z = torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(3))
    ws = generator.mapping(z, c, truncation_psi=0.7)
    return ws, generator.synthesis(ws, generator.fixed_noise(2))


def same(found, wanted, c=None):
    for a, b in zip(rendered(found, c), rendered(wanted, c), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def refused(path, words):
    with pytest.raises(ModelFileError, match=words) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
