import copy
import urllib.request
import warnings
from urllib.error import URLError

import pytest
import torch

from inversion.errors import FeatureError, SettingsError
from inversion.features import BACKBONES, Lpips, discriminator_features, fit_size, lpips_network


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).tanh()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache, and no network."""

    def unreachable(request, timeout=None):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def published():
    """LPIPS as its package computes it, on an untrained backbone."""
    import lpips

    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False).requires_grad_(False)


@pytest.mark.parametrize("net", BACKBONES)
def test_without_weights_the_error_says_what_to_fetch_and_where_to_put_it(net, offline):
    with pytest.raises(FeatureError) as caught:
        lpips_network(net)
    message = str(caught.value)
    assert f"https://download.pytorch.org/models/{BACKBONES[net]}" in message
    assert str(offline / BACKBONES[net]) in message and "no route to host" in message
    assert "the default objective needs none" in message and "\n" not in message


def test_backbones_are_those_that_torchvision_wants():
    from torchvision import models

    weights = {"alex": models.AlexNet_Weights, "vgg": models.VGG16_Weights, "squeeze": models.SqueezeNet1_1_Weights}
    for net, kind in weights.items():
        assert kind.IMAGENET1K_V1.url == f"https://download.pytorch.org/models/{BACKBONES[net]}"


def test_a_cached_backbone_needs_no_network(offline, capfd):
    from torchvision import models

    offline.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        backbone = models.squeezenet1_1()
    torch.save(backbone.state_dict(), offline / BACKBONES["squeeze"])
    state = torch.random.get_rng_state()
    network = lpips_network("squeeze")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    loaded = {key: p for key, p in network.named_parameters() if key.startswith("model.net.")}
    assert any(torch.equal(backbone.state_dict()["features.0.weight"], p) for p in loaded.values())


def test_a_damaged_backbone_is_named(offline):
    offline.mkdir(parents=True)
    (offline / BACKBONES["squeeze"]).write_bytes(b"half of it")
    with pytest.raises(FeatureError, match=f"{BACKBONES['squeeze']} is damaged; delete it"):
        lpips_network("squeeze")


def test_an_unknown_net_is_refused():
    with pytest.raises(SettingsError, match="no LPIPS net named 'resnet'; choose one of alex, vgg, squeeze"):
        lpips_network("resnet")


def test_lpips_equals_the_published_code(published):
    a, b = draw(2, 3, 64, 64), draw(2, 3, 64, 64, seed=1)
    network = Lpips(published)
    torch.testing.assert_close(network(a, b), published(a, b).flatten())
    torch.testing.assert_close(network(a, a), torch.zeros(2))
    assert (network(a, b) > 0).all()


def test_lpips_sees_small_images_enlarged_and_grey_ones_as_rgb(published):
    a, b = draw(1, 3, 16, 16), draw(1, 3, 16, 16, seed=1)
    network = Lpips(published)
    large = [torch.nn.functional.interpolate(x, (64, 64), mode="bilinear") for x in (a, b)]
    torch.testing.assert_close(network(a, b), network(*large))
    grey = a[:, :1], b[:, :1]
    torch.testing.assert_close(network(*grey), network(*(g.expand(-1, 3, -1, -1) for g in grey)))


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((16, 16), (64, 64)), ((64, 99), (64, 99)), ((200, 256),) * 2, ((512, 512), (256, 256)), ((300, 600), (128, 256))],
)
def test_fit_size(size, fitted):
    x = draw(1, 3, *size)
    y = fit_size(x, 64, 256)
    assert y.shape == (1, 3, *fitted)
    torch.testing.assert_close(y.mean(), x.mean(), rtol=0, atol=0.02)
    assert (y is x) == (size == fitted)


def test_discriminator_features(generator):
    with pytest.raises(FeatureError, match="^tiny has no discriminator features; use --loss pixel=1,laplacian=1$"):
        discriminator_features(generator)


def test_a_discriminator_is_asked_for_its_features(generator):
    class Fake(torch.nn.Module):
        def features(self, image):
            return image, image[:, :1]

    generator = copy.deepcopy(generator)
    generator.discriminator = Fake()
    first, second = discriminator_features(generator)(torch.ones(1, 3, 4, 4))
    assert first.shape == (1, 3, 4, 4) and second.shape == (1, 1, 4, 4)
