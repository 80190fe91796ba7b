"""Names of generators -> files. The packaged models lie in `pretrained/`, each with its model card beside it."""

from dataclasses import dataclass
from pathlib import Path

from generators.errors import GeneratorError

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class Entry:
    """A generator that can be loaded by name."""

    name: str
    path: Path
    card: Path | None  # the model card, Markdown
    source: str  # where it comes from: packaged


def entries() -> list[Entry]:
    """All generators that can be loaded by name."""
    files = sorted(PRETRAINED.glob("*.safetensors"))
    return [Entry(f.stem, f, card if (card := f.with_suffix(".md")).exists() else None, "packaged") for f in files]


def find(name: str) -> Path:
    """The file of a name, or the path itself where it is one; GeneratorError lists the names that are known."""
    for entry in entries():
        if entry.name == name:
            return entry.path
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix or path.is_dir():
        raise GeneratorError(
            f"no model file at {name}; give a .safetensors file or a name that `latent generators` lists"
        )
    known = ", ".join(entry.name for entry in entries()) or "none"
    raise GeneratorError(f"no generator named {name!r}; known names: {known}; or give the path of a model file")
