"""The reader of MobileStyleGAN's graphs, on the package itself; skipped where random-face is not installed."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from generators.checkpoints.open import open_model, read_checkpoint
from generators.checkpoints.openvino import read_openvino
from generators.checkpoints.ours import load_model, save_model
from generators.hub.wheels import WHEELS, located
from tests.conftest import ROOT
from tests.generators.checkpoints.reading import refused

GOLDEN = ROOT.parent / "shared" / "mobilestylegan" / "golden.npz"


@pytest.fixture
def package(tmp_path):
    """A copy of the four files."""
    if (inside := located(WHEELS["ffhq"])) is None:
        pytest.skip("needs the package random-face: pip install --no-deps random-face==2021.7.21.1")
    return shutil.copytree(inside.parent, tmp_path / "data") / "SynthesisNetwork.xml"


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.is_file():
        pytest.skip("needs ../shared/mobilestylegan beside the repository")
    return {key: torch.from_numpy(value) for key, value in np.load(GOLDEN).items()}


def test_the_mapping_is_what_openvino_computes(ffhq, golden):
    assert (ffhq.map(golden["z"]) - golden["w"]).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "ws_"])
def test_the_picture_is_what_openvino_draws(ffhq, golden, kind):
    ws = golden["ws"] if kind else golden["w"][:1, None].expand(-1, ffhq.num_ws, -1)
    image = ffhq.synthesis(ws, ffhq.fixed_noise(1))
    parts = {"image_mean8": F.avg_pool2d(image, 8), "image_crop": image[..., 448:576, 448:576]}
    for name, found in parts.items():
        error = (found - golden[kind + name][:1]).abs()
        assert error.max() < 2e-4 and error.mean() < 2e-6
    half = ffhq.synthesis(ws, ffhq.fixed_noise(1), resolution=512)
    torch.testing.assert_close(half, F.avg_pool2d(image, 2), atol=1e-5, rtol=0)


def test_the_layout_and_the_terms(ffhq):
    assert (ffhq.num_ws, ffhq.w_dim, ffhq.img_resolution, len(ffhq.noise_shapes)) == (23, 512, 1024, 15)
    assert ffhq.ws_resolutions[:5] == (4, 8, 8, 8, 16) and ffhq.ws_resolutions[-2:] == (512, 1024)
    assert "Apache-2.0" in ffhq.card["licence"] and "non-commercial" in ffhq.card["licence"]
    assert ffhq.subject == "face"
    for noise in ffhq.fixed_noise(1)[1:]:
        assert abs(float(noise.square().mean()) - 1) < 1e-3


@pytest.mark.slow
def test_it_survives_a_file_of_ours(ffhq, tmp_path):
    save_model(ffhq, tmp_path / "f.safetensors")
    again = load_model(tmp_path / "f.safetensors")
    assert again.sha256() == ffhq.sha256() and again.card["licence"] == ffhq.card["licence"]


@pytest.mark.slow
def test_a_graph_is_a_model_file_like_any(package, ffhq, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENT_CACHE", str(tmp_path / "cache"))
    assert open_model(package).sha256() == ffhq.sha256()
    assert not list((tmp_path / "cache").rglob("*.safetensors"))  # the graph alone does not tell the weights


def change(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('version="opset1"', 'version="opset1" x="&bomb;"', "is no graph of OpenVINO .*undefined entity"),
        ("<net ", "<!DOCTYPE net [<!ENTITY a 'b'>]><net ", "declares a document type"),
        ('type="PReLU"', 'type="Relu"', "a graph of 940 operations, and not MobileStyleGAN's"),
        ('shape="512, 512, 3, 3"', 'shape="512, 512, 3, 1"', "not MobileStyleGAN's SynthesisNetwork"),
        ('pads_begin="1, 1"', 'pads_begin="0, 0"', "not MobileStyleGAN's SynthesisNetwork"),
        ("</net>", "", "is no graph of OpenVINO"),
        ('offset="13887924"', 'offset="93887924"', "declares numbers beyond"),
        ('offset="13887924"', 'offset="-4"', "declares numbers beyond"),
        ("<layers>", "<layers>" + "<rt_info/>" * 20_001, "over 20,000 elements"),
        ("<layers>", "<layers>" + "<a>" * 40 + "</a>" * 40, "nested too deep"),
    ],
)
def test_other_graphs_are_refused(package, old, new, words):
    change(package, old, new)
    refused(package, words)


def test_a_million_nodes_are_not_read(package):
    change(package, "<layers>", "<layers>" + "<layer/>" * 1_000_000)
    refused(package, "more than 2,000,000 bytes")


def test_numbers_cut_short(package):
    numbers = package.with_suffix(".bin")
    numbers.write_bytes(numbers.read_bytes()[:20_000_000])
    refused(package, r"declares numbers beyond the 20,000,000 bytes of SynthesisNetwork.bin, which is cut short")


def test_a_missing_file_is_named(package):
    package.with_name("MappingNetwork.bin").unlink()
    refused(package, "needs MappingNetwork.xml and MappingNetwork.bin beside it")


def test_the_wrong_graph_under_the_name(package):
    shutil.copy(package.with_name("MappingNetwork.xml"), package)
    refused(package, "a graph of 151 operations, and not MobileStyleGAN's SynthesisNetwork")


def test_a_web_page_is_still_one(tmp_path):
    (tmp_path / "page.xml").write_text("<html>not found</html>")
    refused(tmp_path / "page.xml", "a web page")


def test_numbers_that_are_not_finite(package):
    numbers = bytearray(package.with_suffix(".bin").read_bytes())
    numbers[14_000_000:14_000_004] = np.float32(np.nan).tobytes()
    package.with_suffix(".bin").write_bytes(numbers)
    refused(package, "not finite")


def test_read_checkpoint_takes_it(package):
    assert read_checkpoint(package).sha256() == read_openvino(package, {}).sha256()
