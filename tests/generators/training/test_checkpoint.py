import errno
import os

import pytest
import torch

from generators.errors import TrainingError, WriteError
from generators.training import checkpoint
from generators.training.checkpoint import load_checkpoint, save_checkpoint


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
