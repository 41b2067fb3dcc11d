"""The identities that every load balancer's replay must keep, computed apart from its event loop.

From arrivals, picks and the times of service alone: each backend is walked through once more, event by
event, and asked whether requests began when its slots and its queue say, whether what was present over
time adds up to what the requests spent (Little's law), and whether its slots were busy for as long as
the service that was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....sdk.errors import TraceError
from ..base import FloatArray, Replay, ReplaySummary
from ..native import lean, native, uniform
from . import kernel

#: Columns of what a walk through a backend's events gives: requests that began early or late, most in
#: service beyond the slots, time integrals of requests present and of busy slots, service drawn, and the
#: most requests present.
LATE, OVER, PRESENT, BUSY, WORK, MOST = range(6)


@dataclass(frozen=True, slots=True)
class LoadBalancerSummary(ReplaySummary):
    """What a replay-level invariant of the kind sees.

    Attributes:
        late_starts: requests that did not begin when the first slot of their backend was free for them.
        most_over_slots: the most that a backend served at once beyond its slots.
        present_s: time integral of the number of requests in the system, from its events.
        sojourn_s: sum of the requests' times in the system; equal, by Little's law.
        busy_s: time integral of the number of busy slots, from their events, per member.
        work_s: sum of the service times drawn for the requests, per member; equal.
        wrong_outcomes: outcomes that are neither the clipped time in the system nor, of a lost request,
            the clip.
    """

    late_starts: int = 0
    most_over_slots: int = 0
    present_s: float = 0.0
    sojourn_s: float = 0.0
    busy_s: tuple[float, ...] = ()
    work_s: tuple[float, ...] = ()
    wrong_outcomes: int = 0


@dataclass(frozen=True)
class LoadBalancerReplay(Replay):
    """What a policy did to a trace's requests, and when they were served.

    Attributes:
        begun, answer: seconds since the trace's start, f8[n].
        model: constants of the replay.
    """

    begun: FloatArray | None = None
    answer: FloatArray | None = None
    model: kernel.Model | None = None

    def summary(self) -> Any:
        """Return what replay-level invariants see, the identities among it."""
        plain = super().summary()
        if self.answer is None:
            return plain
        books = self.books()
        return LoadBalancerSummary(
            plain.decisions,
            plain.completions,
            plain.picks,
            plain.longest_unpicked,
            plain.lowest_outcome,
            late_starts=int(books[:, LATE].sum()),
            most_over_slots=int(books[:, OVER].max()),
            present_s=float(books[:, PRESENT].sum()),
            sojourn_s=float((self.answer - self.time).sum()),
            busy_s=tuple(books[:, BUSY].tolist()),
            work_s=tuple(books[:, WORK].tolist()),
            wrong_outcomes=self._wrong(self.answer),
        )

    def _wrong(self, answer: FloatArray) -> int:
        assert self.model is not None
        taken = np.minimum((answer - self.time) * 1e3, self.model.clip_ms)
        lost = ~self.ok & (self.outcome == self.model.clip_ms)
        return int((~lost & (self.outcome != taken)).sum())

    def books(self) -> FloatArray:
        """Walk through every backend's events; columns ``LATE`` to ``MOST``, f8[m, 6].

        Raises:
            TraceError: the replay does not say when requests were served.
        """
        model = self.model
        if model is None or self.begun is None or self.answer is None:
            raise TraceError("this replay does not say when requests were served; replay again")
        books = np.zeros((self.members, 6))
        for member in range(self.members):
            at = np.flatnonzero(self.action == member)
            begun, answer, work = self.begun[at], self.answer[at], np.empty(len(at))
            _draw_work(model, at, begun, member, work)
            slots, overhead = int(model.slots[member]), float(model.overhead[member])
            _walk(self.time[at], begun, answer, work, slots, overhead, books[member])
        return books


def figures(replay: Replay) -> dict[str, float]:
    """Return imbalance and queues of a replay; empty where it does not say when requests were served."""
    if not isinstance(replay, LoadBalancerReplay) or replay.answer is None or not len(replay.time):
        return {}
    books = replay.books()
    assert replay.model is not None
    per_slot = books[:, BUSY] / replay.model.slots
    span = float(replay.answer.max() - replay.time[0])
    return {
        "imbalance": float(per_slot.max() / per_slot.mean()) if per_slot.any() else math.nan,
        "longest_queue": float(books[:, MOST].max()),
        "mean_queue": float(books[:, PRESENT].mean() / span) if span else math.nan,
    }


@lean
def _draw_work(model: Any, at: Any, begun: Any, member: Any, work: Any) -> None:
    """Fill in the service times of requests that begin then, from their draws and the level in force."""
    for place in range(len(at)):
        stage = 0
        while model.level_from[member, stage + 1] <= begun[place]:
            stage += 1
        column = int(uniform(model.seed, at[place], len(model.slots)) * model.service.shape[1])
        work[place] = model.service[member, column] * model.level[member, stage]


@native
def _walk(
    arrival: FloatArray,
    begun: FloatArray,
    answer: FloatArray,
    work: FloatArray,
    slots: int,
    overhead: float,
    out: FloatArray,
) -> None:
    """Walk through one backend's events; ``out`` takes a row of :meth:`LoadBalancerReplay.books`."""
    left = np.full(slots, -np.inf)  # the largest answers so far, descending: when slots were left
    for k in range(len(arrival)):
        should = max(arrival[k] + overhead, left[slots - 1])
        out[LATE] += begun[k] != should
        value = answer[k]
        for place in range(slots):
            if value > left[place]:
                value, left[place] = left[place], value
        out[WORK] += work[k]
    gone = _ascending(answer)
    out[PRESENT], out[MOST] = between(arrival, gone)
    out[BUSY], busiest = between(_ascending(begun), gone)
    out[OVER] = max(busiest - slots, 0.0)


@native
def _ascending(times: FloatArray) -> FloatArray:
    """Return times in order, as they nearly always are."""
    for k in range(1, len(times)):
        if times[k] < times[k - 1]:
            return np.sort(times)
    return times


@native
def between(comes: FloatArray, goes: FloatArray) -> tuple[float, float]:
    """Return the time integral of how many have come and not gone, and the most at once; both sorted."""
    area, most, present, before, first = 0.0, 0.0, 0.0, 0.0, 0
    for k in range(len(comes)):
        while first < k and goes[first] <= comes[k]:
            area += present * (goes[first] - before)
            before, present, first = goes[first], present - 1.0, first + 1
        area += present * (comes[k] - before)
        before, present = comes[k], present + 1.0
        most = max(most, present)
    for place in range(first, len(goes)):
        area += present * (goes[place] - before)
        before, present = goes[place], present - 1.0
    return area, most


def replay_of(model: kernel.Model, state: kernel.State, fault: int) -> LoadBalancerReplay:
    """Return what a finished state holds; up to the decision on which the policy failed."""
    end = len(model.arrival) if fault < 0 else fault
    return LoadBalancerReplay(
        time=model.arrival[:end],
        outcome=state.outcome[:end],
        ok=state.ok[:end],
        action=state.action[:end],
        members=len(model.slots),
        fault=fault,
        begun=state.begun[:end],
        answer=state.answer[:end],
        model=model,
    )
