"""Fit the load balancer's parameters to a trace, and draw others that explain it as well.

For a backend of c slots, whose k-th request arrives at t and is answered at d, the slot was free at
the c-th largest answer D among all earlier requests, so with overhead h its service took
``min(d - t - h, d - D)``. The likelihood of the recorded answers is the product of the density of
these times, whatever c and h are assumed, so the pair that makes it largest is the fit. The density
is taken from the times themselves (spacings between order statistics): no shape is assumed.

The overhead is chosen first, for every c. Then the numbers of slots are compared with slow spells
taken out, because a spell makes times long just when the queue is, and hides in too few slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....sdk.errors import TraceError
from ...traces.trace import DecisionTrace
from ..base import FloatArray, IntArray
from ..native import native
from . import kernel
from .ewma import EwmaRule, ewma_rule
from .levels import Levels, levels
from .model import LoadBalancerCalibration
from .signals import Signals, signals, stale_gain

#: Numbers of slots tried: every one of a few, then in steps that a queue does not tell apart.
SLOTS = (*range(1, 17), 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128)
#: Overheads tried, as fractions of a backend's lowest latencies.
OVERHEADS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
#: A member picked less often says too little about itself.
LEAST_PICKS = 30
#: Share of a member's answers that may have come in no time; those are left out.
MOST_TIMELESS = 0.05
QUANTILES = 512
#: Log-likelihood within which two pairs explain a trace equally well; the fewer slots are taken.
INDIFFERENT = 2.0
BLOCK_S = 2.0
_SHORTEST_S = 1e-5
#: Log-density of a service time that is not positive: such slots and overhead are all but refuted.
_IMPOSSIBLE = -20.0
#: Of one level, in log-likelihood per log of the number of requests.
PARAMETER_COST = 3.0


@dataclass(frozen=True, eq=False)
class Answers:
    """What a backend was seen to do: k requests, never answered ones left out.

    Attributes:
        arrival, answer: seconds, f8[k].
        slots: numbers of slots c that are tried, ascending.
        before: the c-th largest earlier answer for each of them, -inf where there were fewer, f8[k, c].
        lost, failed, picked: how many of its requests were not answered, answered with a failure, and
            all of them.
    """

    arrival: FloatArray
    answer: FloatArray
    slots: tuple[int, ...]
    before: FloatArray
    lost: int
    failed: int
    picked: int

    def service(self, slots: int, overhead: float) -> FloatArray:
        """Return the service times in seconds that slots and overhead imply."""
        alone = self.answer - self.arrival - overhead
        before = self.before[:, self.slots.index(slots)]
        times: FloatArray = np.minimum(alone, self.answer - before)
        return times


@dataclass(frozen=True, eq=False)
class Backend:
    """One backend and how well each number of slots and each overhead explains it.

    Attributes:
        seen: what it was seen to do.
        overhead: those tried, seconds, f8[h].
        density: log-density of each request's service time, f8[c, h, k].
        levelled: the same under each number of slots' best overhead, with spells taken out, f8[c, k].
        penalty: on the log-likelihood, for the levels, f8[c].
    """

    seen: Answers
    overhead: FloatArray
    density: FloatArray
    levelled: FloatArray
    penalty: FloatArray

    def pairs(self, rows: IntArray) -> list[tuple[int, float]]:
        """Return the pairs of slots and overhead that explain these requests best, few slots first."""
        total = self.levelled[:, rows].sum(axis=1) - self.penalty
        likely = np.flatnonzero(total >= total.max() - INDIFFERENT)
        best = self.density[likely][:, :, rows].sum(axis=2).argmax(axis=1)
        return [
            (self.seen.slots[c], float(self.overhead[h]))
            for c, h in zip(likely.tolist(), best, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a calibration is fitted to: the backends, the average's rule, signals, the clip in ms."""

    backends: tuple[Backend, ...]
    rule: EwmaRule
    signals: Signals
    clip_ms: float


@dataclass(frozen=True, eq=False)
class _Fit:
    """One backend's parameters."""

    slots: int
    overhead: float
    service: FloatArray
    levels: Levels
    lost: float
    failed: float


def evidence(trace: DecisionTrace, clip_ms: float) -> Evidence:
    """Take a trace apart by backend; raises TraceError for a member that was hardly ever picked."""
    backends = tuple(_backend(trace, member, clip_ms) for member in range(len(trace.members)))
    seen = signals(trace)
    if seen.refresh_s:
        gain, explained = stale_gain(trace, seen, clip_ms)
        return Evidence(backends, EwmaRule(gain, gain, explained), seen, clip_ms)
    return Evidence(backends, ewma_rule(trace, kernel.EWMA, clip_ms), seen, clip_ms)


def calibration(evidence: Evidence) -> LoadBalancerCalibration:
    """Return the most likely parameters."""
    fits = [_most_likely(backend) for backend in evidence.backends]
    return _assembled(evidence, fits)


def drawn(evidence: Evidence, rng: np.random.Generator) -> LoadBalancerCalibration:
    """Return the parameters fitted to blocks of time drawn with replacement."""
    fits = [_resampled(backend, rng) for backend in evidence.backends]
    return _assembled(evidence, fits)


def _backend(trace: DecisionTrace, member: int, clip_ms: float) -> Backend:
    seen = _answers(trace, member, clip_ms)
    overhead = np.array(OVERHEADS) * max(float(np.quantile(seen.answer - seen.arrival, 0.01)), 0.0)
    density = np.array(
        [[_log_density(seen.service(slots, each)) for each in overhead] for slots in seen.slots]
    )
    best = density.sum(axis=2).argmax(axis=1)
    levelled = [
        _levelled(seen, slots, float(overhead[h]))
        for slots, h in zip(seen.slots, best, strict=True)
    ]
    return Backend(
        seen,
        overhead,
        density,
        np.array([log_density for log_density, _ in levelled]),
        np.array([penalty for _, penalty in levelled]),
    )


def _answers(trace: DecisionTrace, member: int, clip_ms: float) -> Answers:
    at = np.flatnonzero(trace.action == member)
    lost = ~trace.ok[at] & (trace.outcome[at] >= clip_ms)
    answered = at[~lost]
    if len(answered) < LEAST_PICKS:
        raise TraceError(
            f"member {trace.members[member]!r} of {trace.hook!r} has {len(answered)} answers, too few "
            f"to calibrate; capture at least {LEAST_PICKS}, or explore"
        )
    _refuse_timeless(trace, member, trace.outcome[answered])
    arrival = trace.time[answered]
    answer = arrival + trace.outcome[answered] / 1e3
    failed = int((~trace.ok[answered]).sum())
    slots = _slots_tried(arrival, answer)
    before = _earlier_answers(answer, np.array(slots))
    return Answers(arrival, answer, slots, before, int(lost.sum()), failed, len(at))


def _refuse_timeless(trace: DecisionTrace, member: int, latency_ms: FloatArray) -> None:
    """Refuse answers that came when, or before, they were asked for: nothing can be learnt from them."""
    timeless = int((~(latency_ms > 0.0)).sum())
    if timeless > MOST_TIMELESS * len(latency_ms) or np.isnan(latency_ms).any():
        raise TraceError(
            f"member {trace.members[member]!r} of {trace.hook!r} has {timeless} of {len(latency_ms)} "
            "answers after 0 ms or less; measure latency_ms with a monotonic clock, in ms"
        )


def _slots_tried(arrival: FloatArray, answer: FloatArray) -> tuple[int, ...]:
    """Return numbers of slots up to the most requests at once; more slots would explain nothing more."""
    gone = np.searchsorted(np.sort(answer), arrival, side="right")
    at_once = np.arange(1, len(arrival) + 1) - gone
    most = min(max(int(at_once.max()), 1), SLOTS[-1])
    return (*(slots for slots in SLOTS if slots < most), most)


def _levelled(seen: Answers, slots: int, overhead: float) -> tuple[FloatArray, float]:
    """Return the log-density of each service time with levels taken out, and the levels' penalty."""
    service = seen.service(slots, overhead)
    possible = service > _SHORTEST_S
    if possible.sum() < LEAST_PICKS:
        return np.full(len(service), _IMPOSSIBLE), 0.0
    logs, start = np.log(service[possible]), (seen.answer - service)[possible]
    fitted = levels(start, service[possible])
    density = np.full(len(service), _IMPOSSIBLE)
    density[possible] = _log_density(logs - np.log(fitted.at(start))) - logs
    return density, PARAMETER_COST * float(np.log(len(logs))) * len(fitted.factor)


@native
def _earlier_answers(answer: FloatArray, slots: IntArray) -> FloatArray:
    """Return, per request, the c-th largest answer of the requests before it for each c of ``slots``."""
    before = np.empty((len(answer), len(slots)))
    largest = np.full(slots[-1], -np.inf)
    for index in range(len(answer)):
        for column in range(len(slots)):
            before[index, column] = largest[slots[column] - 1]
        value = answer[index]
        for place in range(slots[-1]):
            if value > largest[place]:
                value, largest[place] = largest[place], value
    return before


def _log_density(times: FloatArray) -> FloatArray:
    """Return the log-density at each time, from the spacing of its neighbours in order."""
    n = len(times)
    reach = max(2, round(np.sqrt(n) / 2))
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    low = np.maximum(np.arange(n) - reach, 0)
    high = np.minimum(np.arange(n) + reach, n - 1)
    width = np.maximum(ordered[high] - ordered[low], _SHORTEST_S)
    density = np.empty(n)
    density[order] = np.log((high - low) / (n * width))
    return density


def _most_likely(backend: Backend) -> _Fit:
    everything = np.arange(len(backend.seen.arrival))
    seen = backend.seen
    base, fitted, pair = _base(backend, backend.pairs(everything)[0])
    return _Fit(*pair, _quantiles(base), fitted, seen.lost / seen.picked, seen.failed / seen.picked)


def _resampled(backend: Backend, rng: np.random.Generator) -> _Fit:
    seen = backend.seen
    rows = _blocks(seen.arrival, rng)
    likely = backend.pairs(rows)
    base, fitted, pair = _base(backend, likely[rng.integers(len(likely))])
    lost, failed = (
        rng.binomial(seen.picked, count / seen.picked) / seen.picked
        for count in (seen.lost, seen.failed)
    )
    return _Fit(*pair, _quantiles(base[rows]), fitted.jittered(rng), lost, failed)


def _base(
    backend: Backend, pair: tuple[int, float]
) -> tuple[FloatArray, Levels, tuple[int, float]]:
    """Return the service times at level 1 (NaN where not positive), the levels, and the pair."""
    service = backend.seen.service(*pair)
    start = backend.seen.answer - service
    possible = service > _SHORTEST_S
    fitted = levels(start[possible], service[possible])
    return np.where(possible, service / fitted.at(start), np.nan), fitted, pair


def _blocks(time: FloatArray, rng: np.random.Generator) -> IntArray:
    """Return rows of blocks of time, as many blocks as there are, drawn with replacement."""
    block = ((time - time[0]) / BLOCK_S).astype(np.int64)
    edges = np.flatnonzero(np.diff(block)) + 1
    groups = np.split(np.arange(len(time)), edges)
    chosen = rng.integers(0, len(groups), len(groups))
    return np.concatenate([groups[index] for index in chosen])


def _quantiles(times: FloatArray) -> FloatArray:
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    quantiles: FloatArray = np.nanquantile(times, at)
    return quantiles


def _assembled(evidence: Evidence, fits: list[_Fit]) -> LoadBalancerCalibration:
    most = max(len(fit.levels.factor) for fit in fits)
    level_from = np.full((len(fits), most + 1), np.inf)
    level = np.ones((len(fits), most))
    for member, fit in enumerate(fits):
        level_from[member, : len(fit.levels.begin)] = fit.levels.begin
        level[member, : len(fit.levels.factor)] = fit.levels.factor
    return LoadBalancerCalibration(
        slots=np.array([fit.slots for fit in fits], np.int64),
        overhead_s=np.array([fit.overhead for fit in fits]),
        service_s=np.stack([fit.service for fit in fits]),
        level_from_s=level_from,
        level=level,
        lost=np.array([fit.lost for fit in fits]),
        failed=np.array([fit.failed for fit in fits]),
        ewma_rule=np.array([evidence.rule.gain, evidence.rule.first_gain]),
        ewma_fit=np.array([evidence.rule.explained]),
        clip_ms=np.array([evidence.clip_ms]),
        refresh_s=np.array([evidence.signals.refresh_s]),
        refresh_from_s=evidence.signals.from_s,
        shared=np.array([int(evidence.signals.shared)]),
    )
