"""StyleGAN2's synthesis against the plain path of its paper, both in one process and in turn, on one thread in float32.

    python -m tests.benchmarks.synthesis --size 256 --batch 4

The plain path modulates and demodulates the weights of every image, convolves all images as groups of one convolution,
and enlarges by a transposed convolution and a filter of its own (Karras et al. 2020, section 2.2 and appendix B). Times
are those of the processor; the shares are medians over the rounds. Random weights, channels as config F.
"""

from collections.abc import Callable
from time import process_time
from typing import TYPE_CHECKING

import click

from tests.benchmarks.common import json_option, median, report, seed_option

if TYPE_CHECKING:
    from torch import Tensor

    from generators.stylegan2 import StyledConv, StyleGAN2, ToRGB

Drawing = Callable[["Tensor", tuple["Tensor", ...]], "Tensor"]


def modulated(weight: "Tensor", styles: "Tensor", demodulate: bool) -> "Tensor":
    """The weights of each image."""
    weights = weight * styles[:, None, :, None, None]
    return weights * (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt() if demodulate else weights


def convolved(x: "Tensor", weights: "Tensor", kernel: "Tensor | None") -> "Tensor":
    """Each image of x with weights of its own; with kernel, twice as large."""
    import torch.nn.functional as F

    batch, outputs, inputs, size = weights.shape[:4]
    x = x.reshape(1, batch * inputs, *x.shape[2:])
    if kernel is None:
        x = F.conv2d(x, weights.flatten(0, 1), padding=size // 2, groups=batch)
    else:
        x = F.conv_transpose2d(x, weights.transpose(1, 2).flatten(0, 1), stride=2, groups=batch)
        x = filtered(x, kernel, (1, 1))
    return x.reshape(batch, outputs, *x.shape[2:])


def filtered(x: "Tensor", kernel: "Tensor", pad: tuple[int, int]) -> "Tensor":
    """Each channel through the low-pass filter, with gain 4."""
    import torch.nn.functional as F

    groups = x.shape[1]
    return F.conv2d(F.pad(x, (*pad, *pad)), (4 * kernel).expand(groups, 1, -1, -1), groups=groups)


def doubled(image: "Tensor", kernel: "Tensor") -> "Tensor":
    """Zeros between the pixels, then the filter."""
    batch, channels, height, width = image.shape
    spread = image.new_zeros(batch, channels, height, 2, width, 2)
    spread[:, :, :, 0, :, 0] = image
    return filtered(spread.reshape(batch, channels, 2 * height, 2 * width), kernel, (2, 1))


def styled(layer: "StyledConv", x: "Tensor", w: "Tensor", noise: "Tensor") -> "Tensor":
    import torch.nn.functional as F

    x = convolved(x, modulated(layer.weight, layer.affine(w), True), layer.up_kernel if layer.up else None)
    x = x + noise * layer.noise_strength
    return F.leaky_relu(x + layer.bias[:, None, None], 0.2) * 2**0.5


def coloured(layer: "ToRGB", x: "Tensor", w: "Tensor") -> "Tensor":
    weights = modulated(layer.weight, layer.affine(w) * layer.gain, False)
    return convolved(x, weights, None) + layer.bias[:, None, None]


def plain(generator: "StyleGAN2", ws: "Tensor", noise: tuple["Tensor", ...]) -> "Tensor":
    """The pictures as the paper makes them."""
    from generators.stylegan2 import Block

    x, image, layer = generator.start.repeat(len(ws), 1, 1, 1), None, 0
    for block in generator.blocks:
        assert isinstance(block, Block) and block.torgb is not None
        for conv in (block.conv0, block.conv1):
            if conv is not None:
                x = styled(conv, x, ws[:, layer], noise[layer])
                layer += 1
        rgb = coloured(block.torgb, x, ws[:, layer])
        image = rgb if image is None else doubled(image, block.up_kernel) + rgb
    assert image is not None
    return image


def timed(draw: Drawing, ws: "Tensor", noise: tuple["Tensor", ...], backward: bool) -> float:
    """Seconds of the processor for one drawing, with its gradient to the styles where that is asked for."""
    import torch

    began = process_time()
    with torch.set_grad_enabled(backward):
        image = draw(ws, noise)
        if backward:
            torch.autograd.grad(image.square().mean(), ws)
    return process_time() - began


def random_generator(size: int) -> "StyleGAN2":
    """Config F without training, whose noise and bias do something."""
    import torch

    from generators.stylegan2 import StyledConv, StyleGAN2, StyleGAN2Config

    generator = StyleGAN2(StyleGAN2Config(img_resolution=size))
    for layer in generator.modules():
        if isinstance(layer, StyledConv):
            torch.nn.init.constant_(layer.noise_strength, 0.1)
            torch.nn.init.normal_(layer.bias, std=0.1)
    return generator.eval().requires_grad_(False)


@click.command()
@click.option("--size", default=256, show_default=True, help="Pixels of the picture.")
@click.option("--batch", default=1, show_default=True)
@click.option("--rounds", default=7, show_default=True, help="Of each path, after one that does not count.")
@seed_option
@json_option
def main(size: int, batch: int, rounds: int, seed: int, as_json: bool) -> None:
    """Compare the paths."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = random_generator(size)
    ws = torch.randn(batch, generator.num_ws, generator.w_dim).requires_grad_()
    noise = generator.fixed_noise(batch)
    paths: dict[str, Drawing] = {"plain": lambda w, n: plain(generator, w, n), "ours": generator.synthesis}
    with torch.no_grad():
        a, b = (draw(ws, noise) for draw in paths.values())
    figures: dict[str, object] = {"largest_difference": float((a - b).abs().max() / a.abs().max())}
    for name, backward in (("forward", False), ("with_backward", True)):
        taken: dict[str, list[float]] = {path: [] for path in paths}
        for round_ in range(rounds + 1):
            for path, draw in paths.items():
                seconds = timed(draw, ws, noise, backward)
                if round_:
                    taken[path].append(seconds)
        figures |= {f"{name}_{path}": median(values) for path, values in taken.items()}
        figures[f"{name}_share"] = median([b / a for a, b in zip(taken["plain"], taken["ours"], strict=True)])
    report(f"{size} px, batch {batch}, one thread", figures, as_json)


if __name__ == "__main__":
    main()
