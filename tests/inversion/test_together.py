"""Photographs that are searched for together: as many as memory holds, and each ends as it would alone."""

from dataclasses import replace

import pytest
import torch

from generators.device import out_of_memory
from inversion import inverter, together
from inversion.config import InvertConfig
from inversion.files.cache import entry_of
from inversion.inverter import Inversion, Inverter
from inversion.latent import sample_latent, synthesize
from inversion.loop import steps_of
from inversion.together import MemoryShort, fitted, search_bytes

SHORT = [
    MemoryError(),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("alloc_cpu.cpp:75 data. DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
]
CONFIG = InvertConfig(steps=3, bf16=False, loss={"pixel": 1.0})


@pytest.fixture
def photos(generator):
    return list(synthesize(generator, sample_latent(generator, batch=5, seed=1)).split(1))


@pytest.fixture
def holds(monkeypatch):
    """Memory that holds so many pictures, or ones that are drawn again; the searches that were tried."""

    def so_many(count, error, *, again=0):
        tried, whole = [], inverter.steps_of

        def steps(generator, images, config, **more):
            tried.append((len(images), config.checkpoint))
            for step in whole(generator, images, config, **more):
                yield step
                if len(images) > (again if config.checkpoint else count):
                    raise error

        monkeypatch.setattr(inverter, "steps_of", steps)
        return tried

    return so_many


@pytest.mark.parametrize("error", SHORT)
def test_memory_that_runs_out_has_many_names(error):
    assert out_of_memory(error)


def test_a_batch_that_memory_does_not_hold_is_halved(generator, photos, holds):
    wanted = [next(Inverter(generator, CONFIG).run([photo])) for photo in photos]
    tried = holds(2, SHORT[2])
    found = list(Inverter(generator, CONFIG, batch=5).run(photos))
    assert [count for count, _ in tried] == [5, 2, 2, 1] and not any(again for _, again in tried)
    for a, b in zip(found, wanted, strict=True):
        assert isinstance(a, Inversion) and isinstance(b, Inversion)
        torch.testing.assert_close(a.latent.code, b.latent.code, rtol=1e-3, atol=1e-4)
        assert a.losses == pytest.approx(b.losses, rel=1e-3)


def test_one_that_memory_does_not_hold_is_drawn_again(generator, photos, holds):
    wanted = next(Inverter(generator, CONFIG).run(photos[:1]))
    tried = holds(0, MemoryError(), again=1)
    found = list(Inverter(generator, CONFIG, batch=2).run(photos[:3]))
    assert tried == [(2, False), (1, False), (1, True), (1, True), (1, True)]
    assert isinstance(found[0], Inversion) and isinstance(wanted, Inversion) and len(found) == 3
    torch.testing.assert_close(found[0].latent.code, wanted.latent.code)


def test_one_that_memory_holds_in_no_way_is_told_in_a_line(generator, photos, holds):
    holds(0, MemoryError())
    found = list(Inverter(generator, CONFIG, batch=2).run(photos[:2]))
    assert [type(one) for one in found] == [MemoryShort, MemoryShort]
    assert str(found[0]) == (
        "memory does not hold the search of one picture of 16 px; close other programs, or name a smaller generator"
    )


def test_other_errors_are_no_lack_of_memory(generator, photos, holds):
    holds(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        list(Inverter(generator, CONFIG).run(photos[:1]))
    assert not out_of_memory(ValueError("out of memory"))


@pytest.fixture
def free(monkeypatch):
    """So many pictures' worth of memory is free."""

    def pictures(generator, count):
        room = int(count * search_bytes(generator) / together.SHARE)
        monkeypatch.setattr(together, "free_memory", lambda device: room)

    return pictures


@pytest.mark.parametrize("count, wanted", [(2.5, (2, False)), (100.0, (8, False)), (0.5, (1, True)), (0.01, (1, True))])
def test_as_many_together_as_memory_holds(generator, free, count, wanted):
    free(generator, count)
    fits, config = fitted(generator, CONFIG, 8)
    assert (fits, config.checkpoint) == wanted
    assert fitted(generator, replace(CONFIG, checkpoint=False), 8)[1].checkpoint is False
    assert fitted(generator, replace(CONFIG, checkpoint=True), 8)[1].checkpoint is True


def test_what_is_drawn_again_fits_more_often(generator, free):
    free(generator, 2.5)
    assert fitted(generator, replace(CONFIG, checkpoint=True), 8)[0] == 8


def test_nothing_is_measured_where_all_fit_or_nothing_is_searched(generator, monkeypatch):
    monkeypatch.setattr(together, "bytes_kept", None)
    monkeypatch.setattr(together, "free_memory", lambda device: None)  # a system that does not tell
    assert fitted(generator, CONFIG, 8)[0] == 8
    monkeypatch.setattr(together, "free_memory", lambda device: 1 << 40)
    assert fitted(generator, CONFIG, 8)[0] == 8
    monkeypatch.setattr(together, "free_memory", lambda device: 0)
    assert fitted(generator, replace(CONFIG, steps=0), 8)[0] == 8


def test_groups_are_of_what_memory_holds_from_the_start(generator, photos, holds, free):
    tried = holds(9, MemoryError())
    free(generator, 2.5)
    assert len(list(Inverter(generator, CONFIG).run(photos))) == 5
    assert tried == [(2, False), (2, False), (1, False)]


@pytest.mark.parametrize("detail", [0.0, 0.5])
def test_a_search_that_draws_again_changes_no_bit(generator, photos, detail):
    plain, again = (
        list(steps_of(generator, torch.cat(photos[:2]), replace(CONFIG, steps=4, detail=detail, checkpoint=checkpoint)))
        for checkpoint in (False, True)
    )
    for a, b in zip(plain, again, strict=True):
        assert torch.equal(a.latent.code, b.latent.code) and torch.equal(a.total, b.total)
        assert all(map(torch.equal, a.latent.noise, b.latent.noise))


def test_the_cache_does_not_ask_how_it_was_computed(generator, tmp_path):
    entries = [entry_of(tmp_path, "00", generator, replace(CONFIG, checkpoint=way), {}) for way in (None, False, True)]
    assert len(set(entries)) == 1
