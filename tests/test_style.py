"""Plain words and looser lines: what no linter here asks for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.layers import ROOT

FILES = [*ROOT.glob("generators/**/*.py"), *ROOT.glob("inversion/**/*.py"), ROOT / "cli.py"]
ALL = [*FILES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("docs/*.py")]
LONG, LONGEST, FEW = 40, 60, 5  # lines of a function; how many may be longer than LONG
LINES = 300  # of a file
OPENINGS = ("What ", "Whether ", "Of ", "So ")  # of docstrings that name neither a deed nor a thing
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(path: Path) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def length(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_functions_fit_the_eye():
    long = {f"{name_of(path)}:{f.name}": length(f) for path in FILES for f in functions(path) if length(f) > LONG}
    assert len(long) <= FEW and max(long.values(), default=0) <= LONGEST, long


def test_files_fit_the_hand():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in ALL}
    long = {name: count for name, count in lines.items() if count > LINES}
    assert not long, long
    assert lines["generators/training/run.py"] <= 150


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_docstrings_open_with_a_deed_or_a_thing(path):
    nodes = [node for node in ast.walk(tree(path)) if isinstance(node, Function | ast.ClassDef)]
    texts = {node.name: ast.get_docstring(node) or "" for node in nodes}
    wrong = {name: text.splitlines()[0] for name, text in texts.items() if text.startswith(OPENINGS)}
    assert not wrong, wrong


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_choice_inside_a_choice_and_few_names_at_once(path):
    nested, crowded = [], []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.IfExp) and any(isinstance(part, ast.IfExp) for part in (node.body, node.orelse)):
            nested.append(node.lineno)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else ()
            if len(node.targets[0].elts) > 2 and len(values) > 2:  # several things said at once, not one taken apart
                crowded.append(node.lineno)
    assert not nested and not crowded, f"nested choices in lines {nested}, three names or more in lines {crowded}"
