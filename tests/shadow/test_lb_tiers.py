"""Streams and compiled replays of the load balancer: one and the same, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.language import check, chooser
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.simulators import Replay, drive, simulator_for
from gnomon.shadow.simulators.load_balancer import built_in
from gnomon.shadow.simulators.native import reads, uniform
from gnomon.shadow.traces.trace import DecisionTrace

from .models import arrivals, calibration
from .queueing import demo
from .scores import Scores

SIMULATOR = simulator_for(load_balancer)
SOURCES = [
    *[each.source for each in load_balancer.baselines.values() if each.source],
    "def score(inflight):\n    return inflight // 2.0\n",  # ties all the time
    (
        "import math\n\n\ndef score(ewma_ms, inflight, since_picked, weight):\n"
        "    return math.log1p(inflight) + 0.3 * math.sqrt(ewma_ms) / weight - 0.01 * since_picked\n"
    ),
    "import math\n\n\ndef score(inflight):\n    return math.sqrt(6.0 - inflight)\n",  # faults
]
PROGRAMS = [check(source, load_balancer.input_names) for source in SOURCES]
COMPILED = Scores(load_balancer, SOURCES)


def streamed(trace: DecisionTrace, fitted: object, seed: int, index: int) -> Replay:
    choose = chooser(PROGRAMS[index], load_balancer)
    stream = SIMULATOR.stream(trace, fitted, seed)
    return drive(stream, trace, lambda _process, rows: choose(rows.tolist()))


def same(one: Replay, other: Replay) -> bool:
    columns = ("time", "outcome", "ok", "action")
    return (one.fault, one.members) == (other.fault, other.members) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in columns
    )


@settings(max_examples=60)
@given(
    index=st.integers(0, len(SOURCES) - 1),
    seed=st.integers(0, 2**31),
    slots=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    processes=st.integers(1, 3),
    rate=st.floats(20, 400),
    weights=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=5, max_size=5),
)
def test_a_stream_equals_a_compiled_replay(
    index: int, seed: int, slots: list[int], processes: int, rate: float, weights: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    m = len(slots)
    trace = arrivals(np.cumsum(rng.exponential(1 / rate, 150)), m, processes, 40.0, weights[:m])
    table = np.sort(rng.lognormal(-3.5, 0.6, (m, 50)), axis=1)
    spells = [(-np.inf, 1.0), (0.3, 3.0), (0.6, 1.0)]
    fitted = calibration(table.tolist(), slots, 0.002, spells, failed=0.1, lost=0.05, clip_ms=500.0)
    compiled = SIMULATOR.compiled(trace, fitted, seed, COMPILED[index])
    assert same(compiled, streamed(trace, fitted, seed, index))


@settings(max_examples=30)
@given(
    name=st.sampled_from(
        ["power_of_two_choices", "join_idle_queue", "smooth_weighted_round_robin"]
    ),
    seed=st.integers(0, 2**31),
    slots=st.lists(st.integers(1, 3), min_size=1, max_size=6),
    processes=st.integers(1, 3),
    weights=st.lists(st.sampled_from([0.1, 1.0, 3.0]), min_size=6, max_size=6),
)
def test_a_built_in_loop_picks_as_the_function_of_the_rows(
    name: str, seed: int, slots: list[int], processes: int, weights: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    m = len(slots)
    trace = arrivals(np.cumsum(rng.exponential(0.01, 150)), m, processes, 40.0, weights[:m])
    table = np.sort(rng.lognormal(-3.5, 0.6, (m, 50)), axis=1)
    fitted = calibration(table.tolist(), slots, 0.002, failed=0.1, lost=0.05, clip_ms=500.0)
    choose = SIMULATOR.built_in(name, trace, seed)
    plain = drive(SIMULATOR.stream(trace, fitted, seed), trace, choose)
    assert same(SIMULATOR.replay_built_in(name, trace, fitted, seed), plain)


def finagle_load(history: list[tuple[float, float]], now: float, pending: int) -> float:
    """Return the load metric from (time, latency in ms) of a backend's answers, looks (0) included."""
    cost, stamp = 0.0, 0.0
    for at, rtt in [*sorted(history, key=lambda each: (each[0], -each[1])), (now, 0.0)]:
        weight = math.exp(-(at - stamp) / 10.0)
        cost, stamp = (rtt if rtt > cost else cost * weight + rtt * (1.0 - weight)), at
    return 1e12 + pending if cost == 0.0 and pending else cost * (pending + 1)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_the_peak_sensitive_average_decides_as_published(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trace = arrivals(np.cumsum(rng.exponential(0.05, 120)), 3, 2)
    table = np.sort(rng.lognormal(-2.0, 0.9, (3, 50)), axis=1)
    replay = SIMULATOR.replay_built_in(
        "peak_ewma_finagle", trace, calibration(table.tolist()), seed
    )
    with pytest.raises(ConfigurationError, match="every answer"):
        SIMULATOR.built_in("peak_ewma_finagle", trace, seed)
    looks: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for index, now in enumerate(replay.time):
        process = int(trace.instance[index])
        mine = np.flatnonzero(trace.instance[:index] == process)
        drawn = _two_drawn("peak_ewma_finagle", seed, process, len(mine))
        loads = []
        for member in drawn:
            sent = mine[replay.action[mine] == member]
            back = sent[replay.answer[sent] <= now]
            history = [(replay.answer[i], replay.outcome[i]) for i in back]
            looked = looks.setdefault((process, member), [])
            loads.append(finagle_load(history + looked, now, len(sent) - len(back)))
            looked.append((now, 0.0))
        expected = drawn[0] if loads[0] <= loads[1] else drawn[1]
        close = math.isclose(*loads, rel_tol=1e-12)
        assert replay.action[index] == expected or close


def _two_drawn(name: str, seed: int, process: int, count: int) -> tuple[int, int]:
    key = built_in._key(name, seed, process)
    one, other = int(uniform(key, count, 0) * 3), int(uniform(key, count, 1) * 2)
    return one, other + (other >= one)


def test_a_calibrated_capture_is_replayed_equally_in_both_tiers() -> None:
    trace = demo(seed=2, seconds=15.0)
    fitted = SIMULATOR.calibrate(trace)
    for index in range(len(SOURCES) - 1):
        compiled = SIMULATOR.compiled(trace, fitted, 7, COMPILED[index])
        assert compiled.fault == -1
        assert same(compiled, streamed(trace, fitted, 7, index))


def test_a_fault_ends_the_replay_where_it_happened() -> None:
    trace = arrivals(np.arange(50) * 0.001, 1)
    fitted = calibration([[1.0]])
    replay = SIMULATOR.compiled(trace, fitted, 0, COMPILED[-1])
    assert replay.fault == 7  # with seven in flight the root is of a negative number
    assert len(replay.outcome) == 7
    assert math.isnan(replay.mean)
    assert replay.summary().decisions == 8
    assert replay.summary().completions == 7


@pytest.mark.parametrize("picked", [-1, 2, 99])
def test_a_pick_outside_the_members_ends_a_stream(picked: int) -> None:
    trace = arrivals([0.0, 1.0], 2)
    stream = SIMULATOR.stream(trace, calibration([[1.0]] * 2), 0)
    next(stream)
    with pytest.raises(StopIteration) as stop:
        stream.send(picked)
    assert stop.value.value.fault == 0


def test_the_highest_score_is_picked_when_the_kind_says_so() -> None:
    trace = arrivals(np.arange(100) * 0.01, 3)
    fitted = calibration([[0.05]] * 3)
    weight = compile_score(
        check("def score(since_picked):\n    return since_picked\n", load_balancer.input_names)
    )
    highest = SIMULATOR.compiled(trace, fitted, 0, weight, "highest")
    turns = COMPILED[list(load_balancer.baselines).index("round_robin")]
    assert same(highest, SIMULATOR.compiled(trace, fitted, 0, turns))


def test_two_policies_meet_the_same_luck() -> None:
    trace = arrivals(np.arange(500) * 5.0, 2)
    fitted = calibration([np.linspace(0.01, 0.9, 64)] * 2)
    one, other = (SIMULATOR.compiled(trace, fitted, 4, COMPILED[index]).outcome for index in (0, 2))
    assert np.allclose(one, other, rtol=1e-9)  # idle backends of one speed: only the draw matters
    third = SIMULATOR.compiled(trace, fitted, 5, COMPILED[0]).outcome
    assert not np.allclose(one, third)


def test_draws_are_uniform_and_unrelated() -> None:
    draws = np.array(
        [[uniform(np.uint64(9), index, lane) for lane in range(4)] for index in range(4000)]
    )
    assert (draws >= 0.0).all()
    assert (draws < 1.0).all()
    counts, _ = np.histogram(draws, bins=20, range=(0, 1))
    assert ((counts - 800) ** 2 / 800).sum() < 45.0  # chi-square, 19 degrees, p = 0.0007
    pairs = [*zip(draws[:, 0], draws[:, 1], strict=True)]
    lagged = np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]
    assert abs(np.corrcoef(np.array(pairs).T)[0, 1]) < 0.06
    assert abs(lagged) < 0.06


def test_what_a_score_reads_is_told_from_its_code_and_taken_for_granted_elsewhere() -> None:
    names = list(load_balancer.baselines)
    shortest, turns = (
        COMPILED[names.index("least_outstanding")],
        COMPILED[names.index("round_robin")],
    )
    assert not reads(shortest, "noise")
    assert not reads(shortest, "since_picked")
    assert reads(turns, "since_picked")
    assert reads(COMPILED[names.index("random")], "noise")
    assert reads(object(), "noise")
