"""Files that would take time or memory without bound."""

import io
import resource
import struct
import zipfile

import pytest
import torch

from generators import load
from generators.errors import ModelFileError
from generators.unpickle.torch_save import load_torch
from tests.generators.checkpoints.foreign import saved
from tests.generators.unpickle.test_machine import read

GIGA = 2**33


def bombs():
    deep = b"(" * 50_000 + b"t" * 50_000
    laughs = b")" + b"q\x00h\x00\x86" * 1000
    data_type = b"cnumpy\ndtype\n(S'f8'\ntR"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nttR"
    storage = saved(torch.zeros(4), _use_new_zipfile_serialization=False)
    big = b"X" + struct.pack("<I", 2**20) + b"x" * 2**20
    many = b"}q\x01(" + b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(4000)) + b"u"
    return {
        "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        "long text": b"\x80\x04\x8d" + struct.pack("<Q", GIGA) + b"x.",
        "long array of bytes": b"\x80\x05\x96" + struct.pack("<Q", GIGA) + b"x.",
        "long number": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "long frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"]",
        "memo": b"\x80\x02]r\xff\xff\xff\xffj\xff\xff\xff\xff" + b"Q.",
        "deep tuples as a key": b"}" + deep + b"Ns.",
        "laughing tuples as a key": b"}" + laughs + b"Ns.",
        "too many steps": b"\x80\x02" + b"]" * 20_005 + b".",
        "array": array + b"(I1\n(L1099511627776L\nt" + data_type + b"I00\nS'x'\ntb.",
        "array of one value": array + b"(I1\n(I1000000\nt" + data_type + b"I00\nS'x'\ntb.",
        "repeated text": big + b"q\x01" + b"c_codecs\nencode\nq\x02" + b"h\x02h\x01\x85R" * 2000 + b".",
        "repeated dictionaries": many + b"ccollections\nOrderedDict\nq\x02" + b"h\x02h\x01\x85R" * 2000 + b".",
        "legacy storage": storage.replace(b"K\x04Nt", b"J\xff\xff\xff\x7fNt"),
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_take_no_memory(name, monkeypatch):
    monkeypatch.setattr("generators.unpickle.machine.MAX_STEPS", 20_000)  # not to wait for a million
    monkeypatch.setattr("generators.unpickle.machine.SLACK", 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = bombs()[name]
    with pytest.raises(ModelFileError):
        load_torch(io.BytesIO(data)) if name == "legacy storage" else read(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes


def test_deep_values_are_fine_where_nothing_looks_into_them(tmp_path):
    path = tmp_path / "deep.pkl"
    path.write_bytes(b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".")
    with pytest.raises(ModelFileError, match="without a generator"):
        load(path)


def archive(pickled: bytes, *, compression=zipfile.ZIP_STORED, storage: bytes = b"\0" * 16) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, data in (("data.pkl", pickled), ("byteorder", b"little"), ("data/0", storage), ("version", b"3\n")):
            out.writestr(f"archive/{name}", data)
    return file.getvalue()


def test_archives_that_declare_more_than_they_hold():
    honest = saved(torch.zeros(4))
    with zipfile.ZipFile(io.BytesIO(honest)) as inner:
        pickled = next(inner.read(name) for name in inner.namelist() if name.endswith("data.pkl"))
    assert torch.equal(load_torch(io.BytesIO(archive(pickled))), torch.zeros(4))
    many = pickled.replace(b"K\x04", b"J\xff\xff\xff\x7f")
    for data in (
        archive(pickled, storage=b"\0" * 4),
        archive(many),
        archive(pickled, compression=zipfile.ZIP_DEFLATED, storage=b"\0" * 2**24),
    ):
        with pytest.raises(ModelFileError, match="declares|reaches beyond"):
            load_torch(io.BytesIO(data))
    with pytest.raises(ModelFileError, match="not of torch.save"):
        load_torch(io.BytesIO(archive(pickled).replace(b"data.pkl", b"beta.pkl")))
