"""How old what a policy sees is: up to date, or as of a refresh that comes every T seconds; and whose.

A service that keeps its own counts shows every request that it sends at the next decision. One that
polls its backends, or reads a board that somebody else writes, shows the same numbers until the next
poll, whatever it sends meanwhile. Of the pairs of neighbouring decisions between which something must
have changed (a request was sent and is still out, or one was answered), the share with other numbers
tells which it is; the times at which numbers change tell T.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...traces.trace import DecisionTrace
from ..base import FloatArray, IntArray
from ..native import native
from .kernel import EWMA, INFLIGHT

#: Signals that change at a smaller share of the decisions at which they should are refreshed in periods.
LEAST_CHANGED = 0.5
#: Fewer pairs that should differ, or gaps between changes, than this say nothing; signals then count as up to date.
LEAST_PAIRS = 30
LEAST_CHANGES = 8
#: Counts of all processes together must explain so much more of what was seen than a process's own.
MORE_EXPLAINED = 0.1
_GAINS = np.concatenate(([0.0], np.geomspace(0.005, 1.0, 120)))


@dataclass(frozen=True, eq=False)
class Signals:
    """What a policy sees of requests in flight and of the moving average.

    Attributes:
        refresh_s: seconds between two refreshes; 0 where signals are up to date.
        from_s: time of one refresh of each process, not after the trace's start, f8[p].
        shared: whether requests of all processes are counted together.
    """

    refresh_s: float
    from_s: FloatArray
    shared: bool


def signals(trace: DecisionTrace) -> Signals:
    """Find out how old and whose the recorded signals were."""
    processes = range(len(trace.instances))
    answer = trace.time + trace.outcome / 1e3
    told = [_told(trace, answer, process) for process in processes]
    changed = np.concatenate([each[1] for each in told])
    gaps = sum(max(len(each[0]) - 1, 0) for each in told)
    few = len(changed) < LEAST_PAIRS or gaps < LEAST_CHANGES
    if few or changed.mean() >= LEAST_CHANGED:
        period, begin = 0.0, np.zeros(len(told))
    else:
        period, begin = _period([each[0] for each in told])
    return Signals(period, begin, _shared(trace, answer, period, begin))


def _told(trace: DecisionTrace, answer: FloatArray, process: int) -> tuple[FloatArray, FloatArray]:
    """Return when a process's signals changed, and of pairs that should differ whether they do."""
    rows = np.flatnonzero(trace.instance == process)
    seen = trace.features[rows][:, :, [INFLIGHT, EWMA]]
    differ = (seen[1:] != seen[:-1]).any(axis=(1, 2))
    time, back = trace.time[rows], np.sort(answer[rows])
    middle = (time[1:] + time[:-1]) / 2.0
    answered = np.diff(np.searchsorted(back, time, side="right"))
    still_out = answer[rows[:-1]] > time[1:]
    should = still_out & (answered == 0)  # one more in flight, and nothing that could hide it
    when = middle[
        differ & (np.diff(time) > 0.0)
    ]  # changes within one time have no gap between them
    return when, differ[should].astype(np.float64)


def _period(changes: list[FloatArray]) -> tuple[float, FloatArray]:
    """Return the time between refreshes and a refresh of each process, by least squares.

    A gap between two changes is one period, or several in which nothing happened.
    """
    typical = float(np.median(np.concatenate([np.diff(each) for each in changes])))
    periods, begins = [], np.zeros(len(changes))
    for process, each in enumerate(changes):
        if len(each) < 2:
            continue
        count = np.concatenate(
            ([0.0], np.cumsum(np.maximum(1.0, np.round(np.diff(each) / typical))))
        )
        slope, begins[process] = np.polyfit(count, each, 1)
        periods.append((float(slope), len(each)))
    values, weights = np.array(periods).T
    period = float(np.average(values, weights=weights))
    return period, begins % period - period


def _shared(trace: DecisionTrace, answer: FloatArray, period: float, begin: FloatArray) -> bool:
    if len(trace.instances) < 2:
        return False
    look = trace.time
    if period:
        start = begin[trace.instance]
        look = start + np.floor((look - start) / period) * period
    seen = trace.features[:, :, INFLIGHT]
    everybody = np.ones(len(trace), bool)
    all_ = _counts(trace, answer, look, everybody)
    own = np.zeros_like(all_)
    for process in range(len(trace.instances)):
        mine = trace.instance == process
        own[mine] = _counts(trace, answer, look, mine)[mine]
    return bool((all_ == seen).mean() > (own == seen).mean() + MORE_EXPLAINED)


def _counts(
    trace: DecisionTrace, answer: FloatArray, look: FloatArray, senders: IntArray
) -> FloatArray:
    """Return how many requests of the senders each member had at these times, f8[n, m]."""
    counts = np.zeros((len(look), len(trace.members)))
    for member in range(len(trace.members)):
        sent = senders & (trace.action == member)
        out = np.searchsorted(trace.time[sent], look, side="left")
        counts[:, member] = out - np.searchsorted(np.sort(answer[sent]), look, side="right")
    return counts


def stale_gain(trace: DecisionTrace, found: Signals, clip_ms: float) -> tuple[float, float]:
    """Return the gain of a moving average that shows at refreshes only, and what it explains.

    From one refresh to the next the answers between them go in, in order; the gain that leaves the least
    squares is taken. 0 and NaN where the average never moves.
    """
    left, whole = np.zeros(len(_GAINS)), 0.0
    for process in range(len(trace.instances)):
        rows = np.flatnonzero(trace.instance == process)
        period = np.floor((trace.time[rows] - found.from_s[process]) / found.refresh_s)
        first = rows[np.flatnonzero(np.diff(period, prepend=-1.0))]
        at = found.from_s[process] + found.refresh_s * np.unique(period)
        senders = rows if not found.shared else np.arange(len(trace))
        for member in range(len(trace.members)):
            sent = senders[(trace.action[senders] == member) & (trace.outcome[senders] < clip_ms)]
            back = trace.time[sent] + trace.outcome[sent] / 1e3
            order = np.argsort(back, kind="stable")
            shown = trace.features[first, member, EWMA]
            _squares(at, shown, back[order], trace.outcome[sent][order], _GAINS, left)
            whole += float((np.diff(shown) ** 2).sum())
    if not whole:
        return 0.0, float("nan")
    best = int(left.argmin())
    return float(_GAINS[best]), float(1.0 - left[best] / whole)


@native
def _squares(
    at: FloatArray,
    shown: FloatArray,
    back: FloatArray,
    latency: FloatArray,
    gains: FloatArray,
    left: FloatArray,
) -> None:
    """Add to ``left``, per gain, the squared errors of predicting each shown average from the last."""
    for index in range(len(gains)):
        gain, place = gains[index], 0
        for k in range(1, len(at)):
            average = shown[k - 1]
            while place < len(back) and back[place] <= at[k]:
                if back[place] > at[k - 1]:
                    average += gain * (latency[place] - average)
                place += 1
            left[index] += (average - shown[k]) ** 2
