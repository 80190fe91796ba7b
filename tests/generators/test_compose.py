import pytest
import torch

from generators.base import Stage, averaged, drawn
from generators.compose import compose, laid
from generators.errors import GeneratorError
from generators.stylegan3 import StyleGAN3, StyleGAN3Config
from tests.conftest import tiny_generator, tiny_mobile
from tests.plain_generator import Flat


def tiny_stylegan3():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"img_resolution": 32, "z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 8, "num_layers": 4}
        return StyleGAN3(StyleGAN3Config(**sizes)).eval().requires_grad_(False)  # type: ignore[arg-type]


MAKERS = {"stylegan2": tiny_generator, "mobile": tiny_mobile, "stylegan3": tiny_stylegan3, "plain": Flat}


@pytest.fixture(scope="module", params=MAKERS)
def drawer(request):
    return MAKERS[request.param]()


def two(generator):
    """Two people's styles, and one noise."""
    a, b = generator.mapping(torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(1))).split(1)
    return a, b, generator.fixed_noise(1)


def corner(size, part=2):
    mask = torch.zeros(1, 1, size, size)
    mask[:, :, : size // part, : size // part] = 1
    return mask


def test_stages_left_alone_end_in_the_picture(drawer):
    a, _, noise = two(drawer)
    size = drawer.img_resolution
    torch.testing.assert_close(averaged(drawn(drawer.draw_in_stages(a, noise, size)), size), drawer.synthesis(a, noise))


def test_nothing_changes_outside_of_the_mask(drawer):
    a, b, noise = two(drawer)
    mask = corner(drawer.img_resolution)
    changed = compose(drawer, a, noise, [(mask, b)]) - drawer.synthesis(a, noise)
    assert torch.equal(changed[:, :, mask[0, 0] == 0], torch.zeros_like(changed[:, :, mask[0, 0] == 0]))
    assert changed[:, :, mask[0, 0] == 1].abs().mean() > 1e-4


def test_equal_styles_and_empty_masks_change_no_bit(drawer):
    a, b, noise = two(drawer)
    plain, size = drawer.synthesis(a, noise), drawer.img_resolution
    for mask, styles in [(corner(size), a.clone()), (torch.zeros(1, 1, size, size), b)]:
        assert torch.equal(compose(drawer, a, noise, [(mask, styles)]), plain)
    assert torch.equal(compose(drawer, a, noise, []), plain)


def test_a_mask_of_all_is_the_other_picture(drawer):
    a, b, noise = two(drawer)
    if isinstance(drawer, StyleGAN3):
        return  # its margins keep their own styles
    whole = torch.ones(1, 1, 4, 4)
    torch.testing.assert_close(compose(drawer, a, noise, [(whole, b)]), drawer.synthesis(b, noise))


def test_two_masks_apart_are_each_as_alone_near_their_middles():
    generator = Flat()
    a, b, noise = two(generator)
    size = generator.img_resolution
    left, right = torch.zeros(1, 1, size, size), torch.zeros(1, 1, size, size)
    left[..., : size // 2], right[..., size // 2 :] = 1, 1
    both = compose(generator, a, noise, [(left, b), (right, b)])
    torch.testing.assert_close(both, generator.synthesis(b, noise))


def test_a_smaller_picture_is_composed_as_well():
    generator = tiny_mobile()
    a, b, noise = two(generator)
    small = compose(generator, a, noise, [(corner(32), b)], resolution=8)
    torch.testing.assert_close(small, averaged(compose(generator, a, noise, [(corner(32), b)]), 8), atol=0.2, rtol=0)
    assert torch.equal(small[:, :, 4:], generator.synthesis(a, noise, resolution=8)[:, :, 4:])


def test_styles_that_differ_no_more_are_drawn_no_more(monkeypatch):
    generator = tiny_mobile()
    a, b, noise = two(generator)
    early = torch.cat([b[:, :4], a[:, 4:]], dim=1)  # 4 and 8 px, of 4, 8 and 16
    block, calls = type(generator.blocks[1]), []
    whole = compose(generator, a, noise, [(corner(32), early)])
    forward = block.forward
    monkeypatch.setattr(block, "forward", lambda self, *args: calls.append(self) or forward(self, *args))
    assert torch.equal(compose(generator, a, noise, [(corner(32), early)]), whole)
    assert calls.count(generator.blocks[0]) == 3 and calls.count(generator.blocks[1]) == 2  # the plain one, and others
    calls.clear()
    compose(generator, a, noise, [(corner(32), b)])
    assert calls.count(generator.blocks[1]) == 3


def test_masks_are_laid_inside_of_margins():
    mask = torch.ones(1, 1, 8, 8)
    inside = laid(mask, Stage((), 0, 2.0), 16)
    assert inside[0, 0, 4:12, 4:12].min() == 1 and inside.sum() == 64
    assert torch.equal(laid(corner(8), Stage(()), 4), corner(4))


def test_gradients_pass(drawer):
    a, b, noise = two(drawer)
    b = b.clone().requires_grad_()
    compose(drawer, a, noise, [(corner(drawer.img_resolution), b)]).square().sum().backward()
    assert b.grad is not None and b.grad.abs().sum() > 0


def test_what_does_not_fit_is_refused(generator):
    a, _, noise = two(generator)
    with pytest.raises(GeneratorError, match=r"styles of a region are \(1, 5, 8\)"):
        compose(generator, a, noise, [(corner(16), a[:, :5])])
    for wrong in (torch.ones(1, 1, 8, 4), torch.ones(3, 1, 8, 8), torch.ones(8, 8)):
        with pytest.raises(GeneratorError, match="a mask is"):
            compose(generator, a, noise, [(wrong, a)])
