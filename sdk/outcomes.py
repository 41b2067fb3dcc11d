"""Joining outcomes to their decisions inside the service, off the request path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .records import Decision, Outcome
from .ring import Mark


class RawReport(NamedTuple):
    """The fields of a report in the ring.

    Attributes:
        mark: says what it is.
        seq: number of the decision.
        time_ns: Unix time of the report.
        ok: whether the work succeeded.
        status: ``reported``, ``error``, ``cancelled``, or ``partial`` where more will follow.
        values: metric values by name, as the service gave them.
    """

    mark: Mark
    seq: int
    time_ns: int
    ok: bool
    status: str
    values: Mapping[str, Any]


#: A report without its mark, with values that are sure to be numbers.
Report = tuple[int, int, bool, str, tuple[tuple[str, float], ...]]
#: Status of a report that more will follow.
PARTIAL = "partial"
_Values = tuple[tuple[str, float], ...]


class Pending:
    """Decisions that still await an outcome; the first one counts, none by the deadline is a failure.

    Parts of an outcome (a first token, say) are kept until it is complete. A decision stays until its
    deadline even when its outcome came, so that a second report is known for what it is. When more
    than ``room`` await one, the oldest are given up as missing.

    Attributes:
        counts: ``outcomes``, ``missing_outcomes``, ``repeated_outcomes``, ``late_outcomes`` and
            ``unknown_outcomes`` (of decisions that were never recorded, or long ago).
    """

    def __init__(self, deadline_ns: int, clip: tuple[str, float], room: int) -> None:
        self.counts: Counter[str] = Counter()
        self._deadline_ns = deadline_ns
        self._clip = clip
        self._room = room
        # By number, oldest first: (arm, block, time); and of those whose outcome came, the time.
        self._open: dict[int, tuple[str, int, int]] = {}
        self._closed: dict[int, int] = {}
        self._parts: dict[int, _Values] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._closed)

    def open(self, decision: Decision, given_up: list[Any]) -> None:
        """Begin to await the outcome of a decision; append the outcomes that had to be given up for it."""
        self._open[decision.seq] = (decision.arm, decision.block, decision.time_ns)
        while len(self._open) + len(self._closed) > self._room:
            if self._closed:
                del self._closed[next(iter(self._closed))]
            else:
                given_up.append(self._missing(next(iter(self._open))))

    def close(self, report: Report) -> Outcome | None:
        """Return the outcome that a report makes; None when it is a part, comes too late or again."""
        seq, time_ns, ok, status, values = report
        awaited = self._open.get(seq)
        if awaited is None:
            again = seq in self._closed
            self.counts["repeated_outcomes" if again else "unknown_outcomes"] += 1
            return None
        arm, block, begun_ns = awaited
        if time_ns - begun_ns > self._deadline_ns:
            self.counts["late_outcomes"] += 1
            return None
        if seq in self._parts:
            values = _merged(self._parts.pop(seq), values)
        if status == PARTIAL:
            self._parts[seq] = values
            return None
        del self._open[seq]
        self._closed[seq] = begun_ns
        self.counts["outcomes"] += 1
        return Outcome(seq, time_ns, ok, status, values, arm, block, begun_ns)

    def sweep(self, now_ns: int) -> Iterator[Outcome]:
        """Yield a missing outcome for every decision past its deadline."""
        before = now_ns - self._deadline_ns
        for seq in _due(((seq, awaited[2]) for seq, awaited in self._open.items()), before):
            yield self._missing(seq)
        for seq in _due(self._closed.items(), before):
            del self._closed[seq]

    def _missing(self, seq: int) -> Outcome:
        arm, block, begun_ns = self._open.pop(seq)
        values = _merged(self._parts.pop(seq, ()), (self._clip,))
        self.counts["missing_outcomes"] += 1
        end_ns = begun_ns + self._deadline_ns
        return Outcome(seq, end_ns, False, "missing", values, arm, block, begun_ns)


def _due(begun: Any, before_ns: int) -> list[int]:
    """Return the leading numbers whose time lies before another."""
    due = []
    for seq, time_ns in begun:
        if time_ns >= before_ns:
            break
        due.append(seq)
    return due


def _merged(before: _Values, after: _Values) -> _Values:
    """Return values by name, the later ones first in force."""
    return tuple((dict(before) | dict(after)).items())
