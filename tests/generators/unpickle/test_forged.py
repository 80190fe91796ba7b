"""Forged files of every kind are read or refused in one line, in a process whose memory and time are bounded."""

import io
import resource

import pytest

from generators.errors import ModelFileError
from generators.unpickle.torch_save import load_torch
from tests.benchmarks import fuzz
from tests.generators.unpickle.forge import BOMBS
from tests.generators.unpickle.test_torch_save import zipped


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_bombs_in_a_zip_take_no_memory(bomb, monkeypatch):
    monkeypatch.setattr("generators.unpickle.machine.MAX_STEPS", 20_000)  # not to wait for a million
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = zipped([("archive/data.pkl", b"\x80\x02" + bomb()), ("archive/version", b"3\n")])
    try:
        load_torch(io.BytesIO(data))
    except ModelFileError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kilobytes


@pytest.mark.slow
def test_forged_files_are_read_or_refused(tmp_path):
    outcomes = fuzz.run(300, 0, tmp_path)
    assert outcomes.keys() <= {"read", "refused"} and outcomes["read"] > 3 and outcomes["refused"] > 100, outcomes
