import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from generators.parts.winograd import convolve, pays

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:FutureWarning")  # torch's own, of forward derivatives


def draw(*shape, seed=0, dtype=torch.float64):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last)


def plain(x, weight):
    return F.conv2d(x, weight, padding=1)


def test_values_and_gradients_are_those_of_the_plain_convolution():
    x, weight = draw(2, 3, 8, 12).requires_grad_(), draw(5, 3, 3, 3, seed=1)
    y, wanted = convolve(x, weight), plain(x, weight)
    torch.testing.assert_close(y, wanted)
    seed = draw(*y.shape, seed=2)
    torch.testing.assert_close(torch.autograd.grad(y, x, seed), torch.autograd.grad(wanted, x, seed))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_derivatives_of_every_kind_are_right():
    x, weight = draw(1, 2, 4, 4).requires_grad_(), draw(2, 2, 3, 3, seed=1)
    assert gradcheck(convolve, (x, weight), check_forward_ad=True)
    assert gradgradcheck(convolve, (x, weight))


def test_many_tangents_go_through_at_once():
    x, weight, tangents = draw(1, 2, 4, 8), draw(3, 2, 3, 3, seed=1), torch.randn(3, 1, 2, 4, 8, dtype=torch.float64)
    pushed = [
        torch.func.vmap(lambda d, f=f: torch.func.jvp(lambda t: f(t, weight), (x,), (d,))[1])(tangents)
        for f in (convolve, plain)
    ]
    torch.testing.assert_close(*pushed)


def test_maps_that_come_in_pieces_stay_near_in_float32():
    x, weight = draw(1, 128, 32, 64, dtype=torch.float32), draw(128, 128, 3, 3, seed=1, dtype=torch.float32)
    wanted = plain(x.double(), weight.double())
    assert pays(x, weight)
    assert (convolve(x, weight) - wanted).abs().max() < 2e-5 * wanted.abs().max()


def test_only_what_is_wide_and_fixed_goes_this_way():
    x, weight = torch.zeros(1, 128, 32, 32), torch.zeros(128, 128, 3, 3)
    assert pays(x, weight) and not pays(x, weight.clone().requires_grad_())
    assert not pays(x[:, :, :30], weight) and not pays(x[:, :, :16], weight) and not pays(x.double(), weight.double())
    assert not pays(x, weight[:64]) and not pays(x, weight[:, :, :1, :1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not pays(x, weight)
