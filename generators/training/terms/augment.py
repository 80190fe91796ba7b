"""Changes to every picture before the discriminator sees it: DiffAugment, or adaptive augmentation.

Random numbers are drawn for a whole batch (`Augment.draw`) and used later, row by row, so that pairs of pictures can be
changed alike and several processes can share a batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from generators.shapes import Float
from generators.training.config import TrainConfig
from generators.training.distributed import average
from generators.training.terms.ada import adaptive_augment, draw_numbers

Draws = Float[Tensor, "batch numbers"]


class Augment:
    """The augmentation of a run; its probability p, of the adaptive one, is part of the run's state."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.p = config, 0.0

    def draw(self, batch: int, rng: torch.Generator) -> Draws:
        """Random numbers for so many pictures, a row each."""
        if self.config.augment_kind == "ada":
            return draw_numbers(batch, rng)
        return draw_changes(batch, self.config.resolution, rng, self.config.augment)

    def __call__(self, x: Float[Tensor, "batch c h w"], draws: Draws) -> Float[Tensor, "batch c h w"]:
        if self.config.augment_kind == "ada":
            return adaptive_augment(x, draws, self.p)
        return diff_augment(x, draws, self.config.augment) if self.config.augment_kind == "diff" else x

    def observe(self, scores: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Move p by the mean sign of a batch of photographs' scores: up where the discriminator overfits.

        Gives what is to be reported. Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data",
        section 3.1.
        """
        if self.config.augment_kind != "ada":
            return {}
        scores = tuple(s.detach().float() for s in scores)
        signs = [(s.sign() + 0 * s).mean() for s in scores]  # not finite where a score is not
        sign = average(torch.stack(signs).mean())
        step = self.config.batch / self.config.augment_speed
        if sign.isfinite():
            self.p = min(max(self.p + (step if sign > self.config.augment_target else -step), 0.0), 1.0)
        return {"augment_p": torch.tensor(self.p, device=sign.device), "real_sign": sign}


def draw_changes(batch: int, size: int, rng: torch.Generator, strength: float = 1.0) -> Draws:
    """The random numbers of `diff_augment`: brightness, saturation, contrast, the hole's place, a shift in pixels."""
    u = torch.rand(batch, 6, generator=rng)
    reach = round(size / 8 * strength)
    return torch.cat([u, torch.randint(-reach, reach + 1, (batch, 2), generator=rng).float()], dim=1)


def diff_augment(x: Float[Tensor, "batch c h w"], draws: Draws, strength: float = 1.0) -> Float[Tensor, "batch c h w"]:
    """Shift, cut-out, brightness, saturation and contrast by draws; 0 leaves x as it is.

    Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training".
    """
    height, width = x.shape[-2:]
    moves = [(int(dx), int(dy)) for dx, dy in draws[:, 6:].tolist()]
    u = draws[:, :, None, None, None].to(x.device)
    x = x + (u[:, 0] - 0.5) * strength
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + (2 * u[:, 1] - 1) * strength)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + (u[:, 2] - 0.5) * strength)
    shifted = [shift(image, dx, dy) for image, (dx, dy) in zip(x, moves, strict=True)]
    hole = round(height / 4 * strength)
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    top, left = u[:, 3, 0, 0] * (height - hole), u[:, 4, 0, 0] * (width - hole)
    inside_rows = ((rows >= top) & (rows < top + hole))[:, None, :, None]
    inside_columns = ((columns >= left) & (columns < left + hole))[:, None, None, :]
    return torch.stack(shifted) * ~(inside_rows & inside_columns)


def shift(image: Float[Tensor, "c h w"], dx: int, dy: int) -> Float[Tensor, "c h w"]:
    """Move an image, zeros moving in."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (max(dx, 0), max(-dx, 0), max(dy, 0), max(-dy, 0)))
    return padded[:, max(-dy, 0) : max(-dy, 0) + height, max(-dx, 0) : max(-dx, 0) + width]
