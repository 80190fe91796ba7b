"""The small head by which MobileStyleGAN draws a quarter of its size, fitted to the generator's own samples.

Styles are mixed and moved, as a search moves them; the target is the true picture, averaged.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from generators.errors import TrainingError
from generators.mobilestylegan import Block, MobileStyleGAN, Preview
from generators.shapes import Float


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    samples: int = 240
    steps: int = 4000
    batch: int = 8  # crops a step
    crop: int = 64  # pixels
    lr: float = 0.003  # relative to the size of each weight
    spread: float = 0.15  # of what each layer's style is moved by, in standard deviations of w
    seed: int = 0


@torch.no_grad()
def mixed_styles(
    generator: MobileStyleGAN, count: int, rng: torch.Generator, spread: float
) -> Float[Tensor, "count num_ws w_dim"]:
    """Styles in w_plus: two samples of W mixed at a random layer, and each layer moved a little."""
    w = generator.map(torch.randn(2 * count, generator.z_dim, generator=rng))
    turn = torch.randint(2 * generator.num_ws, (count, 1, 1), generator=rng)  # half of them are not mixed
    ws = torch.where(torch.arange(generator.num_ws)[None, :, None] < turn, w[:count, None], w[count:, None])
    psi = 0.5 + 0.5 * torch.rand(count, 1, 1, generator=rng)
    return generator.w_avg.lerp(ws, psi) + spread * w.std(dim=0) * torch.randn(ws.shape, generator=rng)


def fit_preview(generator: MobileStyleGAN, config: PreviewConfig) -> Iterator[tuple[int, float]]:
    """Give generator a preview head, on the CPU; yields step and root mean squared error, as it goes.

    TrainingError where the generator has no quarter of its size to draw.
    """
    channels = generator.config.channels
    if len(channels) < 3:
        raise TrainingError(f"{generator.name} renders {generator.img_resolution} px, too small for a preview")
    rng = torch.Generator().manual_seed(config.seed)
    head = start_at_block(generator)
    features, ws, targets = observe(generator, config, rng)
    with torch.no_grad():
        styles = generator.last_styles(ws)
    groups = [{"params": [p], "lr": config.lr * float(p.detach().std(correction=0) + 1e-3)} for p in head.parameters()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    mean = 0.0
    for step in range(1, config.steps + 1):
        rows = torch.randint(len(features), (config.batch,), generator=rng)
        span = features.shape[-1] - config.crop + 1
        corners = torch.randint(span, (config.batch, 2), generator=rng).tolist()
        cuts = [
            (i, slice(y, y + config.crop), slice(x, x + config.crop)) for i, (y, x) in zip(rows, corners, strict=True)
        ]
        x, wanted = (torch.stack([t[i, :, a, b] for i, a, b in cuts]).float() for t in (features, targets))
        x = x.contiguous(memory_format=torch.channels_last)
        drawn = head(x, tuple(style[rows] for style in styles))
        error = (drawn - wanted)[:, :, 2:-2, 2:-2].square().mean()
        optimizer.zero_grad(set_to_none=True)
        error.backward()
        optimizer.step()
        schedule.step()
        mean += (float(error.detach()) - mean) * max(0.01, 1 / step)
        if step % 100 == 0:
            yield step, mean**0.5
    generator.preview = head.eval().requires_grad_(False)
    generator.config = replace(generator.config, preview=True)


@torch.no_grad()
def start_at_block(generator: MobileStyleGAN) -> Preview:
    """A head that treats the average band as the last block would, if its features were smooth."""
    block, bands = generator.blocks[-1], generator.bands
    assert isinstance(block, Block)
    first, second = block.conv0, block.conv1
    assert first.depthwise is not None and second.depthwise is not None
    head = Preview(*generator.config.channels[-2:])
    state = {name: torch.zeros_like(value) for name, value in head.state_dict().items()}
    state["depthwise0.weight"][:, :, 1, 1] = first.depthwise.sum(dim=(2, 3)).repeat(4, 1) / 2
    state["pointwise0.weight"][:, : first.weight.shape[1]] = first.weight
    state |= {"pointwise0.bias": first.bias, "depthwise1.weight": second.depthwise, "pointwise1.weight": second.weight}
    state |= {"pointwise1.bias": second.bias, "rgb.weight": bands.weight[:3] / 2, "rgb.bias": bands.bias[:3] / 2}
    head.load_state_dict(state)
    return head


@torch.no_grad()
def observe(
    generator: MobileStyleGAN, config: PreviewConfig, rng: torch.Generator
) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n num_ws w_dim"], Float[Tensor, "n 3 h w"]]:
    """Features at a quarter of the size, the styles, and the true picture, for random styles."""
    seen: list[Tensor] = []
    block = generator.blocks[len(generator.config.channels) - 3]
    handle = block.register_forward_hook(lambda module, inputs, output: seen.append(output.bfloat16()))
    ws = mixed_styles(generator, config.samples, rng, config.spread)
    images = []
    kept, generator.preview = generator.preview, None
    try:
        with torch.autocast("cpu", torch.bfloat16):
            for one in ws.split(1):
                noise = generator.fixed_noise(1)
                images.append(generator.synthesis(one, noise, resolution=generator.img_resolution // 4).bfloat16())
    finally:
        handle.remove()
        generator.preview = kept
    return torch.cat(seen), ws, torch.cat(images)
