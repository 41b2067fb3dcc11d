"""A small trace of every kind, for tests that hold all kinds to the same.

A kind without a line of its own gets made-up decisions from its trace store's reader, which suits those whose
workload is their decisions; any other needs a line in EXAMPLES.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.policies import registry
from gnomon.recorder.join import join
from gnomon.recorder.rows import Source, tables
from gnomon.recorder.store import TraceStore
from gnomon.sdk.kind import Kind
from gnomon.shadow.simulators import simulator_for
from gnomon.testing import fake_trace

from .accesses import lookups
from .queueing import demo


def _accesses() -> Any:
    keys = np.random.default_rng(0).zipf(1.3, 260) % 40
    return lookups(keys.tolist(), 8), None


def _routed() -> Any:
    from .llm_replicas import requests

    return requests(np.random.default_rng(3), n=MOST), None


def _queued() -> Any:
    from .queues import calibration, jobs, poisson

    service = np.random.default_rng(0).exponential(0.01, MOST)
    return jobs(poisson(95.0, MOST), service), calibration()


def _batched() -> Any:
    from .engines import calibration, requests

    rng = np.random.default_rng(0)
    at = np.cumsum(rng.exponential(0.004, MOST))
    asked = requests(at, rng.integers(5, 300, MOST), rng.integers(1, 60, MOST))
    return asked, calibration(seats=3)


#: By kind: a trace, and a calibration where a trace that is so small has none.
EXAMPLES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "cache": _accesses,
    "llm_router": _routed,
    "llm_scheduler": _batched,
    "load_balancer": lambda: (demo(seed=4, seconds=4.0), None),
    "scheduler": _queued,
}
#: Decisions that are replayed of each.
MOST = 90


def score_kinds() -> list[str]:
    """Return the names of this package's kinds whose policies are scores."""
    return [name for name in sorted(registry._BUILT_IN) if registry.kind(name).form == "score"]


def example(kind: Kind, folder: Path) -> tuple[Any, Any]:
    """Return a small trace of a kind, and a calibration."""
    made = EXAMPLES.get(kind.name)
    if made is not None:
        return _calibrated(kind, *made())
    store = TraceStore(folder / kind.name)
    source = Source("00c0ffee00c0ffee", "s", "example", kind.name, kind.version)
    store.write(tables(source, join(fake_trace(kind, 300))))
    return _calibrated(kind, simulator_for(kind).load(store, "example"), None)


def _calibrated(kind: Kind, trace: Any, fitted: Any) -> tuple[Any, Any]:
    return trace, simulator_for(kind).calibrate(trace) if fitted is None else fitted
