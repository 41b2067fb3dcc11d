"""The holdout's budget: how often it was opened, and how sure an answer from it must still be.

Every candidate that is judged on the same holdout gets another chance to be lucky. The k-th gets
``ALPHA / 2**k`` of the error that may be made at all, so that all of them together stay below ``ALPHA``.
Openings are counted in the ledger. What counts as the same holdout is the time: two holdouts of one hook
that share a moment share its luck, however little their content or their digests agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...policies.rollout.chain import Entries, Entry
from ...policies.rollout.ledger import Ledger
from ...sdk.errors import TrustError
from ..traces.trace import Trace

#: Chance that any candidate, of all that are ever judged on one holdout, passes without being better.
ALPHA = 0.05
#: A grant below this cannot be answered by resampling; the holdout counts as spent.
LEAST_GRANT = 0.001
OPENED = "holdout.opened"
#: How many candidates can be judged on one holdout: the next one's grant would be too little.
MOST_OPENINGS = int(math.log2(ALPHA / LEAST_GRANT))


@dataclass(frozen=True, slots=True)
class Grant:
    """What one opening of a holdout may cost.

    Attributes:
        opening: which one it is, from 1.
        alpha: one-sided error that its answer may have; 0 when the holdout is spent.
    """

    opening: int
    alpha: float

    @property
    def spent(self) -> bool:
        """Whether nothing is left and a newer trace is required."""
        return self.alpha <= 0.0


def granted(opening: int) -> Grant:
    """Return the grant of the n-th opening of a holdout, from 1."""
    alpha = ALPHA / 2.0 ** min(opening, 100)
    return Grant(opening, alpha if alpha >= LEAST_GRANT else 0.0)


@dataclass(frozen=True, slots=True)
class Holdout:
    """Which decisions are held out.

    Attributes:
        hook: that made them.
        digest: of their content.
        start_ns, end_ns: Unix time of the first and the last of them.
    """

    hook: str
    digest: str
    start_ns: int
    end_ns: int

    @classmethod
    def of(cls, trace: Trace) -> Holdout:
        """Return the holdout that a window of a trace is; it must not be empty."""
        first, last = (trace.start_ns + round(float(trace.time[i]) * 1e9) for i in (0, -1))
        return cls(trace.hook, trace.digest, first, last)

    def shares(self, entry: Entry) -> bool:
        """Return whether an opening in the ledger was of this holdout, or of some of its time."""
        if entry.subject == self.digest:
            return True
        if entry.body.get("hook") != self.hook:
            return False
        start, end = _whole(entry, "start_ns"), _whole(entry, "end_ns")
        return start <= self.end_ns and self.start_ns <= end


@dataclass(frozen=True, slots=True)
class Account:
    """What has been asked of a holdout, and what can still be.

    Attributes:
        holdout: which decisions.
        openings: of it, or of any of its time.
        spent: chance of a false acceptance that these have used up, of :data:`ALPHA`.
        more: candidates that it can still judge; then traffic after its end is required.
    """

    holdout: Holdout
    openings: int
    spent: float
    more: int

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "hook": self.holdout.hook,
            "holdout": self.holdout.digest,
            "start_ns": self.holdout.start_ns,
            "end_ns": self.holdout.end_ns,
            "openings": self.openings,
            "spent": self.spent,
            "of": ALPHA,
            "more": self.more,
        }

    def words(self) -> str:
        """Return what a person should know before asking again."""
        after = day(self.holdout.end_ns)
        ahead = (
            f"it can judge {self.more} more, then traffic after {after} is required"
            if self.more
            else f"for the next candidate traffic after {after} is required"
        )
        return f"Opening {self.openings} of this time; {ahead}."


def day(time_ns: int) -> str:
    """Return a Unix time for people, in UTC to the second; one that no calendar has as its nanoseconds."""
    try:
        return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{time_ns} ns"


def account(ledger: Ledger, holdout: Holdout) -> Account:
    """Return what a holdout has been asked so far; raises TrustError for a damaged ledger."""
    return _account(ledger.list(kind=OPENED), holdout)


def accounts(ledger: Ledger, hook: str = "") -> tuple[Account, ...]:
    """Return every holdout that was opened, of one hook or of all, by hook and time.

    Raises:
        TrustError: the ledger does not hold.
    """
    check = ledger.verify()
    if not check.ok:
        raise TrustError(f"ledger {ledger.path} does not hold ({check.problem}); restore it first")
    entries = ledger.list(kind=OPENED)
    known = {
        entry.subject: Holdout(
            str(entry.body["hook"]),
            entry.subject,
            _whole(entry, "start_ns"),
            _whole(entry, "end_ns"),
        )
        for entry in entries
        if entry.body.get("hook") and hook in ("", entry.body["hook"])
    }
    ordered = sorted(known.values(), key=lambda one: (one.hook, one.start_ns, one.digest))
    return tuple(_account(entries, one) for one in ordered)


def _account(entries: Entries, holdout: Holdout) -> Account:
    shared = [entry for entry in entries if holdout.shares(entry)]
    spent = sum(granted(_whole(entry, "opening")).alpha for entry in shared)
    more = sum(not granted(k).spent for k in range(len(shared) + 1, MOST_OPENINGS + 1))
    return Account(holdout, len(shared), spent, more)


def _whole(entry: Entry, name: str) -> int:
    """Return a number of an opening; raises TrustError where there is none."""
    found = entry.body.get(name)
    if type(found) is not int or (name == "opening" and found < 1):
        raise TrustError(
            f"entry {entry.seq} of the ledger opens a holdout without {name}; restore the ledger"
        )
    return found


def open_holdout(ledger: Ledger, holdout: Holdout, question: str, actor: str) -> Grant:
    """Count an opening before it happens, and return what it may cost.

    The same question to the same holdout has the same answer, so it is granted what it was granted
    before. Two at the same time are counted one after the other.

    Args:
        ledger: where openings are counted; it must hold.
        holdout: which decisions.
        question: digest of everything that the answer depends on besides the holdout.
        actor: who asks.

    Raises:
        TrustError: the ledger was tampered with.
    """
    check = ledger.verify()
    if not check.ok:
        raise TrustError(f"ledger {ledger.path} does not hold ({check.problem}); restore it first")
    grants: list[Grant] = []

    def decide(earlier: Entries) -> dict[str, Any] | None:
        grant, known = _grant(earlier, holdout, question)
        grants.append(grant)
        return None if known or grant.spent else _body(holdout, question, grant)

    ledger.append_if(OPENED, actor, holdout.digest, decide)
    return grants[0]


def _grant(earlier: Entries, holdout: Holdout, question: str) -> tuple[Grant, bool]:
    """Return a question's grant, and whether it was counted before."""
    shared = [entry for entry in earlier if holdout.shares(entry)]
    for entry in shared:
        if entry.subject == holdout.digest and entry.body.get("question") == question:
            return granted(_whole(entry, "opening")), True
    return granted(len(shared) + 1), False


def _body(holdout: Holdout, question: str, grant: Grant) -> dict[str, Any]:
    return {
        "question": question,
        "opening": grant.opening,
        "alpha": grant.alpha,
        "hook": holdout.hook,
        "start_ns": holdout.start_ns,
        "end_ns": holdout.end_ns,
    }
