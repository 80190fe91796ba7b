"""The search of a latent as a film."""

from collections.abc import Iterable
from math import ceil
from pathlib import Path

from PIL import Image

from generators.base import Generator
from inversion.latent import preview
from inversion.loop import Step
from inversion.views.video import write_video
from inversion.watch import SILENT, Item, StepView, Watch

FRAME_PX = 256  # the largest side of a frame, as a smaller picture is drawn sooner
MOST_FRAMES, SECONDS = 240, 6  # of the search
FPS = (10, 30)  # least and most frames a second
STILL = 1.5  # seconds for which the result stays


class Film(Watch):
    """Draws the best latent so far at every step, or every few; all else goes on to another watch."""

    def __init__(self, generator: Generator, path: Path | str, watch: Watch = SILENT, steps: int = 0) -> None:
        """steps: how many there will be at most."""
        self.generator, self.path = generator, path
        self.watch = watch
        self.every = max(1, ceil(steps / MOST_FRAMES))
        self.frames: list[Image.Image] = []

    def step(self, done: int, total: int, step: StepView) -> None:
        assert isinstance(step, Step)
        if step.index % self.every == 0:
            self.frames += preview(self.generator, step.latent.split()[0], FRAME_PX)
        self.watch.step(done, total, step)

    def stopped(self) -> object:
        return self.watch.stopped()

    def counted(self, items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        return self.watch.counted(items, what, total)

    def skipped(self, name: str, why: str) -> None:
        self.watch.skipped(name, why)

    def say(self, message: str) -> None:
        self.watch.say(message)

    def write(self) -> None:
        """Write the film; its last picture stays a little."""
        fps = min(max(len(self.frames) / SECONDS, FPS[0]), FPS[1])
        still = [self.frames[-1]] * ceil(STILL * fps) if Path(self.path).suffix != ".png" else []
        write_video([*self.frames, *still], self.path, fps=fps)
