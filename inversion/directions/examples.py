"""Examples with values, from a table of files and numbers."""

import csv
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from inversion.errors import SettingsError

FEWEST = 10  # examples of a kind


def check_examples(values: Sequence[float]) -> None:
    """SettingsError for fewer than ten of a kind, one kind alone, or what is no number; to be asked before the work."""
    numbers = np.array(values, float)
    if not np.isfinite(numbers).all():
        raise SettingsError("values hold what is no number; give one for each example")
    kinds, counts = np.unique(numbers, return_counts=True)
    if len(kinds) < 2:
        raise SettingsError(f"{len(numbers)} examples of one kind came; give some of the other too, ten or more")
    if len(kinds) == 2 and counts.min() < FEWEST:
        told = " and ".join(map(str, counts))
        raise SettingsError(f"{told} of a kind came; a direction takes {FEWEST} of each, or more")
    if len(numbers) < 2 * FEWEST:
        raise SettingsError(f"{len(numbers)} examples came; a direction takes {2 * FEWEST} numbers, or more")


def read_table(path: Path | str) -> tuple[list[Path], list[float]]:
    """The files and numbers of a table: a row for each, FILE,NUMBER; the first may be a head.

    Files are looked for beside the table. SettingsError, with the row, for a number or a file that is not there.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(i, row) for i, row in enumerate(csv.reader(file), 1) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeError, csv.Error) as error:
        raise SettingsError(f"{path} cannot be read as a table ({error}); write FILE,NUMBER a row") from error
    found = [(i, path.parent / row[0].strip(), number_of(row)) for i, row in rows]
    if found and found[0][2] is None and not found[0][1].exists():
        found = found[1:]  # the head
    for i, file, number in found:
        if number is None:
            raise SettingsError(f"{path}, row {i}: no number follows {file.name}; write FILE,NUMBER")
        if not file.exists():
            raise SettingsError(f"{path}, row {i}: there is no {file}; files are looked for beside the table")
    return [file for _, file, _ in found], [number for *_, number in found if number is not None]


def number_of(row: Sequence[str]) -> float | None:
    """The number in a row's second cell; None where there is none."""
    try:
        number = float(row[1])
    except (IndexError, ValueError):
        return None
    return number if isfinite(number) else None
