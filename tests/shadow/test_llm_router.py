"""The LLM router's simulator against replicas written apart, its tiers against each other, its bound."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.llm_router import conservation, llm_router
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.sdk.language import check, chooser
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.simulators import Replay, load_calibrations, save_calibrations, simulator_for
from gnomon.shadow.simulators.llm_router import kernel
from gnomon.shadow.simulators.llm_router.simulator import LlmRouterReplay, PromptTrace

from .llm_replicas import Replica, play, requests
from .scores import Scores

SIMULATOR = simulator_for(llm_router)
SOURCES = {name: each.source for name, each in llm_router.baselines.items() if each.source}
PROGRAMS = {name: check(source, llm_router.input_names) for name, source in SOURCES.items()}
COMPILED = Scores(llm_router, SOURCES)
SHAPES = {
    "replicas": st.integers(1, 4),
    "cache_blocks": st.sampled_from([1, 3, 12, 1000]),
    "slots": st.integers(1, 4),
}


def streamed(trace: PromptTrace, seed: int, pick: Callable[[np.ndarray], int]) -> Replay:
    stream = SIMULATOR.stream(trace, SIMULATOR.calibrate(trace), seed)
    try:
        rows = next(stream)
        while True:
            rows = stream.send(pick(rows))
    except StopIteration as stop:
        return stop.value


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(sorted(SOURCES)),
    processes=st.integers(1, 3),
    **SHAPES,
)
def test_a_stream_equals_a_compiled_replay(seed: int, name: str, **shape: int) -> None:
    trace = requests(np.random.default_rng(seed), **shape)
    choose = chooser(PROGRAMS[name], llm_router)
    plain = streamed(trace, seed, lambda rows: choose(rows.tolist()))
    compiled = SIMULATOR.compiled(trace, SIMULATOR.calibrate(trace), seed, COMPILED[name])
    assert np.array_equal(plain.action, compiled.action)
    assert np.array_equal(plain.outcome, compiled.outcome)
    for extra in ("e2e_ms", "hit_blocks"):
        assert np.array_equal(plain.extra[extra], compiled.extra[extra])


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), **SHAPES)
def test_every_row_and_time_equals_that_of_replicas_written_apart(seed: int, **shape: int) -> None:
    rng = np.random.default_rng(seed)
    trace = requests(rng, **shape)
    weights = rng.normal(0.0, 1.0, 7)
    seen: list[np.ndarray] = []

    def pick(rows: np.ndarray) -> int:
        seen.append(rows[:, :7].copy())
        return int((rows[:, :7] @ weights).argmin())

    replay = streamed(trace, seed, pick)
    apart = [
        Replica(2000.0, 0.005, shape["slots"], shape["cache_blocks"])
        for _ in range(shape["replicas"])
    ]
    rows, picks, times = play(trace, apart, lambda rows: int((rows @ weights).argmin()))
    assert np.array_equal(np.array(seen), rows)
    assert np.array_equal(replay.action, picks)
    assert replay.outcome == pytest.approx((times[:, 0] - trace.at) * 1e3, rel=1e-9)
    assert replay.extra["e2e_ms"] == pytest.approx((times[:, 1] - trace.at) * 1e3, rel=1e-9)
    assert conservation(replay.summary())


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), rate=st.sampled_from([0.002, 0.02]))
def test_not_even_the_best_of_all_assignments_beats_the_bound(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    trace = requests(rng, n=6, replicas=2)
    trace = dataclasses.replace(trace, at=np.cumsum(rng.exponential(rate, 6)))
    residual = np.sort(rng.normal(0.0, 0.004, (2, 16)), axis=1) * rng.integers(0, 2)
    fitted = dataclasses.replace(
        SIMULATOR.draws(trace, 1, seed)[0],
        prefill_residual_s=residual,
        prefill_base_s=rng.uniform(0.0, 0.01, 2),
    )
    means = []
    for assignment in itertools.product((0, 1), repeat=6):
        model_stream = SIMULATOR.stream(trace, fitted, seed)
        next(model_stream)
        try:
            for pick in assignment:
                model_stream.send(pick)
        except StopIteration as stop:
            means.append(stop.value.mean)
    assert len(means) == 64
    assert min(means) >= SIMULATOR.bound(trace, fitted, seed) * (1.0 - 1e-9)


def test_the_bound_is_reached_by_a_lone_replica_that_forgets_nothing() -> None:
    trace = requests(np.random.default_rng(2), replicas=1, cache_blocks=10_000, slots=100)
    trace = dataclasses.replace(trace, at=np.arange(len(trace.at)) * 5.0)
    replay = SIMULATOR.compiled(trace, SIMULATOR.calibrate(trace), 0, COMPILED["random"])
    bound = SIMULATOR.bound(trace, SIMULATOR.calibrate(trace), 0)
    assert replay.mean == pytest.approx(bound, rel=1e-9)


def test_affinity_beats_blindness_on_shared_prefixes_and_pooling_tightens_the_bound() -> None:
    trace = requests(np.random.default_rng(1), n=2000, replicas=4, cache_blocks=400, slots=64)
    trace = dataclasses.replace(trace, at=trace.at / 5.0)
    fitted = SIMULATOR.calibrate(trace)
    blind, near = (
        SIMULATOR.compiled(trace, fitted, 0, COMPILED[name])
        for name in ("least_outstanding", "least_ttft")
    )
    figures = [SIMULATOR.figures(trace, each) for each in (blind, near)]
    assert figures[1]["hit_ratio"] > 1.3 * figures[0]["hit_ratio"]
    assert near.mean < 0.8 * blind.mean
    assert SIMULATOR.bound(trace, fitted, 0) <= near.mean
    assert figures[0]["imbalance"] >= 1.0


def test_a_window_is_a_part_of_the_whole_replay() -> None:
    trace = requests(np.random.default_rng(4), n=400)
    fitted = SIMULATOR.calibrate(trace)
    whole = SIMULATOR.compiled(trace, fitted, 0, COMPILED["least_ttft"])
    middle = float(trace.at[250])
    window = trace.window(middle, np.inf)
    late = SIMULATOR.compiled(window, fitted, 0, COMPILED["least_ttft"])
    assert len(window) == len(late.time) == 150
    assert np.array_equal(late.outcome, whole.outcome[250:])
    assert np.array_equal(window.rows(slice(10, 20)).time, trace.at[260:270])
    early = SIMULATOR.compiled(trace.rows(slice(0, 0)), fitted, 0, COMPILED["least_ttft"])
    assert len(early.outcome) == 0
    assert SIMULATOR.bound(trace.rows(slice(0, 0)), fitted, 0) == -np.inf
    assert conservation(late.summary())


def test_slots_without_end_take_no_room() -> None:
    trace = requests(np.random.default_rng(12), slots=200)
    endless = dataclasses.replace(trace, settings=(*trace.settings[:3], 1e12, *trace.settings[4:]))
    one, other = (
        SIMULATOR.compiled(each, SIMULATOR.calibrate(each), 0, COMPILED["least_ttft"])
        for each in (trace, endless)
    )
    assert np.array_equal(one.outcome, other.outcome)
    assert conservation(other.summary())


def mutated(name: str, at: int, by: float) -> Callable[[LlmRouterReplay], None]:
    def change(replay: LlmRouterReplay) -> None:
        getattr(replay.state, name)[at] += by

    return change


@pytest.mark.parametrize(
    "change",
    [
        mutated("hit", 0, 1),  # from an empty cache
        mutated("begun", 50, 1e-3),
        mutated("first", 50, -1e-3),
        mutated("finish", 399, 1e-2),
        mutated("action", 200, 1),
    ],
)
def test_a_broken_replay_breaks_conservation(change: Callable[[LlmRouterReplay], None]) -> None:
    trace = requests(np.random.default_rng(5), n=400)
    assert isinstance(trace, PromptTrace)
    stream = streamed(trace, 0, lambda _rows: 0)
    assert conservation(stream.summary())
    change(stream)
    assert not conservation(stream.summary())


def test_a_fault_ends_the_replay() -> None:
    trace = requests(np.random.default_rng(6))
    source = "import math\n\n\ndef score(outstanding):\n    return math.sqrt(2.0 - outstanding)\n"
    score = compile_score(check(source, llm_router.input_names))
    replay = SIMULATOR.compiled(trace, SIMULATOR.calibrate(trace), 0, score)
    assert 0 <= replay.fault < len(trace)
    assert len(replay.outcome) == replay.fault
    assert streamed(trace, 0, lambda _rows: 99).fault == 0


def test_the_cache_aware_rule_is_the_published_one() -> None:
    choose = SIMULATOR.built_in("cache_aware", requests(np.random.default_rng(0)), 0)
    rows = np.zeros((3, kernel.INPUTS))
    rows[:, kernel.BLOCKS] = 10.0
    rows[:, kernel.CACHED] = [5.0, 3.0, 9.0]
    rows[:, kernel.HIT] = [1.0, 2.0, 3.0]
    assert choose(0, rows) == 1  # 0.3 of the prompt is no match yet: the smallest cache
    rows[:, kernel.HIT] = [1.0, 2.0, 4.0]
    assert choose(0, rows) == 2
    rows[:, kernel.OUTSTANDING] = [40.0, 0.0, 65.0]
    assert choose(0, rows) == 1  # 65 more, and more than half as many again
    rows[:, kernel.OUTSTANDING] = [240.0, 200.0, 265.0]
    assert choose(0, rows) == 2
    with pytest.raises(ConfigurationError, match="cache_aware"):
        SIMULATOR.built_in("nearest", requests(np.random.default_rng(0)), 0)


def test_a_trace_survives_a_file_and_so_do_calibrations(tmp_path: Path) -> None:
    trace = requests(np.random.default_rng(7), processes=2)
    trace.save(tmp_path / "trace.npz")
    again = PromptTrace.load(tmp_path / "trace.npz")
    assert again.digest == trace.digest
    assert again.settings == trace.settings
    draws = SIMULATOR.draws(trace, 3, 1)
    assert len({each.digest for each in draws}) == 3
    assert draws[0].digest == SIMULATOR.draws(trace, 1, 1)[0].digest
    save_calibrations(tmp_path / "c.npz", draws)
    read = load_calibrations(tmp_path / "c.npz", SIMULATOR)
    assert [each.describe() for each in read] == [each.describe() for each in draws]
    rates = np.array([each.prefill_tokens_per_s for each in draws])
    assert rates == pytest.approx(np.full(rates.shape, 2000.0), rel=0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": np.zeros(120)}, "requests that are none"),
        ({"output": np.full(120, -1.0)}, "requests that are none"),
        ({"at": np.arange(120)[::-1] * 1.0}, "order of time"),
        ({"at": np.full(120, np.nan)}, "order of time"),
        ({"at": np.zeros(5)}, "is not 5 long"),
        ({"tokens": np.full(120, np.inf)}, "requests that are none"),
        ({"instance": np.full(120, 10**8, np.int32)}, "requests that are none"),
        ({"instance": np.full(120, -1, np.int32)}, "requests that are none"),
        ({"action": np.full(120, 3, np.int32)}, "requests that are none"),
        ({"first": 121}, "requests that are none"),
        ({"settings": (3.0, 16.0, 0.0, 1.0, 1.0, 1.0)}, "replicas that are none"),
        ({"settings": (3.0, 16.0, 9.0, 0.5, 1.0, 1.0)}, "replicas that are none"),
        ({"settings": (3.0, 16.0, np.inf, 1.0, 1.0, 1.0)}, "replicas that are none"),
        ({"high": np.full(120, 10**6)}, "requests that are none"),
    ],
)
def test_columns_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        dataclasses.replace(requests(np.random.default_rng(8)), **change)


def test_what_a_workload_cannot_say_is_refused() -> None:
    trace = requests(np.random.default_rng(9))
    assert not trace.recorded
    assert SIMULATOR.incumbent(trace) == "baseline:least_outstanding"
    with pytest.raises(ConfigurationError, match="--incumbent"):
        SIMULATOR.recorded(trace, SIMULATOR.calibrate(trace), 0)
    with pytest.raises(TraceError, match="2 replicas"):
        fewer = SIMULATOR.calibrate(requests(np.random.default_rng(9), replicas=2))
        SIMULATOR.compiled(trace, fewer, 0, COMPILED["random"])


def test_what_decisions_see_is_shown() -> None:
    trace = requests(np.random.default_rng(10), n=300)
    tables = SIMULATOR.observed(trace)
    assert tables.shape == (300, 3, kernel.INPUTS)
    low = np.array([each.low for each in llm_router.inputs])
    high = np.array([each.high for each in llm_router.inputs])
    assert ((tables >= low) & (tables <= high)).all()
    assert tables[:, :, kernel.HIT].max() > 0
