"""Sampled scores over a cache: streams, compiled replays and the service's own cell are one and the same."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.cache import SAMPLE, cache
from gnomon.sdk.cache.scored import ScoredCell
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.sdk.guard import Answer
from gnomon.sdk.language import Program, check, chooser
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.simulators import Replay, load_calibrations, save_calibrations, simulator_for
from gnomon.shadow.simulators.base import Stream
from gnomon.shadow.simulators.cache import kernel
from gnomon.shadow.simulators.cache.model import model_of, replay_of, start_of
from gnomon.shadow.simulators.cache.simulator import CacheReplay, CacheSummary
from gnomon.shadow.simulators.native import uniform
from gnomon.shadow.traces.access_trace import LOOKUP, AccessTrace

from .accesses import accessed, imported, lookups, served, traces
from .scores import Scores

SIMULATOR = simulator_for(cache)
INDEX = {name: index for index, name in enumerate(cache.input_names)}
SOURCES = [
    *[each.source for each in cache.baselines.values() if each.source],
    "def score(frequency):\n    return frequency // 2.0\n",  # ties all the time
    (
        "import math\n\n\ndef score(recency, gap, size, since_picked, resident):\n"
        "    return math.log1p(gap) - 0.3 * math.sqrt(recency) / (1.0 + size)"
        " + 0.01 * since_picked - resident\n"
    ),
]
FAULTY = "import math\n\n\ndef score(age):\n    return -math.sqrt(6.0 - age)\n"
PROGRAMS = {source: check(source, cache.input_names) for source in (*SOURCES, FAULTY)}
COMPILED = Scores(cache, {source: source for source in PROGRAMS})


def finished(stream: Stream, program: Program) -> Replay:
    choose = chooser(program, cache)
    try:
        rows = next(stream)
        while True:
            rows = stream.send(choose(rows.tolist()))
    except StopIteration as stop:
        replay: Replay = stop.value
        return replay


def streamed(trace: AccessTrace, seed: int, source: str) -> Replay:
    stream = SIMULATOR.stream(trace, SIMULATOR.calibrate(trace), seed)
    return finished(stream, PROGRAMS[source])


def compiled(trace: AccessTrace, seed: int, source: str) -> CacheReplay:
    fitted = SIMULATOR.calibrate(trace)
    replay = SIMULATOR.compiled(trace, fitted, seed, COMPILED[source], cache.order)
    assert isinstance(replay, CacheReplay)
    return replay


def same(one: Replay, other: Replay) -> bool:
    assert isinstance(one, CacheReplay) and isinstance(other, CacheReplay)
    columns = ("time", "outcome", "ok", "action", "size")
    alike = (one.fault, one.members, one.asked, one.most_held)
    return alike == (other.fault, other.members, other.asked, other.most_held) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in columns
    )


@settings(max_examples=100)
@given(
    trace=traces(caches=2),
    seed=st.integers(0, 2**31),
    source=st.sampled_from([*SOURCES, FAULTY]),
    part=st.tuples(st.integers(0, 60), st.integers(1, 120)),
)
def test_a_stream_equals_a_compiled_replay(
    trace: AccessTrace, seed: int, source: str, part: tuple[int, int]
) -> None:
    window = trace.rows(slice(part[0], part[0] + part[1]))
    for each in (trace, window):
        assert same(streamed(each, seed, source), compiled(each, seed, source))


_NUMBERS = st.sampled_from(["0.5", "1.0", "2.0", "7.0"])
_LEAVES = st.one_of(st.sampled_from(cache.input_names), _NUMBERS)
FORMS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner),
        st.builds("max({}, {})".format, inner, inner),
        st.builds("math.log1p(abs({}))".format, inner),
        st.builds("({} / (1.0 + abs({})))".format, inner, inner),
        st.builds("({} if {} > {} else {})".format, inner, inner, _NUMBERS, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=15)  # each of which is compiled
@given(form=FORMS, trace=traces(), seed=st.integers(0, 100))
def test_made_up_scores_decide_alike_in_both_tiers(
    form: str, trace: AccessTrace, seed: int
) -> None:
    used = [name for name in cache.input_names if name in form] or ["age"]
    head = "import math\n\n\n" if "math" in form else ""
    source = f"{head}def score({', '.join(used)}):\n    return {form}\n"
    program = check(source, cache.input_names)
    fitted = SIMULATOR.calibrate(trace)
    score = compile_score(program)
    assert same(
        finished(SIMULATOR.stream(trace, fitted, seed), program),
        SIMULATOR.compiled(trace, fitted, seed, score, cache.order),
    )


class Drawn(random.Random):
    """Draws that were decided on beforehand."""

    def __init__(self) -> None:
        super().__init__(0)
        self.next: list[float] = []

    def random(self) -> float:
        return self.next.pop(0)


@settings(max_examples=100)
@given(
    trace=traces(), seed=st.integers(0, 2**31), picks=st.lists(st.integers(0, SAMPLE), min_size=1)
)
def test_a_services_cell_asks_what_its_replay_asks(
    trace: AccessTrace, seed: int, picks: list[int]
) -> None:
    """Given the same draws and answers: places drawn are told from the rows' keys of the stream."""
    fitted = SIMULATOR.calibrate(trace)
    model = model_of(trace, fitted, start_of(trace, fitted), seed)
    state = kernel.empty(model, trace.keys)
    draws = Drawn()
    asked = 0
    cell = ScoredCell(float(trace.capacity[0]), SAMPLE, draws)
    expected: list[list[list[float]]] = []
    picked = -1
    lanes: list[list[float]] = []
    while kernel.step(model, state, picked):
        at, turn = int(state.cursor[0]), int(state.cursor[1])
        lanes.append([uniform(model.seed, at, 64 * turn + j) for j in range(SAMPLE)])
        expected.append(state.rows[:, : kernel.NOISE].tolist())
        picked = picks[len(expected) % len(picks)]

    def ask(rows: list[tuple[float, ...]], since: list[int]) -> Answer:
        nonlocal asked
        seen = [[*row, max(1, waited)] for row, waited in zip(rows, since, strict=True)]
        assert seen == expected[asked]
        asked += 1
        if asked < len(lanes):
            draws.next = list(lanes[asked])
        return picks[asked % len(picks)], "", None, 0

    cell.ask = ask
    draws.next = list(lanes[0]) if lanes else []
    found = served(trace, cell)
    assert asked == len(expected)
    assert replay_of(trace, model, state, -1).outcome.tolist() == found


def test_a_fault_ends_the_replay_where_it_happened() -> None:
    trace = lookups([*range(6), *range(6, 12)], 4.0)
    replay = compiled(trace, 0, FAULTY)
    assert replay.fault == 3  # no newcomer is let in, and by then a resident is seven accesses old
    assert len(replay.outcome) == 4 + 3 + 1  # the lookup that asked has missed already
    assert math.isnan(replay.mean) and math.isnan(replay.byte_mean)
    assert same(replay, streamed(trace, 0, FAULTY))


@pytest.mark.parametrize("picked", [-1, SAMPLE + 1, 999])
def test_a_pick_outside_the_items_ends_a_stream(picked: int) -> None:
    trace = lookups([1, 2, 3], 1.0)
    stream = SIMULATOR.stream(trace, SIMULATOR.calibrate(trace), 0)
    next(stream)
    with pytest.raises(StopIteration) as stop:
        stream.send(picked)
    assert stop.value.value.fault == 0


def test_a_newcomer_that_is_picked_stays_out_and_one_too_large_asks_nobody() -> None:
    trace = accessed(
        [
            (0, LOOKUP, key, size)
            for key, size in ((0, 1.0), (1, 1.0), (0, 1.0), (2, 9.0), (1, 1.0))
        ],
        [1.0],
    )
    stream = SIMULATOR.stream(trace, SIMULATOR.calibrate(trace), 0)
    rows = next(stream)
    assert rows[:, INDEX["resident"]].tolist() == [1.0] * SAMPLE + [0.0]
    rows = stream.send(SAMPLE)  # 1 stays out, 0 is hit, 2 is too large, then 1 asks again
    assert rows[0].tolist()[:7] == [2.0, 2.0, 4.0, 2.0, 1.0, 1.0, 1.0]
    assert rows[SAMPLE].tolist()[:7] == [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    with pytest.raises(StopIteration) as stop:
        stream.send(0)
    replay = stop.value.value
    assert replay.outcome.tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]
    assert replay.summary() == CacheSummary(5, 5, 0.0, 1.0, 1.0)


def test_a_large_newcomer_takes_as_many_decisions_as_it_needs() -> None:
    small = [(0, LOOKUP, key, 1.0) for key in range(4)]
    trace = accessed([*small, (0, LOOKUP, 9, 3.0), *small, (0, LOOKUP, 9, 3.0)], [4.0])
    replay = compiled(trace, 0, SOURCES[0])
    assert replay.outcome[4] == 1.0
    assert replay.asked >= 3
    assert replay.summary().most_held == 4.0


@given(trace=traces(caches=2), low=st.integers(0, 40), seed=st.integers(0, 9))
def test_a_windows_replay_is_a_part_of_the_whole_one(
    trace: AccessTrace, low: int, seed: int
) -> None:
    whole = compiled(trace, seed, SOURCES[0])
    part = compiled(trace.rows(slice(low, low + 30)), seed, SOURCES[0])
    assert part.outcome.tolist() == whole.outcome[low : low + 30].tolist()
    assert part.time.tolist() == trace.time[low : low + 30].tolist()


def test_what_was_hit_first_was_there_before() -> None:
    rows = [(0, LOOKUP, key, 1.0) for key in (1, 2, 3, 1, 2)]
    cold = accessed(rows, [3.0], policy="lru")
    warm = accessed(rows, [3.0], hit=[1, 1, 0, 1, 1], policy="lru")
    assert SIMULATOR.replay_built_in("lru", cold, SIMULATOR.calibrate(cold), 0).outcome.sum() == 3
    for seed in range(5):
        (fitted,) = SIMULATOR.draws(warm, 1, seed)
        assert SIMULATOR.replay_built_in("lru", warm, fitted, 0).outcome.tolist() == [0, 0, 1, 0, 0]
        assert SIMULATOR.bound(warm, fitted, 0) == pytest.approx(0.2)
    assert same(streamed(warm, 3, SOURCES[0]), compiled(warm, 3, SOURCES[0]))


def test_a_replay_depends_on_its_seed_and_on_nothing_else(data: Path, tmp_path: Path) -> None:
    trace = imported(data, tmp_path, "web07", "5%", limit=20_000)
    one, again = (compiled(trace, 4, SOURCES[0]) for _ in range(2))
    assert same(one, again)
    assert not np.array_equal(one.outcome, compiled(trace, 5, SOURCES[0]).outcome)
    exact = SIMULATOR.replay_built_in("lru", trace, SIMULATOR.calibrate(trace), 0)
    assert one.mean == pytest.approx(exact.mean, abs=0.01)  # sampled LRU is LRU, nearly
    assert one.mean > SIMULATOR.bound(trace, SIMULATOR.calibrate(trace), 0)


def test_rows_that_are_observed_are_those_of_full_caches(data: Path, tmp_path: Path) -> None:
    trace = imported(data, tmp_path, "web07", "5%", limit=20_000)
    rows = SIMULATOR.observed(trace)
    assert rows.shape[1:] == (SAMPLE + 1, len(cache.inputs)) and 500 < len(rows) <= 1024
    for feature, column in zip(cache.inputs, rows.reshape(-1, len(cache.inputs)).T, strict=True):
        assert feature.low <= column.min() and column.max() <= feature.high
        assert not feature.integer or (column == np.rint(column)).all()
    assert (rows[:, :SAMPLE, INDEX["resident"]] == 1.0).all()
    assert (rows[:, SAMPLE, INDEX["resident"]] == 0.0).all()
    with pytest.raises(TraceError, match="never full.*--capacity"):
        SIMULATOR.observed(lookups([1, 2, 3], 9.0))


def test_calibrations_differ_by_the_error_of_a_sample_of_keys(tmp_path: Path) -> None:
    whole = lookups(list(range(50)) * 3, 20.0)
    assert {float(each.capacity[0]) for each in SIMULATOR.draws(whole, 8, 0)} == {20.0}
    sampled = accessed([(0, LOOKUP, key, 1.0) for key in range(50)], [2000.0])
    object.__setattr__(sampled, "sampled", np.array([0.01]))
    drawn = SIMULATOR.draws(sampled, 200, 0)
    factors = np.array([each.capacity[0] for each in drawn]) / 20.0
    assert np.log(factors).std() == pytest.approx(math.sqrt(0.99 / 20), rel=0.15)
    save_calibrations(tmp_path / "c.npz", drawn[:8])
    loaded = load_calibrations(tmp_path / "c.npz", SIMULATOR)
    assert [each.digest for each in loaded] == [each.digest for each in drawn[:8]]
    assert SIMULATOR.calibrate(sampled).describe() == {"capacity": [20.0]}
    with pytest.raises(TraceError, match="of 1 caches.*has 2"):
        two = accessed([(0, LOOKUP, 0, 1.0)], [1.0, 1.0])
        SIMULATOR.compiled(two, drawn[0], 0, COMPILED[SOURCES[0]], cache.order)


def test_the_incumbent_is_the_recorded_policy_and_lru_for_an_import() -> None:
    rows = [(0, LOOKUP, 1, 1.0)]
    assert SIMULATOR.incumbent(accessed(rows, [1.0])) == "baseline:lru"
    assert SIMULATOR.incumbent(accessed(rows, [1.0], policy="lfu")) == "baseline:lfu"
    with pytest.raises(ConfigurationError, match="policy 'abc'.*--incumbent"):
        SIMULATOR.incumbent(accessed(rows, [1.0], policy="abc"))
    trace = accessed(rows, [1.0])
    with pytest.raises(ConfigurationError, match="decisions are not recorded"):
        SIMULATOR.recorded(trace, SIMULATOR.calibrate(trace), 0)
    assert [measure.name for measure in SIMULATOR.measures(trace)] == ["mean"]
