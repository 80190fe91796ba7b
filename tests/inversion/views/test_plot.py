import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from inversion.config import LatentSpace, settings_for
from inversion.errors import SettingsError, SpaceMismatch
from inversion.inverter import Inverter
from inversion.latent import Latent, synthesize
from inversion.library.collection import collect
from inversion.views.page import TEMPLATE, write_page
from inversion.views.plot import COLOURS, SHAPES, Points, draw, figure, manifold, points_of, project
from tests.conftest import pixels
from tests.layers import ROOT
from tests.plain_generator import Flat


def codes(count=40, numbers=5, seed=0):
    spread = torch.arange(numbers, 0, -1.0)
    return (torch.randn(count, numbers, generator=torch.Generator().manual_seed(seed)) * spread)[:, None]


def dots(labels, dims=2):
    count = len(labels)
    where = np.random.default_rng(0).normal(size=(count, dims))
    pictures = tuple(Image.new("RGB", (4, 4), (i, 10, 20)) for i in range(count))
    return Points(
        where=where,
        axes=tuple("abc"[:dims]),
        title="some </script> & codes",
        labels=tuple(labels),
        names=tuple(f"<{i}>.png" for i in range(count)),
        pictures=pictures,
    )


# From codes to places


def test_raw_places_are_the_codes_themselves():
    where, axes = project(codes(numbers=3), 3)
    np.testing.assert_array_equal(where, codes(numbers=3)[:, 0].double().numpy())
    assert axes == ("number 1", "number 2", "number 3")
    where, _ = project(codes(numbers=5), 2, "raw")
    np.testing.assert_array_equal(where, codes(numbers=5)[:, 0, :2].double().numpy())


def test_pca_keeps_most_of_the_distances_and_says_how_much():
    where, axes = project(codes(400), 2)
    flat = codes(400)[:, 0].double().numpy()
    variances = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    np.testing.assert_allclose(where.var(axis=0, ddof=1), variances[:2], rtol=1e-6)
    assert axes[0] == f"component 1 ({variances[0] / variances.sum():.0%} of variance)"


@pytest.mark.parametrize("dims", [2, 3])
def test_tsne_keeps_groups_together_and_depends_on_the_seed_alone(dims):
    groups = codes(30) * 0.1 + 8 * torch.eye(5)[torch.arange(30) % 3][:, None]
    where, axes = project(groups, dims, "tsne")
    assert where.shape == (30, dims) and axes[-1] == f"t-SNE {dims}"
    far = np.linalg.norm(where[:, None] - where[None], axis=2) + 1e9 * np.eye(30)
    assert (far.argmin(axis=1) % 3 == np.arange(30) % 3).mean() > 0.9
    np.testing.assert_array_equal(where, project(groups, dims, "tsne")[0])


def test_places_that_cannot_be_found():
    with pytest.raises(SettingsError, match="2 dimensions needs 3 codes"):
        project(codes(count=2), 2)
    with pytest.raises(SettingsError, match="2 numbers, 3 are to be drawn"):
        project(codes(numbers=2), 3, "raw")
    with pytest.raises(SettingsError, match="choose raw, pca, tsne, umap in 2 or 3"):
        project(codes(), 4)
    try:
        import umap  # type: ignore[import-not-found] # noqa: F401
    except ImportError:
        with pytest.raises(SettingsError, match="pip install umap-learn"):
            project(codes(), 2, "umap")
    assert not np.isnan(project(torch.ones(5, 1, 4), 2)[0]).any()  # all the same


# The picture


def test_labels_have_looks_of_their_own_in_their_order():
    groups = dots(["10", "9", None, "b", "9"]).groups
    assert list(groups) == ["9", "10", "b", None]
    assert [count for _, _, count in groups.values()] == [2, 1, 1, 1]
    many = dots([f"{i:02}" for i in range(45)]).groups
    looks = [(colour, shape) for colour, shape, _ in many.values()]
    assert len(set(looks[:40])) == 40 and len(set(looks[40:])) == 1
    ten = looks[:10]
    assert len({colour for colour, _ in ten}) == 10 == len(COLOURS) and len({s for _, s in ten}) == len(SHAPES)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("thumbnails", [False, True])
def test_the_figure_shows_all_that_it_should(dims, thumbnails):
    points = dots([str(i % 3) for i in range(30)], dims)
    page = figure(points, thumbnails=thumbnails)
    page.draw_without_rendering()
    (axes,), (legend,) = page.axes, page.legends
    assert axes.get_title() == points.title and axes.get_xlabel() == "a" and axes.get_ylabel() == "b"
    assert [text.get_text() for text in legend.get_texts()] == ["0 (10)", "1 (10)", "2 (10)"]
    title, box = axes.title.get_window_extent(), legend.get_window_extent()
    assert not title.overlaps(box) and box.x1 <= page.bbox.x1 and title.y1 <= page.bbox.y1 + 1
    boxes = [artist for artist in axes.artists if hasattr(artist, "xybox")]
    assert bool(boxes) == thumbnails
    frames = [artist.get_window_extent() for artist in boxes]
    assert not any(a.overlaps(b) for i, a in enumerate(frames) for b in frames[:i])


def test_no_legend_without_labels():
    assert not figure(dots([None] * 5)).legends


def test_files_by_suffix_and_equal_each_time(tmp_path):
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    for kind, start in starts.items():
        path = tmp_path / "new" / f"plot.{kind}"
        draw(dots(["a", "b"]), path)
        assert path.read_bytes().startswith(start)
    assert len(np.unique(pixels(tmp_path / "new" / "plot.png").reshape(-1, 3), axis=0)) > 10
    with pytest.raises(SettingsError, match="png, .svg, .pdf"):
        draw(dots(["a"]), tmp_path / "plot.bmp")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["plot.pdf", "plot.png", "plot.svg"]


@pytest.mark.slow
def test_a_notebooks_backend_is_none_of_our_business():
    """matplotlib refuses to be imported with a backend that it does not know."""
    code = "from inversion.figure import new_figure; import os; new_figure(); print(os.environ['MPLBACKEND'])"
    backend = "module://nowhere.inline"
    environment = os.environ | {"MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == backend, done.stderr


def test_points_of_a_collection(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = collect(["digits"], Inverter(model := Flat(), settings_for(model)), limit=25)
    points = points_of(Flat(), some, dims=3)
    np.testing.assert_allclose(points.where, some.codes[:, 0].double().numpy())
    assert points.labels == some.labels and points.title == "25 codes of flat"
    picture = np.asarray(points.pictures[3].convert("L")) / 127.5 - 1
    np.testing.assert_allclose(picture, some.images[3, 0].numpy(), atol=0.01)


# The page


def held(path):
    text = path.read_text(encoding="utf-8")
    return text, json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_the_page_holds_the_points_and_their_pictures(tmp_path, dims):
    points = dots(["b", "a", None, "a"], dims)
    write_page(points, tmp_path / "plot.html")
    _, data = held(tmp_path / "plot.html")
    np.testing.assert_allclose(data["where"], points.where, atol=1e-6)
    assert data["names"] == list(points.names) and data["title"] == points.title
    assert [data["groups"][g]["label"] for g in data["group"]] == ["b", "a", "no label", "a"]
    atlas = Image.open(io.BytesIO(base64.b64decode(data["atlas"].split(",")[1])))
    side, columns = data["side"], data["columns"]
    for i in range(4):
        left, top = i % columns * side, i // columns * side
        assert atlas.getpixel((left, top)) == (i, 10, 20) == atlas.getpixel((left + side - 1, top + side - 1))


def test_the_page_asks_nothing_of_a_network_and_no_name_breaks_out(tmp_path):
    write_page(dots(["</script><script>alert(1)</script>"] * 3), tmp_path / "plot.html")
    text, _ = held(tmp_path / "plot.html")
    assert not re.search(r"https?:|//\w+\.\w|@import|\bfetch\b|XMLHttpRequest|\bsrc=|href=", text)
    assert "default-src 'none'" in text and text.count("</script>") == 2 == text.count("<script")
    assert "{{" not in text


def test_the_pages_script_is_sound(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    script = re.findall(r"<script>(.*?)</script>", TEMPLATE.read_text(), re.S)
    (tmp_path / "page.js").write_text(script[0])
    subprocess.run([node, "--check", tmp_path / "page.js"], check=True)


def test_large_pictures_are_made_small_for_the_page(tmp_path):
    points = dots(["a"] * 3)
    large = Points(**{**vars(points), "pictures": (Image.new("RGB", (300, 300), (200, 30, 40)),) * 3})
    write_page(large, tmp_path / "plot.html")
    _, data = held(tmp_path / "plot.html")
    atlas = Image.open(io.BytesIO(base64.b64decode(data["atlas"].split(",")[1])))
    assert data["side"] == 96 and atlas.size == (192, 192)
    assert np.abs(np.array(atlas.getpixel((48, 48))) - (200, 30, 40)).max() < 6


# The manifold


def corners(seed=0):
    return [Latent(code[None], LatentSpace.W_PLUS, ()) for code in codes(4, 3, seed) * 0.1]


def test_the_manifold_is_bilinear_between_its_corners():
    generator, four = Flat(), corners()
    page = np.asarray(manifold(generator, four, tiles=3, kind="linear").convert("L")).astype(float)
    assert page.shape == (3 * 64 + 2 * 2,) * 2
    a, b, c, d = (synthesize(generator, latent)[0, 0].numpy() * 127.5 + 127.5 for latent in four)
    wanted = {(0, 0): a, (0, 2): b, (2, 0): c, (2, 2): d, (0, 1): (a + b) / 2, (1, 1): (a + b + c + d) / 4}
    for (row, column), image in wanted.items():
        tile = page[row * 66 : row * 66 + 64, column * 66 : column * 66 + 64]
        np.testing.assert_allclose(tile, np.kron(image, np.ones((16, 16))), atol=1.01)


def test_the_spherical_manifold_keeps_lengths_about_w_avg():
    generator = Flat()
    generator.w_avg.fill_(0.05)
    ends = [Latent(0.05 + torch.tensor([[v]]), LatentSpace.W_PLUS, ()) for v in ([0.3, 0, 0], [0, 0.3, 0.0])]
    page = np.asarray(manifold(generator, [ends[0], ends[1]] * 2, tiles=3).convert("L")).astype(float)
    middle = torch.from_numpy(page[1:64:16, 66 + 1 : 66 + 64 : 16] / 127.5 - 1).float().flatten() @ generator.axes.T
    assert float((middle - 0.05).norm()) == pytest.approx(0.3, abs=0.02)


def test_corners_that_make_no_manifold():
    with pytest.raises(SettingsError, match="3 corners"):
        manifold(Flat(), corners()[:3])
    with pytest.raises(SettingsError, match="1 tiles"):
        manifold(Flat(), corners(), tiles=1)
    one, *others = corners()
    flat = Latent(one.code[:, 0], LatentSpace.W, ())
    with pytest.raises(SpaceMismatch):
        manifold(Flat(), [flat, *others])
