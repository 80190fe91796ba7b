import errno
import os
from contextlib import suppress
from copy import deepcopy

import numpy as np
import pytest
import torch

from generators.errors import TrainingError, WriteError
from generators.training import checkpoint
from generators.training.checkpoint import load_checkpoint, save_checkpoint
from generators.training.methods.stylegan2 import StyleGAN2Trainer
from generators.training.run import restore
from tests.generators.training.small import TINY, flat


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


def test_a_state_that_is_damaged_anywhere_is_told(tmp_path):
    trainer = StyleGAN2Trainer(TINY, flat())
    for _ in range(2):
        next(trainer.run())
    state, run = deepcopy(trainer.state() | {"kind": "stylegan2", "best": 1.0}), tmp_path / "run"
    path, rng = run / "checkpoint.pt", np.random.default_rng(0)
    ways = [way for way in parts(state) if way and way[0] not in ("config", "kind")]
    some = [ways[i] for i in rng.permutation(len(ways))[:16]]
    run.mkdir()
    for i, way in enumerate(some):
        value = (None, "x", [], {}, -1, torch.zeros(3, 1, 7), torch.tensor(float("nan")), 10**30)[i % 8]
        torch.save(damaged(state, way, value), path)
        with suppress(TrainingError):  # some parts may hold what was put there
            restore(trainer, "stylegan2", run)
    torch.save(state, path)
    assert restore(trainer, "stylegan2", run) == 1.0
    group = ("optimizers", next(iter(state["optimizers"])))
    for way, value in ((group, {}), ((*group, "param_groups"), [3]), (("method",), [])):
        torch.save(damaged(state, way, value), path)
        with pytest.raises(TrainingError, match="does not fit this run") as caught:
            restore(trainer, "stylegan2", run)
        assert "\n" not in str(caught.value)
