"""Walks at constant perceptual speed: each frame differs from the one before by as much as any other does."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from generators.base import Generator
from generators.parts.lite import maps_distance
from inversion.edit.move import Route, check_frames
from inversion.features import perceptual_maps
from inversion.latent import Latent, at_a_time, small, stack

LOOK_PX = 256  # the largest size at which frames are compared
ROUNDS = 4  # of placing the frames and looking at them again
EVEN = 1.05  # of the largest step to the mean one, at which that ends

Steps = Float[np.ndarray, " _"]
Measure = Callable[[Sequence[Latent]], Steps]  # the distance of each latent from the one before it


def steady(generator: Generator, route: Route, frames: int, *, measure: Measure | None = None) -> list[Latent]:
    """A walk of so many frames along a route at constant speed that hits all its latents; a loop stops a frame short.

    Frames are placed by the length of the route in pictures: the root of `metrics.perceptual` between neighbours, drawn
    at 256 px at most, or what measure says. SettingsError on fewer frames than latents.
    """
    check_frames(route, frames)
    measure = measure or (lambda latents: perceptual_steps(generator, latents))
    places = np.linspace(0, route.end, frames + route.loop)
    best, least = places, np.inf
    for _ in range(ROUNDS + 1):
        steps = measure([route(float(t)) for t in places])
        uneven = float(steps.max() / max(steps.mean(), 1e-12)) if set(range(route.end + 1)) <= set(places) else np.inf
        if uneven < least or least == np.inf:
            best, least = places, uneven
        if least < EVEN:
            break
        places = placed(places, steps, route.end)
    return [route(float(t)) for t in (best[:-1] if route.loop else best)]


def placed(places: Steps, steps: Steps, end: int) -> Steps:
    """As many places, a whole number each at the latents, between which the steps are even, by the steps as they were.

    Each way between two latents has as many frames as its length asks for, one at least.
    """
    length = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-9))])
    marks = np.interp(np.arange(end + 1), places, length)
    counts = shares(np.diff(marks), len(places) - 1)
    found = [np.array([0.0])]
    for i, count in enumerate(counts):
        wanted = np.linspace(marks[i], marks[i + 1], count + 1)[1:-1]
        found += [np.interp(wanted, length, places).clip(i, i + 1), np.array([i + 1.0])]
    return np.concatenate(found)


def shares(lengths: Steps, total: int) -> list[int]:
    """Whole numbers of that sum, one at least each, such that the largest length over its number is least."""
    counts = np.ones(len(lengths), int)
    for _ in range(total - len(lengths)):
        counts[np.argmax(lengths / counts)] += 1
    return counts.tolist()


@torch.no_grad()
def perceptual_steps(generator: Generator, latents: Sequence[Latent]) -> Steps:
    """The perceptual distance of each latent's picture from the one before it, drawn at 256 px at most."""
    chunk = at_a_time(generator)
    last, found = None, []
    for first in range(0, len(latents), chunk):
        images = small(generator, stack(latents[first : first + chunk]), LOOK_PX)
        for maps in zip(*(m.split(1) for m in perceptual_maps(images)), strict=True):
            if last is not None:
                found.append(float(maps_distance(maps, last)[0]) ** 0.5)
            last = maps
    return np.array(found)
