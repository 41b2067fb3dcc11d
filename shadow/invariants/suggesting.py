"""Suggestions as a result: what a person looks at before confirming any."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...sdk.rules.file import Suggestions
from ..report.shown import Part, Shown, Table


@dataclass(frozen=True, slots=True, repr=False)
class Suggested(Shown):
    """Suggestions of a file, the most constraining first.

    Attributes:
        file: the suggestions.
        path: where they are; None where they were not written.
        tested: rules that were asked about the last quarter of the decisions.
        refuted: those of them that it broke.
        trivial: rules that forbid next to nothing.
        implied: rules that forbid next to nothing that others do not.
    """

    file: Suggestions
    path: Path | None = field(default=None, compare=False)
    tested: int = 0
    refuted: int = 0
    trivial: int = 0
    implied: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values: the file, where it is, and what was left out."""
        counts = {name: getattr(self, name) for name in ("tested", "refuted", "trivial", "implied")}
        body: dict[str, Any] = json.loads(self.file.to_bytes())
        return body | counts | {"path": str(self.path) if self.path else None}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: the suggestions, what was left out, and what to do with them."""
        left = (
            f"{self.tested} rules tested on later decisions, {self.refuted} of them refuted; left out: "
            f"{self.trivial} that forbid next to nothing, {self.implied} that say nothing new."
        )
        head = ("name", "holds when", "forbids", "tested on", "broken at most", "confirmed")
        rows = tuple(
            (
                each.name,
                each.rule.says(),
                f"{each.support.forbids:.1%}" if each.support.forbids else "–",
                str(each.support.tested),
                f"{each.support.upper:.2%}",
                f"{each.confirmed.by} ({each.confirmed.severity})" if each.confirmed else "no",
            )
            for each in self.file.rules
        )
        title = f"{self.file.hook}, {self.file.decisions}"
        table = (
            (Table(head, rows, title, prose=True),) if rows else (f"{title}: nothing suggested.",)
        )
        place = (f"None counts before it is confirmed: gnomon invariants confirm {self.path} NAME",)
        return (*table, *((left,) if self.tested else ()), *(place if self.path and rows else ()))
