"""The documentation holds: links, command lines, what is said of tests and targets, shown code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from gnomon.cli import app
from gnomon.policies.registry import kind
from gnomon.sdk.language import check

from .pages import IDS, PAGES, ROOT, anchors, blocks, links, mentioned_commands, typed_commands

ROOT_COMMAND: Any = typer.main.get_command(app)
#: Typer may bring its own click, so the class is taken from there.
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
README = ROOT / "README.md"
#: Pages whose commands test_tutorial types.
TYPED = {"tutorial.md", "replay.md", "canary.md", "audit.md", "cache.md"}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def resolved(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that words name and what is left of them."""
    command, rest = ROOT_COMMAND, list(words)
    while hasattr(command, "commands"):
        if "show" in command.commands and (not rest or rest[0] not in command.commands):
            return command.commands["show"], rest  # what ``traces`` means without a command
        if not rest or rest[0].startswith("-"):
            break
        assert rest[0] in command.commands, f"gnomon {' '.join(words)}: no command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    return command, rest


def options(command: Any) -> set[str]:
    """Return the names of a command's options."""
    return {"--help"} | {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_whole_command_lines_parse(page: Path) -> None:
    for words in typed_commands(page):
        if "…" in words or "..." in words:
            continue
        command, rest = resolved(words)
        command.make_context("gnomon", [w for w in rest if w != "--help"])  # raises what is wrong


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_mentioned_commands_and_their_options_exist(page: Path) -> None:
    for words in mentioned_commands(page):
        names = [word.strip(",.;:") for word in words if word not in "·|…"]
        command, rest = named(names, listed="·" in words)
        known = options(command)
        for word in rest:
            option = re.match(r"--[a-z][a-z-]*", word)
            assert not option or option[0] in known, f"gnomon {' '.join(words)}: no {option}"


def named(names: list[str], listed: bool) -> tuple[Any, list[str]]:
    """As :func:`resolved`; of a list, ``group this · that``, all must exist."""
    command, rest = resolved(names)
    group = resolved(names[:1])[0]
    if listed and hasattr(group, "commands") and command is not group:
        plain = [word for word in rest if re.fullmatch(r"[a-z]+", word)]
        assert all(word in group.commands for word in plain), f"{names}: not all exist"
    return command, rest


def test_a_wrong_command_line_would_be_found() -> None:
    with pytest.raises(AssertionError, match="no command 'shipp'"):
        resolved(["shipp"])
    command, rest = resolved(["rollout", "status", "--nonsense"])
    with pytest.raises(USAGE_ERROR):
        command.make_context("gnomon", rest)
    assert options(resolved(["keys", "new"])[0]) >= {"--role", "--dir", "--json", "--help"}


def test_all_commands_are_in_the_readme() -> None:
    text = README.read_text("utf-8")
    for name in ROOT_COMMAND.commands:
        assert f"| `gnomon {name}` |" in text, f"README does not say what gnomon {name} does"


def test_tests_that_the_readme_refers_to_exist() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", README.read_text("utf-8"))
    assert len(named) > 10
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text("utf-8"), f"{path} has no {name}"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        mentioned = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
        assert mentioned <= targets, page


def test_code_from_the_examples_is_theirs() -> None:
    shown = 0
    for page in PAGES:
        for block in blocks(page, "python"):
            if block.note.startswith("from "):
                source = (ROOT / block.note.removeprefix("from ")).read_text("utf-8")
                assert block.text in source, f"{page.name}:{block.line} is not in {block.note[5:]}"
                shown += 1
    assert shown


def test_every_page_is_in_the_table_of_contents() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    written_by_make_bench = ROOT / "docs" / "benchmarks.md"
    for page in {*(ROOT / "docs").rglob("*.md")} - {index, written_by_make_bench}:
        assert page in linked, f"link {page.relative_to(ROOT)} in docs/index.md"


def test_every_example_is_listed() -> None:
    page = ROOT / "docs" / "examples.md"
    linked = {(page.parent / link).resolve() for link in links(page)}
    for example in (ROOT / "examples").glob("*.py"):
        assert example in linked, f"list examples/{example.name} in docs/examples.md"


def test_there_is_something_to_hold() -> None:
    """Were the patterns wrong, the tests above would hold nothing and pass."""
    assert sum(len(links(page)) for page in PAGES) > 40
    assert sum(len(typed_commands(page)) for page in PAGES) > 15
    assert sum(len(mentioned_commands(page)) for page in PAGES) > 40


def test_policies_that_are_shown_are_in_the_language() -> None:
    shown = [
        (block.note.removeprefix("a policy of "), block.text)
        for page in PAGES
        for block in blocks(page, "python")
        if block.note.startswith("a policy of ")
    ]
    assert len(shown) >= 3
    for name, source in shown:
        check(source, kind(name).input_names)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_block_says_what_holds_it(page: Path) -> None:
    """Python runs unless its note says why not; what a reader types is run, or says why not."""
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.language in ("sh", "bash", "shell", "pycon"):
            pytest.fail(f"{where}: write ```console with $ before every command")
        if block.language == "console":
            assert re.match(r"run|not run: \w", block.note), f"{where}: say <!-- run --> above it"
            assert block.commands, f"{where}: no line begins with $"
            assert block.note.startswith("not run: ") or page.name in TYPED, where
        elif not block.language and re.search(
            r"^(\$ |gnomon |pip |python )", block.text, re.MULTILINE
        ):
            pytest.fail(f"{where}: commands belong into a ```console block")
