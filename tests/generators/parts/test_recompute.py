"""A backward that draws again finds what the one that kept everything finds."""

import pytest
import torch
from torch import nn

from generators.parts.recompute import bytes_kept, part, recomputing
from tests.generators.test_compose import MAKERS


@pytest.fixture(scope="module", params=[name for name in MAKERS if name != "plain"])
def drawer(request):
    return MAKERS[request.param]()


def gradients(g, again, *, bf16=False, resolution=None):
    """A picture, and its gradient by styles and noise."""
    ws = g.mapping(torch.randn(2, g.z_dim, generator=torch.Generator().manual_seed(1))).clone().requires_grad_()
    noise = tuple(n.requires_grad_() for n in g.sample_noise(2, 3))
    with recomputing(again), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        image = g.synthesis(ws, noise, resolution=resolution or g.img_resolution)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    return image, torch.autograd.grad((image * weights).sum(), (ws, *noise), allow_unused=True)


@pytest.mark.parametrize("bf16", [False, True])
def test_drawing_again_changes_no_bit_of_picture_and_gradient(drawer, bf16):
    (plain, wanted), (image, found) = (gradients(drawer, again, bf16=bf16) for again in (False, True))
    assert torch.equal(image, plain)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True) if b is not None)
    assert wanted[0].abs().sum() > 0


def test_smaller_pictures_are_drawn_again_too(drawer):
    (_, wanted), (_, found) = (
        gradients(drawer, again, resolution=drawer.img_resolution // 2) for again in (False, True)
    )
    assert torch.equal(found[0], wanted[0])


def test_each_part_runs_twice_and_only_where_it_is_asked_for(drawer):
    runs, module = [], next(m for name, m in drawer.named_modules() if name in ("blocks.1", "layers.1"))
    handle = module.register_forward_pre_hook(lambda *_: runs.append(1))
    for again, wanted in ((False, 1), (True, 2)):
        runs.clear()
        gradients(drawer, again)
        assert len(runs) == wanted
    with recomputing(), torch.no_grad():  # nothing is differentiated, so nothing is computed twice
        drawer.synthesis(drawer.mapping(torch.zeros(1, drawer.z_dim)), drawer.fixed_noise(1))
    assert len(runs) == 3
    handle.remove()


def test_drawing_again_keeps_less(drawer):
    ws = drawer.mapping(torch.zeros(1, drawer.z_dim)).clone().requires_grad_()
    kept = []
    for again in (False, True):
        with recomputing(again):
            draw = lambda: drawer.synthesis(ws, drawer.fixed_noise(1))  # noqa: E731
            kept.append(bytes_kept(draw, [ws, *drawer.state_dict().values()]))
    assert kept[1] < 0.5 * kept[0]


def test_the_bytes_that_a_backward_keeps():
    x = torch.zeros(10, 10, requires_grad=True)
    weight = nn.Parameter(torch.ones(10, 10), requires_grad=False)
    assert bytes_kept(lambda: x + 1, [x]) == 0  # a sum needs nothing
    assert bytes_kept(lambda: x * weight, [x, weight]) == 0  # what is there anyway
    assert bytes_kept(lambda: x * weight, [x]) == 400
    assert bytes_kept(lambda: x.exp().exp(), [x]) == 800  # both results
    assert bytes_kept(lambda: (x * 2).square().view(5, 20), []) == 400  # one storage counts once


def test_an_error_ends_the_drawing_again():
    seen = []
    with pytest.raises(ValueError), recomputing():
        raise ValueError
    x = torch.ones(2, requires_grad=True)
    part(lambda t: seen.append(1) or t * t, x).sum().backward()
    assert len(seen) == 1
