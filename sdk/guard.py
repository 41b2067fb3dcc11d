"""Asking a program on the request path: checked going in, checked coming out, and never raising."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from .invariant import Invariant, violated, warned
from .kind import Kind

Row = tuple[float, ...]
Chooser = Callable[[Sequence[Sequence[float]]], int]
Prepare = Callable[[Sequence[Any], Sequence[int], Callable[[], float]], "list[Row] | None"]
#: (index or -1, why not, rows with host features or None, nanoseconds spent)
Answer = tuple[int, str, "list[Row] | None", int]
#: What was seen: one row per item, of the kind's own features and then, where they mattered, both or the
#: last of the host's; or a list of two, the rows of the kind's own features and the decisions since each
#: item was picked, where those lie outside of their ranges.
Seen = tuple[Row, ...] | list[list[Any]]
#: (index or -1, why not, what was seen, nanoseconds spent or -1 where they were not measured)
Verdict = tuple[int, str, Seen, int]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a program is taken back in this process.

    Attributes:
        budget_ns: an answer that took longer is used, and counted as slow. Where a program's own bound
            on its work keeps it far below, one answer in 64 is measured, and all of them for a while
            after one that was slow.
        faults: so many faults or violations trip the breaker,
        slow: and so many slow answers,
        window: when they lie within so many answers of the program.
    """

    budget_ns: int = 2_000_000
    faults: int = 3
    slow: int = 10
    window: int = 100


class Breaker:
    """Trips once when failures of one program come too close together.

    Answers are numbered. Who asks in turns with another program numbers decisions instead, and says
    with :meth:`resume` and :meth:`pause` which of them are this program's.

    Attributes:
        reason: why it tripped; empty while it has not.
        watched: answers of which each is measured, whatever the program's bound: so many more.
    """

    __slots__ = (
        "_faults", "_on_trip", "_others", "_paused", "_slow", "_window", "reason", "watched",
    )  # fmt: skip

    def __init__(self, limits: Limits, on_trip: Callable[[str], None]) -> None:
        self.watched = 0
        self._others = 0
        self._paused = 0
        self._faults: deque[int] = deque(maxlen=limits.faults)
        self._slow: deque[int] = deque(maxlen=limits.slow)
        self._window = limits.window
        self._on_trip = on_trip
        self.reason = ""

    def resume(self, number: int) -> None:
        """Say that from a decision on this program answers."""
        self._others += number - self._paused

    def pause(self, number: int) -> None:
        """Say that from a decision on another answers."""
        self._paused = number

    def fault(self, number: int, what: str) -> None:
        """Note that an answer was a fault or broke an invariant."""
        self._note(self._faults, number, what)

    def slow(self, number: int) -> None:
        """Note that an answer came late, and look closer for a while."""
        self.watched = self._window
        self._note(self._slow, number, "slow")

    def _note(self, seen: deque[int], number: int, what: str) -> None:
        answer = number - self._others
        seen.append(answer)
        full = len(seen) == seen.maxlen
        if full and not self.reason and answer - seen[0] < self._window:
            self.reason = f"{len(seen)} failures in {answer - seen[0] + 1} answers, last: {what}"
            self._on_trip(self.reason)


class Answers(Protocol):
    """What makes functions that answer one call: (items, their members, the decision's number) to a verdict.

    Attributes:
        tracks: whether they need to know when each item was last picked.
    """

    tracks: bool

    def ready(self, items: int) -> Callable[[Any, Any, int], Verdict]:
        """Return what answers a call with so many items, at once."""
        ...

    def of(self, items: int) -> Callable[[Any, Any, int], Verdict]:
        """Return the fastest that answers a call with so many items; the first time, it may take long."""
        ...


class Guarded:
    """A program, as the request path may ask it.

    Attributes:
        choose: rows of all inputs to the index of the picked item, or -1.
        invariants: those of severity ``block`` that its answer must meet.
        breaker: of this program in this process.
        host: what the process lends to it.
        answers: makes what a hook's segment calls; set by the hook.
    """

    __slots__ = ("_asked", "_item", "answers", "breaker", "choose", "host", "invariants")

    def __init__(
        self,
        choose: Chooser,
        kind: Kind,
        invariants: Sequence[Invariant],
        host: Host,
        breaker: Breaker,
    ) -> None:
        self.choose = choose
        self.invariants = tuple(
            i for i in invariants if i.scope == "decision" and i.severity == "block"
        )
        self.breaker = breaker
        self.host = host
        self.answers: Answers | None = None
        self._asked = count()
        self._item = kind.item_type._make

    def ask(self, rows: Sequence[Any], since: Sequence[int], number: int = -1) -> Answer:
        """Return the program's answer to the features of one call, or why it is not used.

        Args:
            rows: the kind's own features, one tuple per item.
            since: decisions since each item was last picked.
            number: of the decision; without it, answers are counted.
        """
        clock = self.host.monotonic_ns
        begin = clock()
        full = self._checked(rows, since)
        if not full:  # out of range, or no items: not the program's fault, so the breaker stays out
            return -1, "features", None, clock() - begin
        number = next(self._asked) if number < 0 else number
        index = self.choice(full)
        detail = self.objection(full, index)
        spent = clock() - begin
        if detail:
            self.breaker.fault(number, detail)
            return -1, detail, full, spent
        self.took(spent, number)
        return index, "", full, spent

    def took(self, spent_ns: int, number: int) -> None:
        """Note how long an answer took."""
        self.breaker.watched -= self.breaker.watched > 0
        if spent_ns > self.host.limits.budget_ns:
            self.host.count_slow()
            self.breaker.slow(number)

    def choice(self, full: list[Row]) -> int:
        """Return the index that the program picks, or -1 for any kind of failure."""
        try:
            index = self.choose(full)
        except Exception:  # noqa: BLE001 - a candidate may fail in any way; that is one fault
            return -1
        return index if type(index) is int and 0 <= index < len(full) else -1

    def objection(self, full: list[Row], index: int) -> str:
        """Return why an answer may not be used: ``fault``, ``violation:NAME``, or nothing."""
        if index < 0:
            return "fault"
        if not self.invariants:
            return ""
        broken = violated(self.invariants, [*map(self._item, full)], index)
        return f"violation:{broken.name}" if broken else ""

    def warnings(self, warns: Sequence[Invariant], full: list[Row], index: int) -> int:
        """Return how many invariants of severity ``warn`` an answer does not meet."""
        items = [*map(self._item, full)]
        return len(warned(warns, items, items[index]))

    def _checked(self, rows: Sequence[Any], since: Sequence[int]) -> list[Row] | None:
        try:
            return self.host.prepare(rows, since, self.host.draw)
        except Exception:  # noqa: BLE001 - what the service's accessor returned may be anything
            return None


@dataclass(frozen=True, slots=True)
class Host:
    """What the process lends to a guarded program.

    Attributes:
        prepare: from :func:`preparer`.
        draw: next uniform in [0, 1), for ``noise``.
        monotonic_ns: clock for the time budget.
        limits: when to take a program back.
        count_slow: called for every slow answer.
    """

    prepare: Prepare
    draw: Callable[[], float]
    monotonic_ns: Callable[[], int]
    limits: Limits
    count_slow: Callable[[], object]


def preparer(kind: Kind) -> Prepare:
    """Return a function that adds the host's features to rows of the kind's own.

    It returns one tuple of floats per item, or None when a value lies outside its feature's range
    (NaN included); it raises when a row has the wrong length or a value is no number. Generated,
    because it runs on the request path.
    """
    names = [f"v{i}" for i in range(len(kind.features))]
    ranges = [
        f"{feature.low!r} <= {v} <= {feature.high!r}"
        for v, feature in zip(names, kind.features, strict=True)
    ]
    source = "\n".join(
        (
            "def prepare(rows, since, draw):",
            "    full = []",
            "    for row, n in zip(rows, since, strict=True):",
            f"        ({''.join(f'{v}, ' for v in names)}) = row",
            *(f"        {v} = float({v})" for v in names),
            f"        if not ({' and '.join(ranges) or 'True'}):",
            "            return None",
            f"        full.append(({''.join(f'{v}, ' for v in names)}float(n) if n > 1 else 1.0, draw()))",
            "    return full",
        )
    )
    space: dict[str, Any] = {"inf": float("inf")}
    exec(compile(source, f"<gnomon prepare {kind.name}>", "exec"), space)  # noqa: S102 - our own text
    prepare: Prepare = space["prepare"]
    return prepare
