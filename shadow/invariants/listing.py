"""Which invariants a hook is held to, where each is asked, and what is only suggested."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...sdk.invariant import Invariant
from ...sdk.kind import Kind
from ...sdk.rules.file import Suggestions, read_suggestions
from ..opening import held_to
from ..report.shown import Part, Shown, Table, plain

#: Where invariants of a scope and severity are asked.
WHERE = {
    ("decision", "block"): "every answer of a policy in a service, live shadow, search, gates",
    ("decision", "warn"): "recorded decisions, live shadow, gates (evidence)",
    ("replay", "block"): "search, gates, table of replays",
    ("replay", "warn"): "gates (evidence), table of replays",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One invariant.

    Attributes:
        name, scope, severity: of it.
        source: ``kind``, ``hook``, or who confirmed it and when.
        asked: where; empty while it is only suggested.
        says: its description.
    """

    name: str
    scope: str
    severity: str
    source: str
    asked: str
    says: str


@dataclass(frozen=True, slots=True, repr=False)
class InvariantList(Shown):
    """The invariants of a hook, and what a file suggests beside them.

    Attributes:
        hook, kind: whose; the hook is empty where only the kind is asked about.
        rows: the kind's, the hook's, those of the file.
    """

    hook: str
    kind: str
    rows: tuple[Listed, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        values: dict[str, Any] = plain(asdict(self))
        return values

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown."""
        whose = f"{self.hook} ({self.kind})" if self.hook else f"kind {self.kind}"
        if not self.rows:
            return (f"{whose} is held to no invariant.",)
        cells = ((r.name, r.scope, r.severity, r.source, r.asked, r.says) for r in self.rows)
        head = ("invariant", "scope", "severity", "from", "asked in", "holds when")
        return (Table(head, tuple(cells), whose, prose=True),)


def listed(
    kind: Kind, own: tuple[Invariant, ...] = (), hook: str = "", file: str | Path | None = None
) -> InvariantList:
    """Return the invariants of a kind, of a hook and of a file.

    Args:
        kind: what is decided.
        own: all of the hook's, the kind's included; empty for the kind alone.
        hook: its name.
        file: of suggestions.

    Raises:
        ConfigurationError: the file is none, or for another hook.
        TrustError: an invariant was changed after it was confirmed.
    """
    rows = [_row(each, "kind") for each in kind.invariants]
    rows += [_row(each, "hook") for each in own if each not in kind.invariants]
    if file is not None:
        suggestions = read_suggestions(file)
        known = own or kind.invariants
        held_to(known, kind, hook or suggestions.hook, file)
        names = {each.name for each in known}
        rows += [each for each in suggested(suggestions) if each.name not in names]
        hook = hook or suggestions.hook
    return InvariantList(hook, kind.name, tuple(rows))


def _row(each: Invariant, source: str) -> Listed:
    where = WHERE[each.scope, each.severity]
    return Listed(each.name, each.scope, each.severity, source, where, each.description)


def suggested(file: Suggestions) -> list[Listed]:
    """Return what a file holds, as rows; what nobody confirmed is asked nowhere."""
    rows = []
    for each in file.rules:
        told = each.confirmed
        severity = told.severity if told else "–"
        source = f"{told.by}, {told.when}" if told else "suggested"
        asked = WHERE["decision", told.severity] if told else ""
        rows.append(Listed(each.name, "decision", severity, source, asked, each.rule.says()))
    return rows
