"""The compiled engine: the same numbers as in this process, and every failure named for what it is."""

from __future__ import annotations

import errno
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError, IsolationError
from gnomon.sdk.invariant import Invariant, broken_over
from gnomon.sdk.isolation.zygote import Fork, Zygote
from gnomon.sdk.language import check
from gnomon.sdk.language._names import BUILTINS, MATH
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.evaluation import Engine, Evaluation, Status, Trial
from gnomon.shadow.isolation.compiled import CompiledEngine, CompiledOptions
from gnomon.shadow.isolation.compiled_child import stretches
from gnomon.shadow.isolation.lockstep import lockstep, run_lockstep
from gnomon.shadow.policy import source_policy
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.records import Budget
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.trace import DecisionTrace

from . import attacks
from .systems import recorded

PEAK = load_balancer.baselines["peak_ewma"].source or ""
ROUND_ROBIN = load_balancer.baselines["round_robin"].source or ""
MORE = [load_balancer.baselines[name].source or "" for name in ("random", "least_outstanding")]
SEED = 3
SIMULATOR = simulator_for(load_balancer)
# compiles fast, computes for ever: about a millisecond a score
#: Reads noise, so that it is asked of every item at every decision.
SLOW = (
    "import math\ndef score(ewma_ms, noise):\n    t = ewma_ms + noise\n    for i in range(150):\n"
    "        t = t + math.log1p(abs(t))\n    return t\n"
)


@pytest.fixture(scope="module")
def trace() -> DecisionTrace:
    return recorded(10.0)


@pytest.fixture(scope="module")
def calibrations(trace: DecisionTrace) -> tuple[Any, ...]:
    return SIMULATOR.draws(trace, 2, 0)


@pytest.fixture(scope="module")
def engine(trace: DecisionTrace, calibrations: tuple[Any, ...]) -> Iterator[CompiledEngine]:
    options = CompiledOptions(seed=SEED, segments=5)
    with CompiledEngine(
        load_balancer, {"train": trace, "validation": trace.window(5, 10)}, calibrations, options
    ) as engine:
        yield engine


@pytest.mark.parametrize("source", [PEAK, ROUND_ROBIN])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_score_is_the_worst_mean_and_equals_the_one_made_here(
    engine: CompiledEngine,
    trace: DecisionTrace,
    calibrations: tuple[Any, ...],
    source: str,
    split: Any,
) -> None:
    window = trace if split == "train" else trace.window(5, 10)
    score = compile_score(check(source, load_balancer.input_names))
    replays = [
        SIMULATOR.compiled(window, calibration, SEED + index, score, load_balancer.order)
        for index, calibration in enumerate(calibrations)
    ]
    worst = max(replays, key=lambda replay: replay.mean)
    got = engine.submit(source, split).result()
    assert got.status is Status.OK
    assert got.score == worst.mean
    assert got.segments == tuple(stretches(worst, 5))


def test_lockstep_scores_a_finalist_bit_for_bit_alike(
    engine: CompiledEngine, trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    with lockstep(PEAK, load_balancer) as candidate:
        replays = run_lockstep(
            candidate,
            [SIMULATOR.stream(trace, c, SEED + i) for i, c in enumerate(calibrations)],
        )
    ranked = engine.submit(PEAK, "train").result()
    assert ranked.score == max(replay.mean for replay in replays)


def test_results_do_not_depend_on_order_or_company(engine: CompiledEngine) -> None:
    sources = [PEAK.replace("1.0", f"{i}.0") for i in range(1, 7)]
    forward = [engine.submit(source, "validation") for source in sources]
    backward = [engine.submit(source, "validation") for source in reversed(sources)]
    assert [f.result() for f in forward] == [f.result() for f in reversed(backward)]


def test_compiled_scores_of_rows_equal_the_interpreter(engine: CompiledEngine) -> None:
    source = "import math\ndef score(inflight, ewma_ms):\n    return math.log(inflight) / ewma_ms\n"
    rows = np.random.default_rng(0).random((50, 5)) * 10.0
    rows[0, 0] = rows[1, 1] = 0.0
    program = check(source, load_balancer.input_names)
    got = engine.scores(source, rows).result()
    expected = np.array([program.interpret(*row) for row in rows])
    assert np.array_equal(got, expected, equal_nan=True) and np.isnan(got).sum() == 2


def _call(name: str) -> str:
    arity = MATH.get(name, 1)
    called = f"math.{name}" if name in MATH else name
    argument = "(inflight, ewma_ms)" if name in ("max", "min", "sum") else "inflight, ewma_ms"
    return f"{called}({argument if arity == 2 or name in ('max', 'min', 'sum') else 'inflight'})"


@pytest.mark.parametrize("name", sorted({*MATH, *BUILTINS}))
def test_every_function_of_the_language_compiles_behind_the_lock(
    engine: CompiledEngine, name: str
) -> None:
    source = f"import math\ndef score(inflight, ewma_ms):\n    return {_call(name)}\n"
    row = np.array([[0.75, 2.5, 1.0, 1.0, 0.5]])
    got = engine.scores(source, row).result()
    expected = check(source, load_balancer.input_names).interpret(*row[0])
    assert got.tolist() == [expected]


@pytest.mark.parametrize("name", attacks.STOPPED_BY_LANGUAGE)
def test_what_lies_outside_the_language_is_rejected(engine: CompiledEngine, name: str) -> None:
    got = engine.submit(attacks.STOPPED_BY_LANGUAGE[name], "validation").result()
    assert got.status is Status.REJECTED and got.detail and np.isnan(got.score)


def test_a_fault_is_the_candidates_and_never_a_number(engine: CompiledEngine) -> None:
    got = engine.submit("def score(inflight):\n    return 1.0 / inflight\n", "validation").result()
    assert got.status is Status.FAULT and np.isnan(got.score)
    assert got.detail == "a score faulted at decision 0"


def test_out_of_fuel_is_a_fault(engine: CompiledEngine) -> None:
    source = "def score(inflight):\n    while True:\n        inflight = inflight + 1.0\n    return inflight\n"
    assert engine.submit(source, "validation").result().status is Status.FAULT


def test_layers_are_reported_with_every_evaluation(engine: CompiledEngine) -> None:
    assert "seccomp" in engine.submit(PEAK, "validation").result().layers


def test_a_split_that_was_not_given_stays_closed(engine: CompiledEngine) -> None:
    with pytest.raises(ConfigurationError, match="'holdout' is not open"):
        engine.submit(PEAK, "holdout")


def test_too_many_rows_are_refused(engine: CompiledEngine) -> None:
    with pytest.raises(ConfigurationError, match="5000 rows"):
        engine.scores(PEAK, np.ones((5000, 5)))


def test_it_is_an_engine(engine: CompiledEngine) -> None:
    seam: Engine = engine
    assert isinstance(seam.submit(PEAK, "validation").result(), Evaluation)


def _small(trace: DecisionTrace, calibrations: tuple[Any, ...], **options: Any) -> CompiledEngine:
    chosen = CompiledOptions(workers=1, **options)
    return CompiledEngine(load_balancer, {"train": trace}, calibrations[:1], chosen)


def test_a_candidate_past_its_deadline_is_killed_and_the_next_one_runs(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    long = replace(trace, **_tiled(trace, 300))
    with _small(long, calibrations, deadline_s=1.5) as engine:
        slow, fast = engine.submit(SLOW, "train"), engine.submit(PEAK, "train")
        assert slow.result().status is Status.TIMEOUT
        assert fast.result().status is Status.OK


def test_a_worker_killed_from_outside_is_our_fault_and_replaced(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    with _small(trace, calibrations) as engine:
        os.kill(engine._zygote.pid, signal.SIGKILL)
        assert engine.submit(PEAK, "train").result().status is Status.EVALUATOR_ERROR
        assert engine.submit(PEAK, "train").result().status is Status.OK


def test_a_worker_killed_under_a_candidate_is_our_fault_too(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    long = replace(trace, **_tiled(trace, 200))
    with _small(long, calibrations) as engine:
        future = engine.submit(SLOW, "train")
        while not engine._running:
            time.sleep(0.001)
        time.sleep(0.2)
        os.kill(engine._zygote.pid, signal.SIGKILL)
        assert future.result().status is Status.EVALUATOR_ERROR


def test_a_fresh_worker_with_fewer_layers_is_not_used(
    trace: DecisionTrace, calibrations: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with _small(trace, calibrations) as engine:
        weaker = CompiledOptions(workers=1, isolation="process")
        monkeypatch.setattr(engine, "_options", weaker)
        os.kill(engine._zygote.pid, signal.SIGKILL)
        assert engine.submit(PEAK, "train").result().status is Status.EVALUATOR_ERROR
        assert engine.submit(PEAK, "train").result().status is Status.EVALUATOR_ERROR
        monkeypatch.undo()
        assert engine.submit(PEAK, "train").result().status is Status.EVALUATOR_ERROR
        found = engine.submit(PEAK, "train").result()
        assert found.status is Status.OK and set(engine.layers) <= set(found.layers)


def test_what_looks_for_violations_is_replaced_when_it_was_killed(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    always = Invariant("always", lambda items, picked: True, description="Nothing.")
    with _small(trace, calibrations, invariants=(always,)) as engine:
        assert engine._guard is not None
        os.kill(engine._guard._zygote.pid, signal.SIGKILL)
        assert engine._guard._zygote.ended(5.0)
        assert engine.submit(PEAK, "train").result().status is Status.OK


def test_what_looks_for_violations_is_our_own_when_it_is_killed_under_a_candidate(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    killed: list[int] = []

    def always(items: Any, picked: Any) -> bool:
        if not killed:
            assert engine._guard is not None
            killed.append(engine._guard._zygote.pid)
            os.kill(killed[0], signal.SIGKILL)
            assert engine._guard._zygote.ended(10.0)
        return True

    with _small(trace, calibrations, invariants=(Invariant("always", always),)) as engine:
        assert engine.submit(PEAK, "train").result().status is Status.EVALUATOR_ERROR
        assert engine.submit(PEAK, "train").result().status is Status.OK


def _tiled(trace: DecisionTrace, times: int) -> dict[str, Any]:
    """Return a trace's columns repeated, each copy later than the last."""
    span = trace.time[-1] + 1.0
    columns = {
        name: np.concatenate([getattr(trace, name)] * times)
        for name in ("instance", "action", "features", "outcome", "ok", "propensity")
    }
    return columns | {"time": np.concatenate([trace.time + i * span for i in range(times)])}


def test_closing_cancels_what_waits_and_kills_what_runs(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    engine = _small(trace, calibrations)
    futures = [engine.submit(PEAK, "train") for _ in range(50)]
    engine.close()
    engine.close()
    assert all(future.done() for future in futures)
    with pytest.raises(ConfigurationError, match="closed"):
        engine.submit(PEAK, "train")


def test_process_mode_gives_the_same_scores_without_claiming_layers(
    engine: CompiledEngine, trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    with _small(trace, calibrations, isolation="process", seed=SEED) as weak:
        got = weak.submit(PEAK, "train").result()
    with _small(trace, calibrations, seed=SEED) as strong:
        assert got.score == strong.submit(PEAK, "train").result().score
    assert "seccomp" not in got.layers


def test_a_policy_that_starves_a_member_is_a_violation_and_one_that_probes_is_not() -> None:
    trace = recorded(18.0)  # a short one does not tell
    calibrations = SIMULATOR.draws(trace, 1, 0)
    starving = "def score(inflight):\n    return -inflight\n"
    probing = (
        "def score(inflight, since_picked):\n"
        "    return -inflight if since_picked < 60 else -1e300\n"
    )
    with _small(trace, calibrations) as engine:
        starved, probed = (engine.submit(s, "train").result() for s in (starving, probing))
    assert starved.status is Status.VIOLATION
    assert starved.detail.startswith("no_starvation: No backend goes unpicked")
    assert probed.status is Status.OK


def test_a_policy_that_starves_a_member_with_some_luck_only_is_a_violation() -> None:
    trace = recorded(40.0, seed=1)
    train = trace.window(-np.inf, 20.0)
    draws = SIMULATOR.draws(trace, 2, 0)
    peak = source_policy("peak", PEAK, load_balancer)
    replays = [peak.replay(SIMULATOR, train, draws[at % 2], SEED + at) for at in range(66)]
    starved = [bool(broken_over(one.summary(), load_balancer.invariants)) for one in replays]
    assert not any(starved[:2]) and 0 < sum(starved) < 15  # what it is scored on does not show it
    with _small(train, draws, seed=SEED) as engine:
        found = [engine.submit(source, "train").result() for source in (PEAK, ROUND_ROBIN)]
    assert [each.status for each in found] == [Status.VIOLATION, Status.OK]
    assert found[0].detail.startswith("no_starvation: No backend goes unpicked")


def test_a_broken_decision_invariant_is_a_violation_and_a_kept_one_is_not(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    even = Invariant(
        "even",
        lambda items, picked: picked.inflight <= min(item.inflight for item in items) + 2,
        description="No pile-up.",
    )
    piling = (
        "def score(inflight, since_picked):\n    return -inflight - 1e3 * (since_picked // 50.0)\n"
    )
    with _small(trace, calibrations, invariants=(even,)) as engine:
        greedy = engine.submit(piling, "train").result()
        fair = engine.submit("def score(inflight):\n    return inflight\n", "train").result()
    assert greedy.status is Status.VIOLATION and greedy.detail.startswith("even: No pile-up.")
    assert np.isnan(greedy.score)
    assert fair.status is Status.OK


def test_nothing_to_replay_is_refused(trace: DecisionTrace) -> None:
    with pytest.raises(ConfigurationError, match="needs traces and calibrations"):
        CompiledEngine(load_balancer, {"train": trace}, ())


def test_a_worker_that_cannot_prepare_refuses_to_start(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    with pytest.raises(IsolationError, match="no_such_module"):
        _small(trace, calibrations, modules=("no_such_module",))


# --- trials -------------------------------------------------------------------------------------------


def _means(trace: DecisionTrace, calibrations: tuple[Any, ...], source: str) -> list[float]:
    policy = source_policy("p", source, load_balancer)
    return [
        policy.replay(SIMULATOR, trace, calibration, SEED + index).mean
        for index, calibration in enumerate(calibrations)
    ]


@pytest.mark.parametrize("source", [PEAK, ROUND_ROBIN])
def test_an_evaluation_stops_at_the_first_mean_above_the_bar(
    engine: CompiledEngine, trace: DecisionTrace, calibrations: tuple[Any, ...], source: str
) -> None:
    whole, (first, second) = (
        engine.submit(source, "train").result(),
        _means(trace, calibrations, source),
    )
    below = engine.submit(source, "train", Trial(0.999 * first)).result()
    assert below.status is Status.STOPPED and np.isnan(below.score) and not below.segments
    said = dict(below.metrics)
    assert said["at_least"] == first and said["replays_left"] > 1
    assert "certainly worse" in below.feedback
    assert engine.submit(source, "train", Trial(whole.score)).result() == whole
    after = engine.submit(source, "train", Trial(first)).result()
    assert (after.status is Status.STOPPED) is (second > first)
    if second > first:
        assert dict(after.metrics)["at_least"] == second


def test_with_nothing_left_to_replay_an_evaluation_ends_with_its_score(
    engine: CompiledEngine, trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    window = trace.window(5, 10)
    rising = [s for s in (PEAK, ROUND_ROBIN, *MORE) if _rises(_means(window, calibrations, s))]
    assert rising
    first, second = _means(window, calibrations, rising[0])
    found = engine.submit(rising[0], "validation", Trial((first + second) / 2.0)).result()
    assert found.status is Status.OK and found.score == second


def _rises(means: list[float]) -> bool:
    return means[0] < means[1]


def test_a_segment_at_the_leaders_keeps_an_evaluation_going(engine: CompiledEngine) -> None:
    whole = engine.submit(PEAK, "validation").result()
    trial = Trial(0.0, leaders=(1e9, 0.0, 0.0, 0.0, 0.0))
    assert engine.submit(PEAK, "validation", trial).result() == whole
    trial = replace(trial, leaders=(0.0,) * 5)
    assert engine.submit(PEAK, "validation", trial).result().status is Status.STOPPED


def test_segments_tried_first_end_an_evaluation_or_do_not(
    engine: CompiledEngine, trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    score = compile_score(check(PEAK, load_balancer.input_names))
    replay = SIMULATOR.compiled(trace, calibrations[0], SEED, score, load_balancer.order)
    seen = float(stretches(replay, 5)[[1, 3]].mean())
    stopped = engine.submit(PEAK, "train", Trial(first=(1, 3), first_bar=0.99 * seen)).result()
    assert stopped.status is Status.STOPPED and dict(stopped.metrics)["at_least"] == replay.mean
    passed = engine.submit(PEAK, "train", Trial(first=(1, 3), first_bar=1.01 * seen)).result()
    assert passed == engine.submit(PEAK, "train").result()


def test_a_fork_that_stops_unasked_is_not_believed(engine: CompiledEngine) -> None:
    answer = struct.pack("<iIdI", -1, 3, 5.0, 0)
    assert engine._result({"split": "train"}, answer).status is Status.DIED
    for trial, status in (
        (Trial(4.9), Status.STOPPED),
        (Trial(5.0), Status.DIED),
        (Trial(5.0, first=(0,), first_bar=1.0), Status.STOPPED),
    ):
        assert engine._result({"trial": asdict(trial)}, answer).status is status


# --- words --------------------------------------------------------------------------------------------


def test_every_evaluation_says_something_that_can_be_read(engine: CompiledEngine) -> None:
    sources = {
        Status.OK: PEAK,
        Status.FAULT: "def score(inflight):\n    return 1.0 / inflight\n",
        Status.REJECTED: "import os\n",
    }
    for status, source in sources.items():
        found = [engine.submit(source, "validation").result() for _ in range(2)]
        assert found[0].status is status and found[0].feedback == found[1].feedback
        assert 0 < len(found[0].feedback) <= 2000 and found[0].feedback.isascii()
    found[0] = engine.submit(PEAK, "validation").result()
    worst = int(np.argmax(found[0].segments))
    assert f"Worst: stretch {worst} (" in found[0].feedback
    assert "decision 0" in engine.submit(sources[Status.FAULT], "validation").result().feedback


def test_a_broken_invariant_comes_with_the_decision_that_broke_it(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    never = Invariant("never_b", lambda items, picked: picked is not items[1], description="Not b.")
    with _small(trace, calibrations, invariants=(never,)) as engine:
        found = engine.submit(ROUND_ROBIN, "train").result()
    assert found.status is Status.VIOLATION and found.detail.startswith(
        "never_b: Not b. Picked item 1"
    )
    assert "never_b did not hold at a decision" in found.feedback
    assert "item 1 (picked): inflight=" in found.feedback and "item 3: " in found.feedback


# --- hanging candidates, and our own failures -----------------------------------------------------------


def test_hanging_candidates_take_no_worker_from_the_good_ones(
    trace: DecisionTrace, calibrations: tuple[Any, ...]
) -> None:
    """The hang probe: as many that never end as there are workers, then good ones; nothing is left behind."""
    long, hanging = replace(trace, **_tiled(trace, 600)), 2
    traces = {"train": long, "validation": trace.rows(slice(0, 200))}
    options = CompiledOptions(workers=hanging, deadline_s=3.0)
    before = threading.active_count()
    with CompiledEngine(load_balancer, traces, calibrations[:1], options) as engine:
        slow = [engine.submit(SLOW, "train") for _ in range(hanging)]
        good = [engine.submit(PEAK.replace("1.0", f"{n}.0"), "validation") for n in range(1, 7)]
        assert {future.result().status for future in slow} == {Status.TIMEOUT}
        assert {future.result().status for future in good} == {Status.OK}
        assert not engine._running
        pid = engine._zygote.pid if engine._zygote else 0
    assert threading.active_count() == before
    assert not os.path.exists(f"/proc/{pid}")


class Shaken:
    """Forks of a clean process, some of which fail as ours may."""

    def __init__(self, *failures: str) -> None:
        self.asked = 0
        self._failures = failures
        self._fork = Zygote.fork

    def __call__(self, zygote: Zygote) -> Fork:
        self.asked += 1
        which, left = divmod(self.asked, 4)
        if left or which > len(self._failures):
            return self._fork(zygote)
        if self._failures[which - 1] == "killed":
            os.kill(zygote.pid, signal.SIGKILL)
            return self._fork(zygote)
        number = getattr(errno, self._failures[which - 1])
        raise OSError(number, os.strerror(number))


def test_a_search_through_our_own_failures_ends_in_the_same_log(
    trace: DecisionTrace,
    calibrations: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    options = Options(budget=Budget(8), seed=1, parallel=1, finalists=2)
    few = {name: load_balancer.baselines[name] for name in ("peak_ewma", "least_outstanding")}
    kind = replace(load_balancer, baselines=few)
    traces = {"train": trace.rows(slice(0, 500)), "validation": trace.rows(slice(500, 900))}
    runs = CompiledOptions(workers=1, seed=SEED)
    with CompiledEngine(load_balancer, traces, calibrations[:1], runs) as engine:
        calm = evolve(kind, engine, options, tmp_path / "calm")
        shaken = Shaken("ENOSPC", "killed", "EMFILE")
        monkeypatch.setattr(Zygote, "fork", lambda zygote: shaken(zygote))
        result = evolve(kind, engine, options, tmp_path / "shaken")
    assert shaken.asked > 12 and calm.log_hash == result.log_hash
    assert "evaluator_error" not in result.counts and result.winner is not None
