"""The numbers of a folder's pictures, kept beside it, so that only new and changed ones are looked at.

An index is a safetensors file with a table for each key, which stands for all that its numbers depend on. Tensor
KEY holds a row of numbers for each file that has some, in the order of the header, which tells each file's name, size,
time of change, sha256, and why it has no numbers where it has none.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from generators.pictures.digits import WORD
from generators.pictures.sources import BROKEN, Content, Picture, Stamp, is_digits, pictures
from generators.storage import cache_folder, from_json, is_file, write_kept
from inversion.errors import ImageError, InversionError, WriteError
from inversion.watch import SILENT, Watch

INDEX, FORMAT = ".latent-index.safetensors", "latent-index-1"
TABLES = 4  # kept in an index; the one that was made longest ago goes first


@dataclass(frozen=True)
class Row:
    """A file's row of an index: its numbers, or why it has none."""

    stamp: Stamp | None  # None: it could not be read, and is tried again
    sha256: str  # of its content
    numbers: Float[Tensor, " numbers"] | None
    error: str | None = None


Rows = dict[str, Row]  # by name


@dataclass(frozen=True)
class Measure:
    """The numbers that pictures are compared by."""

    key: str  # all that the numbers depend on, hashed
    of: Callable[[Sequence[Content]], list[Float[Tensor, " numbers"] | InversionError]]


def update(
    source: str | Path,
    measure: Measure,
    watch: Watch = SILENT,
    *,
    batch: int = 32,
) -> Rows:
    """A row for each picture of the source, in their order; the index keeps them, also after Ctrl-C.

    A file is looked at where its name is new, or its size, time and content have changed. ImageError if there is no
    picture. watch is told where an index was damaged or cannot be kept.
    """
    files, tables = pictures(source), read_index(source, watch)
    stamps = {file.name: stamp_of(file) for file in files}
    known = tables.pop(measure.key, {})
    kept = {file.name for file in files if file.name in known and known[file.name].stamp == stamps[file.name]}
    rows = {name: known[name] for name in kept}
    by_content = {row.sha256: row for row in known.values() if row.error is None}
    new = [file for file in files if file.name not in kept]
    try:
        for first in watch.counted(range(0, len(new), batch), "batches", -(-len(new) // batch)):
            rows |= measure_files(new[first : first + batch], stamps, by_content, measure)
    finally:
        rows = {file.name: rows[file.name] for file in files if file.name in rows}
        if new or rows.keys() != known.keys():
            write_index(source, {measure.key: rows, **tables}, watch)
    return rows


def measure_files(
    files: Sequence[Picture], stamps: dict[str, Stamp | None], by_content: dict[str, Row], measure: Measure
) -> Rows:
    """New rows; a content that is known already, under another name or time, is not looked at again."""
    rows: Rows = {}
    contents: dict[str, Content] = {}
    for file in files:
        try:
            content = file.content()
            if content.sha256 in by_content:
                rows[file.name] = replace(by_content[content.sha256], stamp=stamps[file.name])
            else:
                rows[file.name] = Row(stamps[file.name], content.sha256, None)
                contents[file.name] = content
        except ImageError as error:
            row = rows.get(file.name, Row(None, "", None))
            rows[file.name] = replace(row, error=str(error))
    for name, found in zip(contents, measure.of(list(contents.values())), strict=True):
        why = {"error": str(found)} if isinstance(found, InversionError) else {"numbers": found}
        rows[name] = replace(rows[name], **why)
    return rows


def stamp_of(file: Picture) -> Stamp | None:
    """The stamp of a file, which tells without reading it that it is still the same; None where it cannot be had."""
    try:
        return file.stamp()
    except BROKEN:
        return None


def places(source: str | Path) -> list[Path]:
    """The places where a source's index can be: in the folder, or, where that cannot be written to, in the cache."""
    path = Path(source)
    name = WORD if is_digits(source) else str(path.resolve())
    cached = cache_folder("indexes") / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"
    return [path / INDEX, cached] if path.is_dir() else [cached]


def read_index(source: str | Path, watch: Watch) -> dict[str, Rows]:
    """The tables of a source's index by key, the newest first; none where it has none, or a damaged one."""
    there = [path for path in places(source) if is_file(path)]
    for path in sorted(there, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            return parse(path)
        except (OSError, SafetensorError, AttributeError, LookupError, TypeError, ValueError) as error:
            watch.say(f"the index {path} is damaged ({type(error).__name__}); it is made again")
    return {}


def parse(path: Path) -> dict[str, Rows]:
    """The tables of an index file; raises one of many kinds where it is not what `write_index` writes."""
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # no longer backed by the file
    if about.get("format") != FORMAT:
        raise ValueError(f"format {about.get('format')!r}")
    tables = {}
    for key, entries in from_json(about["tables"]).items():
        numbers = tensors[key]
        named = [name for name, _, _, error in entries if error is None]
        if numbers.ndim != 2 or numbers.dtype != torch.float32 or not numbers.isfinite().all():
            raise ValueError("numbers of another kind")
        own = dict(zip(named, numbers, strict=True))
        tables[key] = {name: row_of(stamp, digest, own.get(name), error) for name, stamp, digest, error in entries}
    return tables


def row_of(stamp: Any, digest: Any, numbers: Tensor | None, error: Any) -> Row:
    """A row out of JSON values, whose types are checked."""
    whole = stamp is None or (len(stamp) == 2 and all(isinstance(value, int) for value in stamp))
    if not (whole and isinstance(digest, str) and (error is None or isinstance(error, str))):
        raise ValueError("values of other types")
    return Row(None if stamp is None else (stamp[0], stamp[1]), digest, numbers, error)


def write_index(source: str | Path, tables: dict[str, Rows], watch: Watch) -> None:
    """Write the first tables where they can be written; watch is told where they cannot."""
    tensors, header = {}, {}
    for key, rows in list(tables.items())[:TABLES]:
        header[key] = [(name, row.stamp, row.sha256, row.error) for name, row in rows.items()]
        found = [row.numbers for row in rows.values() if row.numbers is not None]
        tensors[key] = torch.stack(found) if found else torch.zeros(0, 0)
    data = to_bytes(tensors, metadata={"format": FORMAT, "tables": json.dumps(header)})
    refused = []
    for path in places(source):
        try:
            return write_kept(path, data)  # it tells of faces: nobody else may read it, also beside the photographs
        except WriteError as error:
            refused.append(str(error))
    watch.say(f"the index cannot be kept: {refused[-1]}")
