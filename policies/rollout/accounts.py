"""What many processes do, in few entries of the ledger: who runs what, who left, what failed there.

A thousand processes that take up one manifest make one entry. Nothing here is kept over a restart: the
processes acknowledge anew when they come back, and are then written down again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .desk import Seat
from .states import MACHINE, State
from .store import Happened

_SECOND = 1_000_000_000
#: So long acknowledgements are collected, counted from the first.
ACKED_NS = _SECOND
#: A process that comes back within this time has not left.
LEFT_NS = 10 * _SECOND
#: A hook's counts are written at most so often, and only when something failed.
COUNTED_NS = 60 * _SECOND

#: Counters of a process whose growth makes an entry; beside them ``broken.INVARIANT``.
FAILED = ("fallbacks", "unasked", "faults", "violations", "breaker_trips", "raised")
BROKEN = "broken."


@dataclass(frozen=True, slots=True)
class _Told:
    """Something about one process: who it is and when."""

    service: str
    cell: str
    time_ns: int


@dataclass(slots=True)
class _Page:
    """One hook's account.

    Attributes:
        epochs: that the ledger knows of every process, or will with what is pending.
        runs: what an epoch says, by epoch; None where it was superseded before it was asked.
        acked: pending acknowledgements, by epoch and instance.
        left: processes that are gone, by instance, until that is written.
        before: counters of every process as written last.
        latest: counters of every process as reported last.
        counted_ns: since when counts are collected.
        looked_ns: when they were looked at last.
        decisions: since then, of what was looked at and not written.
    """

    epochs: dict[str, int] = field(default_factory=dict)
    runs: dict[int, dict[str, Any] | None] = field(default_factory=dict)
    acked: dict[int, dict[str, _Told]] = field(default_factory=dict)
    left: dict[str, _Told] = field(default_factory=dict)
    before: dict[str, Mapping[str, int]] = field(default_factory=dict)
    latest: dict[str, Mapping[str, int]] = field(default_factory=dict)
    counted_ns: int = 0
    looked_ns: int = 0
    decisions: int = 0


class Accounts:
    """Collects what processes do until it is due for the ledger."""

    def __init__(self) -> None:
        self._pages: dict[str, _Page] = {}

    def acked(
        self, hook: str, seat: Seat, epoch: int, runs: dict[str, Any] | None, now: int
    ) -> None:
        """Note that a process acknowledged an epoch; a renewal of the one that is known is nothing new.

        Args:
            hook: name.
            seat: the process.
            epoch: acknowledged.
            runs: what the epoch's manifest says, as :func:`assigned` returns it; None where unknown.
            now: Unix nanoseconds.
        """
        page = self._page(hook)
        page.left.pop(seat.instance, None)
        if page.epochs.get(seat.instance) == epoch:
            return
        page.epochs[seat.instance] = epoch
        page.runs[epoch] = runs
        page.acked.setdefault(epoch, {})[seat.instance] = _Told(seat.service, seat.cell, now)

    def gone(self, hook: str, seat: Seat, now: int) -> None:
        """Note that a process's stream ended; it may come back."""
        page = self._page(hook)
        if seat.instance in page.epochs:
            page.left.setdefault(seat.instance, _Told(seat.service, seat.cell, now))

    def back(self, hook: str, instance: str) -> None:
        """Note that a process is there again, whatever it will answer to what it is sent."""
        self._page(hook).left.pop(instance, None)

    def new(self, hook: str, instance: str) -> None:
        """Note that a process is heard of for the first time: all that it counts is to be written."""
        self._page(hook).before.setdefault(instance, {})

    def counted(self, hook: str, instance: str, counters: Mapping[str, int], now: int) -> None:
        """Note a process's counters, as they stand."""
        page = self._page(hook)
        page.before.setdefault(instance, counters)
        page.latest[instance] = counters
        page.counted_ns = page.counted_ns or now
        page.looked_ns = page.looked_ns or now

    def forget(self, hook: str, instances: Iterable[str]) -> None:
        """Let go of processes that left for good."""
        page = self._page(hook)
        for instance in instances:
            for kept in (page.epochs, page.left, page.before, page.latest):
                kept.pop(instance, None)

    def due(self, now: int, *, all_of_it: bool = False) -> list[Happened]:
        """Return the entries that are due, and forget them.

        Args:
            now: Unix nanoseconds.
            all_of_it: whether also what could still wait, as before a stop.
        """
        happened: list[Happened] = []
        for hook, page in self._pages.items():
            happened += _acked(hook, page, now, all_of_it)
            happened += _left(hook, page, now, all_of_it)
            happened += _counted(hook, page, now, all_of_it)
        return happened

    def _page(self, hook: str) -> _Page:
        return self._pages.setdefault(hook, _Page())


def assigned(state: State) -> dict[str, Any]:
    """Return what a state lets run, in short."""
    target = state.target
    phase = "killed" if target.kill else target.phase
    said = {"phase": phase, "stable": target.stable, "candidate": target.candidate}
    return {**said, "weight": target.weight}


def _acked(hook: str, page: _Page, now: int, all_of_it: bool) -> list[Happened]:
    happened = []
    for epoch, told in list(page.acked.items()):
        first = min(each.time_ns for each in told.values())
        if not all_of_it and now - first < ACKED_NS:
            continue
        body = {"hook": hook, "epoch": epoch, "runs": page.runs.pop(epoch, None)}
        happened.append(Happened("delivery.acknowledged", MACHINE, hook, body | _who(told)))
        del page.acked[epoch]
    return happened


def _left(hook: str, page: _Page, now: int, all_of_it: bool) -> list[Happened]:
    told = {
        instance: each
        for instance, each in page.left.items()
        if all_of_it or now - each.time_ns >= LEFT_NS
    }
    for instance in told:
        del page.left[instance]
        page.epochs.pop(instance, None)
    body = {"hook": hook} | _who(told)
    return [Happened("delivery.left", MACHINE, hook, body)] if told else []


def _who(told: Mapping[str, _Told]) -> dict[str, Any]:
    """Return processes by service and cell, with the times between which it was."""
    processes: dict[str, dict[str, list[str]]] = {}
    for instance, each in sorted(told.items()):
        processes.setdefault(each.service, {}).setdefault(each.cell, []).append(instance)
    times = [each.time_ns for each in told.values()]
    return {
        "from_ns": min(times, default=0),
        "to_ns": max(times, default=0),
        "count": len(told),
        "processes": processes,
    }


def _counted(hook: str, page: _Page, now: int, all_of_it: bool) -> list[Happened]:
    """Return one entry where anything failed since the last; what passed is in it as a number."""
    if not page.looked_ns or not (all_of_it or now - page.looked_ns >= COUNTED_NS):
        return []
    grown = {
        instance: _grown(page.before.get(instance, {}), latest)
        for instance, latest in page.latest.items()
    }
    page.decisions += sum(found.get("decisions", 0) for found in grown.values())
    page.looked_ns = now
    page.before |= page.latest
    failed = {instance: found for instance, found in grown.items() if _failures(found)}
    if not failed:
        return []  # passes are collected until they stand beside a failure
    totals = Counter[str]()
    for found in failed.values():
        totals.update({name: found[name] for name in _failures(found)})
    body = {
        "hook": hook,
        "from_ns": page.counted_ns,
        "to_ns": now,
        "decisions": page.decisions,
        "failed": dict(sorted(totals.items())),
        "processes": sorted(failed),
    }
    page.counted_ns, page.decisions = now, 0
    return [Happened("invariant.counted", MACHINE, hook, body)]


def _failures(counts: Mapping[str, int]) -> list[str]:
    return [name for name in counts if name in FAILED or name.startswith(BROKEN)]


def _grown(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return how much counters have grown; one that fell was begun anew."""
    return {
        name: count - before.get(name, 0) if count >= before.get(name, 0) else count
        for name, count in now.items()
        if count != before.get(name, 0)
    }
