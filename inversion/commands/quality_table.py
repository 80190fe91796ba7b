"""What `latent evaluate --model` says: its figures as lines, each kind under its convention, and as one object."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

from generators.base import Generator
from inversion.measures.model import QualityConfig

WIDTH = 118  # characters a line of a convention
CONVENTIONS = {
    "real": "real pictures at the generator's size. Identity: Euclidean distance of dlib's descriptors, pictures "
    "enlarged to 256 px, mean over all pairs with a face. Laplacian energy: mean square of luma minus blurred luma, "
    "mean over pictures, relative to the held-out ones'. Fréchet distance of the descriptors: held-out to training "
    "pictures; of training pictures, a part of them as many as the samples to the rest",
    "reconstruction": "held-out pictures. Medians; PSNR 10 log10(4 / MSE), images in [-1, 1]; identity: to the picture "
    "at the generator's size, under 0.6 is one person; milliseconds of search a picture on this machine",
    "midpoints": "of pairs of inverted held-out people: spherical about w_avg, linear, and the plain average of their "
    "reconstructions' pixels. Laplacian energy relative to the mean of the two reconstructions', median over pairs; "
    "sharpness is its root",
    "path_length": "perceptual path length, Karras et al. 2019, of straight whole paths between samples in w, epsilon "
    "1e-4, through the model's own discriminator (features of unit length, mean over pixels and levels): comparable "
    "under one discriminator only",
    "samples": "measured as the real pictures; Laplacian energy relative to held-out and to training pictures; Fréchet "
    "distance to the training pictures, or to the held-out ones where there are no others",
    "memorised": "identity distance of the first 200 samples at the last truncation to the nearest training face, "
    "beside that of held-out people and of random training faces to one another; nearer: share of samples that lie "
    "nearer than the nearest tenth of the held-out people, 10 % by chance, more also where samples are all alike",
}
FIGURES = {
    "pictures": "{} pictures", "samples": "{} samples", "pairs": "{} pairs", "psnr_db": "PSNR {:.2f} dB",
    "identity": "identity {:.3f}", "same_person": "under 0.6 {:.1%}", "ms": "{:.0f} ms", "face_rate": "face {:.1%}",
    "identity_between": "identity between {:.3f}", "laplacian_energy": "Laplacian energy {:.5f}",
    "laplacian_ratio": "Laplacian ratio {:.3f}", "laplacian_to_training": "to training {:.3f}",
    "sharpness": "sharpness {:.3f}", "frechet": "Fréchet {:.4f}", "path_length": "path length {:.2f}",
    "nearest_median": "median {:.3f}", "nearest_least": "least {:.3f}", "held_out_median": "held out {:.3f}",
    "held_out_least": "least {:.3f}", "strangers_median": "random {:.3f}", "nearer_than_tenth": "nearer {:.1%}",
}  # fmt: skip


def quality_line(record: Mapping[str, Any], previous: str | None = None) -> str:
    """A record of `measure_model` as a line; under its convention, unless the previous line was of the same measure."""
    told = [text.format(record[name]) for name, text in FIGURES.items() if record.get(name) is not None]
    told += [f"no {name}: {why}" for name, why in record["missing"].items()]
    told += [f"{record['failed']} failed"] if record.get("failed") else []
    line = f"  {record['setting']:<34}{'  '.join(told)}"
    measure = record["measure"]
    convention = fill(f"{measure.replace('_', ' ')}: {CONVENTIONS[measure]}", WIDTH)
    return line if measure == previous else f"{convention}\n{line}"


def quality_summary(
    generator: Generator,
    source: Path,
    config: QualityConfig,
    records: Iterable[Mapping[str, Any]],
    *,
    data: Sequence[Path] = (),
) -> dict[str, Any]:
    """All that `measure_model` told as one object: on what it was taken, a list for each measure, the conventions."""
    summary: dict[str, Any] = {
        "generator": generator.name, "sha256": generator.sha256, "resolution": generator.img_resolution,
        "source": source.name, "data": [folder.name for folder in data], "settings": asdict(config),
        **{measure: [] for measure in CONVENTIONS},
    }  # fmt: skip
    for record in records:
        summary[record["measure"]].append({k: v for k, v in record.items() if k != "measure"})
    return {**summary, "conventions": CONVENTIONS}
