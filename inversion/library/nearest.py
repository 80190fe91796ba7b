"""Search in a folder of pictures: the nearest by latent or by identity."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from generators.base import Generator
from generators.pictures.image import SOURCE, read_image, source_name, to_pil
from generators.pictures.sheet import sheet
from generators.pictures.sources import pictures
from inversion.batch import attempt
from inversion.config import InvertConfig
from inversion.errors import FaceError, ImageError, SettingsError
from inversion.faces.detect import describe
from inversion.files.latent_file import LATENTS, load_one
from inversion.latent import synthesize
from inversion.library.collection import Counted, codes_of, settings_for
from inversion.library.index import Measure, update
from inversion.target import Target, load_target

VERSION = 1  # to be raised when equal settings come to give other numbers, so that old ones are not used
METRICS = ("raw", "whitened", "identity")


@dataclass(frozen=True)
class Found:
    """What a search gives."""

    query: Image.Image
    nearest: tuple[tuple[str, float], ...]  # name and distance
    skipped: dict[str, str]  # files without numbers, and why
    searched: int


def find(
    query: str,
    source: str | Path,
    generator: Generator,
    *,
    metric: str = "raw",
    count: int = 11,
    config: InvertConfig | None = None,
    align: bool = True,
    counted: Counted = lambda items, what, total: items,
    say: Callable[[str], object] = lambda message: None,
) -> Found:
    """The pictures of a folder, a zip or `digits` that are nearest to a photograph or a saved latent, not itself.

    raw: Euclidean distance of w_plus codes. whitened: in units of how the pictures' codes spread, as `mahalanobis`
    tells. identity: of dlib's descriptors of the largest face, under 0.6 one person. Codes are found as config says,
    None as `settings_for` does. counted draws a bar, say is told what happened to the index. Raises ImageError for a
    query that cannot be used, or where no picture can; SettingsError for another metric or count.
    """
    if metric not in METRICS or count < 1:
        raise SettingsError(f"metric {metric}, {count} pictures came; choose {', '.join(METRICS)}, and 1 or more")
    config = config or settings_for(generator)
    measure = by_identity() if metric == "identity" else by_code(generator, config, align)
    picture, numbers = look_at(query, generator, measure, by_face=metric == "identity")
    rows = update(source, measure, counted=counted, say=say)
    names = [name for name, row in rows.items() if row.numbers is not None and not same_file(query, source, name)]
    if not names:
        raise ImageError(f"no picture in {source} can be compared by {metric}; name another folder, or --no-align")
    table = torch.stack([row.numbers for name in names if (row := rows[name]).numbers is not None])
    far = mahalanobis(numbers, table) if metric == "whitened" else (table - numbers).norm(dim=1)
    order = far.argsort(stable=True)[:count].tolist()
    skipped = {name: row.error for name, row in rows.items() if row.error is not None}
    return Found(picture, tuple((names[i], float(far[i])) for i in order), skipped, len(names))


def look_at(
    query: str, generator: Generator, measure: Measure, *, by_face: bool
) -> tuple[Image.Image, Float[Tensor, " numbers"]]:
    """A query's picture and its numbers."""
    if Path(query).suffix.lower() not in LATENTS:
        picture = read_image(query)
        numbers = measure.of([picture])[0]
    else:
        latent = load_one(Path(query), generator)
        picture = to_pil(synthesize(generator, latent))
        picture.info[SOURCE] = query
        numbers = measure.of([picture])[0] if by_face else latent.to_ws(generator).detach().flatten().cpu()
    if isinstance(numbers, ImageError):
        raise numbers
    return picture, numbers


def same_file(query: str, source: str | Path, name: str) -> bool:
    """Whether a picture of a folder is the very file that was asked for."""
    return Path(source).is_dir() and Path(query).resolve() == (Path(source) / name).resolve()


def by_code(generator: Generator, config: InvertConfig, align: bool) -> Measure:
    """Codes in w_plus, photographs aligned as `invert` does it, or taken as they are."""
    weights = hashlib.sha256()
    for name, value in sorted(generator.state_dict().items()):  # the encoder's as well, unlike Generator.sha256
        weights.update(f"{name} {tuple(value.shape)}".encode())
        weights.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    settings = [weights.hexdigest(), asdict(config), align, VERSION]

    def of(images: Sequence[Image.Image]) -> list[Tensor | ImageError]:
        loaded = [attempt(load_target, image, generator, align=align) for image in images]
        targets = [one.image for one in loaded if isinstance(one, Target)]
        codes = iter(codes_of(generator, torch.cat(targets), config).flatten(1).cpu() if targets else ())
        return [next(codes) if isinstance(one, Target) else one for one in loaded]

    return Measure(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(), of)


def by_identity() -> Measure:
    """dlib's descriptors, whatever the generator."""

    def one(image: Image.Image) -> Tensor:
        found = describe(image)
        if found is None:
            raise FaceError(f"no face found in {source_name(image)}; use a larger or frontal photograph")
        return torch.from_numpy(found).float()

    return Measure(f"identity-{VERSION}", lambda images: [attempt(one, image) for image in images])


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


def contact_sheet(found: Found, source: str | Path) -> Image.Image:
    """The query and what was found, nearest first, each with its distance."""
    files = {file.name: file for file in pictures(source)}
    shown = [found.query, *(files[name].read() for name, _ in found.nearest)]
    return sheet(shown, ["query", *(f"{far:.2f}, {name}" for name, far in found.nearest)])
