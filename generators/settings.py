"""Settings that say what they are: a field of a dataclass with its range, its choices and its help.

A configuration is a frozen dataclass of such fields. `check` refuses what lies outside of their ranges, and the command
line makes its options from the same fields, so that a setting stands once.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from math import isfinite
from types import NoneType
from typing import Any

ABOUT = "about"  # key in a field's metadata


@dataclass(frozen=True, kw_only=True)
class About:
    """All that is known of a setting beside its name, type and default."""

    help: str | Callable[[], str]  # a function is asked when the help is shown
    group: str = ""  # of the command line's help
    choices: tuple[str, ...] = ()
    least: int | float | None = None  # smallest value
    above: int | float | None = None  # or the largest that is too small
    most: int | float | None = None  # largest value
    flag: str = ""  # the option's name, where it is not that of the setting
    shown: str | None = None  # the default in words; None: as it is
    fixed: bool = False  # true of what cannot change once something is made of it

    def refuses(self, value: object) -> str:
        """Say what was wanted, where value is not that; nothing where it is. None always is."""
        if value is None:
            return ""
        if self.choices:
            return "" if value in self.choices else f"one of {', '.join(self.choices)}"
        bounds = (
            (self.least, "from {} on", lambda v, b: v >= b),
            (self.above, "above {}", lambda v, b: v > b),
            (self.most, "up to {}", lambda v, b: v <= b),
        )
        asked = [(bound, words, fits) for bound, words, fits in bounds if bound is not None]
        wanted = "a number " + " and ".join(words.format(f"{bound:g}") for bound, words, _ in asked)
        if not asked:
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return wanted
        return "" if isfinite(value) and all(fits(value, bound) for bound, _, fits in asked) else wanted


def setting(default: Any, help: str | Callable[[], str], **limits: Any) -> Any:
    """A field with its default, its help and what else `About` holds; a function as default is called each time."""
    metadata = {ABOUT: About(help=help, **limits)}
    if isinstance(default, Callable):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def settings_of(config: type) -> dict[str, tuple[Field, About]]:
    """The settings of a configuration that say what they are, by name."""
    return {f.name: (f, f.metadata[ABOUT]) for f in fields(config) if ABOUT in f.metadata}


def default_of(field: Field) -> Any:
    """A field's default, None where it has none."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def check(config: object, error: type[Exception]) -> None:
    """Raise error for the first setting that lies outside of its range or choices; numbers become Python's own."""
    for name, (about_field, about) in settings_of(type(config)).items():
        value = plain(getattr(config, name))
        object.__setattr__(config, name, value)  # a frozen configuration, which is being made
        if wanted := about.refuses(value):
            raise error(f"{name} is {value!r}; wanted {wanted}")
        if about_field.type in (int, int | None) and not isinstance(value, int | None):
            raise error(f"{name} is {value!r}; wanted a whole number")


def plain(value: Any) -> Any:
    """The value with Python's numbers for those of numpy and torch, also inside of lists, tuples and tables."""
    if type(value) in (str, bool, int, float, NoneType):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
