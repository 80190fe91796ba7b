from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from generators.pictures.image import to_pil
from inversion.errors import FeatureError
from inversion.faces import detect, identity
from inversion.faces.identity import CHIP_PX, PADDING, chip_of, cut_chips, face_network, integer
from inversion.features import Faces
from inversion.losses import TERMS, Candidate, TermContext
from tests.conftest import tiny_generator


@pytest.fixture(scope="module")
def face() -> Image.Image:
    import skimage.data

    return Image.fromarray(skimage.data.astronaut()).crop((100, 0, 356, 256))


@pytest.fixture(scope="module")
def other(face):
    """Another picture of the face, turned a little."""
    return face.rotate(4, Image.Resampling.BICUBIC)


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def shape_of(image):
    shapes, pixels = detect._detect(image, 1.0)
    return max(shapes, key=lambda s: s.rect.area()), pixels


def test_it_is_dlibs_network_on_dlibs_chip(face, other):
    dlib = detect._dlib()
    for image in (face, other):
        shape, pixels = shape_of(image)
        chip = dlib.get_face_chip(pixels, shape, CHIP_PX, PADDING)
        wanted = np.array(detect._recognizer().compute_face_descriptor(chip))
        found = face_network()(tensor(Image.fromarray(chip)))[0].numpy()
        assert np.abs(found - wanted).max() < 1e-5


def test_the_chip_is_dlibs_chip(face, other):
    dlib = detect._dlib()
    for image in (face, other):
        shape, pixels = shape_of(image)
        wanted = dlib.get_face_chip(pixels, shape, CHIP_PX, PADDING)
        found = cut_chips(tensor(image), chip_of(image)[None])
        assert (found - tensor(Image.fromarray(wanted))).abs().max() * 127.5 < 1.01  # dlib cuts off, we do not round
        distance = np.linalg.norm(face_network()(found)[0].numpy() - detect.describe(image))
        assert distance < 0.01


def test_the_gradient_is_that_of_differences(face):
    x = tensor(face).double()
    chips, network = chip_of(face)[None].double(), face_network().double()
    try:
        line = torch.arange(CHIP_PX, dtype=torch.float64)
        y_, x_ = torch.meshgrid(line, line, indexing="ij")
        grid = torch.einsum("hwk,bdk->bhwd", torch.stack([x_, y_, torch.ones_like(x_)], dim=-1), chips)

        def value(image):
            chip = torch.nn.functional.grid_sample(image + 1, grid, align_corners=False) - 1
            return network.maps(chip)[-1].square().sum()

        image = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(value(image), image)
        step = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-6
        difference = float(value(x + step) - value(x - step)) / 2
        assert abs(float((grad * step).sum()) - difference) < 1e-4 * abs(difference) + 1e-12
    finally:
        network.float()


def context(*images):
    return TermContext(generator=tiny_generator(), target=torch.cat([tensor(i) for i in images]))


def candidate(*images):
    return Candidate(torch.cat([tensor(i) for i in images]), torch.zeros(len(images), 1, 1), ())


@pytest.mark.parametrize("name", ["identity", "face"])
def test_the_terms_are_nothing_at_the_target_and_pull_elsewhere(name, face, other):
    term = TERMS[name](context(face))
    assert float(term(candidate(face))) < 1e-9
    image = tensor(other).requires_grad_()
    value = term(Candidate(image, torch.zeros(1, 1, 1), ()))
    (grad,) = torch.autograd.grad(value.sum(), image)
    assert float(value.detach()) > 1e-3 and grad.isfinite().all() and grad.abs().max() > 0


def test_the_identity_term_is_dlibs_distance_squared(face, other):
    dlibs = np.linalg.norm(detect.describe(face) - detect.describe(other))
    seen = Faces(tensor(face))
    same_place = seen.describe(seen.maps(tensor(other)))
    assert float(TERMS["identity"](context(face))(candidate(other))) == pytest.approx(
        float((same_place - seen.describe(seen.maps(tensor(face)))).square().sum()), rel=1e-5
    )
    assert dlibs < 0.3  # one person


def test_a_picture_without_a_face_costs_nothing(face):
    blank = Image.new("RGB", face.size, "grey")
    value = TERMS["identity"](context(blank, face))(candidate(face, face))
    assert value[0] == 0 and value[1] < 1e-9


def test_faces_of_any_size_are_looked_at_in_256_px(face):
    large = face.resize((512, 512), Image.Resampling.BICUBIC)
    small, big = Faces(tensor(face)), Faces(tensor(large))
    distance = small.describe(small.maps(tensor(face))) - big.describe(big.maps(tensor(large)))
    assert float(distance.norm()) < 0.1
    assert to_pil(tensor(large)).size == (512, 512)


def test_packed_integers():
    assert integer(b"\x01\x02", 0) == (2, 2)
    assert integer(b"xx\x02\x00\x01", 2) == (256, 5)
    assert integer(b"\x81\x07", 0) == (-7, 2)


def test_a_damaged_file_is_one_line(monkeypatch, tmp_path):
    real = Path(detect.model_file("dlib_face_recognition_resnet_model_v1.dat")).read_bytes()
    path = tmp_path / "model.dat"
    monkeypatch.setattr(identity, "model_file", lambda name: path)
    for data in (b"", real[:1_000_000], real.replace(b"con_4", b"con_5")):
        path.write_bytes(data)
        with pytest.raises(FeatureError, match="is not dlib's face network"):
            identity.face_network.__wrapped__()
