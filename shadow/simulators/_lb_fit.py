"""Fit the load balancer's parameters to a trace, and draw others that explain it as well.

For a backend of c slots, whose k-th request arrives at t and is answered at d, the slot was free at
the c-th largest answer D among all earlier requests, so with overhead h its service took
``min(d - t - h, d - D)``. The likelihood of the recorded answers is the product of the density of
these times, whatever c and h are assumed, so the pair that makes it largest is the fit. The density
is taken from the times themselves (spacings between order statistics): no shape is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...sdk.errors import TraceError
from ..trace import Trace
from . import _lb_kernel as kernel
from ._lb_ewma import EwmaRule, ewma_rule
from ._lb_levels import Levels, levels
from ._lb_model import LoadBalancerCalibration
from ._native import native
from .base import FloatArray, IntArray

MOST_SLOTS = 16
#: Overheads tried, as fractions of a backend's lowest latencies.
OVERHEADS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
#: A member picked less often says too little about itself.
LEAST_PICKS = 30
QUANTILES = 512
#: Log-likelihood within which two pairs explain a trace equally well; the fewer slots are taken.
INDIFFERENT = 2.0
BLOCK_S = 2.0
#: Requests of a backend that the likelihood is taken from, at most.
MOST_FITTED = 20_000
_SHORTEST_S = 1e-5


@dataclass(frozen=True, eq=False)
class Backend:
    """What is known about one backend.

    Attributes:
        arrival, answer: of its requests in seconds, f8[k]; those never answered are left out.
        before: the c-th largest earlier answer at column c - 1, -inf where there were fewer, f8[k, c].
        slots, overhead: the pairs tried, i8[g] and f8[g].
        density: log-density of each request's service time under each pair, f8[g, k].
        lost, failed, picked: how many of its requests were not answered, answered with a failure, and
            all of them.
    """

    arrival: FloatArray
    answer: FloatArray
    before: FloatArray
    slots: IntArray
    overhead: FloatArray
    density: FloatArray
    lost: int
    failed: int
    picked: int

    def service(self, pair: int) -> FloatArray:
        """Return the service times in seconds that a pair implies."""
        return _service(self, int(self.slots[pair]), float(self.overhead[pair]))

    def start(self, pair: int) -> FloatArray:
        """Return when each service began."""
        return self.answer - self.service(pair)


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a calibration is fitted to: the backends, the moving average's rule, the clip in ms."""

    backends: tuple[Backend, ...]
    rule: EwmaRule
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


def evidence(trace: Trace, clip_ms: float) -> Evidence:
    """Take a trace apart by backend; raises TraceError for a member that was hardly ever picked."""
    backends = tuple(_backend(trace, member, clip_ms) for member in range(len(trace.members)))
    return Evidence(backends, ewma_rule(trace, kernel.EWMA, clip_ms), clip_ms)


def calibration(evidence: Evidence) -> LoadBalancerCalibration:
    """Return the most likely parameters."""
    fits = [_most_likely(backend) for backend in evidence.backends]
    return _assembled(evidence, fits)


def drawn(evidence: Evidence, rng: np.random.Generator) -> LoadBalancerCalibration:
    """Return the parameters fitted to blocks of time drawn with replacement."""
    fits = [_resampled(backend, rng) for backend in evidence.backends]
    return _assembled(evidence, fits)


def _backend(trace: Trace, member: int, clip_ms: float) -> Backend:
    at = np.flatnonzero(trace.action == member)
    lost = ~trace.ok[at] & (trace.outcome[at] >= clip_ms)
    answered = at[~lost]
    if len(answered) < LEAST_PICKS:
        raise TraceError(
            f"member {trace.members[member]!r} of {trace.hook!r} has {len(answered)} answers, too few "
            f"to calibrate; capture at least {LEAST_PICKS}, or explore"
        )
    arrival = trace.time[answered]
    answer = arrival + trace.outcome[answered] / 1e3
    before = _earlier_answers(answer, MOST_SLOTS)
    slots, overhead = _pairs(answer - arrival)
    bare = Backend(
        arrival,
        answer,
        before,
        slots,
        overhead,
        np.zeros((0, 0)),
        int(lost.sum()),
        int((~trace.ok[answered]).sum()),
        len(at),
    )
    density = np.stack([_log_density(bare.service(pair)) for pair in range(len(slots))])
    return Backend(**{**vars(bare), "density": density})


@native
def _earlier_answers(answer: FloatArray, most: int) -> FloatArray:
    """Return, per request, the largest ``most`` answers of the requests before it, descending."""
    before = np.empty((len(answer), most))
    largest = np.full(most, -np.inf)
    for index in range(len(answer)):
        before[index] = largest
        value = answer[index]
        for place in range(most):
            if value > largest[place]:
                value, largest[place] = largest[place], value
    return before


def _pairs(latency: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return all pairs of slots and overhead to try, fewest slots and least overhead first."""
    lowest = float(np.quantile(latency, 0.01))
    slots, share = np.meshgrid(np.arange(1, MOST_SLOTS + 1), OVERHEADS, indexing="ij")
    return slots.ravel().astype(np.int64), share.ravel() * lowest


def _service(backend: Backend, slots: int, overhead: float) -> FloatArray:
    alone = backend.answer - backend.arrival - overhead
    times: FloatArray = np.minimum(alone, backend.answer - backend.before[:, slots - 1])
    return times


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
    total = backend.density.sum(axis=1)
    pair = int(np.flatnonzero(total >= total.max() - INDIFFERENT)[0])
    service = np.maximum(backend.service(pair), _SHORTEST_S)
    fitted = levels(backend.start(pair), service)
    return _Fit(
        slots=int(backend.slots[pair]),
        overhead=float(backend.overhead[pair]),
        service=_quantiles(service / fitted.at(backend.start(pair))),
        levels=fitted,
        lost=backend.lost / backend.picked,
        failed=backend.failed / backend.picked,
    )


def _resampled(backend: Backend, rng: np.random.Generator) -> _Fit:
    rows = _blocks(backend.arrival, rng)
    total = backend.density[:, rows].sum(axis=1)
    pair = int(rng.choice(np.flatnonzero(total >= total.max() - INDIFFERENT)))
    service = np.maximum(backend.service(pair), _SHORTEST_S)
    fitted = levels(backend.start(pair), service)
    base = service / fitted.at(backend.start(pair))
    return _Fit(
        slots=int(backend.slots[pair]),
        overhead=float(backend.overhead[pair]),
        service=_quantiles(base[rows]),
        levels=fitted.jittered(rng),
        lost=rng.binomial(backend.picked, backend.lost / backend.picked) / backend.picked,
        failed=rng.binomial(backend.picked, backend.failed / backend.picked) / backend.picked,
    )


def _blocks(time: FloatArray, rng: np.random.Generator) -> IntArray:
    """Return rows of blocks of time, as many blocks as there are, drawn with replacement."""
    block = ((time - time[0]) / BLOCK_S).astype(np.int64)
    edges = np.flatnonzero(np.diff(block)) + 1
    groups = np.split(np.arange(len(time)), edges)
    chosen = rng.integers(0, len(groups), len(groups))
    return np.concatenate([groups[index] for index in chosen])


def _quantiles(times: FloatArray) -> FloatArray:
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    quantiles: FloatArray = np.quantile(times, at)
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
    )
