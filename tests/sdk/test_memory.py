"""What the host keeps for policies does not grow with what went by."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

import gnomon
from gnomon.sdk.config import Settings
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock, force

from .common import READ, Item

#: A policy for which picks have to be tracked.
TRACKING = "def score(since_picked, inflight):\n    return inflight - since_picked\n"


#: Bytes. What is kept takes a tenth of it; one entry for each item would take several times as much.
MOST = 500_000


class Nothing:
    """A sink that keeps nothing."""

    def write(self, hook: Any, records: Any) -> None: ...

    def flush(self, timeout_s: float) -> None: ...

    def close(self, timeout_s: float) -> None: ...


def churn(items: int) -> int:
    """Return how many bytes are held after items came and went, three at a time, whose outcomes never come."""
    pick = gnomon.hook("memory.pick", **READ)(lambda request, backends: backends[0])
    clock = FakeClock()
    settings = Settings(clock=clock.clock(), ring_size=64, flush_interval_s=600.0)
    RUNTIME.configure(settings, [Nothing()])
    force(pick, TRACKING)
    begun = 0
    for n in range(items // 3):
        if n == 300:
            tracemalloc.start()
            begun = tracemalloc.get_traced_memory()[0]
        with pick.decide(None, [Item(f"item-{3 * n + i}") for i in range(3)]):
            pass
        clock.advance(0.01)
        if n % 32 == 0:
            RUNTIME.round()
    RUNTIME.round()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - begun
    tracemalloc.stop()
    assert pick.hook.counters["decisions"] == items // 3
    assert pick.hook.counters["missing_outcomes"] > 0
    force(pick, "incumbent")
    RUNTIME.hooks.clear()
    return held


def test_items_that_come_and_go_leave_nothing_behind() -> None:
    assert churn(9_000) < MOST


@pytest.mark.soak
def test_a_million_items_that_come_and_go_leave_nothing_behind() -> None:
    assert churn(1_000_000) < MOST
