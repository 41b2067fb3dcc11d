"""The load balancer's parameters, and how a replay starts from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ....sdk.errors import TraceError
from ...traces.trace import DecisionTrace
from ..base import FloatArray, IntArray
from ..fitted import Fitted
from . import kernel

#: Decisions among which every process is looked for first.
_SOON = 256


@dataclass(frozen=True, eq=False)
class LoadBalancerCalibration(Fitted):
    """Fitted parameters; m members, k quantiles, s levels.

    Attributes:
        slots: requests that a backend serves at once, i8[m].
        overhead_s: seconds per request outside queue and service, f8[m].
        service_s: quantiles of the service time in seconds at level 1, ascending, f8[m, k].
        level_from_s: when a level begins, seconds since the trace's start; first -inf, last and
            padding +inf, f8[m, s + 1].
        level: factor on the service times of a backend from then on, f8[m, s].
        lost, failed: shares of requests without an answer, and with a failed one, f8[m].
        ewma_rule: gain of the service's moving average, and its gain while it is 0, f8[2].
        ewma_fit: share of the variance of the average's changes that the rule explains, f8[1].
        clip_ms: highest outcome, f8[1].
        refresh_s: seconds between two refreshes of what a policy sees, 0 where it is up to date, f8[1].
        refresh_from_s: time of one refresh per process, f8[p]; empty where all begin at 0.
        shared: 1 where a process sees the requests of all, 0 where it sees its own, i8[1].
    """

    slots: IntArray
    overhead_s: FloatArray
    service_s: FloatArray
    level_from_s: FloatArray
    level: FloatArray
    lost: FloatArray
    failed: FloatArray
    ewma_rule: FloatArray
    ewma_fit: FloatArray
    clip_ms: FloatArray
    refresh_s: FloatArray = field(default_factory=lambda: np.zeros(1))
    refresh_from_s: FloatArray = field(default_factory=lambda: np.zeros(0))
    shared: IntArray = field(default_factory=lambda: np.zeros(1, np.int64))

    def describe(self) -> dict[str, Any]:
        """Return slots, overhead, mean service, levels and shares per member, as JSON values."""
        levels = (np.isfinite(self.level_from_s[:, 1:])).sum(axis=1) + 1
        return {
            "slots": self.slots.tolist(),
            "overhead_ms": (self.overhead_s * 1e3).round(3).tolist(),
            "service_mean_ms": (self.service_s.mean(axis=1) * 1e3).round(3).tolist(),
            "levels": levels.tolist(),
            "highest_level": self.level.max(axis=1).round(3).tolist(),
            "lost": self.lost.round(5).tolist(),
            "failed": self.failed.round(5).tolist(),
            "ewma_gain": round(float(self.ewma_rule[0]), 4),
            "ewma_fit": round(float(self.ewma_fit[0]), 4),
            "refresh_ms": round(float(self.refresh_s[0]) * 1e3, 3),
            "shared": bool(self.shared[0]),
        }


def restore(arrays: Mapping[str, npt.NDArray[Any]]) -> LoadBalancerCalibration:
    """Return the calibration that was written as these arrays."""
    return LoadBalancerCalibration(**dict(arrays))


def mixed_seed(seed: int) -> np.uint64:
    """Spread a small seed over 64 bits."""
    return np.uint64(int.from_bytes(hashlib.sha256(b"lb%d" % seed).digest()[:8], "little"))


def model_of(trace: DecisionTrace, calibration: LoadBalancerCalibration, seed: int) -> kernel.Model:
    """Return the constants of a replay; raises TraceError when the members differ in number."""
    if len(calibration.slots) != len(trace.members):
        raise TraceError(
            f"the calibration is of {len(calibration.slots)} members, trace {trace.hook!r} has "
            f"{len(trace.members)}; calibrate on this trace"
        )
    process = trace.instance.astype(np.int64)
    return kernel.Model(
        arrival=np.ascontiguousarray(trace.time, np.float64),
        process=process,
        watch=np.zeros_like(process) if calibration.shared[0] else process,
        slots=calibration.slots,
        overhead=calibration.overhead_s,
        service=calibration.service_s,
        level_from=calibration.level_from_s,
        level=calibration.level,
        lost=calibration.lost,
        failed=calibration.failed,
        weight=_first(trace, kernel.WEIGHT, 1.0),
        rule=calibration.ewma_rule,
        refresh_s=float(calibration.refresh_s[0]),
        clip_ms=float(calibration.clip_ms[0]),
        seed=mixed_seed(seed),
    )


def state_of(trace: DecisionTrace, calibration: LoadBalancerCalibration) -> kernel.State:
    """Return empty queues, with moving averages and waits as each process first saw them."""
    n, m, p = len(trace), len(trace.members), len(trace.instances)
    views = 1 if calibration.shared[0] else p
    inflight, average = np.zeros((views, m)), _first(trace, kernel.EWMA, 0.0)[:views]
    stale = bool(calibration.refresh_s[0])
    begin = calibration.refresh_from_s if len(calibration.refresh_from_s) else np.zeros(p)
    return kernel.State(
        inflight=inflight,
        average=average,
        due=np.full((views, m), np.inf),
        shown_inflight=inflight.copy() if stale else inflight,
        shown_average=average.copy() if stale else average,
        value=np.full((views, m), np.nan),
        tied=np.zeros(m + 1, np.int64),
        refresh=np.array(begin[:views]),
        last=-_first(trace, kernel.SINCE, 1.0),
        decided=np.zeros(p),
        free=np.full((m, int(calibration.slots.max())), -np.inf),
        stage=np.zeros(m, np.int64),
        begun=np.zeros(n),
        answer=np.zeros(n),
        link=np.zeros((n, 2), np.int64),
        ends=np.full((views, m, 2), -1, np.int64),
        outcome=np.zeros(n),
        ok=np.zeros(n, np.bool_),
        action=np.zeros(n, np.int64),
        rows=np.zeros((m, kernel.INPUTS)),
    )


def _first(trace: DecisionTrace, column: int, default: float) -> FloatArray:
    """Return a feature as each process first saw it, f8[p, m]."""
    values = np.full((len(trace.instances), len(trace.members)), default)
    seen, at = _first_rows(trace.instance, len(trace.instances))
    values[seen] = trace.features[at, :, column]
    return values


def _first_rows(instance: npt.NDArray[np.int32], processes: int) -> tuple[IntArray, IntArray]:
    """Return the processes that decide and the first decision of each, which mostly comes soon."""
    seen, at = np.unique(instance[:_SOON], return_index=True)
    if len(seen) < processes and len(instance) > _SOON:
        seen, at = np.unique(instance, return_index=True)
    return seen.astype(np.int64), at.astype(np.int64)
