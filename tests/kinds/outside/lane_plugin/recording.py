"""What a service recorded of its lanes: the decisions, and the job that each began."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from gnomon import TraceError
from gnomon.shadow.traces.trace import DecisionTrace

FloatArray = npt.NDArray[np.float64]
#: Columns of a row: the kind's inputs, in order.
WAITING, OLDEST, PRIORITY, SERVICE, SINCE, NOISE = range(6)
#: Share of the decisions whose job may be unknown: lost on the way, or not done when recording ended.
MOST_UNKNOWN = 0.05


@dataclass(frozen=True)
class LaneTrace(DecisionTrace):
    """Decisions with the job that each began.

    Attributes:
        service_ms: what the job took, f8[n].
    """

    TYPE: ClassVar[str] = "lanes"
    COLUMNS: ClassVar[tuple[str, ...]] = (*DecisionTrace.COLUMNS, "service_ms")

    service_ms: FloatArray

    @property
    def arrival(self) -> FloatArray:
        """When each job arrived, seconds since the trace's start, f8[n]."""
        waited = self.features[np.arange(len(self)), self.action, OLDEST]
        arrival: FloatArray = self.time - waited / 1e3
        return arrival


def services(trace: DecisionTrace, workload: Any) -> FloatArray:
    """Return what each decision's job took; where that is unknown, what jobs of its lane usually took."""
    told = _told(workload)
    picked = trace.features[np.arange(len(trace)), trace.action, OLDEST].tolist()
    process = [trace.instances[index] for index in trace.instance.tolist()]
    keys = zip(process, trace.action.tolist(), picked, strict=True)
    service = np.array([next(told[key], np.nan) if key in told else np.nan for key in keys])
    unknown = float(np.isnan(service).mean())
    if unknown > MOST_UNKNOWN:
        raise TraceError(
            f"{unknown:.0%} of the jobs of hook {trace.hook!r} have no `job` event; "
            "record one whenever a job is done"
        )
    for lane in range(len(trace.members)):
        own = trace.action == lane
        if (own & ~np.isnan(service)).any():
            service[own & np.isnan(service)] = np.nanmedian(service[own])
    known: FloatArray = np.nan_to_num(service, nan=0.0)
    return known


def _told(workload: Any) -> dict[tuple[str, int, float], Iterator[float]]:
    """Return, by (process, lane, wait in ms), which all but names a job, what such jobs took in ms."""
    events = workload.filter(pc.equal(workload["event"], "job"))
    told: dict[tuple[str, int, float], list[float]] = {}
    for process, numbers in zip(
        events["process"].to_pylist(), events["numbers"].to_pylist(), strict=True
    ):
        of = dict(numbers)
        told.setdefault((process, int(of["lane"]), of["wait_ms"]), []).append(of["service_ms"])
    return {key: iter(took) for key, took in told.items()}
