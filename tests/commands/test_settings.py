"""A setting stands once: its field makes its option, with its range, its choices and its help."""

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from generators.settings import check, setting, settings_of
from inversion.commands.photos import invert
from inversion.commands.settings import Grouped, options_of
from inversion.config import OPTIMIZERS, RECIPES, InvertConfig, LatentSpace, losses
from inversion.loop import OPTIMIZERS as BUILDERS
from inversion.losses import TERMS


@dataclass(frozen=True, kw_only=True)
class First:
    count: int = setting(3, "How many.", least=1, most=9)
    share: float = setting(0.5, "How much.", above=0)
    shape: str = setting("round", "Which.", choices=("round", "flat"), group="More")
    turned: bool = setting(False, "Whether it turns.", flag="turn")
    widths: tuple[int, ...] = setting((4, 8), "Of layers.")
    limit: float | None = setting(None, "A bound.", least=0, shown="none")
    inner: int = 7  # no setting of the command line


@dataclass(frozen=True, kw_only=True)
class Second:
    count: int = setting(5, "How many.", least=1)


@click.command(cls=Grouped)
@options_of({"first": First, "second": Second})
def command(**given):
    click.echo({name: value for name, value in given.items() if value is not None})


def run(*args: str):
    return CliRunner().invoke(command, args)


def test_what_is_not_given_is_not_known():
    assert run().output == "{}\n"


def test_values_come_as_their_types():
    out = run("--count", "4", "--share", "1", "--shape", "flat", "--no-turn", "--widths", "1,2", "--limit", "0").output
    expected = {"count": 4, "share": 1.0, "shape": "flat", "turned": False, "widths": (1, 2), "limit": 0.0}
    assert out == f"{expected}\n"


@pytest.mark.parametrize("args", ["--count 0", "--count 10", "--share 0", "--shape square", "--widths x", "--inner 1"])
def test_what_lies_outside_is_wrong_usage(args):
    assert run(*args.split()).exit_code == 2


def test_help_tells_each_default_in_its_group():
    text = " ".join(run("--help").output.split())
    assert "--count N How many. [3; second 5]" in text and "--limit X A bound. [none]" in text
    assert "More: --shape [round|flat] Which. [round]" in text and "--turn / --no-turn Whether it turns. [no]" in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, "count is 0; wanted a number from 1 on and up to 9"),
        ({"share": 0.0}, "share is 0.0; wanted a number above 0"),
        ({"share": float("nan")}, "share is nan; wanted a number above 0"),
        ({"shape": "square"}, "shape is 'square'; wanted one of round, flat"),
    ],
)
def test_a_configuration_keeps_its_ranges(given, message):
    with pytest.raises(ValueError) as caught:
        check(First(**given), ValueError)
    assert str(caught.value) == message


def test_a_configuration_within_its_ranges_passes():
    check(First(count=9, share=1e-9, limit=0.0), ValueError)
    check(First(), ValueError)


# The settings of an inversion


def test_every_setting_of_an_inversion_is_an_option():
    offered = {param.name for param in invert.params}
    assert settings_of(InvertConfig).keys() <= offered and len(settings_of(InvertConfig)) > 15


def test_names_that_stand_twice_agree():
    assert losses() == list(TERMS)  # read from the source, without torch
    assert list(BUILDERS) == list(OPTIMIZERS)
    assert {str(space) for space in LatentSpace} == set(settings_of(InvertConfig)["space"][1].choices)


def test_help_lists_losses_and_recipes_by_name():
    text = " ".join(CliRunner().invoke(invert, ["--help"]).output.split()).replace("- ", "-")  # lines break at hyphens
    for name in (*TERMS, *RECIPES, *OPTIMIZERS, *LatentSpace):
        assert name in text
    assert (
        "Photographs:" in text
        and "what is not given the recipe tells:" in text
        and "How latents are found, in detail:" in text
    )


def test_every_line_of_help_says_something():
    for param in invert.params:
        if isinstance(param, click.Option):
            line = param.get_help_record(click.Context(invert))
            assert line is not None and len(line[1]) > 10, param.name
