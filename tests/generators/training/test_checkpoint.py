import errno
import os
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from generators.errors import TrainingError, WriteError
from generators.training import checkpoint, run
from generators.training.checkpoint import load_checkpoint, save_checkpoint
from generators.training.methods.stylegan2 import StyleGAN2Trainer
from tests.generators.training.small import TINY, flat, state_equal


def full(*args, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint({"config": {}, "x": torch.ones(3)}, path)
    for name in ("os.fsync", "pathlib.Path.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(name, full)
            with pytest.raises(
                WriteError, match="cannot be written .the disk is full.*still the one before; make room"
            ):
                save_checkpoint({"config": {}, "x": torch.zeros(3)}, path)
    monkeypatch.setattr(
        checkpoint.torch, "save", lambda *args: (_ for _ in ()).throw(RuntimeError("inline_container\n"))
    )
    with pytest.raises(WriteError, match="the disk may be full") as caught:
        save_checkpoint({"config": {}, "x": torch.zeros(3)}, path)
    assert "\n" not in str(caught.value)
    assert torch.equal(load_checkpoint(path)["x"], torch.ones(3)) and [f.name for f in tmp_path.iterdir()] == [
        path.name
    ]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_checkpoint_cut_short_is_told(tmp_path, share):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint({"config": {}, "x": torch.randn(1000)}, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(TrainingError, match="cut short or no checkpoint; .*latest.safetensors") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_executes_nothing(tmp_path):
    path, mark = tmp_path / "checkpoint.pt", tmp_path / "mark"

    class Bomb:
        def __reduce__(self):
            return (mark.touch, ())

    torch.save({"config": {}, "x": Bomb()}, path)
    with pytest.raises(TrainingError, match="no checkpoint"):
        load_checkpoint(path)
    assert not mark.exists()
    torch.save([1, 2], path)
    with pytest.raises(TrainingError, match="no checkpoint of a training run"):
        load_checkpoint(path)


def parts(state, way=()):
    """The way to each part of a state."""
    yield way
    for key, inner in state.items() if isinstance(state, dict) else enumerate(state if type(state) is list else ()):
        yield from parts(inner, (*way, key))


def damaged(state, way, value):
    """A copy of a state with something else in one place."""
    if not way:
        return value
    copied = dict(state) if isinstance(state, dict) else list(state)
    copied[way[0]] = damaged(copied[way[0]], way[1:], value)
    return copied


WRONG = (None, "x", [], {}, -1, torch.zeros(3, 1, 7), torch.tensor(float("nan")), 10**30)


@pytest.fixture
def trained(monkeypatch):
    """A trainer after two steps, its state, and a function that restores another one from a state, on no disk."""
    trainer = StyleGAN2Trainer(TINY, flat())
    for _ in range(2):
        next(trainer.run())
    state = deepcopy(trainer.state() | {"kind": "stylegan2", "best": 1.0})

    def restored(other, state) -> float:
        monkeypatch.setattr(run, "load_checkpoint", lambda path: state)
        return run.restore(other, "stylegan2", Path("run"))

    return trainer, state, restored


def test_a_state_that_is_damaged_anywhere_is_told(trained):
    trainer, state, restored = trained
    ways = [way for way in parts(state) if way and way[0] not in ("config", "kind")]
    some = [ways[i] for i in np.random.default_rng(0).permutation(len(ways))[:16]]
    for i, way in enumerate(some):
        with suppress(TrainingError):  # some parts may hold what was put there
            restored(trainer, damaged(state, way, WRONG[i % 8]))
    group = ("optimizers", next(iter(state["optimizers"])))
    for way, value in ((group, {}), ((*group, "param_groups"), [3]), (("method",), [])):
        with pytest.raises(TrainingError, match="does not fit this run") as caught:
            restored(trainer, damaged(state, way, value))
        assert "\n" not in str(caught.value)


def test_after_a_damaged_state_a_good_one_is_restored_and_trained_on(trained):
    trainer, state, restored = trained
    other = StyleGAN2Trainer(TINY, flat())
    with pytest.raises(TrainingError, match="does not fit this run"):
        restored(other, damaged(state, ("optimizers",), [3]))
    assert restored(other, deepcopy(state)) == 1.0
    assert next(other.run()) == next(trainer.run()) and state_equal(other.state(), trainer.state())
