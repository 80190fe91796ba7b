"""Search in a folder of pictures: the nearest by latent or by identity."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from generators.base import Generator
from generators.pictures.image import READING, SOURCE, source_name, to_pil
from generators.pictures.sheet import sheet
from generators.pictures.sources import Content, Picture, pictures
from inversion.errors import FaceError, ImageError, InversionError, SettingsError, result_or_error
from inversion.faces.detect import describe
from inversion.files.chosen import is_latent
from inversion.files.latent_file import load_one
from inversion.inverter import Inverter
from inversion.latent import synthesize
from inversion.library.index import Measure, Rows, update
from inversion.watch import SILENT, Watch

VERSION = 1  # to be raised when equal settings come to give other numbers, so that old ones are not used
METRICS = ("raw", "whitened", "identity")


@dataclass(frozen=True)
class Matches:
    """The pictures that a search found."""

    query: Image.Image
    nearest: tuple[tuple[str, float], ...]  # name and distance
    skipped: dict[str, str]  # files without numbers, and why
    searched: int
    files: tuple[Picture, ...]  # of the nearest


def nearest_to(
    query: str,
    sources: str | Path | Sequence[str | Path],
    inverter: Inverter,
    watch: Watch = SILENT,
    *,
    metric: str = "raw",
    count: int = 11,
) -> Matches:
    """The pictures of folders, zips or `digits` that are nearest to a photograph or a saved latent, not itself.

    raw: Euclidean distance of w_plus codes. whitened: in units of how the pictures' codes spread, as `mahalanobis`
    tells. identity: of dlib's descriptors of the largest face, under 0.6 one person. Codes are those of
    `Inverter.coded`. watch counts the batches, and is told what happened to the index. Raises ImageError for a query
    that cannot be used, or where no picture can; SettingsError for another metric or count.
    """
    if metric not in METRICS or count < 1:
        raise SettingsError(f"metric {metric}, {count} pictures came; choose {', '.join(METRICS)}, and 1 or more")
    measure = by_identity() if metric == "identity" else by_code(inverter)
    picture, numbers = look_at(inverter.generator, query, measure, by_face=metric == "identity")
    sources = [sources] if isinstance(sources, str | Path) else sources
    rows: Rows = {}
    files: dict[str, Picture] = {}
    for source in sources:
        alone = len(sources) == 1
        called = {file.name: file.name if alone else file.place for file in pictures(source)}
        files |= {called[file.name]: file for file in pictures(source)}
        rows |= {called[name]: row for name, row in update(source, measure, watch).items()}
    names = [name for name, row in rows.items() if row.numbers is not None and not same_file(query, files[name])]
    if not names:
        where = ", ".join(map(str, sources))
        why = next((f" ({row.error})" for row in rows.values() if row.error is not None), "")
        raise ImageError(f"no picture in {where} can be compared by {metric}{why}; name another folder, or --no-align")
    table = torch.stack([row.numbers for name in names if (row := rows[name]).numbers is not None])
    far = mahalanobis(numbers, table) if metric == "whitened" else (table - numbers).norm(dim=1)
    order = far.argsort(stable=True)[:count].tolist()
    skipped = {name: row.error for name, row in rows.items() if row.error is not None}
    nearest = tuple((names[i], float(far[i])) for i in order)
    return Matches(picture, nearest, skipped, len(names), tuple(files[name] for name, _ in nearest))


def look_at(
    generator: Generator, query: str, measure: Measure, *, by_face: bool
) -> tuple[Image.Image, Float[Tensor, " numbers"]]:
    """A query's picture and its numbers."""
    if not is_latent(query):
        content = pictures(query)[0].content()
        picture, numbers = content.image(), measure.of([content])[0]
    else:
        latent = load_one(Path(query), generator)
        picture = to_pil(synthesize(generator, latent))
        picture.info[SOURCE] = query
        numbers = identity_of(picture) if by_face else latent.to_ws(generator).detach().flatten().cpu()
    if isinstance(numbers, InversionError):
        raise numbers
    return picture, numbers


def same_file(query: str, file: Picture) -> bool:
    """True for the very file that was asked for."""
    return file.file is not None and Path(query).resolve() == file.file.resolve()


def by_code(inverter: Inverter) -> Measure:
    """Codes in w_plus, photographs aligned as `invert` does it, or taken as they are."""
    weights = hashlib.sha256()
    for name, value in sorted(inverter.generator.state_dict().items()):  # the encoder's as well, unlike its sha256
        weights.update(f"{name} {tuple(value.shape)}".encode())
        weights.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    settings = [weights.hexdigest(), asdict(inverter.config), inverter.align, VERSION, READING]

    def of(photos: Sequence[Content]) -> list[Tensor | InversionError]:
        found = inverter.coded(photos)
        return [one if isinstance(one, InversionError) else one[1].detach().flatten().cpu() for one in found]

    return Measure(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(), of)


def by_identity() -> Measure:
    """dlib's descriptors, whatever the generator."""
    of = partial(result_or_error, lambda content: identity_of(content.image()))
    return Measure(f"identity-{VERSION}-{READING}", lambda photos: [of(content) for content in photos])


def identity_of(image: Image.Image) -> Tensor:
    """dlib's descriptor of the largest face; FaceError without one."""
    found = describe(image)
    if found is None:
        raise FaceError(f"no face found in {source_name(image)}; use a larger or frontal photograph")
    return torch.from_numpy(found).float()


def mahalanobis(query: Float[Tensor, " numbers"], table: Float[Tensor, "rows numbers"]) -> Float[Tensor, " rows"]:
    """Distance to each row in units of the rows' spread along each direction; numbers that go together count once.

    The covariance is shrunk as Ledoit and Wolf 2004 do it, so that it stands with fewer rows than numbers too.
    SettingsError where there are fewer than 3 rows, or all are the same.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    centred = table.double() - table.double().mean(dim=0)
    mean_variance = centred.square().mean()
    if len(table) < 3 or mean_variance == 0:
        raise SettingsError(f"whitened distance needs 3 pictures that differ, {len(table)} came; choose --metric raw")
    shrink = float(ledoit_wolf_shrinkage(centred.numpy(), assume_centered=True))
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    floor = shrink * mean_variance  # the variance where the rows show none
    variances = ((1 - shrink) * sizes.square() / len(table) + floor).clamp_min(1e-12 * float(mean_variance))
    away = table.double() - query.double()
    along = away @ axes.T
    beyond = (away.square().sum(dim=1) - along.square().sum(dim=1)).clamp_min(0)
    beyond = torch.zeros_like(beyond) if len(sizes) == table.shape[1] else beyond / floor.clamp_min(1e-12)
    return ((along.square() / variances).sum(dim=1) + beyond).sqrt().float()


def contact_sheet(found: Matches) -> Image.Image:
    """The query and what was found, nearest first, each with its distance and its name below its source."""
    shown = [found.query, *(file.read() for file in found.files)]
    far = (distance for _, distance in found.nearest)
    return sheet(shown, ["query", *(f"{x:.2f}, {file.name}" for x, file in zip(far, found.files, strict=True))])
