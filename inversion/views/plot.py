"""The latent space as a picture: codes in two or three dimensions, and the manifold between four images."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from generators.base import Generator
from generators.pictures.image import to_pil
from generators.storage import write_bytes
from inversion.config import LatentSpace
from inversion.edit.move import interpolate
from inversion.errors import SettingsError
from inversion.figure import new_figure
from inversion.latent import Latent, check_alike, render_all
from inversion.library.collection import Collection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("raw", "pca", "tsne", "umap")
KINDS = ("png", "svg", "pdf")
# Ten colours that all kinds of eyes tell apart: the "muted" scheme of Tol 2021, "Colour Schemes", and black.
COLOURS = ("#332288", "#ddcc77", "#117733", "#cc6677", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#000000")
SHAPES = ("circle", "triangle", "square", "diamond")
OTHERS = ("#aaaaaa", "circle")  # where no label is, or the colours and shapes are used up
MARKERS = {"circle": "o", "triangle": "^", "square": "s", "diamond": "D"}
MOST_TILES = 100  # a side of the manifold
TILE = 64  # px, shortest side of a tile of the manifold


@dataclass(frozen=True, kw_only=True)
class Points:
    """Codes in the plane or in space, with all that is drawn of them."""

    where: Float[np.ndarray, "count dims"]
    axes: tuple[str, ...]  # what each dimension is
    title: str
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    pictures: tuple[Image.Image, ...]

    @property
    def groups(self) -> dict[str | None, tuple[str, str, int]]:
        """Colour, shape and count of each label; in order of the labels, those without one last."""
        counts = Counter(label for label in self.labels if label is not None)
        styles = [(COLOURS[i % 10], SHAPES[(i + i // 20) % 4]) for i in range(40)]  # neighbours differ in both
        named = sorted(counts, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label))
        found: dict[str | None, tuple[str, str, int]] = {}
        for i, label in enumerate(named):
            colour, shape = styles[i] if i < len(styles) else OTHERS
            found[label] = (colour, shape, counts[label])
        missing = len(self.labels) - sum(counts.values())
        return found | ({None: (*OTHERS, missing)} if missing else {})


def points_of(
    generator: Generator, collection: Collection, *, dims: int = 2, method: str | None = None, seed: int = 0
) -> Points:
    """The codes of a collection in dims (2 or 3) dimensions, as `project` finds them."""
    where, axes = project(collection.codes, dims, method, seed)
    title = f"{len(collection):,} codes of {generator.name}"
    pictures = tuple(to_pil(image.clamp(-1, 1)) for image in collection.images)
    return Points(
        where=where, axes=axes, title=title, names=collection.names, labels=collection.labels, pictures=pictures
    )


def project(
    codes: Float[Tensor, "count num_ws w_dim"], dims: int, method: str | None = None, seed: int = 0
) -> tuple[Float[np.ndarray, "count dims"], tuple[str, ...]]:
    """Codes in dims dimensions, and what each is.

    raw: the first numbers of the codes themselves. pca: along the widest directions. tsne, umap: so that near codes
    stay near; distances of far ones mean nothing. None takes raw where there are just so many numbers, or else pca.
    SettingsError on another method, or too few codes for it.
    """
    flat = codes.flatten(1).cpu().double().numpy()
    count, numbers = flat.shape
    method = method or ("raw" if numbers == dims else "pca")
    check_codes(count, numbers, dims, method)
    if method == "raw":
        return flat[:, :dims], tuple(f"number {i + 1}" for i in range(dims))
    if method == "pca":
        return principal(flat, dims)
    make = neighbour_embedding if method == "tsne" else uniform_embedding
    name = "t-SNE" if method == "tsne" else "UMAP"
    return make(flat, dims, seed), tuple(f"{name} {i + 1}" for i in range(dims))


def check_codes(count: int, numbers: int, dims: int, method: str | None) -> None:
    """SettingsError unless so many codes of so many numbers can be drawn in dims dimensions."""
    method = method or ("raw" if numbers == dims else "pca")
    check_method(method, dims)
    if method == "raw" and numbers < dims:
        raise SettingsError(f"a code has {numbers} numbers, {dims} are to be drawn; choose fewer dimensions")
    least = {"raw": 1, "pca": dims + 1}.get(method, 5)
    if count < least or (method == "pca" and numbers < dims):
        wanted = f"{method} in {dims} dimensions needs {least} codes of {dims} numbers"
        raise SettingsError(f"{count} codes of {numbers} numbers came; {wanted}; name more pictures")


def check_method(method: str | None, dims: int) -> None:
    """SettingsError for a method that is unknown, or not installed; None is that of the codes."""
    if method not in (None, *METHODS) or dims not in (2, 3):
        raise SettingsError(f"{method} in {dims} dimensions is unknown; choose {', '.join(METHODS)} in 2 or 3")
    if method == "umap" and find_spec("umap") is None:
        raise SettingsError("umap is not installed; run: pip install umap-learn, or choose tsne")


def principal(flat: np.ndarray, dims: int) -> tuple[np.ndarray, tuple[str, ...]]:
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore"):  # where all codes are the same
        pca = PCA(dims, svd_solver="full").fit(flat)
    shares = np.nan_to_num(pca.explained_variance_ratio_)
    return pca.transform(flat), tuple(f"component {i + 1} ({s:.0%} of variance)" for i, s in enumerate(shares))


def neighbour_embedding(flat: np.ndarray, dims: int, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008), from the principal components on."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(flat) - 1) / 3)
    init = "pca" if flat.shape[1] >= dims else "random"
    return TSNE(dims, perplexity=perplexity, init=init, random_state=seed).fit_transform(flat).astype(np.float64)


def uniform_embedding(flat: np.ndarray, dims: int, seed: int) -> np.ndarray:
    """UMAP (McInnes et al. 2018), which is not among what this package installs."""
    from umap import UMAP  # type: ignore[import-not-found]

    neighbours = min(15, len(flat) - 1)
    return np.asarray(UMAP(n_components=dims, n_neighbors=neighbours, random_state=seed).fit_transform(flat), float)


def draw(points: Points, path: Path, *, thumbnails: bool = False) -> None:
    """Write the plot as .png, .svg or .pdf, with a legend of labels; thumbnails: pictures where they have room."""
    kind = path.suffix.lower().lstrip(".")
    if kind not in KINDS:
        raise SettingsError(f"{path} has the suffix {path.suffix!r}; name it with one of .{', .'.join(KINDS)}")
    buffer = io.BytesIO()
    made: Any = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]  # equal plots, equal files
    figure(points, thumbnails=thumbnails).savefig(buffer, format=kind, metadata=made)
    write_bytes(buffer.getvalue(), path)


def figure(points: Points, *, thumbnails: bool = False) -> "Figure":
    """The plot as a matplotlib figure."""
    solid = points.where.shape[1] == 3
    page = new_figure(figsize=(9.6, 7.2), dpi=150, layout="constrained")
    axes: Any = page.add_subplot(projection="3d" if solid else None)
    labels = np.array(points.labels, dtype=object)
    size = float(np.clip(24_000 / len(points.names), 12, 45))
    for label, (colour, shape, count) in points.groups.items():
        name = f"{'no label' if label is None else label} ({count:,})"
        rows = points.where[labels == label]
        look = {"c": colour, "marker": MARKERS[shape], "s": size, "label": name, "linewidths": 0.3, "edgecolors": "w"}
        axes.scatter(*rows.T, **look, alpha=0.5 if thumbnails else 0.9)
    for letter, text in zip("xyz", points.axes, strict=False):
        getattr(axes, f"set_{letter}label")(text)
    axes.set_title(points.title)
    axes.tick_params(labelsize=8)
    if solid:
        axes.set_box_aspect(None, zoom=0.95)
    else:
        axes.set_aspect("equal", adjustable="datalim")
    if any(label is not None for label in points.labels):
        legend = page.legend(loc="outside right upper", ncols=ceil(len(points.groups) / 30), frameon=False, fontsize=9)
        for handle in legend.legend_handles:
            handle.set(sizes=[36], alpha=1)  # type: ignore[union-attr] - of a scatter there is one
    if thumbnails:
        page.draw_without_rendering()  # places the axes, so that what is near on the page can be told
        add_thumbnails(axes, points)
    return page


def add_thumbnails(axes: Any, points: Points, side: float = 22) -> None:
    """Pictures, side points wide, framed in their label's colour; one that would cover another is left out."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    spots = points.where
    if spots.shape[1] == 3:
        from mpl_toolkits.mplot3d.proj3d import proj_transform

        spots = np.stack(proj_transform(spots[:, 0], spots[:, 1], spots[:, 2], axes.get_proj())[:2], axis=1)
    pixels = axes.transData.transform(spots) * 72 / axes.figure.dpi  # in points, as the boxes are measured
    taken = np.empty((0, 2))
    for i, picture in enumerate(points.pictures):
        if len(taken) and (np.abs(taken - pixels[i]).max(axis=1) < side + 5).any():
            continue
        taken = np.vstack([taken, pixels[i]])
        colour = points.groups[points.labels[i]][0]
        image = OffsetImage(np.asarray(picture), zoom=side / max(picture.size), interpolation="nearest")
        frame = {"edgecolor": colour, "linewidth": 1.4}
        axes.add_artist(AnnotationBbox(image, tuple(spots[i]), pad=0.08, bboxprops=frame))


def manifold(
    generator: Generator, corners: Sequence[Latent], *, tiles: int = 7, kind: str = "spherical"
) -> Image.Image:
    """The images between four: tiles x tiles of them, the corners upper left, upper right, lower left, lower right.

    Along the upper and the lower edge first, then down each column, as `edit.interpolate` does with kind; spherical
    turns about w_avg, in z about the origin. SettingsError unless four latents of one image each came.
    """
    if len(corners) != 4 or tiles < 2:
        raise SettingsError(f"{len(corners)} corners and {tiles} tiles came; give 4 corners, and at least 2 tiles")
    check_alike(corners)
    a, b, c, d = corners
    how = {"kind": kind, "center": None if a.space is LatentSpace.Z else generator.w_avg}
    if tiles > MOST_TILES:
        raise SettingsError(f"{tiles} tiles came; give at most {MOST_TILES} a side")
    t = [i / (tiles - 1) for i in range(tiles)]
    edges = [(interpolate(a, b, x, **how), interpolate(c, d, x, **how)) for x in t]
    latents = (interpolate(top, bottom, y, **how) for y in t for top, bottom in edges)
    size = generator.img_resolution * max(1, ceil(TILE / generator.img_resolution))
    pitch = size + max(2, size // 32)
    side = (tiles - 1) * pitch + size
    page = Image.new("RGB", (side, side), "white")
    for i, picture in enumerate(render_all(generator, latents, chunk=16)):
        large = picture.resize((size, size), Image.Resampling.NEAREST)
        page.paste(large, (i % tiles * pitch, i // tiles * pitch))
    return page
