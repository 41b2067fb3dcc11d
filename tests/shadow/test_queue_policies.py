"""Queues of changing length through every seam: functions, isolated candidates, compiled engines, gates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gnomon
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.scheduler import scheduler
from gnomon.sdk.errors import CandidateError, ConfigurationError
from gnomon.sdk.isolation.zygote import Zygote
from gnomon.shadow.gates.case import Target
from gnomon.shadow.gates.verify import verify
from gnomon.shadow.isolation.compiled import CompiledEngine, CompiledOptions
from gnomon.shadow.isolation.lockstep import lockstep_zygote
from gnomon.shadow.policy import FunctionPolicy, IsolatedPolicy, baseline_policy
from gnomon.shadow.simulators.scheduler.simulator import SchedulerSimulator
from gnomon.shadow.splits import split
from gnomon.shadow.traces.job_trace import JobTrace, job_trace

from .engines import calibration as engine
from .engines import requests
from .queues import Service, fcfs

SIMULATOR = SchedulerSimulator()
NUMBERS = itertools.count()  # a hook's name is taken for as long as the process lives
SJF = scheduler.baselines["sjf"].source or ""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> JobTrace:
    """Return a recording of two workers and bursts of 20 jobs, first come, first served."""
    rng = np.random.default_rng(12)
    service = Service(seed=11)
    burst = np.cumsum(0.2 * rng.uniform(0.7, 1.3, 120))
    size_ms = np.concatenate([rng.permutation([4.0] * 16 + [40.0] * 4) for _ in burst])
    service.run(np.repeat(burst, 20) + np.tile(np.arange(20) * 1e-5, 120), size_ms, fcfs)
    return job_trace(service.stored(tmp_path_factory.mktemp("queue")), "pool.next")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with lockstep_zygote() as zygote:
        yield zygote


def mark(function: Any, **options: Any) -> Any:
    usual = {
        "item_features": lambda j: (j.wait_ms, j.size_ms, j.priority, j.slack_ms, j.queued),
        "items": "queue",
    }
    return gnomon.hook(f"test.next.{next(NUMBERS)}", kind=scheduler, **(usual | options))(function)


def test_a_service_s_own_function_replays_on_a_queue(trace: JobTrace) -> None:
    fitted = SIMULATOR.calibrate(trace)
    first = FunctionPolicy(mark(lambda queue: queue[0])).replay(SIMULATOR, trace, fitted, 0)
    assert np.array_equal(
        first.outcome,
        baseline_policy("fcfs", scheduler).replay(SIMULATOR, trace, fitted, 0).outcome,
    )

    def aging(queue: Any) -> Any:
        assert not any(hasattr(job, "seen") for job in queue)  # every decision has fresh ones
        for job in queue:
            job.seen = True
        return min(queue, key=lambda job: job.size_ms - 0.5 * job.wait_ms)

    sized = FunctionPolicy(mark(aging)).replay(SIMULATOR, trace, fitted, 0)
    assert np.array_equal(
        sized.outcome,
        baseline_policy("aging", scheduler).replay(SIMULATOR, trace, fitted, 0).outcome,
    )


def test_a_function_that_stand_ins_do_not_suit_is_refused(trace: JobTrace) -> None:
    fitted = SIMULATOR.calibrate(trace)
    by_arrival = FunctionPolicy(mark(lambda queue: min(queue, key=lambda job: job.arrived)))
    with pytest.raises(ConfigurationError, match="does not work on stand-ins"):
        by_arrival.replay(SIMULATOR, trace, fitted, 0)
    doubled = mark(
        lambda queue: queue[0],
        item_features=lambda j: (2 * j.wait_ms, j.size_ms, j.priority, j.slack_ms, j.queued),
    )
    with pytest.raises(ConfigurationError, match="item_features of"):
        FunctionPolicy(doubled).replay(SIMULATOR, trace, fitted, 0)


def test_an_isolated_candidate_decides_over_queues_of_any_length(
    trace: JobTrace, zygote: Zygote
) -> None:
    window = trace.rows(slice(0, 500))
    fitted = SIMULATOR.draws(trace, 3, 0)
    for calibration in fitted:
        isolated = IsolatedPolicy("mine", SJF, scheduler, zygote)
        replays = isolated.replays(SIMULATOR, window, calibration, (0, 1, 2))
        for seed, replay in enumerate(replays):
            ours = baseline_policy("sjf", scheduler).replay(SIMULATOR, window, calibration, seed)
            assert np.array_equal(replay.outcome, ours.outcome)


def test_no_row_that_is_none_reaches_a_candidate(trace: JobTrace, zygote: Zygote) -> None:
    """A pad of NaN, or of zeros, would fault this score or be picked by it."""
    source = (
        "def score(size_ms, queued, wait_ms):\n"
        "    return 1.0 / size_ms + 1.0 / queued + wait_ms * 0.0\n"
    )
    isolated = IsolatedPolicy("mine", source, scheduler, zygote)
    fitted = SIMULATOR.calibrate(trace)
    replays = isolated.replays(SIMULATOR, trace.rows(slice(0, 300)), fitted, (0, 1, 2, 3))
    assert all(replay.fault == -1 for replay in replays)
    faulty = "def score(queued):\n    return 1.0 / (queued - 3.0)\n"
    with pytest.raises(CandidateError, match="faulted"):
        IsolatedPolicy("bad", faulty, scheduler, zygote).replays(SIMULATOR, trace, fitted, (0,))


def test_the_compiled_engine_scores_what_is_replayed_here(trace: JobTrace) -> None:
    windows = split(trace).windows()
    drawn = SIMULATOR.draws(trace, 2, 0)
    options = CompiledOptions(workers=1, isolation="process")
    with CompiledEngine(scheduler, windows, drawn, options) as compiled:
        found = compiled.submit(SJF, "validation").result(60)
        starving = compiled.submit("def score(wait_ms):\n    return wait_ms\n", "train").result(60)
    expected = max(
        baseline_policy("sjf", scheduler)
        .replay(SIMULATOR, windows["validation"], calibration, seed)
        .mean
        for seed, calibration in enumerate(drawn)
    )
    assert found.score == pytest.approx(expected, rel=1e-12)
    assert str(starving.status) in ("ok", "violation"), starving


def test_observed_tables_are_queues_of_one_length(trace: JobTrace) -> None:
    tables = SIMULATOR.observed(trace)
    assert tables.shape[2] == 7
    assert 2 <= tables.shape[1] <= 16
    assert len(tables) >= 200
    assert np.isfinite(tables).all()
    assert (tables[:, :, 4] >= tables.shape[1]).all()  # the whole queue is as long or longer
    assert (np.diff(tables[:, :, 0], axis=1) <= 0.0).all()  # oldest first


@pytest.mark.timeout(120)
def test_the_gates_accept_a_better_order_and_refuse_a_worse_one(
    trace: JobTrace, tmp_path: Path
) -> None:
    incumbent = baseline_policy("fcfs", scheduler)
    target = Target("pool.next", scheduler, incumbent, scheduler.invariants)
    ledger = Ledger(tmp_path / "ledger.db", clock=lambda: 1)
    better = verify(trace, SJF, target, ledger=ledger)
    assert better.decision == "accepted", better.summary
    assert {gate.name: gate.answer for gate in better.gates}["bound"] == "passed"
    worse = verify(trace, "def score(size_ms):\n    return -size_ms\n", target, ledger=ledger)
    assert worse.decision == "refused"


def test_llm_admissions_have_queues_of_any_length_too(zygote: Zygote) -> None:
    from gnomon.policies.llm_scheduler import llm_scheduler
    from gnomon.shadow.simulators import simulator_for

    rng = np.random.default_rng(2)
    workload = requests(
        np.cumsum(rng.exponential(0.02, 120)), rng.integers(10, 300, 120), rng.integers(2, 50, 120)
    )
    source = llm_scheduler.baselines["shortest_output"].source or ""
    simulator = simulator_for(llm_scheduler)
    isolated = IsolatedPolicy("mine", source, llm_scheduler, zygote)
    fitted = engine(blocks=120, seats=12)
    replays = isolated.replays(simulator, workload, fitted, (0, 1))
    policy = baseline_policy("shortest_output", llm_scheduler)
    for seed, replay in enumerate(replays):
        ours = policy.replay(simulator, workload, fitted, seed)
        assert np.array_equal(replay.outcome, ours.outcome)
