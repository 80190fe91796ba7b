"""Where pictures go: one file, numbered files in a folder, a labelled sheet, or standard output."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generators.storage import check_apart, check_file, check_folder, standard_output
from inversion.commands.process import printable
from inversion.commands.terminal import tell, wants_json
from inversion.errors import ImageError, SettingsError

if TYPE_CHECKING:
    from generators.base import Generator
    from generators.pictures.sources import Picture
    from inversion.commands.pasting import Pasting
    from inversion.latent import Latent


@dataclass(frozen=True)
class Rendering:
    """The latent of a picture, its label on a sheet, what else to tell about it (JSON values), and where it goes."""

    label: str
    latent: "Latent"
    about: Mapping[str, Any] = field(default_factory=dict)
    pasting: "Pasting | None" = None  # None: the picture is what the generator draws


@dataclass(frozen=True)
class Destination:
    """Where the pictures of one command go."""

    out: str  # a file, a folder (it exists or ends in a slash), or - for standard output
    count: int = 1  # of pictures
    sheet: bool | None = None  # None: where several go into one file
    save_latents: bool = False  # beside the pictures
    kind: str = "picture"  # of pictures, as files in a folder are named

    def check(self) -> None:
        """Refuse, before the work starts, what could not be written at its end; missing folders are made."""
        if self.out == "-" and self.save_latents:
            raise SettingsError("standard output takes a picture alone; give a file, or leave the latents out")
        if self.out == "-":
            standard_output()
        if self.count > 1 and not self.folder and not self.has_sheet:
            raise SettingsError(f"{self.count} pictures do not fit into {self.out}; allow a sheet, or name a folder/")
        check_place(self.out)
        for path in self.all_files() if self.out != "-" else ():
            check_file(path)

    @property
    def folder(self) -> bool:
        return is_folder(self.out)

    @property
    def has_sheet(self) -> bool:
        return self.count > 1 and not self.folder if self.sheet is None else self.sheet

    @property
    def files(self) -> list[str]:
        """The file of each picture: KIND-0001.png and so on in a folder."""
        numbered = [str(Path(self.out, f"{self.kind}-{i:04}.png")) for i in range(1, self.count + 1)]
        return numbered if self.folder else [self.out] * self.count

    @property
    def latents(self) -> list[Path]:
        """The file of each latent, where they are saved."""
        several = self.count > 1 and not self.folder
        paths = [(Path(file), f"-{i}" if several else "") for i, file in enumerate(self.files, 1)]
        return [p.with_name(f"{p.stem}{number}.latent.safetensors") for p, number in paths] if self.save_latents else []

    def all_files(self) -> list[str | Path]:
        """All that is written."""
        sheet = [Path(self.out, "sheet.png")] if self.folder and self.has_sheet else []
        return [*dict.fromkeys(self.files), *self.latents, *sheet]


def deliver(
    generator: "Generator", made: Sequence[Rendering], to: Destination, *, parents: Sequence[Rendering] = ()
) -> list[dict[str, Any]]:
    """Render latents and write the pictures; gives a record for each, with its file and, where saved, its latent.

    parents stand first on a sheet, which shows what the generator draws, and get no file of their own.
    """
    from generators.pictures.image import write_image
    from generators.pictures.sheet import sheet
    from inversion.latent import render_all

    everyone = [*parents, *made]
    pictures = list(render_all(generator, (one.latent for one in everyone)))
    files = to.files
    if to.folder or not to.has_sheet:
        for one, picture, file in zip(made, pictures[len(parents) :], files, strict=True):
            if one.pasting is None:
                write_image(picture, file)
                continue
            whole = one.pasting.picture(generator, picture)
            write_image(whole, file, exif=one.pasting.exif(whole))
    if to.has_sheet:
        tile = max(192, min(512, generator.img_resolution))
        page = sheet(pictures, [one.label for one in everyone], tile=tile)
        write_image(page, Path(to.out, "sheet.png") if to.folder else to.out)
    return [record_of(generator, one, file, to, i) for i, (one, file) in enumerate(zip(made, files, strict=True))]


def record_of(generator: "Generator", one: Rendering, file: str, to: Destination, index: int) -> dict[str, Any]:
    """The record of a picture, whose latent is saved beside it where that is wanted."""
    from inversion.files.latent_file import save

    record = {"file": file, **one.about}
    if to.save_latents:
        path = to.latents[index]
        save(one.latent, path, generator, {"command": to.kind, **one.about})
        record["latent"] = str(path)
    return record


def is_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or os.path.isdir(out)


def check_place(out: str, kinds: Iterable[str] | None = None) -> None:
    """ImageError unless out could be a file of one of these kinds (None: any picture, or -), or a folder for PNG."""
    from generators.pictures.image import WRITES

    if out == "-" and kinds is None:
        return
    kinds = tuple(WRITES) if kinds is None else kinds
    suffix = Path(out).suffix.lower().lstrip(".")
    if not is_folder(out) and suffix not in kinds:
        raise ImageError(f"{out} has the suffix {suffix!r}; name it with one of .{', .'.join(kinds)}")
    check_folder(Path(out)) if is_folder(out) else check_file(out)


def destination(
    out: str,
    count: int = 1,
    sheet: bool | None = None,
    save_latents: bool = False,
    *,
    kind: str,
    reads: Sequence["str | Path | Picture"] = (),
) -> Destination:
    """Where pictures go, checked before the work starts; none of the files that are read may be among them.

    kind names files in a folder, and the command in saved latents.
    """
    if out == "-" and wants_json():
        raise click.UsageError("with -o - the picture goes to standard output; leave --json out")
    to = Destination(out, count, sheet, save_latents, kind)
    to.check()
    check_reads(to.all_files(), reads)
    return to


def check_reads(writes: Iterable[str | Path], reads: Iterable["str | Path | Picture"]) -> None:
    """WriteError where a file that is to be written is among those that sources name, or in their folders."""
    from inversion.files.chosen import chosen

    check_apart(writes, (chosen(one)[0] if isinstance(one, str | Path) else one.place for one in reads))


def write(
    generator: "Generator", made: Sequence[Rendering], to: Destination, parents: Sequence[Rendering] = ()
) -> None:
    """Write the pictures, and tell where they are."""
    told = {"-"}
    for record in deliver(generator, made, to, parents=parents):
        if wants_json() or record["file"] not in told:
            tell(record, printable(record["file"]))
        told.add(record["file"])
