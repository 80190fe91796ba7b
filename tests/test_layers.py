"""Imports point one way: each module may import only those above it in this list, inside functions too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ORDER = [
    "generators.errors", "generators.storage", "generators.device", "generators.shapes", "generators.base", "generators.pictures.image",
    "generators.pictures.digits", "generators.pca",
    "generators.autoencoder", "generators.parts.ops", "generators.parts.flow", "generators.stylegan2", "generators.parts.filters",
    "generators.stylegan3", "generators.mobilestylegan", "generators.parts.encoder", "generators.parts.pyramid", "generators.unpickle.allowed",
    "generators.unpickle.machine", "generators.unpickle.torch_save", "generators.parts.lite", "generators.parts.feature_encoder",
    "generators.parts.discriminator", "generators.checkpoints.ours", "generators.checkpoints.companion", "generators.hub.catalogue",
    "generators.checkpoints.common", "generators.checkpoints.rosinality", "generators.checkpoints.nvidia",
    "generators.checkpoints.psp", "generators.checkpoints.tensorflow", "generators.checkpoints.openvino",
    "generators.checkpoints.open", "generators.checkpoints.export", "generators.adapter",
    "generators.hub.download", "generators.hub.ledger", "generators.hub.wheels", "generators.hub.names",
    "generators.training.distributed", "generators.pictures.sources", "generators.training.data",
    "generators.training.config", "generators.training.terms.ada", "generators.training.terms.augment",
    "generators.training.terms.losses", "generators.training.start.build", "generators.training.start.grow",
    "generators.training.methods.method", "generators.training.methods.prior", "generators.training.methods.preview",
    "generators.training.methods.joint", "generators.training.methods.plain", "generators.training.methods.encode",
    "generators.training.methods.feature_encode", "generators.training.trainer",
    "generators.training.methods.moments", "generators.training.terms.penalties", "generators.training.methods.autoencode",
    "generators.training.methods.pca", "generators.training.checkpoint", "generators.training.record.curve",
    "generators.training.record.monitor", "generators.training.settings", "generators.training.kinds",
    "generators.training.run", "generators",
    "inversion.errors", "inversion.faces.align", "inversion.latent", "inversion.faces.identity",
    "inversion.features",
    "inversion.losses", "inversion.encoder", "inversion.loop", "inversion.recipes", "inversion.tune",
    "inversion.edit.move", "inversion.edit.family", "inversion.directions", "inversion.metrics", "inversion.photograph",
    "inversion.files.foreign", "inversion.files.latent_file", "inversion.files.cache", "inversion.commands.tables", "inversion.commands.destination",
    "inversion.batch", "inversion.measures.reconstruction", "inversion.measures.diversity", "inversion.measures.smoothness", "inversion.measures.memorised",
    "inversion.measures.model", "inversion.commands.quality_table", "inversion.library.collection", "inversion.measures.space", "inversion.library.index",
    "inversion.library.nearest", "inversion.views.plot", "inversion.views.page", "inversion.views.video", "inversion.commands.terminal", "inversion",
    "inversion.commands", "inversion.commands.photos", "inversion.commands.edits", "inversion.commands.training",
    "inversion.commands.models", "inversion.commands.library", "cli",
]  # fmt: skip
HEAVY = {"dlib", "lpips", "matplotlib", "imageio", "sklearn", "torchvision", "face_recognition_models"}


def modules() -> dict[str, Path]:
    """Every module of the library, by name."""
    files = [*ROOT.glob("generators/**/*.py"), *ROOT.glob("inversion/**/*.py"), *ROOT.glob("cli.py")]
    full = [file for file in files if file.stat().st_size]  # what only marks a folder as a package is none
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in full}


MODULES = modules()


def imports(source: str, known: set[str]) -> set[str]:
    """The known modules that a source imports, anywhere in it; relative imports stand as they are written."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.add("." * node.level + (node.module or ""))
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known  # `from package import module`
            if inner - known:
                found.add(node.module)
    return {name for name in found if name in known or name.startswith(".")}


def at_import(source: str) -> set[str]:
    """The packages that a source imports as it is imported itself, so not those inside of functions."""
    found, todo = set(), [*ast.iter_child_nodes(ast.parse(source))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module):
    assert module in ORDER, f"{module} is new: give it its place in ORDER of tests/test_layers.py"
    above = set(ORDER[: ORDER.index(module)])
    upwards = imports(MODULES[module].read_text(), set(ORDER)) - above
    assert not upwards, f"{module} imports {', '.join(sorted(upwards))}; it may import only what is above it in ORDER"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_heavy_libraries_wait_until_they_are_needed(module):
    early = at_import(MODULES[module].read_text()) & HEAVY
    assert not early, f"{module} imports {', '.join(sorted(early))} at once; import it in the function that needs it"


def test_order_names_each_module_once():
    assert len(ORDER) == len(set(ORDER))


def test_every_kind_of_import_is_seen():
    source = """
import a.b, json
from a import c, name
from os import path
def f():
    from a.d import thing
    from . import e
if TYPE_CHECKING:
    from .deep import g
"""
    assert imports(source, {"a", "a.b", "a.c", "a.d"}) == {"a", "a.b", "a.c", "a.d", ".", ".deep"}


def test_imports_inside_functions_can_wait():
    source = """
import a.b
if TYPE_CHECKING:
    import c
else:
    import d
class K:
    from e import x
    def f(self):
        import g
try:
    import h
except ImportError:
    pass
"""
    assert at_import(source) == {"a", "d", "e", "h"}
