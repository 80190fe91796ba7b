import collections
import io
import pickle
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from generators import load
from generators.errors import ModelFileError, naming
from generators.unpickle.allowed import StandIn
from generators.unpickle.machine import read_pickle
from generators.unpickle.torch_save import load_storage, load_torch
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import dumped, nvidia, saved, tensorflow

# What is built


def read(data):
    with naming("file.pkl"):
        return read_pickle(io.BytesIO(data), storage=load_storage)


PLAIN = {
    "text": "ü\n",
    "numbers": [0, -1, 255, 65536, 2**40, -(2**70), 0.5, float("inf")],
    "none": (None, True, False),
    "bytes": b"\x00\xff" * 200,
    "sets": [{1, 2}, frozenset("ab")],
    "nested": {"a": [({"b": ()},)], 3: (1, 2, 3, 4)},
    "ordered": collections.OrderedDict(z=1, a=2),
    "pair": {(1, "x"): None},
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol):
    assert read(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", "i1", "i8", "u2", "?"])
def test_arrays_come_back(kind, protocol):
    array = (np.arange(24).reshape(2, 3, 4) % 5).astype(kind)
    for wanted in (array, array[:, ::2].T, np.asfortranarray(array), array[0, 0, 0], array[:0]):
        found = read(pickle.dumps([wanted, wanted], protocol))
        np.testing.assert_array_equal(found[0], wanted)
        assert found[0] is found[1] or isinstance(found[0], int | float | bool)


def test_tensors_come_back():
    base = torch.arange(24.0).reshape(4, 6)
    wanted = {
        "plain": base,
        "view": base.T[1:],
        "half": base.half(),
        "whole": base.long(),
        "one": torch.tensor(3.0),
        "none": torch.zeros(0, 3),
        "bool": base > 3,
        "bf": base.bfloat16(),
        "parameter": torch.nn.Parameter(base),
    }
    found = read(dumped(wanted))
    for key, value in wanted.items():
        assert torch.equal(found[key], value) and found[key].dtype == value.dtype and type(found[key]) is torch.Tensor
    assert not found["parameter"].requires_grad


def test_objects_come_as_stand_ins():
    tree = read(dumped(tensorflow(tiny_generator())))
    assert [type(n) for n in tree] == [StandIn] * 3 and tree[0].kind == "Network" and tree[0] is tree[2]
    assert tree[0].state["build_func_name"] == "G_main"
    assert read(dumped(nvidia(tiny_generator())))["G_ema"].kind == "Generator"


# What is refused


def refused(data, *words):
    with pytest.raises(ModelFileError) as caught:
        read(data)
    message = str(caught.value)
    assert message.startswith("file.pkl ") and "\n" not in message and len(message) < 400
    assert all(word in message for word in words), message


class Call:
    """Pickles as a call of a real function."""

    def __init__(self, function, *args):
        self.parts = function, args

    def __reduce__(self):
        return self.parts


def hostile(sentinel: Path):
    """Streams that would run something in a real unpickler, and the name in each."""
    import os

    touch = f"open({str(sentinel)!r}, 'w').close()"
    shell = f"touch {sentinel}"
    yield "system", pickle.dumps(Call(os.system, shell)), f"{os.system.__module__}.system"
    yield "eval", pickle.dumps(Call(eval, touch)), "builtins.eval"
    yield "exec", pickle.dumps(Call(exec, touch)), "builtins.exec"
    yield "popen", pickle.dumps(Call(subprocess.Popen, ["touch", str(sentinel)])), "subprocess.Popen"
    yield "getattr", b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nS'x'\ntR.", "builtins.getattr"
    yield "chain", b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93.", "builtins.eval.__call__"
    yield "dotted", b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__call__\x93.", "numpy.dtype.__call__"
    yield "inst", f"(S{touch!r}\nibuiltins\neval\n.".encode(), "builtins.eval"
    yield "obj", b"(cos\nsystem\nS'" + shell.encode() + b"'\no.", "os.system"
    yield "nested", pickle.dumps({"G_ema": [1, {"a": (Call(eval, touch),)}]}), "builtins.eval"
    yield "torch", b"ctorch\nload\n(S'x'\ntR.", "torch.load"
    yield "numpy", b"cnumpy.lib.npyio\nload\n(S'x'\ntR.", "numpy.lib.npyio.load"
    yield "runpy", b"crunpy\n_run_code\n.", "runpy._run_code"
    yield "extension", b"\x80\x02\x82\x01.", "EXT1"
    yield "persistent", b"\x80\x02X\x01\x00\x00\x00xQ.", "BINPERSID"
    yield "script", b"ctorch.jit._pickle\nrestore_type_tag\n.", "torch.jit._pickle.restore_type_tag"
    storage = pickle.dumps(Call(eval, touch), 2)
    for inner in (storage, saved(Call(eval, touch)), saved(Call(eval, touch), _use_new_zipfile_serialization=False)):
        embed = b"\x80\x02ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(inner)) + inner + b"\x85R."
        yield "embedded", embed, "eval" if inner is not storage else ""


def test_nothing_hostile_runs(tmp_path):
    sentinel = tmp_path / "ran"
    for name, data, word in hostile(sentinel):
        refused(data, word)
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(data)
        with pytest.raises(ModelFileError):
            load(path)
        assert not sentinel.exists(), name
    for how in ({}, {"_use_new_zipfile_serialization": False}):
        file = io.BytesIO(saved({"g_ema": Call(eval, f"open({str(sentinel)!r}, 'w')")}, **how))
        with pytest.raises(ModelFileError, match="builtin.*eval"):
            load_torch(file)
    assert not sentinel.exists()
    pickle.loads(next(data for name, data, _ in hostile(sentinel) if name == "eval"))
    assert sentinel.exists()  # so the streams do what they are meant to


TRICKS = {
    "a call of text": b"\x80\x02X\x01\x00\x00\x00x)R.",
    "a call of a marker": b"cnumpy\nndarray\n)R.",
    "attributes of a constructor": b"ccollections\nOrderedDict\n}b.",
    "slots of a constructor": b"cnumpy\ndtype\nN}S'__defaults__'\nNs\x86b.",
    "attributes of a list": b"]}b.",
    "items into a tuple": b")I1\nI2\ns.",
    "items into a list": b"]I1\nI2\ns.",
    "append to a dictionary": b"}I1\na.",
    "an unhashable key": b"}]I1\ns.",
    "a set of lists": b"\x8f(]\x90.",
    "a stack that is empty": b"a.",
    "a mark that is missing": b"t.",
    "a memo that is empty": b"\x80\x02h\x05.",
    "no end": b"\x80\x02]",
    "an opcode that is none": b"\x80\x02\xff.",
    "a text codec": b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    "an array of objects without values": pickle.dumps(np.zeros(3, object)).replace(b"O8", b"f8"),
    "a type that numpy reads as more": b"cnumpy\ndtype\n(S'f4,f4'\ntR.",
    "an odd number of items": b"}(I1\nu.",
    "a type of fields": b"cnumpy\ndtype\n(S'f8'\ntR(I3\nS'<'\nN(S'a'\nt}I8\nI8\nI0\ntb.",
    "numbers that count as objects": b"cnumpy\ndtype\n(S'f8'\ntR(I3\nS'<'\nNNNI-1\nI-1\nI63\ntb.",
}


@pytest.mark.parametrize("data", TRICKS.values(), ids=TRICKS)
def test_tricks_end_in_one_line(data):
    before = vars(collections.OrderedDict).copy()
    refused(data)
    assert vars(collections.OrderedDict) == before
