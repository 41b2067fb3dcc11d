"""Calibrations made by hand, for tests that must know the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnomon.shadow.simulators.load_balancer.simulator import LoadBalancerCalibration
from gnomon.shadow.traces.trace import DecisionTrace


def calibration(
    service: Sequence[Sequence[float]],
    slots: Sequence[int] | None = None,
    overhead: float = 0.0,
    spells: Sequence[tuple[float, float]] = ((-np.inf, 1.0),),
    gain: float = 0.1,
    failed: float = 0.0,
    lost: float = 0.0,
    clip_ms: float = 1e12,
) -> LoadBalancerCalibration:
    """Return parameters; ``service`` are quantiles per member, ``spells`` (from, level) of all."""
    m = len(service)
    begin = [*(at for at, _ in spells), np.inf]
    return LoadBalancerCalibration(
        slots=np.array(slots or [1] * m, np.int64),
        overhead_s=np.full(m, overhead),
        service_s=np.sort(np.array(service, float), axis=1),
        level_from_s=np.tile(begin, (m, 1)),
        level=np.tile([level for _, level in spells], (m, 1)).astype(float),
        lost=np.full(m, lost),
        failed=np.full(m, failed),
        ewma_rule=np.array([gain, gain]),
        ewma_fit=np.array([1.0]),
        clip_ms=np.array([clip_ms]),
    )


def arrivals(
    times: Sequence[float] | np.ndarray,
    members: int,
    processes: int = 1,
    ewma_ms: float = 0.0,
    weights: Sequence[float] | None = None,
) -> DecisionTrace:
    """Return a trace that holds nothing but a workload and what each process first saw."""
    n = len(times)
    row = np.zeros((members, 5))
    row[:, 1] = ewma_ms
    row[:, 2] = weights or 1.0
    row[:, 3] = 1.0
    features = np.broadcast_to(row, (n, members, 5))  # hundreds of members need no room
    return DecisionTrace(
        hook="test.pick",
        kind="load_balancer",
        start_ns=1_700_000_000_000_000_000,
        members=tuple(f"backend-{index}" for index in range(members)),
        instances=tuple(f"{index:016x}" for index in range(processes)),
        time=np.asarray(times, float),
        instance=(np.arange(n) % processes).astype(np.int32),
        action=np.zeros(n, np.int32),
        features=features,
        outcome=np.zeros(n),
        ok=np.ones(n, bool),
    )


def exponential(mean: float, quantiles: int = 4096) -> list[float]:
    """Return quantiles of an exponential distribution, scaled so that their mean is exact."""
    at = -np.log1p(-(np.arange(quantiles) + 0.5) / quantiles)
    return (at * mean / at.mean()).tolist()
