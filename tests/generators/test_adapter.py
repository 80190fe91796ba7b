import copy
import warnings

import pytest
import torch
from torch import nn

from generators.adapter import adapt
from generators.base import Generator
from generators.errors import GeneratorError
from generators.unpickle.torch_save import load_torch
from inversion.config import InvertConfig, LatentSpace, recipe
from inversion.errors import LatentFileError
from inversion.files.latent_file import load_latent, save
from inversion.inverter import steps_of
from inversion.latent import sample_latent, synthesize
from inversion.metrics import psnr


def seeded(make, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


class Decoder(nn.Module):
    """z (batch, inputs) -> tanh image of 8 px."""

    def __init__(self, inputs: int = 4, channels: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, channels * 64))
        self.channels = channels

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layers(z)).reshape(-1, self.channels, 8, 8)


class Conditional(Decoder):
    def __init__(self) -> None:
        super().__init__(inputs=4 + 3)

    def forward(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(torch.cat([z, c], dim=1))


class Dcgan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 3, 8)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.up(z))


class Pair(nn.Module):
    """Styles (batch, 2, 5) -> image and something else, as stylegan2-pytorch's generator gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.draw = nn.Linear(10, 192)

    def forward(self, ws: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.tanh(self.draw(ws.flatten(1))).reshape(-1, 3, 8, 8), None


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(5))


def test_a_module(z):
    network = seeded(Decoder)
    g = adapt(network, z_dim=4)
    assert isinstance(g, Generator) and (g.z_dim, g.w_dim, g.c_dim, g.num_ws) == (4, 4, 0, 1)
    assert (g.img_resolution, g.img_channels, g.ws_resolutions, g.noise_shapes) == (8, 3, (8,), ())
    assert (g.name, g.encoder, g.discriminator) == ("Decoder", None, None)
    assert not network.training and not any(p.requires_grad for p in g.parameters())
    ws = g.mapping(z)
    assert torch.equal(ws, z[:, None]) and torch.equal(g.w_avg, torch.zeros(4))
    assert torch.equal(g.mapping(z, truncation_psi=0.5), 0.5 * z[:, None])
    assert torch.equal(g.synthesis(ws, g.fixed_noise(3)), network(z))
    assert g.fixed_noise(3) == g.sample_noise(3, 0) == ()


def test_a_callable_in_another_range(z):
    network = seeded(Decoder).eval()
    g = adapt(lambda z: (network(z) + 1) * 127.5, z_dim=4, value_range=(0, 255), name="mine")
    torch.testing.assert_close(g.synthesis(g.mapping(z), ()), network(z))
    assert g.name == "mine" and not list(g.parameters())


def test_gradients_flow(z):
    g = adapt(seeded(Decoder), z_dim=4)
    ws = g.mapping(z).clone().requires_grad_()
    g.synthesis(ws, ()).square().sum().backward()
    assert ws.grad is not None and (ws.grad.abs().sum(dim=(1, 2)) > 0).all()


def test_labels_travel_with_w(z):
    network = seeded(Conditional)
    g, c = adapt(network, z_dim=4, c_dim=3), torch.eye(3)
    assert (g.c_dim, g.w_dim) == (3, 7)
    ws = g.mapping(z, c)
    assert torch.equal(g.synthesis(ws, ()), network(z, c))
    assert torch.equal(g.mapping(z, c, truncation_psi=0.0), torch.cat([0 * z, c], dim=1)[:, None])
    torch.testing.assert_close(g.w_avg, torch.tensor([0, 0, 0, 0, 1 / 3, 1 / 3, 1 / 3]))
    with pytest.raises(GeneratorError, match=r"is conditional; pass c, one-hot labels \(batch, 3\)"):
        g.mapping(z)


def test_vectors_as_maps_of_one_pixel(z):
    network = seeded(Dcgan)
    g = adapt(network, z_dim=4, value_range=(0, 1))
    torch.testing.assert_close(g.synthesis(g.mapping(z), ()), network(z[:, :, None, None]) * 2 - 1)


def test_a_mapping_of_its_own(z):
    mapper = seeded(lambda: nn.Sequential(nn.Linear(4, 10), nn.Unflatten(1, (2, 5))))
    g = adapt(seeded(Pair), z_dim=4, mapping=mapper, ws_resolutions=(4, 8))
    assert (g.num_ws, g.w_dim, g.ws_resolutions) == (2, 5, (4, 8))
    assert torch.equal(g.mapping(z), mapper(z))
    assert torch.equal(g.mapping(z, truncation_psi=0.0), g.w_avg.expand(3, 2, 5))
    assert g.w_avg.shape == (5,)
    many = mapper(torch.randn(20_000, 4, generator=torch.Generator().manual_seed(9)))
    torch.testing.assert_close(g.w_avg, many.mean(dim=(0, 1)), atol=0.03, rtol=0)
    mapper = seeded(lambda: nn.Linear(4, 6))
    g = adapt(seeded(lambda: Decoder(6)), z_dim=4, mapping=mapper)
    assert (g.num_ws, g.w_dim) == (1, 6) and torch.equal(g.mapping(z), mapper(z)[:, None])


def test_grey_images(z):
    g = adapt(seeded(lambda: Decoder(channels=1)), z_dim=4, img_resolution=8)
    assert g.img_channels == 1 and g.synthesis(g.mapping(z), ()).shape == (3, 1, 8, 8)


# Refusals


def still(z):
    return torch.zeros(len(z), 3, 8, 8)


REFUSED = {
    "no gradient comes": lambda z: still(z),
    r"gives \(2, 3, 8\) for two vectors": lambda z: still(z)[:, :, 0],
    r"gives images of \(4, 8, 8\)": lambda z: torch.zeros(len(z), 4, 8, 8),
    r"gives images of \(3, 8, 4\)": lambda z: still(z)[..., :4],
    "gives dict for two vectors": lambda z: {"image": still(z)},
    "gives NoneType for two vectors": lambda z: None,
    "draws values from 1e.02 to 1e.02, and value_range is -1 to 1; pass the range": lambda z: still(z) + 100,
    "not finite": lambda z: still(z) / 0,
    "draws another image each time": lambda z: torch.rand(len(z), 3, 8, 8) + z.sum() * 0,
    "otherwise in a batch than alone": lambda z: still(z) + (z - z.mean(dim=0)).sum(dim=1)[:, None, None, None] / 4,
    "the network of .* fails .*boom": lambda z: 1 / 0 if z.ndim == 2 else [][len("boom") :].index("boom"),
    "check z_dim 4 and c_dim 0": lambda z: nn.functional.linear(z, torch.zeros(2, 5)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_keep_the_contract(words):
    with torch.random.fork_rng(), pytest.raises(GeneratorError, match=words) as caught:
        adapt(REFUSED[words], z_dim=4)
    assert "\n" not in str(caught.value)


def test_refused_settings(z):
    network = seeded(Decoder)
    for settings, words in [
        ({"value_range": (1, 0)}, r"value_range \(1, 0\) came"),
        ({"z_dim": 0}, "z_dim 0"),
        ({"img_resolution": 64}, "draws 8 px; img_resolution says 64"),
        ({"ws_resolutions": (4, 8)}, "2 ws_resolutions came"),
        ({"value_range": (0, 1)}, "draws values from -"),
        ({"mapping": lambda z: z[:, :, None, None]}, "the mapping gives"),
    ]:
        with pytest.raises(GeneratorError, match=words):
            adapt(network, **{"z_dim": 4, **settings})
    g = adapt(network, z_dim=4)
    with pytest.raises(GeneratorError, match=r"ws is \(3, 2, 4\); Decoder takes \(batch, 1, 4\)"):
        g.synthesis(z[:, None].repeat(1, 2, 1), ())


# TorchScript


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "mine.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(seeded(Decoder).eval(), torch.zeros(2, 4)).save(str(path))
    return path


def test_torchscript_needs_trust(script, z):
    for path in (script, str(script)):
        with pytest.raises(GeneratorError, match="TorchScript, which is a program; pass trust=True if"):
            adapt(path, z_dim=4)
    with open(script, "rb") as file, pytest.raises(GeneratorError, match="is TorchScript, which is a program"):
        load_torch(file)  # what a name or a path given for a generator goes through
    g = adapt(script, z_dim=4, trust=True)
    torch.testing.assert_close(g.synthesis(g.mapping(z), ()), seeded(Decoder).eval()(z))
    assert g.name == "mine" and g.sha256() == adapt(script, z_dim=4, trust=True).sha256()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.jit.load(str(script))
    assert torch.equal(adapt(loaded, z_dim=4).synthesis(z[:, None], ()), g.synthesis(z[:, None], ()))


def test_torchscript_that_is_damaged(script, tmp_path):
    script.write_bytes(script.read_bytes()[:900])
    for path in (script, tmp_path / "missing.ts"):
        with pytest.raises(GeneratorError, match="is not a readable TorchScript file") as caught:
            adapt(path, z_dim=4, trust=True)
        assert "\n" not in str(caught.value)


# With the rest of the library


def test_identity():
    one, other = seeded(Decoder), seeded(Decoder, seed=1)
    assert adapt(one, z_dim=4).sha256() == adapt(copy.deepcopy(one), z_dim=4, name="same").sha256()
    assert adapt(one, z_dim=4).sha256() != adapt(other, z_dim=4).sha256()
    assert adapt(one, z_dim=4).sha256() != adapt(one, z_dim=4, value_range=(-1.1, 1.1)).sha256()
    first, second = (adapt(lambda z, n=n: n.eval()(z), z_dim=4, name=str(i)) for i, n in enumerate((one, other)))
    assert first.sha256() != second.sha256()


@pytest.mark.parametrize("space", list(LatentSpace))
def test_inversion_finds_its_images_again(space, tmp_path):
    g = adapt(seeded(Decoder), z_dim=4, name="mine")
    latent = sample_latent(g, seed=3)
    image = synthesize(g, latent)
    config = InvertConfig(space=space, start="mean", steps=100, lr=0.1, w_jitter=0.0, optimize_noise=True, bf16=False)
    *_, step = steps_of(g, image, config)
    assert psnr(synthesize(g, step.latent), image) > 40
    save(step.latent, tmp_path / "a.latent.safetensors", g)
    again = synthesize(g, load_latent(tmp_path / "a.latent.safetensors", g))
    assert torch.equal(again, synthesize(g, step.latent))
    with pytest.raises(LatentFileError, match="was made with mine"):
        load_latent(tmp_path / "a.latent.safetensors", adapt(seeded(Decoder, seed=1), z_dim=4, name="other"))


def test_the_default_recipe():
    g = adapt(seeded(Decoder), z_dim=4)
    image = synthesize(g, sample_latent(g, seed=3))
    config = recipe(g, "default")
    loss = {name: weight for name, weight in config.loss.items() if name != "ms_ssim"}  # which needs larger images
    *_, step = steps_of(g, image, InvertConfig(steps=60, lr=0.1, loss=loss, bf16=False))
    assert psnr(synthesize(g, step.latent), image) > 25 and step.latent.code.shape == (1, 1, 4)
