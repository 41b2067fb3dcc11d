"""Printers of an office: a kind of somebody's own, and a simulator made of one function."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

import gnomon
from gnomon.shadow.traces.trace import DecisionTrace

printer = gnomon.Kind(
    name="printer",
    version=1,
    description="Picks the printer for a job.",
    features=(
        gnomon.Feature("pages", "{page}", "Of the job.", 0.0, 1e4, integer=True),
        gnomon.Feature("queued", "{page}", "Waiting there.", 0.0, 1e6),
    ),
    objective=gnomon.Metric("done_s", "s", 3600.0, "Until the last page is out."),
    baselines={
        "shortest": gnomon.Baseline("shortest", "def score(queued):\n    return queued\n", "JSQ"),
        "first": gnomon.Baseline("first", None, "whoever stands nearest to the door"),
    },
)


def pace(trace: DecisionTrace) -> dict[str, Any]:
    """Fit seconds per page, from jobs that found nothing queued."""
    rows = np.arange(len(trace))
    seen = trace.features[rows, trace.action]
    idle = seen[:, 1] == 0.0
    found = [
        np.median((trace.outcome / seen[:, 0])[idle & (trace.action == item)])
        for item in range(len(trace.members))
    ]
    return {"s_per_page": np.array(found), "jobs": len(trace)}


def office(trace: DecisionTrace, fitted: Any, luck: Any) -> Generator[np.ndarray, int, np.ndarray]:
    """Serve jobs first come, first served, at each printer's pace with a tenth of luck either way."""
    paces = fitted["s_per_page"]
    free = np.full(len(paces), trace.time[0])
    done = np.zeros(len(trace))
    for index, now in enumerate(trace.time):
        pages = trace.features[index, 0, 0]
        queued = np.maximum(free - now, 0.0) / paces
        picked = yield np.column_stack((np.full(len(paces), pages), queued))
        took = pages * paces[picked] * (0.9 + 0.2 * luck.uniform(index))
        free[picked] = max(free[picked], now) + took
        done[index] = free[picked] - now
    return done


def at_the_door(_trace: DecisionTrace, _seed: int) -> Any:
    """Return the policy that always takes the first."""
    return lambda _process, _rows: 0


simulated = gnomon.simulator(printer, calibrate=pace, built_in={"first": at_the_door})(office)


def recorded(jobs: int = 1500, seed: int = 0) -> DecisionTrace:
    """Return what an office that takes turns would have recorded."""
    rng = np.random.default_rng(seed)
    blank = DecisionTrace(
        hook="office.print",
        kind="printer",
        start_ns=1_700_000_000_000_000_000,
        members=("old", "new", "colour"),
        instances=("p",),
        time=np.cumsum(rng.exponential(0.04, jobs)),
        instance=np.zeros(jobs, np.int32),
        action=(np.arange(jobs) % 3).astype(np.int32),
        features=np.zeros((jobs, 3, 4)),
        outcome=np.zeros(jobs),
        ok=np.ones(jobs, bool),
    )
    blank.features[:, :, 0] = rng.integers(1, 12, jobs)[:, None]
    blank.features[0, :, 2] = 1.0
    made = gnomon.shadow.simulators.custom.FunctionCalibration(
        {"s_per_page": np.array([0.02, 0.01, 0.015])}
    )
    stream, rows = simulated.stream(blank, made, seed), []
    try:
        shown = next(stream)
        while True:
            rows.append(shown.copy())
            shown = stream.send((len(rows) - 1) % 3)
    except StopIteration as stop:
        columns = {"features": np.stack(rows), "outcome": stop.value.outcome}
    return gnomon.shadow.traces.trace.replace(blank, **columns)
