"""What a result shows of itself: the same parts as plain text, in a notebook and on a terminal."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

_NUMBER = re.compile(r"[-+]?[0-9][0-9.e+-]*%?|nan|–|-")
_STYLE = "text-align:left;white-space:pre-wrap;overflow-wrap:anywhere"
_RIGHT = "text-align:right"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells.

    Attributes:
        head: column titles.
        rows: as many cells as there are titles.
        title: above the table; empty for none.
        prose: whether a command breaks long cells over lines even where no terminal is as wide.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    prose: bool = False

    def numeric(self) -> tuple[bool, ...]:
        """Return for every column whether it holds numbers and is set to the right."""
        return tuple(
            bool(self.rows)
            and all(_NUMBER.fullmatch(row[column].split(" (")[0]) for row in self.rows)
            for column in range(len(self.head))
        )


@dataclass(frozen=True, slots=True)
class Code:
    """A source, shown as it stands."""

    text: str


Part = Table | Code | str


class Shown:
    """A result that prints as text and that a notebook shows as tables.

    A subclass says what it shows, and what it is as JSON. Whatever it holds may come from outside:
    texts are escaped, and control characters replaced, here and nowhere else.
    """

    __slots__ = ()

    def parts(self) -> Sequence[Part]:
        """Return what is shown, in order: what one asks first comes first."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """Return the whole result as JSON values; a number that JSON does not have is null."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the parts as plain text."""
        return as_text(self.parts())

    def __repr__(self) -> str:
        """Return the parts as plain text, as a prompt shows them."""
        return as_text(self.parts())

    def _repr_html_(self) -> str:
        """Return the parts as HTML, as a notebook shows them."""
        return as_html(self.parts())


def printable(text: str) -> str:
    """Return a text whose control characters, which could steer a terminal, are replaced."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def percent(change: float, places: int = 1) -> str:
    """Return a relative change for people; one from nothing to something has no number."""
    return f"{change:+.{places}%}" if math.isfinite(change) else "up from 0"


def plain(value: Any) -> Any:
    """Return JSON values; a number that JSON does not have is null, a path its text."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def as_text(parts: Iterable[Part]) -> str:
    """Return parts as plain text, without a line break at the end."""
    return "\n".join(_text(part) for part in parts)


def as_html(parts: Iterable[Part]) -> str:
    """Return parts as one HTML element; every text is escaped."""
    return f"<div>{''.join(_html(part) for part in parts)}</div>"


def _text(part: Part) -> str:
    if isinstance(part, str):
        return printable(part)
    return printable(part.text).rstrip("\n") if isinstance(part, Code) else _aligned(part)


def _aligned(table: Table) -> str:
    lines = [tuple(_cell(cell) for cell in row) for row in (table.head, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = [lines[0], tuple("-" * width for width in widths), *lines[1:]]
    rights = table.numeric()
    laid = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, rights, strict=True)
        ).rstrip()
        for line in (ruled if any(table.head) else lines[1:])
    )
    return "\n".join([*([printable(table.title)] if table.title else ()), *laid])


def _cell(text: str) -> str:
    return printable(text).replace("\n", " ")


def _html(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{_escaped(part)}</p>"
    return f"<pre>{_escaped(part.text)}</pre>" if isinstance(part, Code) else _marked(part)


def _marked(table: Table) -> str:
    styles = [_RIGHT if right else _STYLE for right in table.numeric()]
    title = f"<caption>{_escaped(table.title)}</caption>" if table.title else ""
    head = _row("th", table.head, styles) if any(table.head) else ""
    body = "".join(_row("td", row, styles) for row in table.rows)
    return f"<table>{title}<thead>{head}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, cells: Sequence[str], styles: Sequence[str]) -> str:
    marked = (
        f'<{tag} style="{style}">{_escaped(cell)}</{tag}>'
        for cell, style in zip(cells, styles, strict=True)
    )
    return f"<tr>{''.join(marked)}</tr>"


def _escaped(text: str) -> str:
    return html.escape(printable(text))
