"""Inversions of several people, drawn by one generator that is tuned for all of them."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from time import monotonic

import torch

from generators.base import Generator
from inversion.inverter import Inversion, Result
from inversion.latent import stack, synthesize
from inversion.metrics import compare
from inversion.tuning.config import TuneConfig
from inversion.tuning.tune import TuneStep, steps_of, tuned_by
from inversion.watch import SILENT, Watch, last_of


@torch.inference_mode(False)
@torch.enable_grad()
def tuned_results(
    generator: Generator, results: Iterable[Result], config: TuneConfig, watch: Watch = SILENT
) -> Iterator[Result]:
    """The results with one generator tuned for all inversions among them, measured anew; errors stay.

    Ctrl-C ends the tuning at its best step, whose results come before KeyboardInterrupt goes on; while photographs are
    still being found, those that were found come as they are.
    """
    found: list[Result] = []
    try:
        found.extend(results)
    except KeyboardInterrupt:
        yield from found
        raise
    people = [one for one in found if isinstance(one, Inversion)]
    if not people:
        return (yield from found)
    began = monotonic()
    latents = stack([one.latent for one in people])
    images = torch.cat([one.target.image for one in people])
    watch.begins(config.steps)
    try:
        step, stopped = last_of(steps_of(generator, latents, images, config), watch, 0, len(people))
    except KeyboardInterrupt:
        yield from found
        raise
    assert isinstance(step, TuneStep)
    tuned = tuned_by(generator, step, config, len(people))
    seconds = (monotonic() - began) / len(people)
    for one in found:
        yield redrawn(one, tuned, step, config, seconds) if isinstance(one, Inversion) else one
    if stopped:
        raise KeyboardInterrupt


def redrawn(one: Inversion, tuned: Generator, step: TuneStep, config: TuneConfig, seconds: float) -> Inversion:
    """An inversion as the tuned generator draws it; its history tells both, and how it came to be."""
    image = synthesize(tuned, one.latent)
    metrics = compare(image, one.target.image, faces=tuned.subject == "face")
    assert tuned.delta is not None
    told = {"settings": asdict(config), "steps": step.index, "seconds": seconds, "untuned": one.metrics}
    tuning = told | {"delta": tuned.delta.sha256, "delta_bytes": len(tuned.delta.content)}
    history = {**one.history, "metrics": metrics, "tuning": tuning}
    whole = {"seconds": one.seconds + seconds, "history": history, "tuned": tuned}
    return replace(one, image=image, metrics=metrics, **whole)
