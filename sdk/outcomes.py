"""Joining outcomes to their decisions inside the service, off the request path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .records import Decision, Outcome


class Report(NamedTuple):
    """What was told of a decision, before it is joined; made on the request path, so a tuple.

    Attributes:
        seq: of the decision.
        time_ns: Unix time of the report.
        ok: whether the work succeeded.
        status: ``reported``, ``error`` or ``cancelled``.
        values: metric name and value.
    """

    seq: int
    time_ns: int
    ok: bool
    status: str
    values: tuple[tuple[str, float], ...]


@dataclass(slots=True)
class _Awaited:
    arm: str
    block: int
    time_ns: int
    resolved: bool = False


class Pending:
    """Decisions that still await an outcome; the first one counts, none by the deadline is a failure.

    A decision stays until its deadline even when its outcome came, so that a second report is
    known for what it is. When more than ``room`` await one, the oldest are given up as missing.

    Attributes:
        counts: ``outcomes``, ``missing_outcomes``, ``repeated_outcomes``, ``late_outcomes`` and
            ``unknown_outcomes`` (of decisions that were never recorded, or long ago).
    """

    def __init__(self, deadline_ns: int, clip: tuple[str, float], room: int) -> None:
        self.counts: Counter[str] = Counter()
        self._deadline_ns = deadline_ns
        self._clip = clip
        self._room = room
        self._awaited: dict[int, _Awaited] = {}

    def __len__(self) -> int:
        return len(self._awaited)

    def open(self, decision: Decision) -> Iterator[Outcome]:
        """Begin to await the outcome of a decision; yield those that had to be given up for it."""
        self._awaited[decision.seq] = _Awaited(decision.arm, decision.block, decision.time_ns)
        while len(self._awaited) > self._room:
            yield from self._close(next(iter(self._awaited)))

    def close(self, report: Report) -> Outcome | None:
        """Return the outcome that a report makes, or None when it comes too late or again."""
        awaited = self._awaited.get(report.seq)
        if awaited is None:
            self.counts["unknown_outcomes"] += 1
            return None
        if awaited.resolved:
            self.counts["repeated_outcomes"] += 1
            return None
        if report.time_ns - awaited.time_ns > self._deadline_ns:
            self.counts["late_outcomes"] += 1
            return None
        awaited.resolved = True
        self.counts["outcomes"] += 1
        return Outcome(
            report.seq, report.time_ns, report.ok, report.status, report.values,
            awaited.arm, awaited.block, awaited.time_ns,
        )  # fmt: skip

    def sweep(self, now_ns: int) -> Iterator[Outcome]:
        """Yield a missing outcome for every decision past its deadline."""
        due = []
        for seq, awaited in self._awaited.items():
            if now_ns - awaited.time_ns <= self._deadline_ns:
                break
            due.append(seq)
        for seq in due:
            yield from self._close(seq)

    def _close(self, seq: int) -> Iterator[Outcome]:
        awaited = self._awaited.pop(seq)
        if awaited.resolved:
            return
        self.counts["missing_outcomes"] += 1
        yield Outcome(
            seq, awaited.time_ns + self._deadline_ns, False, "missing", (self._clip,),
            awaited.arm, awaited.block, awaited.time_ns,
        )  # fmt: skip
