"""Sections into one self-contained HTML page."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, select_autoescape
from markupsafe import Markup

from .shown import Table


#: Lines of two sources that are compared; the time this takes may grow with their square.
_MOST_LINES = 3000


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report; every text is escaped, only ``figure`` is taken as SVG.

    Attributes:
        title: heading.
        text: paragraphs.
        table: shown under the text.
        figure: SVG made by :mod:`.plots`.
        code: preformatted text.
    """

    title: str
    text: tuple[str, ...] = ()
    table: Table | None = None
    figure: str = ""
    code: str = ""


def render(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Return the page as HTML."""
    environment = Environment(autoescape=select_autoescape(default=True, default_for_string=True))
    template = environment.from_string(
        files(__name__.rpartition(".")[0]).joinpath("page.html").read_text(encoding="utf-8")
    )
    return template.render(title=title, lead=lead, sections=sections, svg=Markup)


def write(path: Path, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Render to a file that is either the old one or the whole new one."""
    partial = path.with_suffix(".partial")
    partial.write_text(render(title, lead, sections), encoding="utf-8")
    partial.rename(path)


def source_diff(before: str, after: str, before_name: str, after_name: str) -> str:
    """Return a unified diff of two policies' sources; of very long ones only that they differ."""
    old, new = before.splitlines(), after.splitlines()
    if len(old) + len(new) > _MOST_LINES and old != new:
        return f"--- {before_name}\n+++ {after_name}\n({len(old)} and {len(new)} lines are not compared)"
    return "\n".join(difflib.unified_diff(old, new, before_name, after_name, lineterm=""))
