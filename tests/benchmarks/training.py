"""The trainer: images a second, and the share of the time that is forward and backward of the networks.

    python -m tests.benchmarks.training --resolution 64 --steps 10

On pictures of noise, which take as long as others. Everything beside the networks and their losses has its own line.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING

import click

from tests.benchmarks.common import json_option, report

if TYPE_CHECKING:
    from generators.training.data import Pictures


@click.command()
@click.option("--resolution", default=64, show_default=True)
@click.option("--subpixel", default=1, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--plain", is_flag=True, help="StyleGAN2 as published, in place of the joint run.")
@click.option("--augment", default="diff", show_default=True, help="diff, ada or none.")
@click.option("--precision", default="auto", show_default=True, help="auto, bf16, fp16 or fp32.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--steps", default=10, show_default=True, help="After three that are not counted.")
@json_option
def main(
    resolution: int,
    subpixel: int,
    batch: int,
    plain: bool,
    augment: str,
    precision: str,
    device: str,
    steps: int,
    as_json: bool,
) -> None:
    """Measure the trainer."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from generators.training.methods.stylegan2 import StyleGAN2Trainer
    from generators.training.settings import train_config

    config = train_config(
        resolution=resolution,
        subpixel=subpixel,
        batch=batch,
        joint=not plain,
        augment_kind=augment,
        precision=precision,
        warmup=0,
        images=10**6,
    )
    trainer = StyleGAN2Trainer(config, noise(resolution), device=device)
    if not plain:  # the flow learns from the first step on, as after a warm-up
        prior = trainer.method.prior  # type: ignore[attr-defined]
        prior.codes.normal_(generator=torch.Generator(device).manual_seed(0))
        prior.count = prior.enough
    with labelled(device):
        run = trainer.run()
        for _ in range(3):
            next(run)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(steps):
                next(run)
    seconds = {e.key: e.cpu_time_total / 1e6 for e in found.key_averages() if e.key in PARTS or e.key == "step"}
    total = seconds.pop("step")
    figures: dict[str, object] = {
        "images_per_second": steps * batch / total,
        "seconds_per_step": total / steps,
        "networks": 1 - sum(seconds.values()) / total,
    }
    figures |= {name: seconds.get(name, 0.0) / total for name in PARTS}
    kind = "plain" if plain else "joint"
    threads = f"{torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name(device)
    report(
        f"{kind} training at {resolution} px, batch {batch}, {precision}, {threads}; shares of the time",
        figures,
        as_json,
    )


PARTS = ("pictures", "random numbers", "augmentation", "clipping and optimisers", "average")


@contextmanager
def labelled(device: str) -> Iterator[None]:
    """While it lasts, a profile knows a step and the parts of it that are no network."""
    from generators.training.data import Pictures
    from generators.training.methods.joint import Joint
    from generators.training.methods.method import Method
    from generators.training.methods.plain import Plain
    from generators.training.methods.stylegan2 import StyleGAN2Trainer
    from generators.training.terms.augment import Augment

    places = [
        (Pictures, "draw", PARTS[0]),
        (Joint, "draw", PARTS[1]),
        (Plain, "draw", PARTS[1]),
        (Augment, "__call__", PARTS[2]),
        (Method, "descend", PARTS[3]),
        (StyleGAN2Trainer, "update_average", PARTS[4]),
        (StyleGAN2Trainer, "one_step", "step"),
    ]
    originals = [getattr(cls, name) for cls, name, _ in places]
    for (cls, name, label), original in zip(places, originals, strict=True):
        setattr(cls, name, timed(original, label, device))
    try:
        yield
    finally:
        for (cls, name, _), original in zip(places, originals, strict=True):
            setattr(cls, name, original)


def timed(function: Callable, label: str, device: str) -> Callable:
    """function with a label in profiles; on a GPU it waits for what was started before it, and in it."""
    import torch
    from torch.profiler import record_function

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    @wraps(function)
    def call(*args: object, **more: object) -> object:
        wait()
        with record_function(label):
            result = function(*args, **more)
            wait()
        return result

    return call


def noise(resolution: int, count: int = 256) -> "Pictures":
    import torch

    from generators.training.data import Pictures

    size, rng = (count, 3, resolution, resolution), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, size, generator=rng).to(torch.uint8)
    return Pictures(images=images, weights=torch.full((count,), 1 / count), skipped=(), resized=0)


if __name__ == "__main__":
    main()
