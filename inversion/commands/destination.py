"""Where pictures go: one file, numbered files in a folder, a labelled sheet, or standard output."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generators.storage import check_folder
from inversion.commands.process import printable
from inversion.commands.terminal import tell, wants_json
from inversion.errors import ImageError, SettingsError

if TYPE_CHECKING:
    from generators.base import Generator
    from inversion.latent import Latent


@dataclass(frozen=True)
class Rendering:
    """The latent of a picture, its label on a sheet, and what else to tell about it (JSON values)."""

    label: str
    latent: "Latent"
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Destination:
    """Where the pictures of one command go."""

    out: str  # a file, a folder (it exists or ends in a slash), or - for standard output
    count: int = 1  # of pictures
    sheet: bool | None = None  # None: where several go into one file
    save_latents: bool = False  # beside the pictures

    def check(self) -> None:
        """Refuse, before the work starts, what could not be written at its end; missing folders are made."""
        if self.out == "-" and self.save_latents:
            raise SettingsError("standard output takes a picture alone; give a file, or leave the latents out")
        if self.count > 1 and not self.folder and not self.has_sheet:
            raise SettingsError(f"{self.count} pictures do not fit into {self.out}; allow a sheet, or name a folder/")
        check_place(self.out)

    @property
    def folder(self) -> bool:
        return is_folder(self.out)

    @property
    def has_sheet(self) -> bool:
        return self.count > 1 and not self.folder if self.sheet is None else self.sheet

    def files(self, kind: str) -> list[str]:
        """The file of each picture: KIND-0001.png and so on in a folder."""
        numbered = [str(Path(self.out, f"{kind}-{i:04}.png")) for i in range(1, self.count + 1)]
        return numbered if self.folder else [self.out] * self.count


def deliver(
    generator: "Generator", made: Sequence[Rendering], to: Destination, kind: str, *, parents: Sequence[Rendering] = ()
) -> list[dict[str, Any]]:
    """Render latents and write the pictures; gives a record for each, with its file and, where saved, its latent.

    parents stand first on a sheet, and get no file of their own. kind names files, and the command in saved latents.
    """
    from generators.pictures.image import write_image
    from generators.pictures.sheet import sheet
    from inversion.latent import render_all

    everyone = [*parents, *made]
    pictures = list(render_all(generator, (one.latent for one in everyone)))
    files = to.files(kind)
    if to.folder or not to.has_sheet:
        for picture, file in zip(pictures[len(parents) :], files, strict=True):
            write_image(picture, file)
    if to.has_sheet:
        tile = max(192, min(512, generator.img_resolution))
        page = sheet(pictures, [one.label for one in everyone], tile=tile)
        write_image(page, Path(to.out, "sheet.png") if to.folder else to.out)
    return [
        record_of(generator, one, file, to, kind, i) for i, (one, file) in enumerate(zip(made, files, strict=True), 1)
    ]


def record_of(
    generator: "Generator", one: Rendering, file: str, to: Destination, kind: str, index: int
) -> dict[str, Any]:
    """The record of a picture, whose latent is saved beside it where that is wanted."""
    from inversion.files.latent_file import save

    record = {"file": file, **one.about}
    if to.save_latents:
        number = "" if to.folder or to.count == 1 else f"-{index}"
        path = Path(file).with_name(f"{Path(file).stem}{number}.latent.safetensors")
        save(one.latent, path, generator, {"command": kind, **one.about})
        record["latent"] = str(path)
    return record


def is_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or Path(out).is_dir()


def check_place(out: str, kinds: Iterable[str] | None = None) -> None:
    """ImageError unless out could be a file of one of these kinds (None: any picture), or a folder for PNG."""
    from generators.pictures.image import WRITES

    if out == "-":
        return
    kinds = tuple(WRITES) if kinds is None else kinds
    suffix = Path(out).suffix.lower().lstrip(".")
    if not is_folder(out) and suffix not in kinds:
        raise ImageError(f"{out} has the suffix {suffix!r}; name it with one of .{', .'.join(kinds)}")
    check_folder(Path(out) if is_folder(out) else Path(out).parent)


def destination(out: str, count: int = 1, sheet: bool | None = None, save_latents: bool = False) -> Destination:
    """Where pictures go, checked before the work starts."""
    if out == "-" and wants_json():
        raise click.UsageError("with -o - the picture goes to standard output; leave --json out")
    to = Destination(out, count, sheet, save_latents)
    to.check()
    return to


def write(
    generator: "Generator", made: Sequence[Rendering], to: Destination, kind: str, parents: Sequence[Rendering] = ()
) -> None:
    """Write the pictures, and tell where they are."""
    told = {"-"}
    for record in deliver(generator, made, to, kind, parents=parents):
        if wants_json() or record["file"] not in told:
            tell(record, printable(record["file"]))
        told.add(record["file"])
