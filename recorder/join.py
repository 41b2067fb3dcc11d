"""Join outcomes to their decisions: one by one within a bounded window, or all of a segment at once.

No clock, no input or output.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..sdk.records import Decision, Outcome, Record
from .columns import Array
from .rows import Joined


class Joiner:
    """Holds the decisions of one source until their outcomes come.

    A decision leaves with its outcome, or without one as soon as it is the oldest of more than
    ``capacity`` or older than ``window_ns`` by the records' own times. An outcome whose decision has
    left already, or has not come yet when it is drained, leaves as an outcome of its own.

    Args:
        window_ns: how long a decision waits.
        capacity: how many decisions wait at most, and as many outcomes that came first.
    """

    def __init__(self, window_ns: int, capacity: int) -> None:
        self._window_ns = window_ns
        self._capacity = capacity
        self._waiting: dict[int, Decision] = {}
        self._early: dict[int, Outcome] = {}
        self._ready = Joined()

    @property
    def waiting(self) -> int:
        """How many records wait for their counterpart."""
        return len(self._waiting) + len(self._early)

    def add(self, records: Iterable[Record]) -> None:
        """Take records in the order in which they came."""
        for record in records:
            if isinstance(record, Decision):
                self._decision(record)
            elif isinstance(record, Outcome):
                self._outcome(record)
            else:
                self._ready.workload.append(record)

    def take(self) -> Joined:
        """Return what need not wait any longer."""
        ready, self._ready = self._ready, Joined()
        return ready

    def drain(self) -> Joined:
        """Return everything, unmatched records included."""
        self._ready.decisions.extend((decision, None) for decision in self._waiting.values())
        self._ready.outcomes.extend(self._early.values())
        self._waiting, self._early = {}, {}
        return self.take()

    def _decision(self, decision: Decision) -> None:
        early = self._early.pop(decision.seq, None)
        if early is not None:
            self._ready.decisions.append((decision, early))
            return
        self._waiting[decision.seq] = decision
        self._expire(decision.time_ns - self._window_ns)

    def _outcome(self, outcome: Outcome) -> None:
        decision = self._waiting.pop(outcome.seq, None)
        if decision is not None:
            self._ready.decisions.append((decision, outcome))
        elif outcome.seq in self._early or len(self._early) >= self._capacity:
            self._ready.outcomes.append(outcome)
        else:
            self._early[outcome.seq] = outcome

    def _expire(self, before_ns: int) -> None:
        while self._waiting:
            seq, oldest = next(iter(self._waiting.items()))
            if len(self._waiting) <= self._capacity and oldest.time_ns >= before_ns:
                return
            del self._waiting[seq]
            self._ready.decisions.append((oldest, None))


def join(records: Iterable[Record]) -> Joined:
    """Return one source's records with every outcome at its decision, where both are there."""
    joiner = Joiner(window_ns=2**63, capacity=2**63)
    joiner.add(records)
    return joiner.drain()


def match(decisions: Array, outcomes: Array) -> tuple[Array, Array]:
    """Join by sequence number, all at once; the records of one source.

    Args:
        decisions: u64[n], numbers of the decisions.
        outcomes: u64[m], numbers of the outcomes, in the order in which they came.

    Returns:
        i64[n], for each decision the first outcome with its number, or -1; i64[m'], the outcomes that
        no decision has, repeated ones included. A decision that is there twice has its outcome twice:
        whichever a reader keeps is whole.
    """
    if not len(outcomes):
        return np.full(len(decisions), -1), np.zeros(0, np.int64)
    numbers, first = np.unique(outcomes, return_index=True)
    place = np.minimum(np.searchsorted(numbers, decisions), len(numbers) - 1)
    found = np.where(numbers[place] == decisions, first[place], -1)
    alone = np.ones(len(outcomes), bool)
    alone[found[found >= 0]] = False
    return found, np.flatnonzero(alone)
