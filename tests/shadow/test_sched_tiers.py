"""Streams, compiled replays and a queue in plain Python: one and the same, bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.scheduler import scheduler
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.sdk.language import check, chooser
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators import Replay, load_calibrations, save_calibrations
from gnomon.shadow.simulators.base import drive_to_end
from gnomon.shadow.simulators.scheduler.kernel import mixed, noise_of
from gnomon.shadow.simulators.scheduler.simulator import SchedulerSimulator

from .queues import calibration, jobs, latencies, poisson
from .scores import Scores

SIMULATOR = SchedulerSimulator()
SOURCES = [
    *[each.source for each in scheduler.baselines.values() if each.source],
    "def score(queued):\n    return queued\n",  # ties all the time
    "def score(size_ms, noise):\n    return size_ms // 400.0 - 0.1 * noise\n",
    (
        "import math\n\n\ndef score(wait_ms, since_picked, slack_ms):\n"
        "    return math.tanh(slack_ms / 1e4) - 0.2 * since_picked - math.log1p(wait_ms)\n"
    ),
    "import math\n\n\ndef score(queued):\n    return math.sqrt(4.0 - queued)\n",  # faults
]
NAMES = [name for name, each in scheduler.baselines.items() if each.source]
PROGRAMS = [check(source, scheduler.input_names) for source in SOURCES]
COMPILED = Scores(scheduler, SOURCES)
COLUMNS = ("time", "outcome", "ok", "action")


def same(one: Replay, other: Replay) -> bool:
    return one.fault == other.fault and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS
    )


def workload(seed: int, n: int, rate: float, processes: int, digits: int = 2) -> Any:
    rng = np.random.default_rng(seed)
    arrival = np.round(np.cumsum(rng.exponential(1 / rate, n)), digits)  # 2: several at once
    service = rng.lognormal(-1.0, 1.0, n)
    return jobs(
        arrival,
        service,
        processes,
        size_ms=service * 1e3 * rng.lognormal(0.0, 0.3, n),
        priority=rng.choice([0.5, 1.0, 4.0], n),
        due=np.where(rng.random(n) < 0.5, arrival + rng.uniform(0, 3, n), np.inf),
    )


@settings(max_examples=60)
@given(
    index=st.integers(0, len(SOURCES) - 1),
    seed=st.integers(0, 2**31),
    workers=st.integers(1, 4),
    processes=st.integers(1, 3),
    rate=st.floats(0.5, 12),
    gap=st.sampled_from([[0.0], [0.01], [0.0, 0.02, 0.3]]),
    order=st.sampled_from(["lowest", "highest"]),
)
def test_a_stream_equals_a_compiled_replay(
    index: int, seed: int, workers: int, processes: int, rate: float, gap: list[float], order: Any
) -> None:
    trace = workload(seed, 120, rate, processes)
    fitted = calibration(workers, processes, gap_s=np.array(gap))
    compiled = SIMULATOR.compiled(trace, fitted, seed, COMPILED[index], order)
    choose = chooser(PROGRAMS[index], replace(scheduler, order=order))
    stream = SIMULATOR.stream(trace, fitted, seed)
    assert same(compiled, drive_to_end(stream, lambda rows: choose(rows.tolist())))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), workers=st.integers(1, 5), rate=st.floats(0.5, 12))
def test_a_queue_in_plain_python_gives_the_same_latencies(
    seed: int, workers: int, rate: float
) -> None:
    trace = workload(seed, 150, rate, 1, digits=12)
    arrival, service, size = (
        column.tolist() for column in (trace.arrival, trace.service, trace.size_ms)
    )
    picks = {
        "fcfs": lambda _now, _queue: 0,
        "sjf": lambda _now, queue: min(range(len(queue)), key=lambda at: size[queue[at]]),
        "aging": lambda now, queue: min(
            range(len(queue)),
            key=lambda at: size[queue[at]] - 0.5 * ((now - arrival[queue[at]]) * 1e3),
        ),
    }
    for name, pick in picks.items():
        replay = SIMULATOR.compiled(trace, calibration(workers), 0, COMPILED[NAMES.index(name)])
        expected = np.array(latencies(arrival, service, workers, pick)) * 1e3
        assert np.array_equal(replay.outcome, np.minimum(expected, scheduler.objective.clip))


def test_rows_show_the_queue_in_order_of_arrival() -> None:
    trace = jobs([0.0, 0.1, 0.2, 0.3], [1.0, 2.0, 0.5, 0.7], due=np.array([9.0, 5.0, np.inf, 1.0]))
    stream = SIMULATOR.stream(trace, calibration(), 0)
    first = next(stream).copy()
    assert first[:, :6].tolist() == [[0.0, 1000.0, 1.0, 9000.0, 1.0, 1.0]]
    rows = stream.send(0).copy()
    assert rows[:, 0] == pytest.approx([900.0, 800.0, 700.0])
    assert rows[:, 1].tolist() == [2000.0, 500.0, 700.0]
    assert rows[:, 3] == pytest.approx([4000.0, 86_400_000.0, 0.0])
    assert rows[:, 4].tolist() == [3.0] * 3
    assert rows[:, 5].tolist() == [1.0] * 3  # seen for the first time
    rows = stream.send(1).copy()
    assert rows[:, 1].tolist() == [2000.0, 700.0]
    assert rows[:, 5].tolist() == [2.0] * 2  # passed over once


def test_a_fault_ends_the_replay_where_it_happened() -> None:
    trace = jobs(np.arange(30) * 0.1, np.ones(30))
    replay = SIMULATOR.compiled(trace, calibration(), 0, COMPILED[-1])
    assert replay.fault == 1  # after the first service more than four wait
    assert len(replay.outcome) == 1
    assert math.isnan(replay.mean)


@pytest.mark.parametrize("picked", [-1, 1, 99])
def test_a_pick_outside_the_queue_ends_a_stream(picked: int) -> None:
    stream = SIMULATOR.stream(jobs([0.0, 1.0], [0.1, 0.1]), calibration(), 0)
    next(stream)
    with pytest.raises(StopIteration) as stop:
        stream.send(picked)
    assert stop.value.value.fault == 0


def test_a_longer_queue_than_ever_is_shown_whole() -> None:
    trace = jobs(np.linspace(0.0, 0.5, 1000), np.full(1000, 0.6))
    lengths = []
    stream = SIMULATOR.stream(trace, calibration(), 0)
    rows = next(stream)
    while len(lengths) < 5:
        lengths.append(len(rows))
        rows = stream.send(0)
    assert lengths == [1, 999, 998, 997, 996]


def test_two_policies_meet_the_same_luck_and_seeds_differ() -> None:
    trace = jobs(np.arange(300) * 50.0, np.full(300, np.nan), size_ms=np.full(300, 900.0))
    fitted = calibration(ratio=np.linspace(0.5, 2.0, 64))
    one, other = (SIMULATOR.compiled(trace, fitted, 4, COMPILED[i]).outcome for i in (0, 1))
    assert np.array_equal(one, other)  # nobody ever waits: only the draw matters
    assert not np.array_equal(one, SIMULATOR.compiled(trace, fitted, 5, COMPILED[0]).outcome)


def test_noise_is_uniform_and_unrelated() -> None:
    luck = np.random.default_rng(1).integers(0, 2**64, 50, np.uint64)
    draws = np.array(
        [[noise_of(np.uint64(mixed(np.uint64(9), at)), u) for u in luck] for at in range(400)]
    )
    assert ((draws >= 0.0) & (draws < 1.0)).all()
    counts, _ = np.histogram(draws, bins=20, range=(0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 45.0  # chi-square, 19 degrees, p = 0.0007
    assert abs(np.corrcoef(draws[1:].ravel(), draws[:-1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(draws[:, 1:].ravel(), draws[:, :-1].ravel())[0, 1]) < 0.03
    wins = np.bincount(draws.argmin(axis=1), minlength=50)
    assert ((wins - 8) ** 2 / 8).sum() < 86.0  # 49 degrees, p = 0.0008


def test_calibrations_are_written_and_read(tmp_path: Any) -> None:
    fitted = (calibration(3, 2, gap_s=np.array([0.1, 0.2])), calibration(1, 2))
    save_calibrations(tmp_path / "c.npz", fitted)
    assert [each.digest for each in load_calibrations(tmp_path / "c.npz", SIMULATOR)] == [
        each.digest for each in fitted
    ]


def test_what_cannot_be_replayed_is_refused() -> None:
    trace = jobs([0.0, 1.0], [1.0, 1.0])
    with pytest.raises(TraceError, match="calibration is of 2 processes"):
        SIMULATOR.compiled(trace, calibration(1, 2), 0, COMPILED[0])
    with pytest.raises(ConfigurationError, match="no built-in policy 'nothing'"):
        SIMULATOR.replay_built_in("nothing", trace, calibration(), 0)
    with pytest.raises(ConfigurationError, match="records no dispatches"):
        SIMULATOR.recorded(trace, calibration(), 0)
    with pytest.raises(TraceError, match="no two jobs"):
        SIMULATOR.observed(jobs(np.arange(9) * 5.0, np.ones(9)))
    with pytest.raises(ConfigurationError, match=r"costs -1\.0 s"):
        SchedulerSimulator(preemption_s=-1.0)


def test_one_job_and_none() -> None:
    one = SIMULATOR.compiled(jobs([3.0], [0.2]), calibration(4), 0, COMPILED[0])
    assert one.outcome == pytest.approx([200.0])
    none = SIMULATOR.compiled(jobs([], []), calibration(), 0, COMPILED[0])
    assert (len(none.outcome), none.fault) == (0, -1)
    assert math.isnan(none.mean)
    assert SIMULATOR.bound(jobs([], []), calibration(), 0) == -math.inf


@pytest.mark.parametrize("name", list(scheduler.baselines))
def test_every_baseline_serves_every_job(name: str) -> None:
    trace = jobs(poisson(7.0, 400), np.full(400, 0.25), 2)
    replay = baseline_policy(name, scheduler).replay(SIMULATOR, trace, calibration(1, 2), 0)
    assert len(replay.outcome) == 400
    assert (replay.outcome >= 250.0 - 1e-6).all()
