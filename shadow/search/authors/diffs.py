"""SEARCH/REPLACE blocks: how a writer changes a part of a program without writing the rest.

    <<<<<<< SEARCH
    lines as they stand in the program
    =======
    lines that take their place
    >>>>>>> REPLACE

The notation is that of Aider, OpenEvolve and ShinkaEvolve. All blocks are looked up in the program as it
was given, each has to be found in exactly one place, and the places do not overlap: an edit takes whole
or not at all. Everything takes time linear in answer and program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_BLOCKS = 50
_SEARCH, _DIVIDER, _REPLACE = "<<<<<<<", "=======", ">>>>>>>"


class EditError(ValueError):
    """An answer that gives no program; the message says why, in words for who wrote the answer."""


@dataclass(frozen=True, slots=True)
class Block:
    """One edit: lines that stand in the program, and lines to put in their place."""

    search: tuple[str, ...]
    replace: tuple[str, ...]


def begins_block(line: str) -> bool:
    """Return whether a line begins a block."""
    return _marks(line, _SEARCH, "SEARCH")


def blocks(text: str) -> list[Block]:
    """Return the blocks of an answer, in order; what stands between them is not looked at.

    Raises:
        EditError: a block is cut, has no divider, begins within another, or there are too many.
    """
    found: list[Block] = []
    search: list[str] = []
    replace: list[str] = []
    state = "outside"
    for line in text.split("\n"):
        number = len(found) + 1
        if begins_block(line):
            if state != "outside":
                raise EditError(f"SEARCH/REPLACE block {number}: another begins before it ends")
            if number > MOST_BLOCKS:
                raise EditError(f"more than {MOST_BLOCKS} SEARCH/REPLACE blocks")
            state, search, replace = "search", [], []
        elif state == "search" and line.strip() == _DIVIDER:
            state = "replace"
        elif state == "search" and _marks(line, _REPLACE, "REPLACE"):
            raise EditError(f"SEARCH/REPLACE block {number}: no line {_DIVIDER} in it")
        elif state == "replace" and _marks(line, _REPLACE, "REPLACE"):
            found.append(Block(tuple(search), tuple(replace)))
            state = "outside"
        elif state != "outside":
            (search if state == "search" else replace).append(line)
    if state != "outside":
        raise EditError(f"the answer was cut: SEARCH/REPLACE block {len(found) + 1} does not end")
    return found


def applied(edits: Sequence[Block], program: str) -> str:
    """Return a program with the edits made.

    A block whose lines are not found as they stand is looked for again without the spaces at the ends of
    its lines, and then without those at their beginnings; its replacement is moved in or out accordingly.

    Raises:
        EditError: a block is empty, is not found, is found in several places or overlaps another.
    """
    lines = program.split("\n")
    views = (lines, [line.rstrip() for line in lines], [line.strip() for line in lines])
    places = []
    for number, edit in enumerate(edits, 1):
        start, end, moved = _place(edit, views, number)
        places.append((start, end, number, _fitted(moved, lines[start:end])))
    places.sort(key=lambda place: place[:3])
    for before, after in pairwise(places):
        if after[0] < before[1]:
            raise EditError(f"SEARCH/REPLACE blocks {before[2]} and {after[2]} overlap")
    made: list[str] = []
    last = 0
    for start, end, _, replacement in places:
        made += lines[last:start] + replacement
        last = end
    return "\n".join(made + lines[last:])


def _place(
    edit: Block, views: tuple[list[str], list[str], list[str]], number: int
) -> tuple[int, int, list[str]]:
    """Return first line, line after the last, and the replacement, indented as the program is."""
    tight = _trimmed(edit.search)
    if not tight:
        raise EditError(f"SEARCH/REPLACE block {number}: nothing to search for")
    replacement = list(edit.replace)
    tries = (
        list(edit.search),
        [line.rstrip() for line in tight],
        [line.strip() for line in tight],
    )
    for level, (view, wanted) in enumerate(zip(views, tries, strict=True)):
        at, several = _found(view, wanted)
        if several:
            raise EditError(
                f"SEARCH/REPLACE block {number}: its lines stand in several places; give more of them"
            )
        if at < 0:
            continue
        if level == 2:
            replacement = _reindented(replacement, tight[0], views[0][at])
        return at, at + len(wanted), replacement
    raise EditError(
        f"SEARCH/REPLACE block {number}: {_shown(tight[0])} and what follows it do not stand in the program"
    )


def _found(lines: list[str], wanted: list[str]) -> tuple[int, bool]:
    """Return the first line of where some lines stand, -1 for nowhere, and whether there is a second place."""
    text, part = "\n" + "\n".join(lines) + "\n", "\n" + "\n".join(wanted) + "\n"
    at = text.find(part)
    if at < 0:
        return -1, False
    return text.count("\n", 0, at), text.find(part, at + 1) >= 0


def _trimmed(lines: Sequence[str]) -> list[str]:
    """Return lines without the blank ones at both ends."""
    full = [index for index, line in enumerate(lines) if line.strip()]
    return list(lines[full[0] : full[-1] + 1]) if full else []


def _reindented(lines: list[str], searched: str, stands: str) -> list[str]:
    """Return lines moved by as much as what was searched for differs from what stands there."""
    given, real = _indent(searched), _indent(stands)
    if real.startswith(given):
        more = real[len(given) :]
        return [more + line if line.strip() else line for line in lines]
    if given.startswith(real):
        less = given[len(real) :]
        return [line.removeprefix(less) for line in lines]
    return [real + line.removeprefix(given) if line.startswith(given) else line for line in lines]


def _fitted(replacement: list[str], stands: list[str]) -> list[str]:
    """Return lines that end as those do which they replace: a program's CRLF is kept."""
    if not stands or not all(line.endswith("\r") for line in stands):
        return replacement
    return [line + "\r" for line in replacement]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _marks(line: str, arrows: str, word: str) -> bool:
    text = line.strip()
    return text.startswith(arrows) and text.lstrip(arrows[0]).strip() == word


def _shown(line: str) -> str:
    return repr(line.strip()[:60])
