"""Options made from settings, and the kinds of option that click lacks."""

import re
from collections.abc import Callable, Collection, Mapping
from math import isfinite
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import click

from generators.settings import About, default_of, settings_of


class Grouped(click.Command):
    """A command whose help shows its options in groups, as `grouped` names them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (shown := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(shown)
        for name, rows in groups.items():
            with formatter.section(name):
                formatter.write_dl(rows)


class InGroup(click.Option):
    """An option that `Grouped` shows in a group of its help; its text, made when it is shown, tells the default."""

    def __init__(self, *args: Any, group: str, help: str | Callable[[], str] = "", **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.group = group
        self.text = help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return None if record is None else (record[0], self.text() if callable(self.text) else self.text)


def grouped(group: str, *names: str, **settings: Any) -> Callable:
    """An option in a group of the help of a `Grouped` command."""
    return click.option(*names, cls=InGroup, group=group, **settings)


class Seconds(click.ParamType):
    """A time such as 20s, 2m or 1.5."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([smh]?)", str(value).strip())
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is no time; write 20s, 2m, or a number of seconds above 0", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


class Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "numbers"

    def __init__(self, kind: type[int] | type[float] = float) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | float, ...]:
        try:
            return tuple(self.kind(part) for part in value.split(",") if value)
        except ValueError:
            self.fail(f"{value!r} is no list of numbers; write them as in 2,1", param, ctx)


class Band(click.ParamType):
    """Resolutions from one to another in pixels, such as 8-32, or one alone."""

    name = "band"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", str(value).strip())
        if found is None or int(found[1]) > int(found[2] or found[1]):
            self.fail(f"{value!r} are no resolutions; write them as in 8-32, or as 16", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class Settings(click.ParamType):
    """Numbers by name, such as age=+1.5,smile=-1."""

    name = "settings"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        found = {}
        for part in filter(None, (part.strip() for part in str(value).split(","))):
            name, _, number = (word.strip() for word in part.partition("="))
            try:
                found[name] = float(number)
            except ValueError:
                self.fail(f"{part!r} is no setting; write NAME=NUMBER, as in age=+1.5,smile=-1", param, ctx)
            if not isfinite(found[name]):
                self.fail(f"{part!r} has no finite number", param, ctx)
        return found


class Names(click.ParamType):
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return tuple(name.strip() for name in value.split(",") if name.strip())


def options(*all_of_them: Callable) -> Callable:
    """Several options as one decorator."""

    def add(command: Callable) -> Callable:
        for option in reversed(all_of_them):
            command = option(command)
        return command

    return add


def options_of(
    configs: Mapping[str, type], *, group: str = "Options", skip: Collection[str] = (), defaults: bool = True
) -> Callable:
    """An option for each setting of some configurations (label -> class), in the groups that the settings name.

    What is not given is None. A setting that several have comes once, with the default of each beside its label.
    group: of the settings that name none. defaults=False leaves defaults out of the help.
    """
    made = {name: None for config in configs.values() for name in settings_of(config) if name not in skip}
    return options(*(option_of(name, configs, group=group, defaults=defaults) for name in made))


def option_of(
    name: str,
    configs: Mapping[str, type],
    *,
    group: str = "Options",
    defaults: bool = True,
    parameter: str | None = None,
) -> Callable:
    """The option of one setting of configurations that have it; parameter: what the command calls it, if not so."""
    have = {label: config for label, config in configs.items() if name in settings_of(config)}
    config = next(iter(have.values()))
    about = settings_of(config)[name][1]
    kind, metavar = option_type(get_type_hints(config)[name], about)
    flag = f"--{(about.flag or name).replace('_', '-')}"
    flag = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    text = f"{about.help}  [{told_defaults(name, have)}]" if defaults else about.help
    where = about.group or group
    return grouped(where, flag, parameter or name, type=kind, default=None, help=text, metavar=metavar)


def option_type(hint: Any, about: About) -> tuple[Any, str | None]:
    """The type as which click reads a setting, and the word for its value."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if isinstance(hint, UnionType) else [hint]
    kind = kinds[0]
    if about.choices:
        return click.Choice([*about.choices]), None
    if kind is int:
        low, high = (None if bound is None else int(bound) for bound in (about.least, about.most))
        return click.IntRange(low, high), "N"
    if kind is float:
        return click.FloatRange(
            about.above if about.least is None else about.least,
            about.most,
            min_open=about.least is None and about.above is not None,
        ), "X"
    if get_origin(kind) is tuple:
        return Numbers(get_args(kind)[0]), "N,N..."
    return (bool, None) if kind is bool else (str, "NAME=WEIGHT,..." if name_weights(kind) else "TEXT")


def name_weights(kind: Any) -> bool:
    """True for a setting that holds a number for each of some names."""
    return isinstance(kind, type) and issubclass(kind, Mapping) or get_origin(kind) is Mapping


def told_defaults(name: str, configs: Mapping[str, type]) -> str:
    """The default of a setting in words; where configurations differ, the others follow after their labels."""
    told: dict[str, list[str]] = {}
    for label, config in configs.items():
        found, about = settings_of(config)[name]
        value = default_of(found)
        words = about.shown or in_words(value)
        told.setdefault(words, []).append(label)
    (first, _), *others = told.items()
    return "; ".join([first, *(f"{', '.join(labels)} {words}" for words, labels in others)])


def in_words(value: object) -> str:
    """A default as the help shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
