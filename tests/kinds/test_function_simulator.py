"""A simulator made of one function: held to what it owes, replayed, searched on, verified, and found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gnomon
from gnomon.policies.llm_scheduler import llm_scheduler
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.kind import Kind
from gnomon.shadow.policy import ScorePolicy, baseline_policy
from gnomon.shadow.replay.compare import replay
from gnomon.shadow.simulators import drive, register_simulator, simulator_for
from gnomon.shadow.simulators.custom import FunctionSimulator, Luck, Outcomes
from gnomon.shadow.simulators.scheduler.simulator import SchedulerSimulator
from gnomon.shadow.traces.trace import DecisionTrace
from gnomon.testing import check_simulator

from ..shadow.accesses import lookups
from ..shadow.engines import requests
from ..shadow.queueing import demo
from ..shadow.queues import jobs, poisson
from . import printers
from .printers import office, pace, printer, recorded, simulated

SOONEST = "def score(pages, queued, since_picked):\n    return queued + pages\n"


@pytest.fixture(scope="module")
def trace() -> DecisionTrace:
    return recorded(800)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_simulator(simulated)
    yield
    register_simulator(simulated)


def test_it_owes_nothing(trace: DecisionTrace) -> None:
    check_simulator(simulated, trace)


def queued(processes: int) -> Any:
    rng = np.random.default_rng(processes)
    return jobs(poisson(90.0, 400), rng.exponential(0.01, 400) + 1e-4, processes)


def served() -> Any:
    rng = np.random.default_rng(0)
    arrival = np.cumsum(rng.exponential(0.02, 300))
    return requests(arrival, rng.integers(20, 200, 300), rng.integers(10, 200, 300))


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (gnomon.load_balancer, lambda: demo(seed=1, seconds=4.0)),
        (
            gnomon.cache,
            lambda: lookups((np.random.default_rng(0).zipf(1.3, 800) % 60).tolist(), 12),
        ),
        (gnomon.scheduler, lambda: queued(1)),
        (gnomon.scheduler, lambda: queued(2)),
        (llm_scheduler, served),
    ],
    ids=["load_balancer", "cache", "scheduler", "scheduler of two processes", "llm_scheduler"],
)
def test_neither_do_those_of_this_package(kind: Kind, made: Callable[[], Any]) -> None:
    """One at a time: where nothing was compiled yet, each compiles for a while."""
    check_simulator(simulator_for(kind), made())


def test_a_queue_that_shows_who_is_to_come_is_found_out() -> None:
    class Clairvoyant(SchedulerSimulator):
        def stream(self, trace: Any, calibration: Any, seed: int) -> Any:
            ahead = replace(trace, size_ms=np.full(len(trace), float(len(trace))))
            return super().stream(ahead, calibration, seed)

    queue = jobs(poisson(90.0, 400), np.full(400, 0.01))
    with pytest.raises(AssertionError, match="depends on rows of the trace from 200 on"):
        check_simulator(Clairvoyant(), queue)


def test_the_recording_is_reproduced_and_policies_are_told_apart(trace: DecisionTrace) -> None:
    fitted = simulated.calibrate(trace)
    assert fitted.values["s_per_page"] == pytest.approx([0.02, 0.01, 0.015], rel=0.05)
    table = replay(
        trace,
        [ScorePolicy("soonest", SOONEST, printer), baseline_policy("first", printer)],
        incumbent=gnomon.shadow.policy.RecordedPolicy(),
        replicas=4,
    )
    assert table.fidelity.answer == "ok"
    assert [(row.policy, row.tier) for row in table.rows] == [
        ("recorded", "built-in"),
        ("soonest", "plain Python"),
        ("first", "built-in"),
    ]
    assert table.rows[1].together is not None and table.rows[1].together.high < 0.0
    assert table.rows[2].mean > 2 * table.rows[0].mean
    assert table.bound == -np.inf and "no bound" in str(table)


def test_a_policy_of_the_same_picks_has_the_same_luck(trace: DecisionTrace) -> None:
    fitted = simulated.calibrate(trace)
    turns = [drive(simulated.stream(trace, fitted, 3), trace, _turns()) for _ in range(2)]
    assert np.array_equal(turns[0].outcome, turns[1].outcome)
    other = drive(simulated.stream(trace, fitted, 4), trace, _turns())
    assert not np.array_equal(turns[0].outcome, other.outcome)


def _turns() -> Callable[[int, Any], int]:
    count = iter(range(10**6))
    return lambda _process, _rows: next(count) % 3


def test_draws_are_uniform_and_unrelated() -> None:
    luck = Luck(7)
    draws = np.stack([luck.uniforms(np.arange(5000), lane) for lane in range(3)])
    assert 0.0 <= draws.min() and draws.max() < 1.0
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - 750) ** 2 / 750).sum() < 45.0
    assert abs(np.corrcoef(draws)[np.triu_indices(3, 1)]).max() < 0.06
    assert luck.uniform(17, 2) == draws[2, 17]
    assert Luck(8).uniform(17, 2) != draws[2, 17]


def test_calibrations_are_drawn_from_blocks_of_time(trace: DecisionTrace) -> None:
    drawn = simulated.draws(trace, 8, seed=1)
    paces = np.stack([each.values["s_per_page"] for each in drawn])
    assert len({each.digest for each in drawn}) == 8
    assert (abs(paces / [0.02, 0.01, 0.015] - 1.0) < 0.1).all()


# --- simulators that are wrong ------------------------------------------------------------------------


def _variant(world: Any, **parts: Any) -> FunctionSimulator:
    return gnomon.simulator(printer, calibrate=parts.pop("calibrate", pace), **parts)(world)


def forgetful(trace: Any, fitted: Any, luck: Any) -> Any:
    """Draws from a generator that the next replay goes on with."""
    world = office(trace, fitted, luck)
    shown = next(world)
    while True:
        try:
            shown = world.send((yield np.minimum(shown + STATE.integers(0, 3), 1e4)))
        except StopIteration as stop:
            return stop.value


STATE = np.random.default_rng(0)


def prophet(trace: Any, fitted: Any, luck: Any) -> Any:
    """Shows how many pages the next job has."""
    world, index = office(trace, fitted, luck), 0
    shown = next(world)
    while True:
        coming = trace.features[min(index + 1, len(trace) - 1), 0, 0]
        try:
            picked = yield shown + np.array([coming, 0.0])
            shown, index = world.send(picked), index + 1
        except StopIteration as stop:
            return stop.value


def gossip(trace: Any, fitted: Any, luck: Any) -> Any:
    """Shows a printer's queue from how long the recorded job will take."""
    for index in range(len(trace)):
        yield np.column_stack(
            (np.ones(3), np.full(3, trace.outcome[min(index + 1, len(trace) - 1)]))
        )
    return trace.outcome.copy()


def spendthrift(trace: Any, fitted: Any, luck: Any) -> Any:
    done = yield from office(trace, fitted, luck)
    return done * 1e9 * np.where(np.arange(len(done)) % 2, np.nan, 1.0)


@pytest.mark.parametrize(
    ("world", "parts", "message"),
    [
        (forgetful, {}, "keep no state"),
        (prophet, {}, "depends on rows of the trace from"),
        (gossip, {}, "recorded outcomes or picks"),
        (office, {"compiled": lambda t, v, s, score, order: simulated.recorded(t, simulated.calibrate(t), s)}, "differ for a score"),
        (office, {"draws": lambda t, rng: {"s_per_page": STATE.random(3) + 0.01}}, "draws\\(\\) of one seed differ"),
    ],
)  # fmt: skip
def test_what_is_owed_is_asked_for(
    world: Any, parts: dict[str, Any], message: str, trace: DecisionTrace
) -> None:
    with pytest.raises(AssertionError, match=message):
        check_simulator(_variant(world, **parts), trace)


def test_outcomes_that_never_came_count_as_the_clip(trace: DecisionTrace) -> None:
    wrong = _variant(spendthrift)
    found = wrong.recorded(trace, wrong.calibrate(trace), 0)
    assert (found.outcome == printer.objective.clip).all()


def test_outcomes_that_never_came_count_as_failures(trace: DecisionTrace) -> None:
    wrong = _variant(one(GOOD, lambda n: Outcomes(np.where(np.arange(n) < 3, np.nan, 1.0))))
    found = wrong.recorded(trace, wrong.calibrate(trace), 0)
    assert (found.outcome[:3] == printer.objective.clip).all()
    assert found.ok.tolist() == [False] * 3 + [True] * (len(trace) - 3)


def one(rows: Any, told: Any) -> Any:
    def world(trace: Any, fitted: Any, luck: Any) -> Any:
        for _ in range(len(trace)):
            yield rows
        return told(len(trace)) if told else None

    return world


GOOD = [[1.0, 0.0]] * 3


@pytest.mark.parametrize(
    ("world", "message"),
    [
        (one([[1.0]] * 3, np.zeros), r"items of shape \(3, 1\), not \(3, 2\)"),
        (one([[1.0, -1.0]] * 3, np.zeros), "queued=-1, outside of the feature's range"),
        (one([[1.0, np.nan]] * 3, np.zeros), "queued=nan, outside"),
        (one(GOOD, None), "told 0 outcomes of 800 decisions"),
        (one(GOOD, lambda n: np.zeros(n - 1)), "told 799 outcomes"),
        (one(GOOD, lambda n: np.full(n, -2.0)), "told an outcome of -2"),
        (one(GOOD, lambda n: Outcomes(np.zeros(n), ok=[True])), "told 1 outcomes"),
        (one(GOOD, lambda n: 5.0), r"told 1 outcomes of 800 decisions, of shape \(\)"),
        (one(GOOD, lambda n: ["soon"] * n), "told outcomes that are no numbers"),
        (one([["a", "b"]] * 3, np.zeros), "shows items that are no numbers"),
        (lambda trace, fitted, luck: np.zeros(len(trace)), "returned ndarray at once"),
        (lambda trace, fitted, luck: (yield GOOD), "asked for 1 of 800 decisions"),
    ],
)
def test_a_world_that_makes_no_sense_is_refused(
    world: Any, message: str, trace: DecisionTrace
) -> None:
    wrong = _variant(world)
    with pytest.raises(ConfigurationError, match=message):
        wrong.recorded(trace, wrong.calibrate(trace), 0)


def test_a_world_that_asks_for_more_is_refused(trace: DecisionTrace) -> None:
    def endless(trace: Any, fitted: Any, luck: Any) -> Any:
        while True:
            yield GOOD

    wrong = _variant(endless)
    with pytest.raises(ConfigurationError, match="asked for more than the 800 decisions"):
        wrong.recorded(trace, wrong.calibrate(trace), 0)


def test_what_is_fitted_must_be_numbers(trace: DecisionTrace) -> None:
    with pytest.raises(ConfigurationError, match="fitted 'pace' as 'fast'"):
        _variant(office, calibrate=lambda _trace: {"pace": "fast"}).calibrate(trace)
    with pytest.raises(ConfigurationError, match="fitted None; return numbers and arrays by name"):
        _variant(office, calibrate=lambda _trace: None).calibrate(trace)


def test_the_rest_may_be_given(trace: DecisionTrace) -> None:
    made = _variant(
        office,
        figures=lambda _trace, found: {"latest s": float(found.outcome.max())},
        sized=lambda t, share: t.rows(slice(0, int(len(t) * share))),
        bound=lambda t, fitted: float(fitted["s_per_page"].min()),
        incumbent="baseline:shortest",
    )
    fitted = made.calibrate(trace)
    found = made.recorded(trace, fitted, 0)
    assert made.figures(trace, found) == {"latest s": found.outcome.max()}
    assert len(made.sized(trace, 0.5)) == 400
    assert made.bound(trace, fitted, 0) == pytest.approx(0.01, rel=0.05)
    assert made.incumbent(trace) == "baseline:shortest"
    with pytest.raises(ConfigurationError, match="no built-in policy 'first'"):
        made.built_in("first", trace, 0)


def test_the_commands_replay_search_and_judge_it(tmp_path: Path) -> None:
    """In processes that know of the kind through ``--module`` alone; candidates run isolated."""
    recorded().save(tmp_path / "office.trace")
    (tmp_path / "office_module.py").write_text(Path(printers.__file__).read_text("utf-8"))
    run = [sys.executable, "-m", "gnomon", "--module", "office_module"]

    def told(*words: str, codes: tuple[int, ...] = (0,)) -> Any:
        done = subprocess.run(
            [*run, *words, "--json"], capture_output=True, text=True, cwd=tmp_path, timeout=280, check=False,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode in codes, done.stderr
        return json.loads(done.stdout)

    (tmp_path / "mine.py").write_text(SOONEST)
    replayed = told(
        "replay", "office.trace", "--policy", "mine.py", "--replicas", "2", "--workers", "2"
    )
    assert replayed["rows"][1]["tier"] == "out of process"
    evolved = told(
        "evolve", "--traces", "office.trace", "--budget", "6", "--out", "run", codes=(0, 1)
    )
    assert evolved["counts"]["ok"] >= 3
    judged = told("verify", "mine.py", "--traces", "office.trace", codes=(0, 1, 3))
    gates = {gate["name"]: gate["answer"] for gate in judged["gates"]}
    assert {gates[name] for name in ("language", "determinism", "full replay")} == {"passed"}
