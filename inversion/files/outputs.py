"""A folder of results: a free name for each photograph's files, what earlier calls left there, and the report."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from generators.pictures.sources import Picture
from generators.storage import alone_in, as_json, from_json, is_file, write_bytes
from inversion.errors import WriteError
from inversion.files.latent_file import header_of

Record = dict[str, object]
LATENT = ".latent.safetensors"
ENDS = (".png", ".target.png", ".compared.png", ".filled.png", ".pasted.png", LATENT)  # of the files of one photograph
REPORT = "report.json"
PATHS = ("file", "latent", "filled", "pasted", "compared", "delta")  # of a record
NUMBER = 7  # bytes that are left for a number behind a stem


class Stems:
    """Names for the files of photographs in a folder, such that nothing of another photograph is replaced.

    Also not of one that another process writes in the meantime, where both give and write `alone_in` the folder.
    """

    def __init__(self, out: Path, photos: Iterable[str | Path]) -> None:
        """photos: all the files that are read; none of them is ever replaced."""
        self.out = out
        self.read = {os.path.realpath(photo).lower() for photo in photos}  # some disks ignore case
        self.there = {name.lower() for name in os.listdir(out)} if out.is_dir() else set()
        self.given: set[str] = set()
        self.counts: defaultdict[str, count[int]] = defaultdict(lambda: count(1))
        self.earlier: dict[str, list[tuple[str, object]]] | None = None

    def give(self, name: str, sha256: str | None = None, face: int | None = None) -> str:
        """A stem for a photograph of this name: the one that it had before, or else its own, numbered if need be."""
        own = shortened(Path(name).stem, longest_name(self.out) - len(LATENT) - NUMBER)
        before = [] if sha256 is None else self.of_earlier_calls().get(sha256, [])
        for stem, other in before:
            same_face = face is None or other is None or face == other
            if same_face and is_numbered(stem, own) and not self.taken(stem, self.given):
                return self.claim(stem)
        numbered = (own if n == 1 else f"{own}-{n}" for n in self.counts[own.lower()])
        free = (stem for stem in numbered if not self.taken(stem, self.given) and not self.stands(stem))
        return self.claim(next(free))

    def taken(self, stem: str, names: set[str]) -> bool:
        """Tell if one of the stem's files is among names, or is read."""
        files = [f"{stem}{end}" for end in ENDS]
        return any(f.lower() in names or os.path.realpath(self.out / f).lower() in self.read for f in files)

    def stands(self, stem: str) -> bool:
        """Tell if one of the stem's files is in the folder, from earlier or by now."""
        files = [f"{stem}{end}" for end in ENDS]
        return any(f.lower() in self.there or os.path.lexists(self.out / f) for f in files)

    def claim(self, stem: str) -> str:
        """The stem, from now on used."""
        self.given |= {f"{stem}{end}".lower() for end in ENDS}
        return stem

    def of_earlier_calls(self) -> dict[str, list[tuple[str, object]]]:
        """The stems and faces of each photograph, by sha256, whose latents lie in the folder."""
        if self.earlier is None:
            self.earlier = {}
            for name in sorted(n for n in self.there if n.endswith(LATENT)):
                history = header_of(self.out / name).get("history")
                made = history if isinstance(history, dict) else {}
                alignment = made.get("alignment")
                face = alignment.get("face") if isinstance(alignment, dict) else None
                found = self.earlier.setdefault(str(made.get("photograph_sha256")), [])
                found.append((name.removesuffix(LATENT), face))
        return self.earlier


def stems(photos: Sequence[str | Path | Picture], out: Path) -> list[str]:
    """The stem of each photograph by its name alone, as a new folder gets them."""
    places = [photo.place if isinstance(photo, Picture) else photo for photo in photos]
    names = Stems(out, places)
    return [names.give(photo.name if isinstance(photo, Picture) else Path(photo).name) for photo in photos]


def is_numbered(stem: str, own: str) -> bool:
    """Tell a stem that is the photograph's own, or its own with a number."""
    begin, dash, number = stem.rpartition("-")
    return stem.lower() == own.lower() or (bool(dash) and begin.lower() == own.lower() and number.isdecimal())


def shortened(stem: str, room: int) -> str:
    """The stem, cut to so many bytes."""
    return os.fsencode(stem)[:room].decode("utf-8", "ignore") if len(os.fsencode(stem)) > room else stem


def longest_name(folder: Path) -> int:
    """How many bytes the name of a file in the folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # not on Windows, and not before the folder is there
        return 255


class Report:
    """report.json of a folder: the records of all calls, an earlier one replaced where its files are."""

    def __init__(self, folder: Path) -> None:
        """WriteError where something else than such a report stands there."""
        self.path = folder / REPORT
        if os.path.lexists(self.path):
            records_in(self.path)
        self.new: list[Record] = []

    def add(self, record: Record) -> None:
        """A record, without the folders that its files lie in, which are nobody else's concern."""
        own = record | {name: Path(str(record[name])).name for name in PATHS if name in record}
        if "error" in own:
            own["error"] = str(own["error"]).replace(str(record["file"]), str(own["file"]))
        self.new.append(own)

    def write(self) -> None:
        """Write what was known, also what another process has told since then, and what was added."""
        latents = {record.get("latent") for record in self.new} - {None}
        files = {record.get("file") for record in self.new}
        with alone_in(self.path.parent):
            old = records_in(self.path) if os.path.lexists(self.path) else []
            kept = [r for r in old if (r.get("file") not in files if "error" in r else r.get("latent") not in latents)]
            write_bytes((as_json([*kept, *self.new], indent=1) + "\n").encode(), self.path)


def records_in(path: Path) -> list[Record]:
    """The records of a report; WriteError where it is none."""
    try:
        found = from_json(path.read_bytes()) if is_file(path) else None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise WriteError(f"{path} is no report of earlier results; move it away, or choose another folder")
    return found


def without_results(photos: Sequence[Picture], asked: Sequence[str | Path], out: Path) -> list[Picture]:
    """The photographs without the pictures that earlier calls wrote beside their latents.

    What is asked for by its own name stays, unless it was written to out and there are others.
    """
    named, into = {os.path.realpath(one) for one in asked}, os.path.realpath(out)
    known: dict[str, set[str]] = {}
    left, kept = [], []
    for photo in photos:
        folder, name = os.path.split(os.path.realpath(photo.place))
        if photo.file is None or (os.path.join(folder, name) in named and folder != into):
            kept.append(photo)
            continue
        if folder not in known:
            known[folder] = written_in(Path(folder))
        (left if name in known[folder] else kept).append(photo)
    return kept or left


def written_in(folder: Path) -> set[str]:
    """The names of pictures in a folder that stand beside a latent, or whose latent a report names."""
    latents = {name for name in os.listdir(folder) if name.endswith(LATENT)}
    if is_file(folder / REPORT):
        try:
            latents |= {Path(str(record.get("latent"))).name for record in records_in(folder / REPORT)}
        except WriteError:
            pass
    return {name.removesuffix(LATENT) + end for name in latents for end in ENDS[:-1]}
