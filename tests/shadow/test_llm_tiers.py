"""Streams, compiled replays and an engine in plain Python: one and the same."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.llm_scheduler import llm_scheduler
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.sdk.language import check, chooser
from gnomon.shadow.simulators import Replay, load_calibrations, save_calibrations, simulator_for
from gnomon.shadow.simulators.base import drive_to_end
from gnomon.shadow.simulators.llm_scheduler import kernel

from .engines import Engine, calibration, requests
from .scores import Scores

SIMULATOR = simulator_for(llm_scheduler)
SOURCES = [
    *[each.source for each in llm_scheduler.baselines.values() if each.source],
    "def score(queued):\n    return queued\n",  # ties all the time
    (
        "import math\n\n\ndef score(kv_free, prompt_tokens, since_picked, noise):\n"
        "    return kv_free * math.sqrt(prompt_tokens) - 0.1 * since_picked + noise\n"
    ),
    "import math\n\n\ndef score(queued):\n    return math.sqrt(3.0 - queued)\n",  # faults
]
NAMES = list(llm_scheduler.baselines)
PROGRAMS = [check(source, llm_scheduler.input_names) for source in SOURCES]
COMPILED = Scores(llm_scheduler, SOURCES)
ENGINES = {
    "roomy": calibration(),
    "little memory": calibration(blocks=40, seats=16),
    "few seats": calibration(seats=2),
    "small steps": calibration(budget=24, blocks=60),
    "in advance": calibration(blocks=45, depth=2),
}


def workload(seed: int, n: int = 40, processes: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    return requests(
        np.round(np.cumsum(rng.exponential(0.05, n)), 2),
        rng.integers(1, 300, n),
        rng.integers(1, 60, n),
        processes,
        expected=rng.uniform(1, 60, n),
        priority=rng.choice([1.0, 3.0], n),
        due=np.where(rng.random(n) < 0.5, rng.uniform(0, 9, n), np.inf),
    )


def same(one: Replay, other: Replay) -> bool:
    columns = [(one.time, other.time), (one.outcome, other.outcome)]
    columns += [(one.extra[name], other.extra[name]) for name in one.extra]
    return one.fault == other.fault and all(
        np.array_equal(a, b, equal_nan=True) for a, b in columns
    )


@settings(max_examples=60)
@given(
    index=st.integers(0, len(SOURCES) - 1),
    seed=st.integers(0, 2**31),
    engine=st.sampled_from(sorted(ENGINES)),
    processes=st.integers(1, 2),
    order=st.sampled_from(["lowest", "highest"]),
)
def test_a_stream_equals_a_compiled_replay(
    index: int, seed: int, engine: str, processes: int, order: Any
) -> None:
    trace, fitted = workload(seed, processes=processes), ENGINES[engine]
    compiled = SIMULATOR.compiled(trace, fitted, seed, COMPILED[index], order)
    choose = chooser(PROGRAMS[index], replace(llm_scheduler, order=order))
    stream = SIMULATOR.stream(trace, fitted, seed)
    assert same(compiled, drive_to_end(stream, lambda rows: choose(rows.tolist())))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    engine=st.sampled_from([name for name in sorted(ENGINES) if name != "in advance"]),
    shortest=st.booleans(),
)
def test_an_engine_in_plain_python_gives_the_same_times(
    seed: int, engine: str, shortest: bool
) -> None:
    trace, fitted = workload(seed), ENGINES[engine]
    trace = replace(trace, arrival=trace.arrival + np.arange(40) * 1e-9)  # no ties
    size = trace.expected.tolist()

    def pick(waiting: list[int]) -> int:
        return min(range(len(waiting)), key=lambda at: size[waiting[at]]) if shortest else 0

    admitted, first, last = Engine(trace, fitted, pick).run()
    name = "shortest_output" if shortest else "fcfs"
    replay = SIMULATOR.compiled(trace, fitted, 0, COMPILED[NAMES.index(name)])
    assert replay.outcome == pytest.approx((np.array(last) - trace.arrival) * 1e3, rel=1e-9)
    assert replay.extra["ttft_ms"] == pytest.approx((np.array(first) - trace.arrival) * 1e3)
    assert replay.extra["queue_ms"] == pytest.approx(
        (np.array(admitted) - trace.arrival) * 1e3, abs=1e-6
    )


@settings(max_examples=40)
@given(
    index=st.integers(0, len(SOURCES) - 2),
    seed=st.integers(0, 2**31),
    engine=st.sampled_from(sorted(ENGINES)),
)
def test_the_laws_hold_whatever_is_admitted(index: int, seed: int, engine: str) -> None:
    replay = SIMULATOR.compiled(workload(seed, 60, 2), ENGINES[engine], seed, COMPILED[index])
    summary = replay.summary()
    assert not [each.name for each in llm_scheduler.invariants if not each.holds(summary)]
    assert summary.requests == summary.completions == 60


def test_memory_that_runs_out_is_given_back_by_the_last_admitted() -> None:
    trace = requests([0.0, 0.0, 0.0], [64, 64, 64], [64, 64, 64])
    fitted = calibration(blocks=20, cost=(1.0, 0.0, 0.0, 0.0))
    replay: Any = SIMULATOR.compiled(trace, fitted, 0, COMPILED[0])
    assert replay.courses[0].state.cursor[kernel.RECOMPUTED] > 0
    worst, *_, best = sorted(replay.outcome.tolist(), reverse=True)
    assert best == 64_000.0  # nothing is taken from the first
    assert worst > 90_000.0  # waits for memory, and computes its tokens again


def broken(summary: Any, **changed: Any) -> set[str]:
    changed_summary = replace(summary, **changed)
    return {each.name for each in llm_scheduler.invariants if not each.holds(changed_summary)}


def test_a_broken_replay_breaks_its_law() -> None:
    replay: Any = SIMULATOR.compiled(workload(3), ENGINES["little memory"], 0, COMPILED[0])
    summary = replay.summary()
    assert broken(summary) == set()
    assert broken(summary, completions=39) == {"conservation"}
    assert broken(summary, in_order=False) == {"conservation"}
    assert broken(summary, most_tokens=513) == {"within_limits"}
    assert broken(summary, fewest_free_blocks=-1) == {"within_limits"}
    assert broken(summary, tokens_made=summary.tokens_made - 1) == {"no_token_lost"}
    assert broken(summary, busy_s=summary.busy_s * 0.99) == {"work_conservation"}
    course = replay.courses[0]
    late = replace(course, latency_s=course.latency_s * 1.001)
    told = replace(replay, courses=(late,)).summary()
    assert {each.name for each in llm_scheduler.invariants if not each.holds(told)} == {
        "littles_law"
    }


@pytest.mark.parametrize("what", ["blocks", "seats"])
def test_a_kernel_that_takes_more_than_there_is_is_found(what: str) -> None:
    trace = workload(5, 60)
    fitted = ENGINES["little memory"]
    replay: Any = SIMULATOR.compiled(trace, fitted, 0, COMPILED[0])
    course = replay.courses[0]
    less = course.model.engine.copy()
    less[kernel.SEATS if what == "seats" else kernel.BLOCKS] //= 8
    smaller = replace(course, model=course.model._replace(engine=less))
    summary = replace(replay, courses=(smaller,)).summary()
    law = "within_limits" if what == "seats" else "no_token_lost"
    assert law in {each.name for each in llm_scheduler.invariants if not each.holds(summary)}


def test_rows_show_what_waits_and_the_memory() -> None:
    trace = requests(
        [0.0, 0.001, 0.002], [320, 320, 320], [5, 6, 7], expected=np.array([1.5, 2, 3])
    )
    stream = SIMULATOR.stream(trace, calibration(blocks=50, seats=1), 0)
    first = next(stream).copy()
    assert first[:, :8].tolist() == [[0.0, 320.0, 1.5, 1.0, 86_400_000.0, 1.0, 1.0, 1.0]]
    rows = stream.send(0).copy()
    assert rows[:, 1:3].tolist() == [[320.0, 2.0], [320.0, 3.0]]
    assert rows[:, 5:8].tolist() == [[2.0, 1.0, 1.0]] * 2


def test_a_fault_and_a_pick_outside_the_queue_end_a_replay() -> None:
    trace = requests(np.zeros(9), np.full(9, 200), np.full(9, 20))
    replay = SIMULATOR.compiled(trace, calibration(seats=4), 0, COMPILED[-1])
    assert replay.fault == 0
    assert math.isnan(replay.mean)
    stream = SIMULATOR.stream(trace, calibration(), 0)
    next(stream)
    with pytest.raises(StopIteration) as stop:
        stream.send(9)
    assert stop.value.value.fault == 0


def test_calibrations_are_written_and_read(tmp_path: Path) -> None:
    fitted = (calibration(), calibration(depth=2))
    save_calibrations(tmp_path / "c.npz", fitted)
    assert [each.digest for each in load_calibrations(tmp_path / "c.npz", SIMULATOR)] == [
        each.digest for each in fitted
    ]


def test_what_cannot_be_replayed_is_refused() -> None:
    large = requests([0.0], [7000], [10])
    with pytest.raises(TraceError, match="has 7010 tokens and the KV memory holds 6400"):
        SIMULATOR.compiled(large, calibration(), 0, COMPILED[0])
    with pytest.raises(ConfigurationError, match="records no admissions"):
        SIMULATOR.recorded(workload(1), calibration(), 0)
    with pytest.raises(TraceError, match="prompt of a job of trace 'llm.admit' is 0"):
        requests([0.0], [0], [10])
    one = SIMULATOR.compiled(requests([1.0], [3], [1]), calibration(), 0, COMPILED[0])
    assert one.outcome == pytest.approx([5.0 + 0.15 + 1e-5 * 4.5])
    none = SIMULATOR.compiled(requests([], [], []), calibration(), 0, COMPILED[0])
    assert len(none.outcome) == 0
