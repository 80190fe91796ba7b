"""The documents do what they say: README's Python runs, its commands parse, the recipes of the map work."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click
import pytest

import generators
from cli import main
from inversion.config import RECIPES as RECIPES_OF_SEARCH
from tests.conftest import picture, tiny_generator
from tests.layers import ROOT

README, MAP = ROOT / "README.md", ROOT / "docs" / "ARCHITECTURE.md"
PAGES = [README, *ROOT.glob("generators/pretrained/**/*.md"), *ROOT.glob("inversion/**/*.md")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
PROGRAMS = ("latent", "python", "make", "pip", "torchrun")
INLINE = re.compile(rf"`((?:{'|'.join(PROGRAMS)}) [^`]+)`")


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(path.read_text()) if kind == language]


def commands() -> Iterator[tuple[str, str]]:
    """Each command of each page, continued lines joined, comments and what it is piped into left out."""
    for page in PAGES:
        text = page.read_text()
        lines = [line for block in blocks(page, "") + blocks(page, "sh") for line in joined(block).splitlines()]
        lines += [" ".join(command.split()) for command in INLINE.findall(FENCE.sub("", text))]
        for line in lines:
            for part in re.split(r"[;|]", line.partition(" #")[0]):
                if part.split() and part.split()[0] in PROGRAMS:
                    yield page.name, part.strip()


def joined(block: str) -> str:
    return block.replace("\\\n", " ")


def parse(words: list[str]) -> None:
    """Parse a command as its program would, and run nothing; UsageError where it is none."""
    program, rest = words[0], words[1:]
    if "latent" in words:
        name, *args = words[words.index("latent") + 1 :]
        if name.startswith("-"):  # options of the program itself
            return
        if name == "COMMAND":
            return
        found = main.get_command(click.Context(main), name)
        assert found is not None, f"no command {name}"
        context(found, name, args)
    elif program == "python" and rest[0] == "-m" and rest[1].startswith("tests.benchmarks."):
        context(import_module(rest[1]).main, rest[1], rest[2:])
    elif program == "python" and rest[0] == "-m" and rest[1] not in ("pip", "pytest"):
        assert (ROOT / f"{rest[1].replace('.', '/')}.py").is_file(), rest[1]
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(rest) <= set(targets), rest


def context(command: click.Command, name: str, args: list[str]) -> None:
    if args == ["--help"]:
        return
    command.make_context(name, args)


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_a_command_of_the_documents_is_one(page, command):
    words = shlex.split(command.replace("...", "").replace("…", ""))
    try:
        parse(words)
    except click.UsageError as error:
        if isinstance(error, click.MissingParameter) and ("..." in command or len(words) == 2):
            return  # left out on purpose, or spoken of by name alone
        pytest.fail(f"{page}: {command}: {error.format_message()}")


def test_every_command_is_shown_in_the_readme():
    shown = {
        command.split()[1] for page, command in commands() if page == "README.md" and command.startswith("latent ")
    }
    assert set(main.list_commands(click.Context(main))) <= shown


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    """As it is written, on a small generator in the place of a large one, and with little patience."""
    small = tiny_generator()
    small.card["subject"] = "patterns"  # whose pictures need no face
    monkeypatch.setattr(generators, "load", lambda name: small, raising=False)
    monkeypatch.setitem(RECIPES_OF_SEARCH, "default", replace(RECIPES_OF_SEARCH["default"], steps=10))
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("mother.jpg", "father.jpg", "me.jpg")):
        picture(i).save(tmp_path / name)
    space: dict[str, object] = {}
    snippets = blocks(README, "python")
    assert len(snippets) >= 2
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), space)
    assert (tmp_path / "child.latent.safetensors").is_file()


# The map


def test_every_path_of_the_map_is_there():
    text = MAP.read_text()
    named = set(re.findall(r"`((?:generators|inversion|tests|docs)/[\w./-]*)`", text))
    named |= {f"{home}/{name}" for home, name in in_tree(text)}
    assert len(named) > 40
    missing = [name for name in sorted(named) if not (ROOT / name).exists()]
    assert not missing, missing


def in_tree(text: str) -> Iterator[tuple[str, str]]:
    """Each file and folder of the drawn tree, with the package that it stands in."""
    home = ""
    for line in FENCE.search(text)[2].splitlines():  # type: ignore[index]
        names = [word for word in line.split("  ")[0 if line[0] != " " else 1].split() if word.endswith(("/", ".py"))]
        if line[0] != " ":
            home = names[0].rstrip("/")
        else:
            yield from ((home, name) for name in names)


RECIPES = [
    (title, FENCE.findall(body))
    for title, body in re.findall(r"^### To add (.+?)\n(.*?)(?=^###? |\Z)", MAP.read_text(), re.M | re.S)
]
PLACE = re.compile(r"^# (?P<file>[\w./-]+\.\w+)(?:, (?P<how>new file|below `(?P<line>.+)`|at the end))?\n", re.M)


def follow(code: str, home: Path) -> set[str]:
    """Write the pieces of a recipe into the files that they name; gives those."""
    pieces = PLACE.split(code)[1:]
    files = set()
    for file, how, line, text in zip(pieces[0::4], pieces[1::4], pieces[2::4], pieces[3::4], strict=True):
        path = home / file
        files.add(file)
        if how == "new file":
            assert not path.exists(), f"{file} is there already"
            path.write_text(text.strip("\n") + "\n")
        elif line is not None:
            before, found, after = path.read_text().partition(f"{line}\n")
            assert found, f"{file} has no line {line!r}"
            path.write_text(before + found + text.strip("\n") + "\n" + after)
        else:
            path.write_text(path.read_text().rstrip("\n") + "\n\n\n" + text.strip("\n") + "\n")
    return files


@pytest.fixture
def copy(tmp_path) -> Path:
    """The library, to be changed, and three pictures."""
    home = tmp_path / "copy"
    home.mkdir()
    for name in ("generators", "inversion", "tests"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__", "companions"))
    shutil.copy(ROOT / "cli.py", home)
    for i, name in enumerate("abc"):
        picture(i, 16).save(home / f"{name}.png")
    return home


def test_the_map_has_a_recipe_for_seven_kinds_of_addition():
    assert len(RECIPES) == 7


@pytest.mark.slow
def test_every_recipe_works_as_written(copy, model):
    """Its pieces go where it says, and then its commands run; all in one process, which tells what it is at."""
    script = ["import cli"]
    for title, parts in RECIPES:
        code = "".join(text for kind, text in parts if kind == "python")
        tries = [line for kind, text in parts if kind == "sh" for line in joined(text).splitlines() if line.strip()]
        assert follow(code, copy) and tries, title
        script += map(in_python, tries)
    environment = os.environ | {"LATENT_GENERATOR": model, "LATENT_CACHE": str(copy / "cache"), "PYTHONPATH": str(copy)}
    command = [sys.executable, "-c", "\n".join(script)]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def in_python(line: str) -> str:
    """A command as lines of a program."""
    program, *words = shlex.split(line)
    if program == "python":
        assert words[0] == "-c"
        return words[1]
    run = f"try: cli.main({words!r})\nexcept SystemExit as end: assert not end.code, end"
    return f"print({line!r}, flush=True)\n{run}"
