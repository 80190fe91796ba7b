"""OpenVINO's files of MobileStyleGAN: two graphs as XML, with their numbers as raw little-endian floats beside them.

Nothing is executed, and openvino is not needed: a graph is compared with the one that is known, operation by operation,
and then tells where in the .bin each weight lies.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import IO, NoReturn
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor

from generators.checkpoints.common import estimate_mean
from generators.checkpoints.licences import FFHQ_TERMS
from generators.checkpoints.ours import assemble
from generators.errors import ModelFileError
from generators.mobilestylegan import MobileStyleGAN, MobileStyleGANConfig

MAPPING, SYNTHESIS = "MappingNetwork", "SynthesisNetwork"
SHAPES = {  # sha256 of `Graph.shape`
    MAPPING: "16206fa66b0c23887fdf5125875cf1ee789e5fbfd47e90f33c60c1a79cc44a3d",
    SYNTHESIS: "a9db08caab1ee5f45d883077c35df973bd736e8b63ed5f56545c5800f7d42f4d",
}
INSIDE = "random_face/data/"  # where the wheel keeps them
LARGEST_XML, LARGEST_BIN = 2_000_000, 64_000_000
MOST_ELEMENTS = 20_000
AFFINES = (
    "first.affine",
    *(f"blocks.{i}.{part}" for i in range(7) for part in ("up", "conv0.affine", "conv1.affine")),
    "bands.affine",
)
CONVS = ("first", *(f"blocks.{i}.conv{j}" for i in range(7) for j in (0, 1)))


def read_openvino(path: Path, card: dict[str, object]) -> MobileStyleGAN:
    """MobileStyleGAN from one of its .xml, with the other three files beside it, or from the wheel random-face.

    ModelFileError where a file is missing, damaged, or of another network.
    """
    graphs = {name: Graph(name, *files_of(path, name)) for name in (MAPPING, SYNTHESIS)}
    tensors = dict(mapping_weights(graphs[MAPPING])) | synthesis_weights(graphs[SYNTHESIS])
    card |= {"format": "OpenVINO IR of MobileStyleGAN", "licence": FFHQ_TERMS, "data": "FFHQ", "subject": "face"}
    generator = assemble("mobilestylegan", MobileStyleGANConfig(), tensors, card)
    assert isinstance(generator, MobileStyleGAN)
    estimate_mean(generator, samples=50_000)
    return generator


def is_wheel(path: Path) -> bool:
    """Tells a zip that holds the files of the wheel random-face."""
    try:
        with ZipFile(path) as archive:
            return f"{INSIDE}{SYNTHESIS}.xml" in archive.namelist()
    except (OSError, BadZipFile):
        return False


def files_of(path: Path, name: str) -> tuple[bytes, bytes]:
    """The graph and the numbers of a network, with a bound on what is read."""
    graph, numbers = f"{name}.xml", f"{name}.bin"
    try:
        if path.suffix.lower() == ".xml":
            with path.with_name(graph).open("rb") as one, path.with_name(numbers).open("rb") as two:
                return bounded(one, LARGEST_XML), bounded(two, LARGEST_BIN)
        with ZipFile(path) as archive, archive.open(INSIDE + graph) as one, archive.open(INSIDE + numbers) as two:
            return bounded(one, LARGEST_XML), bounded(two, LARGEST_BIN)
    except (FileNotFoundError, KeyError) as error:
        wanted = f"{graph} and {numbers}"
        raise ModelFileError(f"needs {wanted} beside it; keep the four files of the package together") from error
    except (OSError, BadZipFile, RuntimeError, NotImplementedError) as error:
        raise ModelFileError(f"cannot be read ({error}); get it again") from error


def bounded(file: IO[bytes] | BufferedIOBase, limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ModelFileError(f"has a part of more than {limit:,} bytes; MobileStyleGAN's are smaller")
    return data


@dataclass
class Layer:
    """An operation of a graph."""

    kind: str
    name: str
    settings: dict[str, str] = field(default_factory=dict)
    outputs: list[list[str]] = field(default_factory=list)  # the shape of each


class Graph:
    """A graph of a network that is known, and the numbers of its constants."""

    def __init__(self, name: str, xml: bytes, numbers: bytes) -> None:
        self.name, self.numbers = name, numbers
        self.layers: dict[str, Layer] = {}
        self.edges: list[tuple[str, ...]] = []
        self.elements = 0
        self.parse(xml)
        if hashlib.sha256(self.shape().encode()).hexdigest() != SHAPES[name]:
            self.refuse(f"is a graph of {len(self.layers)} operations, and not MobileStyleGAN's {name} at 1024 px")

    def refuse(self, why: str) -> NoReturn:
        raise ModelFileError(f"{why}; get the package random-face 2021.7.21.1 again")

    def parse(self, xml: bytes) -> None:
        """Layers and edges; no entity is expanded, as no document type is taken."""
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = lambda *_: self.refuse("declares a document type, which no graph needs")
        parser.StartElementHandler, parser.CharacterDataHandler = self.start, self.text
        parser.EndElementHandler = self.end
        self.inside: list[str] = []
        try:
            parser.Parse(xml, True)
        except (expat.ExpatError, KeyError) as error:
            self.refuse(f"is no graph of OpenVINO ({error})")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        self.inside.append(tag)
        if self.elements > MOST_ELEMENTS or len(self.inside) > 16:
            self.refuse(f"has a graph of over {MOST_ELEMENTS:,} elements, or nested too deep")
        if tag == "layer":
            self.layers[attributes["id"]] = Layer(attributes["type"], attributes["name"])
        elif tag == "edge":
            self.edges.append(tuple(attributes[key] for key in ("from-layer", "from-port", "to-layer", "to-port")))
        elif tag == "data" and self.layers:
            self.last.settings |= attributes
        elif tag == "port" and "output" in self.inside and self.layers:
            self.last.outputs.append([])

    def end(self, tag: str) -> None:
        self.inside.pop()

    def text(self, data: str) -> None:
        if self.inside[-1] == "dim" and "output" in self.inside and self.layers:
            self.last.outputs[-1].append(data.strip())

    @property
    def last(self) -> Layer:
        return next(reversed(self.layers.values()))

    def shape(self) -> str:
        """All that decides what the graph computes but for its numbers: operations, settings, shapes and edges."""
        place = {key: str(i) for i, key in enumerate(self.layers)}
        lines = []
        for layer in self.layers.values():
            told = sorted((k, v.replace(" ", "")) for k, v in layer.settings.items() if k != "offset")
            lines.append(f"{layer.kind} {told} {layer.outputs}")
        for start, port, stop, entry in self.edges:
            lines.append(f"{place.get(start)}:{port} {place.get(stop)}:{entry}")
        return "\n".join(lines)

    def constants(self) -> Iterator[tuple[str, Tensor]]:
        """Name and values of every constant of floats, in order."""
        for layer in self.layers.values():
            if layer.kind == "Const" and layer.settings["element_type"] == "f32":
                offset, size = int(layer.settings["offset"]), int(layer.settings["size"])
                if not 0 <= offset <= offset + size <= len(self.numbers):
                    have = f"{len(self.numbers):,} bytes of {self.name}.bin"
                    self.refuse(f"declares numbers beyond the {have}, which is cut short")
                values = np.frombuffer(self.numbers, "<f4", size // 4, offset).astype(np.float32)
                dims = [int(d) for d in layer.settings["shape"].split(",") if d.strip()]
                yield layer.name, torch.from_numpy(values.reshape(dims))


def mapping_weights(graph: Graph) -> Iterator[tuple[str, Tensor]]:
    """The matrices and biases of the mapping network, which stand in its order."""
    found = [values for _, values in graph.constants()]
    matrices = [values for values in found if values.ndim == 2 and values.numel() > 1]
    biases = [values for values in found if values.ndim == 1 and values.numel() > 1]
    for i, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
        yield f"map.layers.{i}.weight", matrix
        yield f"map.layers.{i}.bias", bias


def synthesis_weights(graph: Graph) -> dict[str, Tensor]:
    """The weights of the synthesis network in our names and order of channels.

    The affine maps stand first, from the last to the first, some with a factor that is folded in here; then the
    constant input and all else in the order of the computation, between filters and slopes that are as they must be.
    """
    constants = list(graph.constants())
    turn = next(i for i, (name, _) in enumerate(constants) if name == "m.input.input")
    groups: list[list[Tensor]] = []
    for name, values in constants[:turn]:
        if name.endswith("modulation.weight"):
            groups.append([])
        groups[-1].append(values)
    tensors = {}
    for name, (matrix, bias, *factor) in zip(AFFINES, reversed(groups), strict=True):
        gain = float(factor[0]) if factor else 1.0
        tensors |= {f"{name}.weight": matrix * gain, f"{name}.bias": bias.flatten() * gain}
    rest = iter(values for _, values in constants[turn:] if not is_fixed(values))
    tensors["start"] = next(rest)
    for name in CONVS:
        if name != "first":
            tensors[f"{name}.depthwise"] = next(rest).flatten(1, 2)
        tensors[f"{name}.weight"] = next(rest)
        noise, bias = next(rest)[0, 0], next(rest)
        strength = noise.double().square().mean().sqrt().float()  # so that the map has unit variance, as drawn ones
        tensors |= {f"{name}.noise_strength": strength, f"{name}.noise_const": noise / strength.clamp_min(1e-12)}
        tensors[f"{name}.bias"] = bias.flatten()
    tensors["bands.weight"], bias = next(rest), next(rest)
    tensors |= {"bands.bias": bias.flatten(), "w_avg": torch.zeros(512)}
    return by_band(tensors)


def is_fixed(values: Tensor) -> bool:
    """Tells a filter of the Haar transform or the slope of a leaky ReLU, which every such graph has, from a weight."""
    return values.ndim == 5 and 2 in values.shape[3:] or tuple(values.shape) == (1,)


def by_band(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Channels that the inverse Haar transform takes, from three details a channel to a channel a detail."""
    grown = ("first", *(f"blocks.{i}.conv1" for i in range(6)))
    for source, user in zip(grown, (f"blocks.{i}.up" for i in range(7)), strict=True):
        order = bands_first(len(tensors[f"{source}.bias"]))
        for name in (f"{source}.weight", f"{source}.bias", f"{user}.weight", f"{user}.bias"):
            tensors[name] = tensors[name][order]
    order = bands_first(12)
    return tensors | {name: tensors[name][order] for name in ("bands.weight", "bands.bias")}


def bands_first(channels: int) -> Tensor:
    """Where each channel of our order stands in OpenVINO's."""
    q = channels // 4
    return torch.cat([torch.arange(q), *(q + 3 * torch.arange(q) + kind for kind in range(3))])
