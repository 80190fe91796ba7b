import math

import numpy as np
import pytest
import torch
from PIL import Image

from generators.base import averaged
from generators.pictures.image import to_tensor
from inversion import metrics
from inversion.errors import SettingsError
from inversion.metrics import (
    compare,
    identity_distance,
    laplacian_energy,
    lpips_distance,
    ms_ssim,
    psnr,
    ssim,
    summary,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).tanh()


def test_psnr_of_a_constant_difference():
    a = draw(3, 3, 16, 16)
    b = a + torch.tensor([2.0, 0.2, 0.0])[:, None, None, None]
    torch.testing.assert_close(psnr(a, b), torch.tensor([0.0, 20.0, math.inf]), rtol=0, atol=1e-3)


def test_psnr_agrees_with_its_8_bit_form():
    a, b = (np.random.default_rng(seed).integers(0, 256, (1, 3, 16, 16)) for seed in (0, 1))
    expected = 10 * math.log10(255**2 / float(((a - b) ** 2).mean()))
    found = psnr(*(torch.from_numpy(x / 127.5 - 1).float() for x in (a, b)))
    assert found.item() == pytest.approx(expected, abs=1e-4)


def test_ssim_of_equal_and_opposite_images():
    a = draw(2, 3, 32, 32)
    torch.testing.assert_close(ssim(a, a), torch.ones(2))
    assert (ssim(a, -a) < 0).all()


def test_ssim_of_two_constants_is_their_luminance():
    a, b = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.25)
    c1 = 0.02**2
    expected = (2 * 1.5 * 1.25 + c1) / (1.5**2 + 1.25**2 + c1)  # counted from black, which is -1
    torch.testing.assert_close(ssim(a, b), torch.tensor([expected]), rtol=1e-4, atol=0)


def test_ssim_is_symmetric_and_each_image_its_own():
    a, b = draw(3, 3, 32, 32), draw(3, 3, 32, 32, seed=1)
    torch.testing.assert_close(ssim(a, b), ssim(b, a))
    torch.testing.assert_close(ssim(a, b)[1:2], ssim(a[1:2], b[1:2]))


def test_ssim_window_by_hand():
    # In an 11 px image there is one window: the score is a weighted sum that can be written out.
    a, b = draw(1, 1, 11, 11), draw(1, 1, 11, 11, seed=1)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    x, y = (a[0, 0].double().numpy() + 1) / 2, (b[0, 0].double().numpy() + 1) / 2
    mx, my = (window * x).sum(), (window * y).sum()
    vx, vy, cov = ((window * p).sum() for p in ((x - mx) ** 2, (y - my) ** 2, (x - mx) * (y - my)))
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-4)


def test_lpips_distance_asks_the_network_without_a_graph():
    from inversion.features import Lpips

    class Stub(Lpips):
        def __init__(self):
            super().__init__(torch.nn.Identity())
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, a, b):
            return self.scale * (a - b).abs().mean(dim=(1, 2, 3))

    found = lpips_distance(torch.ones(2, 3, 16, 16), torch.zeros(2, 3, 16, 16), Stub())
    assert found.tolist() == [2, 2] and not found.requires_grad


def test_identity_distance(monkeypatch):
    black, white = Image.new("RGB", (16, 16)), Image.new("RGB", (16, 16), "white")
    # Four of 128 numbers differ by 0.5: sqrt(4 * 0.25) = 1.
    points = {0: np.zeros(128), 255: np.r_[np.full(4, 0.5), np.zeros(124)]}
    monkeypatch.setattr(metrics, "describe", lambda image: points[image.getpixel((0, 0))[0]])
    assert identity_distance(black, white) == 1.0
    assert identity_distance(white, white) == 0.0
    points[0] = None
    assert identity_distance(black, white) is None and identity_distance(white, black) is None


def test_people_and_their_copies(shared):
    photos = sorted((shared / "photos").glob("*.jpg"))[:2]
    if len(photos) < 2:
        pytest.skip("needs two photographs in ../shared/portraits/photos")
    a, b = (Image.open(photo).convert("RGB") for photo in photos)
    a.thumbnail((400, 400))
    b.thumbnail((400, 400))
    copy, other = identity_distance(a, a.resize((a.width - 20, a.height - 20))), identity_distance(a, b)
    assert copy is not None and other is not None
    assert copy < metrics.SAME_PERSON and copy < other


def test_laplacian_energy_of_known_images():
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    checkerboard = (1.0 - 2 * ((rows + columns) % 2)).expand(1, 3, -1, -1)
    images = torch.cat([checkerboard, 0.5 * checkerboard, torch.full((1, 3, 16, 16), 0.7)])
    torch.testing.assert_close(laplacian_energy(images), torch.tensor([1.0, 0.25, 0.0]))
    torch.testing.assert_close(laplacian_energy(images[:, :1]), torch.tensor([1.0, 0.25, 0.0]))
    red = torch.cat([checkerboard[:, :1], torch.zeros(1, 2, 16, 16)], dim=1)
    torch.testing.assert_close(laplacian_energy(red), torch.tensor([0.299**2]))


def test_laplacian_energy_falls_with_blur():
    sharp = draw(2, 3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, stride=1, padding=1)
    assert (laplacian_energy(blurred) < 0.3 * laplacian_energy(sharp)).all()


def test_laplacian_energy_wants_rgb_or_grey():
    with pytest.raises(SettingsError, match="4 channels"):
        laplacian_energy(torch.zeros(1, 4, 16, 16))


def test_summary():
    assert summary([None, *map(float, range(11))]) == {"median": 5.0, "p10": 1.0, "p90": 9.0}
    assert summary([2.0, 1.0]) == {"median": 1.5, "p10": 1.1, "p90": 1.9}
    assert summary([3.0]) == {"median": 3.0, "p10": 3.0, "p90": 3.0}
    assert summary([None]) == summary([]) == {"median": None, "p10": None, "p90": None}
    assert summary([1.0, math.inf, math.inf])["p90"] == math.inf


def test_summary_agrees_with_numpy():
    values = np.random.default_rng(0).normal(size=37).tolist()
    assert list(summary(values).values()) == pytest.approx(np.quantile(values, [0.5, 0.1, 0.9]).tolist())


def test_ms_ssim_falls_as_noise_grows():
    x = draw(1, 3, 64, 64).cumsum(2).cumsum(3)
    x = x / x.abs().amax()
    scores = [float(ms_ssim(x, x + s * draw(1, 3, 64, 64, seed=1))) for s in (0.0, 0.05, 0.2, 0.8)]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert scores == sorted(scores, reverse=True) and scores[-1] < 0.7


@pytest.mark.parametrize("size", [(8, 8), (11, 11), (12, 16), (22, 22), (44, 90), (176, 176)])
def test_ms_ssim_of_two_constants_at_every_size(size):
    # Contrast is 1 everywhere, so luminance alone remains, to the power of the last scale's share.
    a, b = torch.full((1, 1, *size), 0.5), torch.full((1, 1, *size), -0.5)
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333][: max(1, min(5, int(math.log2(min(size) / 11)) + 1))]
    luminance = (2 * 1.5 * 0.5 + 4e-4) / (1.5**2 + 0.5**2 + 4e-4)  # counted from black, which is -1
    expected = torch.tensor([luminance ** (weights[-1] / sum(weights))])
    torch.testing.assert_close(ms_ssim(a, b), expected, rtol=1e-4, atol=0)


def test_large_pictures_are_measured_at_256_px(face_picture):
    large = to_tensor(face_picture.resize((512, 512)))
    noisy = large + 0.05 * torch.randn(large.shape, generator=torch.Generator().manual_seed(0))
    found, small = compare(noisy, large, faces=True), averaged(large, 256)
    assert found["psnr_db"] == pytest.approx(float(psnr(averaged(noisy, 256), small)[0]))
    assert found.keys() == {"psnr_db", "ssim", "perceptual", "identity", "landmarks"}
    assert 0 < found["perceptual"] < 1 and found["identity"] < 0.3 and found["landmarks"] < 0.05


def test_what_has_no_face_is_not_measured_by_one():
    flat = torch.zeros(1, 3, 16, 16)
    found = compare(flat, flat + 0.5, faces=True)
    assert found["identity"] is None and found["landmarks"] is None and found["perceptual"] is None


@pytest.fixture
def face_picture():
    import skimage.data

    return Image.fromarray(skimage.data.astronaut()).crop((100, 0, 356, 256))
