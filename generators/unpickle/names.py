"""The names that a pickle may hold: a closed list of builders, and classes whose objects come as stand-ins.

No name is ever looked up, so none can run anything. What is neither in the list nor of a class that holds data is
refused all the same, by its name: it stands in no honest file.
"""

import re
from collections.abc import Callable

from generators.unpickle.allowed import (
    Budget,
    Name,
    Refused,
    StandIn,
    collection,
    defaults,
    dictionary,
    encoded,
    no_bytes,
    persistent,
    row,
    shown,
    stand_in,
)
from generators.unpickle.arrays import array_from_bytes, data_type, empty_array, number
from generators.unpickle.tensors import BUILDERS as TENSORS
from generators.unpickle.tensors import NAMED

CLASSES = {
    Name("dnnlib.tflib.network.Network"): "Network",
    Name("tfutil.Network"): "Network",  # as the progressive GAN of 2018 has it
    Name("argparse.Namespace"): "Namespace",
}
DATA = {  # modules whose classes hold settings, dates, paths and records, as scripts save them beside their weights
    *("pathlib", "collections", "datetime", "decimal", "fractions", "uuid", "enum", "zoneinfo"),
    *("__main__", "omegaconf", "easydict", "addict", "dotmap", "munch", "yacs", "ml_collections", "box"),
    *("torch.optim", "torch.nn", "numpy.random", "training", "torch_utils", "dnnlib", "options", "configs", "models"),
}
PURE = {"builtins": ("complex", "slice", "range", "bytearray"), "types": ("SimpleNamespace",)}
CLASS = re.compile(r"(_?[A-Z]\w*|defaultdict|date|datetime|time|timedelta|timezone|deque|__\w*_ctor|_unpickle_\w+)")


def reconstructed(budget: Budget, kind: object, _base: object = None, state: object = None) -> object:
    """An object as protocols 0 and 1 write it."""
    if kind in ("dnnlib.util.EasyDict", "dnnlib.EasyDict", "collections.OrderedDict"):
        return dictionary(budget, state or ())
    if not isinstance(kind, Name) or kind not in CLASSES and not is_data(kind):
        raise Refused(f"makes an object of {shown(kind)}, which is not built")
    return StandIn(CLASSES.get(kind, str(kind)))


def is_data(path: str) -> bool:
    """Tells a class of a module that holds data; its objects come as stand-ins."""
    module, _, name = path.rpartition(".")
    packages = {".".join(module.split(".")[:depth]) for depth in (1, 2)}
    return name in PURE.get(module.replace("__builtin__", "builtins"), ()) or bool(
        packages & DATA and CLASS.fullmatch(name) and re.fullmatch(r"\w+(\.\w+)*", module)
    )


def builder(name: object) -> Callable[..., object] | None:
    """The maker of the thing that a name calls for; None where there is none."""
    if not isinstance(name, Name):
        return None
    return BUILDERS.get(name) or (stand_in(str(name)) if name not in INERT and is_data(name) else None)


BUILDERS: dict[str, Callable[..., object]] = TENSORS | {
    **{f"{module}.EasyDict": dictionary for module in ("dnnlib", "dnnlib.util", "easydict")},
    "collections.OrderedDict": dictionary,
    "collections.Counter": dictionary,
    "collections.defaultdict": defaults,
    "collections.deque": row,
    "torch_utils.persistence._reconstruct_persistent_obj": persistent,
    **{name: stand_in(kind) for name, kind in CLASSES.items()},
    **{f"{module}._reconstructor": reconstructed for module in ("copyreg", "copy_reg")},
    **{f"{module}.set": collection(set) for module in ("builtins", "__builtin__")},
    **{f"{module}.frozenset": collection(frozenset) for module in ("builtins", "__builtin__")},
    **{f"{module}.bytes": no_bytes for module in ("builtins", "__builtin__")},
    "_codecs.encode": encoded,
    "numpy.dtype": data_type,
    **{f"numpy.{core}.multiarray._reconstruct": empty_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": number for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": array_from_bytes for core in ("core", "_core")},
}
BUILTINS = ("object", "dict", "list", "tuple", "str", "int", "float", "bool")
INERT = {  # named, never called
    "numpy.ndarray",
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in BUILTINS),
    *NAMED,
}
