import json
import os
import subprocess
import sys

import pytest
import torch

from generators import load
from generators.errors import TrainingError
from generators.training import distributed
from generators.training.config import EncodeConfig, TrainConfig
from generators.training.methods import averaged
from generators.training.methods.encoder import EncoderTrainer
from generators.training.methods.prior import FlowPrior
from generators.training.methods.stylegan2 import StyleGAN2Trainer
from tests.conftest import ROOT, picture

RUNS = """
import torch
from generators.training.config import EncodeConfig, TrainConfig
from generators.training.data import Pictures
from generators.training.distributed import is_main, session
from generators.training.methods.encoder import EncoderTrainer
from generators.training.methods.stylegan2 import StyleGAN2Trainer

SMALL = {"resolution": 8, "channels": (8, 8), "batch": 16, "images": 48, "warmup": 16, "precision": "fp32"}
NETWORKS = {"w_dim": 8, "mapping_layers": 1, "linear": 8, "lr": 0.01}

def pictures():
    images = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Pictures(images=images, weights=torch.full((24,), 1 / 24), skipped=(), resized=0)

def finished(config, init=None):
    trainer = (EncoderTrainer if init else StyleGAN2Trainer)(config, pictures(), init=init)
    losses = [step.losses for step in trainer.run()]
    return trainer, {"losses": losses, "ema": trainer.ema.state_dict(), "model": trainer.model.state_dict()}

def everything():
    joint, flow = finished(TrainConfig(**SMALL, **NETWORKS, style_mixing=0.5))
    _, critic = finished(TrainConfig(**SMALL, **NETWORKS, flow_steps=0))
    ada = {"augment_kind": "ada", "augment_speed": 16, "augment_target": -2.0}
    lazy = {"path_length": 2.0, "path_every": 2, "r1_every": 2}
    _, plain = finished(TrainConfig(joint=False, **SMALL, **NETWORKS, **ada, **lazy))
    _, encoder = finished(EncodeConfig(**SMALL), joint.ema)
    return {"flow": flow, "critic": critic, "plain": plain, "encoder": encoder}
"""


SCRIPT = (
    RUNS
    + """
import sys
from cli import main
from generators.training.methods.prior import FlowPrior
from inversion.commands import training

out, train_here = sys.argv.pop(), training.train_here

def first_everything(*args, **more):
    found = everything()
    if is_main():
        torch.save(found, out)
    train_here(*args, **more)

torch.set_num_threads(1)
FlowPrior.enough = 16
training.train_here = first_everything  # in the session that the command opens
main(sys.argv[1:])
"""
)


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_write_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr(FlowPrior, "enough", 16)  # so that the flow learns within so short a run, as in SCRIPT
    script, out, data = tmp_path / "script.py", tmp_path / "m.safetensors", tmp_path / "data"
    script.write_text(SCRIPT)
    data.mkdir()
    for i in range(10):
        picture(i, 20).save(data / f"{i}.png")
    sizes = "--resolution 8 --channels 8,8 --w-dim 8 --mapping-layers 1 --linear 0 --batch 16 --images 32"
    start = "-m torch.distributed.run --nproc-per-node 2 --master-addr 127.0.0.1 --master-port 0 --standalone"
    command = [sys.executable, *start.split(), script, "train", data, "-o", out, *sizes.split(), "--device", "cpu"]
    done = subprocess.run(
        [*map(str, command), "--json", str(tmp_path / "two.pt")],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert_one_run(done, out)
    two, scope = torch.load(tmp_path / "two.pt", weights_only=True), {}
    exec(RUNS, scope)
    one = scope["everything"]()
    assert two["plain"]["losses"][-1]["augment_p"] == 1 and "path" in two["plain"]["losses"][0]
    assert "mapping" in two["flow"]["losses"][-1] and "critic" in two["critic"]["losses"][-1]
    for run in one:
        torch.testing.assert_close(two[run]["losses"], one[run]["losses"], rtol=1e-3, atol=1e-5)
        for part in ("ema", "model"):
            torch.testing.assert_close(two[run][part], one[run][part], rtol=1e-3, atol=2e-5)


def assert_one_run(done, out):
    """One of the processes talks and writes; the pictures are read once, and mapped by both."""
    assert [json.loads(line)["images_seen"] for line in done.stdout.splitlines()] == [16, 32]
    assert done.stderr.count("10 pictures of 8 px") == 1 and load(out).img_resolution == 8
    assert out.with_suffix(".run").joinpath("pictures.u8").stat().st_size == 10 * 3 * 64


def test_one_process_is_the_main_one():
    assert (distributed.rank(), distributed.world(), distributed.is_main()) == (0, 1, True)
    with distributed.session("cuda") as device:
        assert device == "cuda" and distributed.world() == 1
    module, x = torch.nn.Linear(2, 2), torch.arange(6.0).reshape(3, 2)
    assert distributed.wrap(module) is module
    assert torch.equal(distributed.gather(x), x) and torch.equal(distributed.average(x), x)
    assert distributed.rows(3).tolist() == [0, 1, 2]


def test_rows_are_equal_shares_of_each_part(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 2)
    found = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        found.append((distributed.rows(8).tolist(), distributed.rows(8, 2).tolist()))
    assert found == [([0, 1, 2, 3], [0, 1, 4, 5]), ([4, 5, 6, 7], [2, 3, 6, 7])]


def test_a_batch_without_equal_parts_is_refused(monkeypatch):
    monkeypatch.setattr(averaged, "world", lambda: 2)
    for config in (TrainConfig(batch=24), TrainConfig(batch=12, joint=False)):
        with pytest.raises(TrainingError, match="has no equal parts for 2 processes; give"):
            StyleGAN2Trainer.check(config)
    with pytest.raises(TrainingError, match="has no equal parts for 2 processes; give"):
        EncoderTrainer.check(EncodeConfig(batch=6))
    StyleGAN2Trainer.check(TrainConfig(batch=32))
    StyleGAN2Trainer.check(TrainConfig(batch=24, joint=False))
    EncoderTrainer.check(EncodeConfig(batch=8))
