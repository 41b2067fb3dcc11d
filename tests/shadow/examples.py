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
    return lookups(keys.tolist(), 8)


EXAMPLES: dict[str, Callable[[], Any]] = {
    "cache": _accesses,
    "load_balancer": lambda: demo(seed=4, seconds=4.0),
}
#: Decisions that are replayed of each.
MOST = 90


def score_kinds() -> list[str]:
    """Return the names of this package's kinds whose policies are scores."""
    return [name for name in sorted(registry._BUILT_IN) if registry.kind(name).form == "score"]


def example(kind: Kind, folder: Path) -> Any:
    """Return a small trace of a kind."""
    made = EXAMPLES.get(kind.name)
    if made is not None:
        return made()
    store = TraceStore(folder / kind.name)
    source = Source("00c0ffee00c0ffee", "s", "example", kind.name, kind.version)
    store.write(tables(source, join(fake_trace(kind, 300))))
    return simulator_for(kind).load(store, "example")
