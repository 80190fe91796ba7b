import collections
import io
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from generators import load
from generators.checkpoints.ours import save_model
from generators.checkpoints.rosinality import to_state
from generators.errors import ModelFileError, naming
from generators.unpickle.allowed import StandIn
from generators.unpickle.machine import read_pickle
from generators.unpickle.torch_save import load_storage, load_torch
from tests.conftest import ROOT, tiny_generator
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


# Bombs: bounded time and memory

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


# Fuzz


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """data with a few bytes changed, cut, doubled, or moved."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, max(1, len(out))))
        length = int(rng.integers(1, 40))
        match int(rng.integers(0, 6)):
            case 0:
                out[at : at + 1] = bytes([int(rng.integers(0, 256))])
            case 1:
                out[at : at + length] = rng.bytes(length)
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[at : at + length]
            case 4 if at < len(out):
                out[at] ^= 1 << int(rng.integers(0, 8))
            case _ if rng.random() < 0.2:
                del out[at:]
    return bytes(out)


def originals(folder: Path) -> dict[str, list[bytes]]:
    """Whole files, small ones, so that changes hit the structure as often as the weights."""
    g = tiny_generator(channels=(2, 2, 2), z_dim=2, w_dim=2, mapping_layers=1)
    save_model(g, folder / "ours.safetensors")
    state = {"g_ema": to_state(g), "latent_avg": g.w_avg}
    return {
        "pickles": [
            dumped(nvidia(g)),
            dumped(nvidia(g), 2),
            dumped(tensorflow(g)),
            dumped(tensorflow(g), 2),
            dumped({"w": np.zeros((1, 6, 2))}, 5),
        ],
        "others": [
            saved(state),
            saved(state, _use_new_zipfile_serialization=False),
            (folder / "ours.safetensors").read_bytes(),
        ],
    }


PROBE = """
import builtins, os, resource, subprocess, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import numpy as np
import torch
torch.set_num_threads(1)
import warnings
warnings.simplefilter("ignore")
from generators.checkpoints.open import read_checkpoint
from generators.errors import GeneratorError
from tests.generators.unpickle.test_machine import mutated, originals
folder = Path({folder!r})
kinds = originals(folder)
for original in kinds["pickles"] + kinds["others"]:
    (folder / "whole").write_bytes(original)
    try:
        read_checkpoint(folder / "whole")
    except GeneratorError:
        pass
def never(*args, **more):
    raise SystemExit("something was executed")
os.system = subprocess.Popen.__init__ = os.execve = os.posix_spawn = never
builtins.eval = never
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
counts = {{"read": 0, "refused": 0}}
for kind, count in {counts!r}.items():
    rng = np.random.default_rng({seed})
    for i in range(count):
        data = mutated(kinds[kind][i % len(kinds[kind])], rng)
        (folder / "mutated").write_bytes(data)
        try:
            read_checkpoint(folder / "mutated")
            counts["read"] += 1
        except GeneratorError as error:
            assert "\\n" not in str(error), str(error)
            counts["refused"] += 1
        except BaseException as error:
            (folder / f"failed-{{kind}}-{{i}}").write_bytes(data)
            raise
print(counts["read"], counts["refused"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def fuzz(folder: Path, pickles: int, others: int, seed: int, timeout: float) -> tuple[int, int, int]:
    """Read mutated files in a process of its own, so that a crash is seen: read, refused, most memory in MB."""
    counts = {"pickles": pickles, "others": others}
    paths = [str(ROOT)]
    code = PROBE.format(paths=paths, folder=str(folder), counts=counts, seed=seed)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    read_, refused_, peak = map(int, done.stdout.split())
    return read_, refused_, peak


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(tmp_path):
    read_, refused_, peak = fuzz(tmp_path, 120, 60, seed=0, timeout=300)
    assert read_ + refused_ == 180 and read_ > 3 and refused_ > 50 and peak < 2000


@pytest.mark.fuzz
def test_many_mutated_files_are_read_or_refused(tmp_path):
    read_, refused_, peak = fuzz(tmp_path, 20_000, 5_000, seed=1, timeout=3600)
    assert read_ + refused_ == 25_000 and peak < 2000
