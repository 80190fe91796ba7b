"""Files of torch.save: all that torch.load gives, and nothing of what could be read in two ways."""

import argparse
import collections
import datetime
import io
import pathlib
import pickle
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch

from generators.errors import ModelFileError
from generators.unpickle.allowed import StandIn
from generators.unpickle.torch_save import load_torch
from tests.generators.checkpoints.foreign import saved

HOW = pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
BASE = torch.arange(24.0).reshape(4, 6)
WHOLE = {
    "plain": BASE,
    "view": BASE.T[1:],
    "row": BASE[2, ::2],
    "expanded": BASE[:1].expand(5, 6),
    "half": BASE.half(),
    "bf": BASE.bfloat16(),
    "double": BASE.double(),
    "long": BASE.long(),
    "bytes": BASE.byte(),
    "truth": BASE > 3,
    "none": torch.zeros(0, 3),
    "one": torch.tensor(3.0),
    "parameter": torch.nn.Parameter(BASE),
}


def load(data):
    return load_torch(io.BytesIO(data))


def refused(data, words):
    with pytest.raises(ModelFileError, match=words) as caught:
        load(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@HOW
def test_tensors_are_those_that_torch_reads(how):
    data = saved(WHOLE, **how)
    found, theirs = load(data), torch.load(io.BytesIO(data), weights_only=True)
    for key, value in theirs.items():
        assert torch.equal(found[key], value) and found[key].dtype == value.dtype, key
        assert found[key].stride() == value.stride() and type(found[key]) is torch.Tensor, key
    found["plain"][1, 1] = 100.0
    assert found["view"][0, 1] == 100.0 and found["parameter"][1, 1] == 100.0  # one storage, as it was saved


@HOW
def test_what_stands_beside_weights_comes_along(how):
    log = collections.defaultdict(list, loss=[1.0])
    beside = {
        "args": argparse.Namespace(size=16, out=pathlib.PurePosixPath("a/b")),
        "log": log,
        "seen": collections.Counter("aab"),
        "last": collections.deque([1, 2], maxlen=3),
        "when": datetime.datetime(2020, 1, 2),
        "day": datetime.date(2020, 1, 2),
        "place": pathlib.PurePosixPath("a"),
        "kind": torch.float16,
        "device": torch.device("cuda:1"),
        "shape": torch.Size((2, 3)),
        "lr": np.float64(0.5),
        "mean": np.arange(6.0).reshape(2, 3),
        "state": collections.OrderedDict(a=BASE),
    }
    found = load(saved(beside, **how))
    assert found["log"] == {"loss": [1.0]} and found["seen"] == {"a": 2, "b": 1} and found["last"] == [1, 2]
    assert found["args"].kind == "Namespace" and found["args"].state["size"] == 16
    assert {type(found[key]) for key in ("when", "day", "place")} == {StandIn}
    assert found["kind"] == "torch.float16" and found["device"] == "cuda:1" and found["shape"] == (2, 3)
    assert (
        found["lr"] == 0.5 and np.array_equal(found["mean"], beside["mean"]) and torch.equal(found["state"]["a"], BASE)
    )


@HOW
def test_optimizers_come_back(how):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    again = torch.optim.Adam([weight])
    again.load_state_dict(load(saved(optimizer.state_dict(), **how)))
    assert again.param_groups[0]["lr"] == 0.1
    assert torch.equal(again.state[weight]["exp_avg"], optimizer.state[weight]["exp_avg"])


def test_big_endian_values_are_turned():
    data = changed(saved({"w": BASE}), byteorder=b"big", **{"data/0": BASE.numpy().astype(">f4").tobytes()})
    assert torch.equal(load(data)["w"], BASE)
    refused(changed(saved({"w": BASE}), byteorder=b"middle"), "in the order b'middle'")


def test_truth_is_zero_or_one():
    found = load(changed(saved(torch.tensor([True, False, True])), **{"data/0": b"\x02\x00\xff"}))
    assert found.view(torch.uint8).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "thing, words",
    [
        (torch.ones(2, dtype=torch.complex64), "ComplexFloatStorage"),
        (torch.eye(2).to_sparse(), "_rebuild_sparse_tensor"),
        (torch.ones(2).untyped_storage(), "a storage by itself"),
    ],
)
@HOW
def test_other_kinds_of_tensors_are_named(thing, words, how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(saved(thing, **how), words)


# Zips that could be read in two ways


def entries(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def zipped(pairs, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as out:
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name, content in pairs:
            out.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def changed(data, **contents):
    """A file of torch.save with other contents under these names."""
    return zipped((name, contents.get(name.partition("/")[2], was)) for name, was in entries(data).items())


def test_a_zip_is_read_in_one_way_or_not_at_all():
    whole = list(entries(saved({"w": BASE})).items())
    other = pickle.dumps({"x": 1}, 2)
    assert torch.equal(load(zipped(whole))["w"], BASE)
    assert torch.equal(load(zipped([("archive/", b""), *whole]))["w"], BASE)
    for more in ("archive/data.pkl", "archive/DATA.pkl", "Archive/data.pkl", "archive/data/0"):
        refused(zipped([*whole, (more, other)]), "a name twice|more than one folder")
        refused(zipped([(more, other), *whole]), "a name twice|more than one folder")
    for more in ("archive/x/data.pkl", "x/data.pkl", "x/y"):
        refused(zipped([*whole, (more, other)]), "more than one folder")
    for more in ("archive/a\\b", "archive/../b", "archive//b", "/archive/b", "archive/a\nb"):
        refused(zipped([*whole, (more, other)]), "could be read in more than one way")
    nul = zipped([*whole, ("archive/data.pklx", other)]).replace(b"archive/data.pklx", b"archive/data.pkl\0")
    refused(nul, "could be read in more than one way|a name twice")
    refused(b"PK\x03\x04" + bytes(60) + zipped(whole), "behind something else")
    inner = zipped(whole)
    renamed = inner.replace(b"archive/data/0", b"archive/data/1", 1)
    refused(renamed, "told in two ways")


def test_damage_is_told():
    data = saved({"w": torch.randn(1000)})
    at = data.index(b"PK", data.index(b"archive/data/0")) - 100
    refused(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "other bytes.*than it was saved with")
    refused(data[:500], "damaged or cut short")
    legacy = saved({"w": torch.randn(1000)}, _use_new_zipfile_serialization=False)
    refused(legacy[:-1], "more bytes than it holds")
    count = struct.pack("<q", 1000)
    refused(legacy.replace(count, struct.pack("<q", 999)), "declares 1000 values for a storage and holds 999")
    file = io.BytesIO()
    import tarfile

    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    refused(file.getvalue(), "a tar archive")


def test_sums_may_be_left_out():
    data = saved({"w": BASE})
    file, out = zipfile.ZipFile(io.BytesIO(data)), data
    for entry in file.infolist():
        out = out.replace(struct.pack("<I", entry.CRC), bytes(4))
    assert torch.equal(load(out)["w"], BASE)


def test_torch_itself_reads_no_file_from_outside(monkeypatch):
    from tests.layers import ROOT

    for path in [*ROOT.glob("generators/**/*.py"), *ROOT.glob("inversion/**/*.py")]:
        assert not re.search(r"torch\.load\(|\bpickle\.loads?\(|allow_pickle=True", path.read_text()), path
