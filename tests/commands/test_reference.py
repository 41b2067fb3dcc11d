"""The page on the commands, the commands' own help, and the commands say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gnomon.cli import COMMANDS, app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "commands.md"
SECTIONS = dict(
    re.findall(r"^## gnomon ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command by its full name."""
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, below in command.commands.items():
        yield from leaves(below, (*path, name))


ALL = dict(leaves(typer.main.get_command(app)))


def section(name: str) -> str:
    """Return what the page says of a command; a heading may name several: ``rollout hold | abort``."""
    for heading, text in SECTIONS.items():
        first, *others = heading.split(" | ")
        group = first.rpartition(" ")[0]
        if name in (first, *(f"{group} {other}" for other in others)):
            return text
    raise AssertionError(f"{PAGE.name} has no section on gnomon {name}")


def rows(text: str) -> dict[str, str]:
    """Return the defaults by option, from the table of options."""
    found = re.findall(r"^\| `(-{0,2}[A-Za-z-]+)` \| ([^|]+) \| [^|]+\|$", text, re.MULTILINE)
    return {name: default.strip().strip("`") for name, default in found}


def stated(parameter: Any) -> str:
    """Return how the page states a parameter's default."""
    value = parameter.default() if callable(parameter.default) else parameter.default
    if parameter.required:
        return "required"
    if value is False:
        return "off"
    if isinstance(value, list):
        value = " ".join(value)
    return str(getattr(value, "value", value)) if value not in (None, "", [], ()) else "–"


@pytest.mark.parametrize("name", ALL)
def test_the_page_lists_every_option_with_its_default(name: str) -> None:
    expected = {
        p.name.upper() if p.param_type_name == "argument" else p.opts[0]: stated(p)
        for p in ALL[name].params
        if p.name != "help"
    }
    assert rows(section(name)) == expected
    assert re.search(r"Exit\s+codes:", section(name))


def test_the_page_describes_no_command_that_is_not_there() -> None:
    described = {
        f"{heading.split(' | ')[0].rpartition(' ')[0]} {other}".strip() if index else other
        for heading in SECTIONS
        for index, other in enumerate(heading.split(" | "))
    }
    assert described == set(ALL)
    assert {name.split()[0] for name in ALL} == set(COMMANDS)


@pytest.mark.parametrize("name", ALL)
def test_help_says_one_line_on_every_option(name: str) -> None:
    wide = {"COLUMNS": "240", "TERMINAL_WIDTH": "240"}
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env=wide).stdout
    assert (ALL[name].help or "").strip()
    for parameter in ALL[name].params:
        if parameter.name == "help":
            continue
        help_text = parameter.help
        assert help_text and len(help_text) <= 100 and "\n" not in help_text
        assert "[" not in help_text  # taken for markup and not shown
        assert help_text in shown
    assert "--json" in shown
