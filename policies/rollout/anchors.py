"""What the processes remember of the ledger, held against it: a cut or rewritten ledger is found by them.

Every process is told the head with what it is pushed, and says with its answers which one it held before.
An anchor that the ledger does not contain is a *dispute*: the ledger was cut, rewritten, or restored from
a backup, or that process talks of another ledger. It stays one until somebody accepts it as lost.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from ...sdk.errors import GnomonError
from .chain import Entries
from .ledger import Ledger
from .store import Happened

_log = logging.getLogger("gnomon.rollout")

DISPUTED = "ledger.disputed"
ACCEPTED = "ledger.accepted"
#: Disputes that make entries and are listed; a stranger must not fill the ledger.
MAX_DISPUTES = 16
#: Processes that are named for each.
_MAX_NAMED = 16
_MAX_KNOWN = 1024


@dataclass(slots=True)
class Said:
    """What a process last said that it holds.

    Attributes:
        anchor: ``SEQ:HASH``.
        time_ns: Unix time when it said so.
    """

    anchor: str
    time_ns: int


@dataclass(slots=True)
class Dispute:
    """An anchor that the ledger does not contain.

    Attributes:
        anchor: ``SEQ:HASH``.
        problem: what the ledger has instead.
        instances: processes that hold it, some of them.
    """

    anchor: str
    problem: str
    instances: list[str] = field(default_factory=list)


class Witnesses:
    """The processes as witnesses of one ledger.

    Args:
        ledger: that they are asked about; disputes and what was accepted of them stand in it.

    Attributes:
        head: newest anchor, to be told; empty for an empty ledger.
        said: what is no dispute, by instance.
        disputes: open ones, by anchor.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        head = ledger.head()
        self.head = head.anchor if head else ""
        self.said: dict[str, Said] = {}
        self.disputes: dict[str, Dispute] = {}
        self._known: set[str] = set()
        accepted = accepted_by(ledger.list(kind=ACCEPTED))
        for entry in ledger.list(kind=DISPUTED):
            if entry.subject not in accepted:
                why = str(entry.body.get("problem", ""))
                self.disputes[entry.subject] = Dispute(entry.subject, why, [entry.actor])
        self._accepted = set(accepted)

    def say(self, instance: str, anchor: str, now: int) -> Happened | None:
        """Take what a process holds; return the entry of a new dispute.

        Args:
            instance: the process.
            anchor: as it said; empty or no anchor at all says nothing.
            now: Unix nanoseconds.
        """
        if not anchor or anchor in self._accepted:
            return None
        try:
            problem = "" if anchor in self._known else self._ledger.contains(anchor)
        except GnomonError:
            return None  # not of the form, or the file cannot be read, which a verification says better
        if not problem:
            self.said[instance] = Said(anchor, now)
            self._remember(anchor)
            return None
        return self._disputed(instance, anchor, problem)

    def gone(self, instance: str) -> None:
        """Let go of a process that left."""
        self.said.pop(instance, None)

    def acceptance(self, actor: str, reason: str) -> Happened:
        """Return the entry that accepts all open disputes as lost; :meth:`accept` lets them rest once it stands."""
        lost = [{"anchor": each.anchor, "problem": each.problem} for each in self.disputes.values()]
        return Happened(ACCEPTED, actor, "ledger", {"reason": reason, "lost": lost})

    def accept(self) -> None:
        """Let all open disputes rest."""
        self._accepted.update(self.disputes)
        self.disputes = {}

    def _disputed(self, instance: str, anchor: str, problem: str) -> Happened | None:
        known = self.disputes.get(anchor)
        if known is not None:
            if instance not in known.instances and len(known.instances) < _MAX_NAMED:
                known.instances.append(instance)
            return None
        if len(self.disputes) >= MAX_DISPUTES:
            return None
        self.disputes[anchor] = Dispute(anchor, problem, [instance])
        _log.error(
            "process %s remembers entry %s of the ledger, but %s: was it cut, rewritten or restored? "
            "see gnomon audit verify --control-plane",
            instance,
            anchor[:32],
            problem,
        )
        body = {"problem": problem, "head": self.head}
        return Happened(DISPUTED, instance, anchor, body)

    def _remember(self, anchor: str) -> None:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known.add(anchor)


def accepted_by(entries: Entries) -> dict[str, str]:
    """Return the anchors that entries accept as lost, with who said why."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.kind == ACCEPTED:
            why = f"entry {entry.seq}, {entry.actor}: {entry.body.get('reason', '')}"
            for lost in entry.body.get("lost", ()):
                found[str(lost.get("anchor", ""))] = why
    return found
