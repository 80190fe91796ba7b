"""Hostile files, made of small honest ones."""

import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

from generators.checkpoints.ours import save_model
from generators.checkpoints.rosinality import to_state
from tests.conftest import tiny_generator
from tests.generators.checkpoints.foreign import dumped, nvidia, saved, tensorflow

LEGACY = {"_use_new_zipfile_serialization": False}
ATOMS = [  # pieces of pickles: calls, names, containers, numbers of odd sizes
    b"cos\nsystem\n(S'echo'\ntR.",
    b"cbuiltins\neval\n(S'1'\ntR.",
    b"cbuiltins\nexec\n(S'1'\ntR",
    b"csubprocess\nPopen\n(S'x'\ntR",
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR",
    b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb",
    b"cnumpy\ndtype\n(S'f8'\ntR(I3\nS'<'\nN(S'a'\nt}I8\nI8\nI0\ntb",
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\ntRS'AAAAAAAA'\ntR",
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\ntRS'AAAAAAAA'\ntR",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\ndevice\n(S'cpu'\nI99999999999\ntR",
    b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    b"ccollections\nOrderedDict\n)R",
    b"ccollections\ndefaultdict\n(cbuiltins\nlist\ntR",
    b"cpathlib\nPosixPath\n(S'/etc/passwd'\ntR",
    b"cargparse\nNamespace\n)\x81}b",
    *(b"(", b"t", b"l", b"d", b"}", b"]", b")", b"\x8f", b"\x90", b"\x91", b"R", b"b", b"\x81", b"s", b"u", b"e"),
    *(b"0", b"1", b"2", b"Q", b"N", b"\x85", b"\x86", b"q\x00", b"h\x00", b"h\x01", b"r\xff\xff\xff\xff"),
    *(b"J\xff\xff\xff\xff", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"K\x00", b"I-1\n", b"G\x7f\xf8" + bytes(6)),
]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """data with a few bytes changed, cut, doubled, or moved."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, max(1, len(out))))
        length = int(rng.integers(1, 40))
        match int(rng.integers(0, 7)):
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
            case 5:
                out[at:at] = ATOMS[int(rng.integers(len(ATOMS)))]
            case _ if rng.random() < 0.2:
                del out[at:]
    return bytes(out)


def originals(folder: Path) -> dict[str, list[bytes]]:
    """Small honest files by their suffix."""
    g = tiny_generator(channels=(2, 2, 2), z_dim=2, w_dim=2, mapping_layers=1)
    save_model(g, folder / "ours.safetensors")
    state, code = {"g_ema": to_state(g), "latent_avg": g.w_avg}, np.zeros((1, 6, 2), np.float32)
    packed, plain = io.BytesIO(), io.BytesIO()
    np.savez_compressed(packed, w=code)
    np.savez(plain, w=code, noise=code)
    latent = {"a.png": {"latent": torch.zeros(6, 2), "noise": [torch.zeros(1, 1, 4, 4)]}}
    return {
        ".pt": [saved(thing, **how) for thing in (state, latent, {"x": np.ones(3)}) for how in ({}, LEGACY)],
        ".pkl": [dumped(tree(g), protocol) for tree in (nvidia, tensorflow) for protocol in (0, 2, 4)],
        ".npz": [packed.getvalue(), plain.getvalue()],
        ".npy": [pickle.dumps(code, 4), pickle.dumps({"w": code, "o": np.array([None, 1], object)}, 2)],
        ".safetensors": [(folder / "ours.safetensors").read_bytes()],
    }


def forged(whole: dict[str, list[bytes]], rng: np.random.Generator) -> tuple[str, bytes]:
    """A suffix, and a file of it that is not what it says."""
    suffix = (".pt", ".pt", ".pt", ".pkl", ".pkl", ".npz", ".npy", ".safetensors")[int(rng.integers(8))]
    data = whole[suffix][int(rng.integers(len(whole[suffix])))]
    kind = rng.random()
    if kind < 0.03 and suffix in (".pt", ".pkl"):
        bomb = BOMBS[int(rng.integers(len(BOMBS)))]()
        return suffix, rezipped({"data.pkl": bomb, "version": b"3\n"}, rng) if suffix == ".pt" else b"\x80\x02" + bomb
    if kind < 0.6 and data.startswith(b"PK"):
        return suffix, rezipped(inside(data), rng)
    return suffix, mutated(data, rng)


def inside(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2] or name: archive.read(name) for name in archive.namelist()}


def rezipped(files: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """The same files, of which some are changed, doubled, renamed or packed."""
    pairs = [("archive/" + name, data) for name, data in files.items()]
    for _ in range(int(rng.integers(0, 3))):
        at = int(rng.integers(len(pairs)))
        name, data = pairs[at]
        match int(rng.integers(6)):
            case 0:
                pairs.append((name, mutated(data, rng)))
            case 1:
                pairs[at] = name.upper(), data
            case 2:
                pairs.insert(0, (name.replace("archive/", "archive/x/"), mutated(data, rng)))
            case 3:
                del pairs[at]
                pairs = pairs or [("archive/data.pkl", b".")]
            case _:
                pairs[at] = name, mutated(data, rng)
    file, packed = io.BytesIO(), zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", packed) as out:
        warnings.simplefilter("ignore")
        for name, data in pairs:
            out.writestr(zipfile.ZipInfo(name), data, packed)
    found = file.getvalue()
    found = found.replace(b"data.pkl", b"data\0pkl") if rng.random() < 0.02 else found
    return mutated(found, rng) if rng.random() < 0.2 else found


def colliding() -> bytes:
    """A set of numbers of which many hash alike."""
    numbers = [i << 44 for i in range(60_000)]
    return b"\x80\x04\x8f(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in numbers) + b"\x90."


def tuples() -> bytes:
    """Tuples as keys."""
    return b"}(" + b"".join(b"J" + struct.pack("<i", i) + b"\x85N" for i in range(60_000)) + b"u."


def numbered() -> bytes:
    """A memo whose numbers hash alike."""
    return b"N" + b"".join(b"p%d\n" % (i * (2**61 - 1)) for i in range(30_000)) + b"."


def devices() -> bytes:
    """Names of devices that are long, and many."""
    text = b"X" + struct.pack("<I", 2**20) + b"x" * 2**20
    return text + b"q\x00(" + b"ctorch\ndevice\n(" + b"h\x00" * 4000 + b"tR" * 1 + b"l."


def nested() -> bytes:
    """Arrays of objects inside of each other."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    kind = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntbq\x05"
    inner = b"N"
    for _ in range(2000):
        inner = array + b"(I1\n(I1\nth\x05I00\n(" + inner + b"ltb" if len(inner) < 200_000 else inner
    return kind + b"0" + inner + b"."


def laughing() -> bytes:
    """Tuples of tuples as a key."""
    return b"}" + b")" + b"q\x00h\x00\x86" * 1000 + b"Ns."


def lengthy() -> bytes:
    """Bytes that are not there."""
    return b"\x8e" + struct.pack("<Q", 2**40) + b"x."


def expanded() -> bytes:
    """Dictionaries copied without end."""
    many = b"}q\x01(" + b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(4000)) + b"u"
    return many + b"ccollections\nOrderedDict\nq\x02" + b"h\x02h\x01\x85R" * 50_000 + b"."


def stepping() -> bytes:
    """Steps without end."""
    return b"N0" * 700_000 + b"N."


BOMBS = (colliding, tuples, numbered, devices, nested, laughing, lengthy, expanded, stepping)
