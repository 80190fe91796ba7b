"""Public checkpoints by name: where their makers keep them, their resolution, and the terms of their use."""

from dataclasses import dataclass

from generators.checkpoints.licences import TERMS

# Addresses as NVIDIA's own pages give them. NGC has changed its form once, so both stand here.
CDN = "https://nvlabs-fi-cdn.nvidia.com"
NGC = (
    "https://api.ngc.nvidia.com/v2/models/nvidia/research/{family}/versions/1/files/{file}",
    "https://api.ngc.nvidia.com/v2/models/org/nvidia/team/research/{family}/1/files?redirect=true&path={file}",
)
DATA = {
    "ffhq": "FFHQ",
    "ffhqu": "FFHQ-U",
    "metfaces": "MetFaces",
    "metfacesu": "MetFaces-U",
    "celebahq": "CelebA-HQ",
    "afhqv2": "AFHQv2",
    "afhqcat": "AFHQ Cat",
    "afhqdog": "AFHQ Dog",
    "afhqwild": "AFHQ Wild",
    "brecahad": "BreCaHAD",
    "cifar10": "CIFAR-10",
    "lsundog": "LSUN Dog",
    "car": "LSUN Car",
    "cat": "LSUN Cat",
    "church": "LSUN Church",
    "horse": "LSUN Horse",
}
FACES3 = {"ffhq": (1024,), "ffhqu": (1024, 256), "metfaces": (1024,), "metfacesu": (1024,), "afhqv2": (512,)}
NGC2 = {
    "ffhq": (1024, 512, 256),
    "ffhqu": (1024, 256),
    "metfaces": (1024,),
    "metfacesu": (1024,),
    "afhqv2": (512,),
    "afhqcat": (512,),
    "afhqdog": (512,),
    "afhqwild": (512,),
    "brecahad": (512,),
    "cifar10": (32,),
    "celebahq": (256,),
    "lsundog": (256,),
}
ADA = {"ffhq": 1024, "metfaces": 1024, "afhqcat": 512, "afhqdog": 512, "afhqwild": 512, "brecahad": 512, "cifar10": 32}
ADA_SOURCES = {  # starting points of transfer learning
    ("ffhq", 256): "ffhq-res256-mirror-paper256-noaug",
    ("ffhq", 512): "ffhq-res512-mirror-stylegan2-noaug",
    ("ffhq", 1024): "ffhq-res1024-mirror-stylegan2-noaug",
    ("celebahq", 256): "celebahq-res256-mirror-paper256-kimg100000-ada-target0.5",
    ("lsundog", 256): "lsundog-res256-paper256-kimg100000-noaug",
}
TENSORFLOW = {"ffhq": (1024, "ef"), "car": (512, "ef"), "cat": (256, "f"), "church": (256, "f"), "horse": (256, "f")}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that its makers publish."""

    name: str
    addresses: tuple[str, ...]  # tried in this order
    resolution: int  # in pixels
    data: str  # what it was trained on
    licence: str


def checkpoints() -> dict[str, Checkpoint]:
    """All that is known, by name; the names are those of the makers' files as far as these tell them apart."""
    found = [*_stylegan3(), *_stylegan2_ngc(), *_stylegan2_ada(), *_stylegan2_tensorflow()]
    return {one.name: one for one in found}


def _stylegan3() -> list[Checkpoint]:
    sizes = [(kind, data, size) for kind in "tr" for data, all_sizes in FACES3.items() for size in all_sizes]
    return [_ngc("stylegan3", f"stylegan3-{kind}", data, size) for kind, data, size in sizes]


def _stylegan2_ngc() -> list[Checkpoint]:
    return [_ngc("stylegan2", "stylegan2", data, size) for data, sizes in NGC2.items() for size in sizes]


def _ngc(family: str, kind: str, data: str, size: int) -> Checkpoint:
    name = f"{kind}-{data}-{size}x{size}"
    addresses = tuple(form.format(family=family, file=f"{name}.pkl") for form in NGC)
    return Checkpoint(name, addresses, size, DATA[data], TERMS["stylegan3"])  # both come with StyleGAN3's code


def _stylegan2_ada() -> list[Checkpoint]:
    folder, terms = f"{CDN}/stylegan2-ada-pytorch/pretrained", TERMS["stylegan2-ada"]
    whole = [
        Checkpoint(f"stylegan2-ada-{data}", (f"{folder}/{data}.pkl",), size, DATA[data], terms)
        for data, size in ADA.items()
    ]
    other = f"{folder}/transfer-learning-source-nets"
    sources = [
        Checkpoint(f"stylegan2-{file}", (f"{other}/{file}.pkl",), size, DATA[data], terms)
        for (data, size), file in ADA_SOURCES.items()
    ]
    return whole + sources


def _stylegan2_tensorflow() -> list[Checkpoint]:
    names = [(data, size, letter) for data, (size, letters) in TENSORFLOW.items() for letter in letters]
    found = []
    for data, size, letter in names:
        name = f"stylegan2-{data}-config-{letter}"
        found.append(Checkpoint(name, (f"{CDN}/stylegan2/networks/{name}.pkl",), size, DATA[data], TERMS["stylegan2"]))
    return found
