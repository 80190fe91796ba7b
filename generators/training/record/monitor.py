"""What can be watched of a run, in its folder: the log and its curves, and sheets of samples."""

import csv
import io
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from generators.base import Generator
from generators.pictures.sheet import grid
from generators.shapes import UInt8
from generators.storage import write_bytes
from generators.training.record.curve import Row, draw_curves

LEAST = 64  # px of a picture on a sheet


class Log:
    """RUN/log.csv with a row per report, and the same in TensorBoard's format where that is installed.

    New columns may come at any time. Rows of images that the run has not seen yet are dropped: a resumed run writes
    them again.
    """

    def __init__(self, path: Path, images_seen: int = 0) -> None:
        self.path, self.rows = path, [row for row in read_rows(path) if (row["images"] or 0) <= images_seen]
        self.board = tensorboard(path.parent / "tensorboard", images_seen)
        before = max((row.get("seconds") or 0.0 for row in self.rows), default=0.0)
        self.began = monotonic() - before  # as if all stretches of the run were one

    def add(self, row: Row) -> None:
        """Write one more row, with its time; a value that was not taken leaves its field empty."""
        self.rows.append({**row, "seconds": round(monotonic() - self.began, 3)})
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(out.getvalue().encode(), self.path)
        for name, value in row.items():
            if self.board is not None and name != "images" and value is not None:
                self.board.add_scalar(name, value, int(row["images"] or 0))

    def draw(self, path: Path) -> None:
        """The curves of the losses and measures as a picture."""
        write_picture(draw_curves([{k: v for k, v in row.items() if k != "seconds"} for row in self.rows]), path)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def read_rows(path: Path) -> list[dict[str, float | int | None]]:
    """The rows of a log, as far as they are whole; none if there is no log."""
    rows: list[dict[str, float | int | None]] = []
    try:
        with path.open(newline="") as f:
            for row in csv.DictReader(f):
                values = {k: float(v) if v else None for k, v in row.items()}
                rows.append(values | {"images": int(row["images"])})
    except (OSError, ValueError, KeyError, TypeError):
        pass  # what comes after is damaged
    return rows


def tensorboard(folder: Path, images_seen: int) -> Any:
    """A writer of TensorBoard's events; None where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=images_seen)


@torch.no_grad()
def held_out_psnr(model: Generator, held: UInt8[Tensor, "count channels size size"]) -> float:
    """Median PSNR in dB of the encoder's reconstructions."""
    assert model.encoder is not None
    values = []
    for batch in held.split(25):
        target = batch.to(model.w_avg.device).float() / 127.5 - 1
        image = model.render(model.encoder(target), resolution=target.shape[-1]).clamp(-1, 1)
        values.append(10 * torch.log10(4 / (image - target).square().mean(dim=(1, 2, 3))))
    return float(torch.cat(values).median())


@torch.no_grad()
def contact_sheet(model: Generator, held: UInt8[Tensor, "count channels size size"], columns: int = 12) -> Image.Image:
    """Photographs, reconstructions and midpoints with the next one, where model has an encoder; then samples.

    The samples, at truncation 0.7 and 1, are of the same z in every sheet, so that sheets can be compared. Small
    pictures are enlarged by whole numbers.
    """
    target = held[:columns].to(model.w_avg.device).float() / 127.5 - 1
    count = columns if model.encoder is None else len(target)
    z = torch.randn(count, model.z_dim, generator=torch.Generator().manual_seed(0)).to(target.device)
    styles = [model.mapping(z, truncation_psi=psi) for psi in (0.7, 1.0)]
    rows = []
    if model.encoder is not None:
        ws = model.encoder(target)
        rows, styles = [target], [ws, ws.lerp(ws.roll(-1, 0), 0.5), *styles]
    sheet = grid(torch.stack(rows + [model.render(w, resolution=target.shape[-1]) for w in styles]))
    times = max(1, LEAST // target.shape[-1])
    return sheet.resize((times * sheet.width, times * sheet.height), Image.Resampling.NEAREST)


def write_picture(picture: Image.Image, path: Path) -> None:
    out = io.BytesIO()
    picture.save(out, "PNG")
    write_bytes(out.getvalue(), path)
