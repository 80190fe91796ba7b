"""Several people's inversions, with one generator tuned for all."""

from typing import Any

import pytest
import torch

from inversion.config import InvertConfig
from inversion.errors import ImageError
from inversion.inverter import Inversion, Inverter
from inversion.latent import synthesize
from inversion.tuning.config import TuneConfig
from inversion.tuning.results import tuned_results
from inversion.watch import Watch
from tests.conftest import picture, tiny_generator

SHORT = TuneConfig(steps=6, loss={"pixel": 1.0})


class Stop(Watch):
    """Ctrl-C at a step, counted over all searches."""

    def __init__(self, at: int) -> None:
        self.left, self.searches = at, []

    def begins(self, steps):
        self.searches.append(steps)

    def step(self, done, total, step):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def inverter() -> Inverter:
    generator = tiny_generator()
    return Inverter(generator, InvertConfig(steps=2, bf16=False), align=False, batch=1)


def results(inverter, photos, watch):
    """The results that come, and whether Ctrl-C went on after them."""
    found, stopped = [], False
    try:
        for one in tuned_results(inverter.generator, inverter.run(photos, watch, keep_best=True), SHORT, watch):
            found.append(one)
    except KeyboardInterrupt:
        stopped = True
    return found, stopped


def test_all_are_drawn_by_one_generator_and_measured_by_it(inverter):
    watch = Stop(99)
    found, stopped = results(inverter, [picture(0), b"no picture", picture(1)], watch)
    assert not stopped and isinstance(found[1], ImageError) and watch.searches == [6]
    one, two = (result for result in found if isinstance(result, Inversion))
    assert one.tuned is two.tuned and one.tuned is not None
    assert torch.equal(one.image, synthesize(one.tuned, one.latent))
    told: Any = one.history["tuning"]
    assert one.history["metrics"] == one.metrics != told["untuned"] and one.seconds > told["seconds"] > 0


def test_ctrl_c_keeps_the_best_so_far(inverter):
    found, stopped = results(inverter, [picture(0), picture(1)], Stop(6 + 3))  # 3 steps a photograph, then 3 of these
    assert stopped and len(found) == 2 and all(one.tuned is not None for one in found)
    assert found[0].history["tuning"]["steps"] == 3
    assert found[0].metrics["psnr_db"] >= found[0].history["tuning"]["untuned"]["psnr_db"]


@pytest.mark.parametrize(("at", "count"), [(2, 1), (4, 2)])
def test_ctrl_c_before_the_tuning_gives_what_was_found(inverter, at, count):
    found, stopped = results(inverter, [picture(0), picture(1)], Stop(at))
    assert stopped and len(found) == count and all(one.tuned is None for one in found)
