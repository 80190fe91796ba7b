"""Several styles in one picture, each inside of its mask.

All of them go through the layers side by side, and after every stage their features are brought together by the masks,
so that each layer draws one picture with styles that differ from place to place (after Collins et al. 2020, "Editing in
Style", and Kim et al. 2021, "Exploiting Spatial Dimensions of Latent in GAN for Real-time Image Editing").
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from generators.base import Drawing, Generator, Images, Noise, Stage, Styles, at, averaged
from generators.errors import GeneratorError
from generators.shapes import Float

Mask = Float[Tensor, "_ 1 _ _"]  # from 0 to 1, square, of any size; a batch of one serves all


def compose(
    generator: Generator,
    ws: Styles,
    noise: Noise,
    regions: Sequence[tuple[Tensor, Tensor]],  # masks (1 or batch, 1, size, size) and styles like ws
    *,
    resolution: int | None = None,
) -> Images:
    """`generator.synthesis(ws, noise)` with other styles inside of masks; where all masks are 0, bit for bit the same.

    Between 0 and a half a mask fades into that picture. Where masks overlap, what the styles change adds up. Styles
    that change nothing cost nothing. GeneratorError for what does not fit.
    """
    plain = generator.synthesis(ws, noise, **at(resolution))
    for mask, styles in regions:
        check_region(ws, mask, styles)
    regions = [(mask, styles) for mask, styles in regions if bool((styles != ws).any()) and bool(mask.any())]
    if not regions:
        return plain
    size = generator.check_inputs(ws, noise, resolution)
    masks, styles = [mask.to(plain) for mask, _ in regions], [ws, *(styles for _, styles in regions)]
    picture = averaged(together([generator.draw_in_stages(one, noise, size) for one in styles], styles, masks), size)
    cover = sum(laid(mask, Stage((picture,)), size) for mask in masks)
    assert isinstance(cover, Tensor)
    return plain + (2 * cover).clamp(0, 1) * (picture - plain)


def together(drawings: Sequence[Drawing], styles: Sequence[Styles], masks: Sequence[Mask]) -> Images:
    """Lead drawings through their stages together: the first, and one for each mask.

    Where styles differ no more in what is left, all go on alike, and so the first goes on for them.
    """
    running = list(range(len(drawings)))
    stages = {i: step(drawings[i], None) for i in running}
    while isinstance(first := stages[0], Stage):
        merged = merge([s for s in stages.values() if isinstance(s, Stage)], [masks[i - 1] for i in running[1:]])
        own = styles[0][:, first.used :]
        running = [i for i in running if not i or bool((styles[i][:, first.used :] != own).any())]
        stages = {i: step(drawings[i], merged) for i in running}
    pictures = [Stage((picture,)) for picture in stages.values() if isinstance(picture, Tensor)]
    return merge(pictures, [masks[i - 1] for i in running[1:]])[0]


def step(drawing: Drawing, maps: tuple[Tensor, ...] | None) -> Stage | Images:
    """The next stage of a drawing, or what it ends in."""
    try:
        return next(drawing) if maps is None else drawing.send(maps)
    except StopIteration as end:
        return end.value


def merge(stages: Sequence[Stage], masks: Sequence[Mask]) -> tuple[Tensor, ...]:
    """The first stage's maps, and inside of each mask what the other stage there adds to them."""
    first, merged = stages[0], []
    for i, own in enumerate(first.maps):
        changed = own
        for mask, other in zip(masks, stages[1:], strict=True):
            changed = changed + laid(mask, first, own.shape[-1]).to(own.dtype) * (other.maps[i] - own)
        merged.append(changed)
    return tuple(merged)


def laid(mask: Mask, stage: Stage, size: int) -> Mask:
    """The mask at the size of a stage's maps: averaged down or enlarged; nothing of it lies on margins."""
    edge = round((stage.extent - 1) / 2 * mask.shape[-1])
    whole = F.pad(mask, (edge, edge, edge, edge)) if edge else mask
    if size < whole.shape[-1]:
        return F.adaptive_avg_pool2d(whole, size)
    return F.interpolate(whole, size=(size, size), mode="bilinear", align_corners=False)


def check_region(ws: Styles, mask: Tensor, styles: Tensor) -> None:
    """GeneratorError unless mask and styles fit the styles of the whole picture."""
    if styles.shape != ws.shape:
        raise GeneratorError(f"styles of a region are {tuple(styles.shape)}; those of the picture {tuple(ws.shape)}")
    if mask.ndim != 4 or mask.shape[0] not in (1, len(ws)) or mask.shape[1] != 1 or mask.shape[2] != mask.shape[3]:
        raise GeneratorError(f"a mask is {tuple(mask.shape)}; wanted (1 or {len(ws)}, 1, size, size)")
