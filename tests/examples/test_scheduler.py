"""The pool with one queue: jobs in order of arrival, and in another order while a policy decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from gnomon import testing
from gnomon.sdk.runtime import RUNTIME

from .services import imported, wait_for

SIZES = [6.0, 2.0, 9.0, 1.0, 4.0]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(RUNTIME, "hooks", {})
    module = imported("scheduler")
    yield module
    module.STOP.set()


def served(pool: ModuleType) -> list[float]:
    """Return the sizes of five jobs in the order in which one worker begins them."""
    queue = [pool.Job(f"job {n}", size) for n, size in enumerate(SIZES)]
    worker = threading.Thread(target=pool.work, args=(queue,))
    with testing.recording() as recorded:
        worker.start()
        wait_for("an empty queue", lambda: not queue)
        time.sleep(0.05)  # the last one is still being run
        pool.STOP.set()
        worker.join()
        decisions, outcomes = recorded.decisions, recorded.outcomes
    assert [decision.n_items for decision in decisions] == [5, 4, 3, 2, 1]
    assert all(outcome.ok and outcome.status == "reported" for outcome in outcomes)
    width = len(decisions[0].features) // 5
    latencies = [dict(outcome.values)["latency_ms"] for outcome in outcomes]
    assert latencies == sorted(latencies)  # one worker: later begun, later done
    assert len(latencies) == 5
    assert not any(decision.detail for decision in decisions)  # no fallback
    return [decision.features[decision.action * width + 1] for decision in decisions]


def test_jobs_are_served_in_order_of_arrival(pool: ModuleType) -> None:
    assert served(pool) == SIZES


def test_a_published_policy_decides_over_queues_of_any_length(pool: ModuleType) -> None:
    testing.force(pool.next_job, "sjf")
    assert served(pool) == sorted(SIZES)
