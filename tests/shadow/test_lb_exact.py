"""The load balancer against queueing theory and against a system written apart from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.simulators import Replay, drive, simulator_for
from gnomon.shadow.simulators.load_balancer import kernel
from gnomon.shadow.simulators.load_balancer.model import mixed_seed
from gnomon.shadow.traces.trace import DecisionTrace

from .models import arrivals, calibration, exponential
from .queueing import Rows, Server, System
from .scores import score

SIMULATOR = simulator_for(load_balancer)


JSQ = "def score(inflight):\n    return inflight\n"


def poisson(rate: float, n: int, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, n))


def services(trace: DecisionTrace, table: np.ndarray, seed: int) -> np.ndarray:
    """Return the service time at level 1 of every arrival on every member, n x m."""
    n, m = len(trace), len(trace.members)
    draws = [kernel.uniform(mixed_seed(seed), index, m) for index in range(n)]
    return table[:, (np.array(draws) * table.shape[1]).astype(int)].T


def replayed(
    trace: DecisionTrace, fitted: object, pick: Callable[[Rows, int], int], seed: int
) -> Replay:
    stream = SIMULATOR.stream(trace, fitted, seed)
    return drive(stream, trace, lambda process, rows: pick(rows.tolist(), process))


def by_load(rows: Rows, _router: int) -> int:
    return min(range(len(rows)), key=lambda j: ((rows[j][0] + 1) * rows[j][1], j))


def by_turn(rows: Rows, _router: int) -> int:
    return min(range(len(rows)), key=lambda j: (-rows[j][3], j))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    slots=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    routers=st.integers(1, 3),
    overhead=st.sampled_from([0.0, 0.004]),
    pick=st.sampled_from([by_load, by_turn]),
)
def test_every_answer_equals_that_of_a_system_written_apart(
    seed: int, slots: list[int], routers: int, overhead: float, pick: Callable[[Rows, int], int]
) -> None:
    rng = np.random.default_rng(seed)
    m, n = len(slots), 300
    times = np.cumsum(rng.exponential(0.008, n))
    trace = arrivals(times, m, routers, ewma_ms=40.0)
    table = np.sort(rng.lognormal(-3.5, 0.5, (m, 64)), axis=1)
    spells = [(-np.inf, 1.0), (0.7, 2.5), (1.4, 0.8)]
    fitted = calibration(table.tolist(), slots, overhead, spells)
    replay = replayed(trace, fitted, pick, seed)
    servers = [
        Server(lambda: 0.0, count, 1.0, overhead, [(0.7, 1.4, 2.5), (1.4, 1e9, 0.8)])
        for count in slots
    ]
    # The product asks for the level at the start in the caller's clock, half an overhead later.
    for server in servers:
        server.spells = [(a - overhead / 2, b - overhead / 2, f) for a, b, f in server.spells]
    system = System(servers, routers, services=services(trace, table, seed))
    expected = system.run(times.tolist(), pick)
    assert np.array_equal(replay.action, expected.action)
    assert np.allclose(np.minimum(replay.outcome, 2000.0), expected.outcome, rtol=1e-9, atol=1e-6)


@given(seed=st.integers(0, 1000), slots=st.integers(1, 3))
@settings(max_examples=15)
def test_work_is_conserved_and_little_s_law_holds(seed: int, slots: int) -> None:
    n, m = 400, 3
    trace = arrivals(poisson(60.0, n, seed), m)
    table = np.array([exponential(0.03, 128)] * m)
    replay = SIMULATOR.compiled(
        trace, calibration(table.tolist(), [slots] * m), seed, score(JSQ, load_balancer)
    )
    took = services(trace, table, seed)[np.arange(n), replay.action]
    answer = trace.time + replay.outcome / 1e3
    begun = answer - took
    assert (begun >= trace.time - 1e-9).all()
    for member in range(m):
        mine = replay.action == member
        edges = sorted([*((t, 1) for t in begun[mine]), *((t - 1e-9, -1) for t in answer[mine])])
        busy = np.cumsum([step for _, step in edges])
        assert busy.max(initial=0) <= slots
        waiting = mine & (begun > trace.time + 1e-7)
        for start, arrival in zip(begun[waiting], trace.time[waiting], strict=True):
            middle = (start + arrival) / 2.0  # nobody waits while a slot is free
            assert ((begun <= middle) & (answer > middle) & mine).sum() == slots
    present = np.array([((trace.time <= t) & (answer > t)).sum() for t in trace.time])
    assert present.min() >= 1
    events = np.sort(np.concatenate((trace.time, answer)))
    level = [((trace.time <= t) & (answer > t)).sum() for t in events[:-1]]
    assert np.dot(level, np.diff(events)) == pytest.approx((answer - trace.time).sum(), rel=1e-9)


def test_failures_and_lost_requests_come_at_their_rates() -> None:
    n = 20_000
    fitted = calibration([[0.001]], [8], failed=0.05, lost=0.02, clip_ms=500.0)
    replay = SIMULATOR.compiled(
        arrivals(poisson(100.0, n), 1), fitted, 3, score(JSQ, load_balancer)
    )
    assert (replay.outcome == 500.0).mean() == pytest.approx(0.02, abs=0.005)
    assert (~replay.ok).mean() == pytest.approx(0.07, abs=0.008)
    assert replay.ok[replay.outcome == 500.0].sum() == 0
