"""Asking a program on the request path: checked going in, checked coming out, and never raising."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .invariant import Invariant, violated, warned
from .kind import Kind
from .limits import Breaker, Limits

Row = tuple[float, ...]
#: Fuel that the items of one call may cost together. A policy's bound is per item, and nothing can stop an
#: answer in the caller's thread: this keeps the longest one at some 15 ms.
MOST_FUEL = 500_000
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
        most: items that one call may have; with more the incumbent answers.
    """

    __slots__ = ("_item", "answers", "breaker", "choose", "host", "invariants", "most")

    def __init__(
        self,
        choose: Chooser,
        kind: Kind,
        invariants: Sequence[Invariant],
        host: Host,
        breaker: Breaker,
        fuel: int = 1,
    ) -> None:
        self.choose = choose
        self.most = MOST_FUEL // max(fuel, 1)
        self.invariants = tuple(
            i for i in invariants if i.scope == "decision" and i.severity == "block"
        )
        self.breaker = breaker
        self.host = host
        self.answers: Answers | None = None
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
        if (
            not full
        ):  # out of range, none, or too many: not the program's fault, so the breaker stays out
            return -1, "features", None, clock() - begin
        number = self.breaker.number() if number < 0 else number
        index = self.choice(full)
        detail = self.objection(full, index)
        spent = clock() - begin
        if detail:
            self.breaker.fault(number, detail)
            return -1, detail, full, spent
        self.took(begin, spent, number)
        return index, "", full, spent

    def took(self, begin_ns: int, spent_ns: int, number: int, answers: int = 1) -> None:
        """Note how long an answer took.

        Args:
            begin_ns: when it began, on the host's clock.
            spent_ns: time that it took.
            number: as for :meth:`ask`.
            answers: for how many it stands, because so many more are not measured; one that was slow
                stands for itself, as those that follow it will be measured.
        """
        breaker, limits = self.breaker, self.host.limits
        if breaker.watched > 0:
            breaker.watched -= 1
            if not breaker.watched:
                self.host.calm()
        if spent_ns > limits.budget_ns:
            breaker.slow(number)
            self.host.count_slow()
            answers = 1
        if spent_ns > limits.quick_ns:
            # Longer than that a thread waits for others, as where many want the interpreter.
            most = 2 * limits.budget_ns
            breaker.charge(begin_ns + spent_ns, min(spent_ns, most) * answers)

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
        if len(rows) > self.most:
            return None
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
        calm: called when every answer was measured for a while, and need not be any more.
    """

    prepare: Prepare
    draw: Callable[[], float]
    monotonic_ns: Callable[[], int]
    limits: Limits
    count_slow: Callable[[], object]
    calm: Callable[[], object] = bool


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
