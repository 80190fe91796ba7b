import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from generators.parts.channels_last import PIXELS, inverse_haar, pointwise, products, scale

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # torch's own, of forward derivatives


def draw(*shape, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x


def plain_inverse_haar(x):
    """Each channel's four bands as a transposed convolution with the four patterns."""
    signs = torch.tensor([[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]).to(x) / 2
    groups = x.unflatten(1, (4, -1)).transpose(1, 2).flatten(0, 1)
    return F.conv_transpose2d(groups, signs[:, None], stride=2).unflatten(0, (len(x), -1)).squeeze(2)


CASES = {
    "scale": (scale, lambda x, s: x * s[:, :, None, None], (draw(2, 3, 4, 5), draw(2, 3, seed=1))),
    "inverse_haar": (inverse_haar, plain_inverse_haar, (draw(2, 8, 3, 2),)),
    "pointwise": (pointwise, F.conv2d, (draw(2, 3, 4, 5), draw(4, 3, 1, 1, seed=1), draw(4, seed=2))),
}


@pytest.mark.parametrize("fast, plain, inputs", CASES.values(), ids=CASES)
def test_values_and_gradients_are_those_of_the_plain_formula(fast, plain, inputs):
    inputs = [t.clone().requires_grad_() for t in inputs]
    y, wanted = fast(*inputs), plain(*inputs)
    torch.testing.assert_close(y, wanted)
    seed = draw(*y.shape, seed=3)
    for ours, theirs in zip(
        torch.autograd.grad(y, inputs, seed), torch.autograd.grad(wanted, inputs, seed), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("fast, plain, inputs", CASES.values(), ids=CASES)
def test_derivatives_of_every_kind_are_right(fast, plain, inputs):
    inputs = tuple(t.clone().requires_grad_() for t in inputs)
    assert gradcheck(fast, inputs, check_forward_ad=True)
    assert gradgradcheck(fast, inputs)


@pytest.mark.parametrize("fast, plain, inputs", CASES.values(), ids=CASES)
def test_many_tangents_go_through_at_once(fast, plain, inputs):
    tangents = [torch.stack([draw(*t.shape, seed=i) for i in (4, 5, 6)]) for t in inputs]
    pushed = [
        torch.func.vmap(lambda *d, f=f: torch.func.jvp(f, tuple(inputs), tuple(d))[1])(*tangents) for f in (fast, plain)
    ]
    torch.testing.assert_close(*pushed)


@pytest.mark.parametrize("fast, plain, inputs", CASES.values(), ids=CASES)
def test_maps_stay_channels_last(fast, plain, inputs):
    assert fast(*inputs).is_contiguous(memory_format=torch.channels_last)


def test_products_of_maps_that_come_in_pieces():
    a, b = draw(3, 2, 40, 30), draw(3, 2, 40, 30, seed=1)
    assert 40 * 30 > PIXELS
    torch.testing.assert_close(products(a, b), (a * b).sum(dim=(2, 3)))


def test_only_the_gradients_that_are_asked_for_are_made():
    x, factors = draw(1, 2, 3, 3), draw(1, 2, seed=1).requires_grad_()
    scale(x, factors).sum().backward()
    torch.testing.assert_close(factors.grad, x.sum(dim=(2, 3)))
    assert x.grad is None
