"""What a ledger says about a digest or rollout: what names it, and what all of that rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .chain import Entries, Entry

#: Keys of a body under which stands what an entry rests on.
_LINKS = (
    "evidence_digest",
    "source_digest",
    "candidate",
    "verdict",
    "bundle",
    "rollout",
    "holdout",
    "evaluator",
)


def explained(entries: Sequence[Entry], subject: str) -> Entries:
    """Return those of a ledger's entries that :meth:`Ledger.explain` returns.

    These are: what names the subject; what names a verdict among that, such as the rollouts that rest
    on it; and what all of it rests on in turn, down to the openings of a holdout.
    """
    found = [entry for entry in entries if names(entry, subject)]
    verdicts = {entry.subject for entry in found if entry.kind == "verdict"}
    chosen = {entry.seq for entry in found}
    chosen |= {e.seq for e in entries for verdict in verdicts if names(e, verdict)}
    while True:
        linked = {link for e in entries if e.seq in chosen for link in _links(e)}
        more = chosen | {entry.seq for entry in entries if entry.subject in linked}
        if more == chosen:
            return [entry for entry in entries if entry.seq in chosen]
        chosen = more


def elsewhere(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the verdicts that explained entries rest on and that are not among them, in order."""
    here = {entry.subject for entry in entries}
    named = (str(entry.body.get("evidence_digest", "")) for entry in entries)
    return tuple(dict.fromkeys(digest for digest in named if digest and digest not in here))


def names(entry: Entry, name: str) -> bool:
    return _matches(entry.subject, name) or any(_matches(v, name) for v in _strings(entry.body))


def _matches(value: str, name: str) -> bool:
    return value == name or (len(name) >= 8 and value.startswith(name))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _links(entry: Entry) -> Iterator[str]:
    for key in _LINKS:
        value = entry.body.get(key)
        if isinstance(value, str) and value not in ("", "incumbent"):
            yield value
