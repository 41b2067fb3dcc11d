"""The published reward hacks, each as a candidate and as an evaluator that was tampered with.

A candidate is refused because the host owns the trace, the clock, the simulator and the score. Where the
simulator itself is broken in the candidate's favour, laws, bound or the comparison with the incumbent's
replay have to notice, and the verdict has to say so in words.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon.policies.cache import cache
from gnomon.policies.expert_placement import expert_placement
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.scheduler import scheduler
from gnomon.sdk.errors import TrustError
from gnomon.sdk.isolation.zygote import CandidateStopped
from gnomon.sdk.kind import Kind
from gnomon.shadow.gates import replay as gate_replay
from gnomon.shadow.gates import verify as gates
from gnomon.shadow.gates.behaviour import language, stopped
from gnomon.shadow.gates.case import Target, VerifyOptions
from gnomon.shadow.gates.program import invariants as program_invariants
from gnomon.shadow.gates.verdict import GateResult, load_verdict
from gnomon.shadow.gates.verify import verify
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.conformance import problems

from ..isolation.systems import recorded
from ..programs import loads
from ..shadow.accesses import lookups
from ..shadow.queues import jobs, poisson

PEAK = load_balancer.baselines["peak_ewma"].source or ""
AGING = scheduler.baselines["aging"].source or ""
STICKY = expert_placement.baselines["eplb_sticky"].source or ""
BY_USE = cache.baselines["sampled_lfu"].source or ""
#: Calibrations: enough for a worst one; all eight cost much time and refuse nothing else.
_FITS = 3
#: A replay and what a broken evaluator makes of it.
Tamper = Callable[[Any], Any]


class Tampered:
    """A simulator that reports something else than happened, of candidates."""

    def __init__(self, honest: Any, change: Tamper) -> None:
        self._honest = honest
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def stream(self, trace: Any, calibration: Any, seed: int) -> Any:
        """Ask as the honest one does, and change what comes of it."""
        return self._change((yield from self._honest.stream(trace, calibration, seed)))


@functools.cache
def balanced() -> Any:
    return recorded(40.0, seed=1)


@functools.cache
def queued() -> Any:
    """Short jobs and long ones, half of them with a deadline."""
    rng = np.random.default_rng(3)
    arrival, service = poisson(5.0, 1600, 3), rng.choice([0.05, 0.4], 1600, p=[0.6, 0.4])
    due = np.where(rng.random(1600) < 0.5, arrival + service + 0.8, np.inf)
    return jobs(arrival, service, due=due)


@functools.cache
def cached() -> Any:
    rng = np.random.default_rng(5)
    return lookups((rng.zipf(1.2, 12_000) % 2000).tolist(), 60.0)


@functools.cache
def placed() -> Any:
    return loads.trace(windows=240)


WORLDS: dict[str, tuple[Kind, Callable[[], Any], str, str]] = {
    "load_balancer": (load_balancer, balanced, "round_robin", PEAK),
    "scheduler": (scheduler, queued, "fcfs", AGING),
    "cache": (cache, cached, "random", BY_USE),
    "expert_placement": (expert_placement, placed, "static", STICKY),
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    book = Ledger(tmp_path / "ledger.db")
    yield book
    book.close()


@contextmanager
def before_the_gates(
    ledger: Ledger, world: str, source: str = "", tamper: Tamper | None = None
) -> Iterator[Any]:
    """Give a candidate (or what honestly wins) before the gates, in an evaluator that may be broken."""
    kind, trace, incumbent, winner = WORLDS[world]
    target = Target("h", kind, baseline_policy(incumbent, kind), kind.invariants)
    chosen = source or winner
    with gates._case(trace(), chosen, target, ledger, {}, VerifyOptions(examples=60)) as case:
        case.__dict__["calibrations"] = _calibrations(world)
        if tamper is not None:
            case.simulator = Tampered(case.simulator, tamper)
        yield case


@functools.cache
def _calibrations(world: str) -> Any:
    kind, trace, _, _ = WORLDS[world]
    return simulator_for(kind).draws(trace(), _FITS, 0)


def asked(case: Any) -> GateResult:
    """Return the answer of the first gate that refuses, of those that replay; else of the last."""
    result = language(case)
    gate_of = {
        "sampled replay": gate_replay.sampled,
        "full replay": gate_replay.validation,
        "holdout": lambda case: gate_replay.holdout(case)[0],
        "bound": gate_replay.bound,
    }
    for name, ask in gate_of.items():
        if not result.passed:
            return result
        try:
            result = ask(case)
        except CandidateStopped as error:
            result = stopped(name, error)
    return result


@pytest.mark.parametrize("world", WORLDS)
def test_an_honest_evaluator_lets_the_honest_winner_pass(ledger: Ledger, world: str) -> None:
    """So that what is refused below is refused for the hack."""
    with before_the_gates(ledger, world) as case:
        result = asked(case)
    assert result.passed and result.name == "bound", result.summary


def _every(columns: tuple[str, ...], keep: Callable[[Any], Any]) -> Tamper:
    """Return what leaves out decisions of a replay, and everything that is known of them."""

    def change(replay: Any) -> Any:
        kept = keep(replay)
        found = {name: getattr(replay, name)[kept] for name in columns}
        extra = {name: values[kept] for name, values in replay.extra.items()}
        return replace(replay, **found, extra=extra)

    return change


_COLUMNS = {
    "load_balancer": ("time", "outcome", "ok", "action", "begun", "answer"),
    "scheduler": ("time", "outcome", "ok", "action"),
    "cache": ("time", "outcome", "ok", "action", "size"),
    "expert_placement": ("time", "outcome", "ok", "action"),
}


def _worst(replay: Any) -> Any:
    return replay.outcome <= np.quantile(replay.outcome, 0.9)


@pytest.mark.parametrize("world", WORLDS)
def test_dropping_work_in_the_evaluator(ledger: Ledger, world: str) -> None:
    """The slowest tenth is not counted at all."""
    keep = _worst if world != "cache" else lambda replay: np.cumsum(replay.outcome) % 2 == 0
    with before_the_gates(ledger, world, tamper=_every(_COLUMNS[world], keep)) as case:
        result = asked(case)
    assert result.answer == "failed"
    assert "left out" in result.summary or "does not hold over the replay" in result.summary


@pytest.mark.parametrize("world", WORLDS)
def test_skipping_failed_instances_in_the_evaluator(ledger: Ledger, world: str) -> None:
    """A single instance that went wrong is enough."""

    def all_but_one(replay: Any) -> Any:
        return np.arange(len(replay.outcome)) != int(np.argmax(replay.outcome))

    with before_the_gates(ledger, world, tamper=_every(_COLUMNS[world], all_but_one)) as case:
        result = asked(case)
    assert result.answer == "failed"
    assert "left out" in result.summary or "does not hold over the replay" in result.summary


def test_dropping_jobs_that_were_never_run(ledger: Ledger) -> None:
    """Reported as if they had been: only what the jobs went through tells."""

    def never(replay: Any) -> Any:
        begun = np.array(replay.course.begun)
        begun[np.argsort(-replay.course.latency_s)[:20]] = np.nan
        return replace(replay, course=replace(replay.course, begun=begun))

    with before_the_gates(ledger, "scheduler", tamper=never) as case:
        result = asked(case)
    assert (result.name, result.answer) == ("full replay", "failed")
    assert "conservation does not hold over the replay" in result.summary


def _scaled(factor: float) -> Tamper:
    return lambda replay: replace(replay, outcome=replay.outcome * factor)


FABRICATED: dict[str, tuple[str, Tamper]] = {
    "half of every latency": ("load_balancer", _scaled(0.5)),
    "a tenth off every latency": ("load_balancer", _scaled(0.9)),
    "half of every job's latency": ("scheduler", _scaled(0.5)),
    "a tenth off every job's latency": ("scheduler", _scaled(0.9)),
    "half a miss": ("cache", _scaled(0.5)),
    "uncached objects served as hits": ("cache", _scaled(0.0)),
    "less load than there is": ("expert_placement", _scaled(0.5)),
    "an even load": (
        "expert_placement",
        lambda replay: replace(replay, outcome=np.ones(len(replay.outcome))),
    ),
    "a failed request for nothing": (
        "load_balancer",
        lambda replay: replace(
            replay, outcome=np.where(np.arange(len(replay.outcome)) % 9, replay.outcome, 0.0)
        ),
    ),
}


@pytest.mark.parametrize("name", FABRICATED)
def test_fabricated_costs_in_the_evaluator(ledger: Ledger, name: str) -> None:
    world, tamper = FABRICATED[name]
    with before_the_gates(ledger, world, tamper=tamper) as case:
        result = asked(case)
    assert result.answer == "failed", result.summary
    if result.name == "bound":
        assert result.evidence["blame"] == "evaluator"
        assert "beyond what any policy can reach" in result.summary
    else:
        assert "does not hold over the replay" in result.summary


def test_more_bytes_than_the_cache_may_hold(ledger: Ledger) -> None:
    def larger(replay: Any) -> Any:
        return replace(replay, most_held=(replay.most_held[0] * 2.0, replay.most_held[1]))

    with before_the_gates(ledger, "cache", tamper=larger) as case:
        result = asked(case)
    assert (result.name, result.answer) == ("full replay", "failed")
    assert "no more is held than the capacity" in result.summary


def test_experts_that_nobody_holds_at_no_cost(ledger: Ledger) -> None:
    def free(replay: Any) -> Any:
        return replace(replay, unserved=1000.0)

    with before_the_gates(ledger, "expert_placement", tamper=free) as case:
        result = asked(case)
    assert (result.name, result.answer) == ("full replay", "failed")
    assert "conservation does not hold" in result.summary


PLACEMENTS = {
    "skip an expert": (
        (
            "def rebalance(weight, num_replicas, placement):\n"
            "    for l in range(shape0(weight)):\n        for s in range(num_replicas):\n"
            "            placement[l, s] = min(s, max(0, shape1(weight) - 2))\n"
        ),
        "every_expert_served",
    ),
    "an expert that is not there": (
        (
            "def rebalance(weight, placement):\n    for l in range(shape0(weight)):\n"
            "        placement[l] = shape1(weight)\n"
        ),
        "in_range",
    ),
    "leave slots empty": (
        "def rebalance(weight, placement):\n    placement[0, 0] = 0.0\n",
        "in_range",
    ),
}


@pytest.mark.parametrize("name", PLACEMENTS)
def test_illegal_slots_of_a_candidate(ledger: Ledger, name: str) -> None:
    source, invariant = PLACEMENTS[name]
    with before_the_gates(ledger, "expert_placement", source) as case:
        assert language(case).passed
        result = program_invariants(case)
    assert result.answer == "failed" and result.summary.startswith(f"{invariant} broken")
    assert result.evidence["counterexample"]["source"] == source


def test_a_candidate_that_gives_up_on_hard_instances(ledger: Ledger) -> None:
    """A fault ends the replay, whatever was won before it."""
    source = "def score(size_ms, queued):\n    return size_ms + 0.0 / max(0.0, 6.0 - queued)\n"
    with before_the_gates(ledger, "scheduler", source) as case:
        result = asked(case)
    assert result.answer == "failed" and "faulted at decision" in result.summary


def test_an_evaluator_cannot_swallow_a_fault(ledger: Ledger) -> None:
    """The host ends the replay before the simulator hears of the pick."""

    class Forgiving(Tampered):
        def stream(self, trace: Any, calibration: Any, seed: int) -> Any:
            honest = self._honest.stream(trace, calibration, seed)
            rows = next(honest)
            while True:
                try:
                    rows = honest.send(max(0, (yield rows)))
                except StopIteration as stop:
                    return stop.value

    source = "def score(inflight):\n    return 1.0 / inflight\n"
    with before_the_gates(ledger, "load_balancer", source) as case:
        case.simulator = Forgiving(case.simulator, lambda replay: replay)
        result = asked(case)
    assert (result.name, result.answer) == ("sampled replay", "failed")
    assert "fault" in result.summary


def test_missed_deadlines_of_a_candidate(ledger: Ledger) -> None:
    """A better mean latency, bought with deadlines that are missed: a guardrail has to refuse it."""
    with before_the_gates(ledger, "scheduler") as case:
        case.__dict__["calibrations"] = tuple(
            replace(each, late_fails=np.ones(1, bool)) for each in _calibrations("scheduler")
        )
        case.source = (
            "def score(size_ms, wait_ms, slack_ms):\n"
            "    return size_ms - 0.5 * wait_ms + (600.0 if slack_ms < 8e7 else 0.0)\n"
        )
        result = asked(case)
    assert (result.name, result.answer) == ("holdout", "failed")
    assert "guardrail failures is worse than its margin" in result.summary


def test_missed_deadlines_that_the_evaluator_does_not_count(ledger: Ledger) -> None:
    with before_the_gates(
        ledger, "scheduler", tamper=lambda replay: replace(replay, ok=np.ones_like(replay.ok))
    ) as case:
        case.__dict__["calibrations"] = tuple(
            replace(each, late_fails=np.ones(1, bool)) for each in _calibrations("scheduler")
        )
        result = asked(case)
    assert result.answer == "failed"
    assert "does not hold over the replay" in result.summary


FUTURE = {
    "a job's true time": ("scheduler", "def score(service_ms):\n    return service_ms\n"),
    "a request's latency": ("load_balancer", "def score(latency_ms):\n    return latency_ms\n"),
    "an object's next use": ("cache", "def score(next_access_s):\n    return -next_access_s\n"),
    "the next window's load": (
        "expert_placement",
        "def rebalance(next_weight, placement):\n    placement[0, 0] = 0.0\n",
    ),
}


@pytest.mark.parametrize("name", FUTURE)
def test_reading_the_future_by_name(ledger: Ledger, name: str) -> None:
    world, source = FUTURE[name]
    with before_the_gates(ledger, world, source) as case:
        result = asked(case)
    assert (result.name, result.answer) == ("language", "failed")


def test_a_simulator_that_shows_the_future_is_named_by_the_conformance_check() -> None:
    class Leaking(Tampered):
        def stream(self, trace: Any, calibration: Any, seed: int) -> Any:
            honest = self._honest.stream(trace, calibration, seed)
            rows, index = next(honest), 0
            while True:
                shown = np.array(rows)
                shown[:, 1] += trace.outcome[min(index + 1, len(trace) - 1)]
                try:
                    rows, index = honest.send((yield shown)), index + 1
                except StopIteration as stop:
                    return stop.value

    leaking: Any = Leaking(simulator_for(load_balancer), lambda replay: replay)
    said = problems(leaking, balanced().rows(slice(0, 400)))
    assert any("depends on rows of the trace from" in each for each in said)
    assert any("recorded outcomes or picks that are later" in each for each in said)


MUTATIONS = {
    "load_balancer": "def score(inflight):\n    inflight.x = 0.0\n    return 0.0\n",
    "scheduler": "def score(size_ms):\n    size_ms[0] = 0.0\n    return 0.0\n",
    "expert_placement": "def rebalance(weight, placement):\n    weight[0, 0] = 0.0\n    placement[0, 0] = 0.0\n",
}


@pytest.mark.parametrize("world", MUTATIONS)
def test_mutating_inputs(ledger: Ledger, world: str) -> None:
    with before_the_gates(ledger, world, MUTATIONS[world]) as case:
        assert language(case).answer == "failed"


def test_what_the_host_holds_is_not_what_a_program_writes_into(ledger: Ledger) -> None:
    with before_the_gates(ledger, "expert_placement") as case, case.process() as process:
        arguments = case.observed[0]
        before = [np.array(each) for each in arguments]
        assert process.ask(arguments).ok
        assert all(np.array_equal(one, two) for one, two in zip(before, arguments, strict=True))


def test_exploiting_exceptions(ledger: Ledger) -> None:
    source = "def score(inflight):\n    try:\n        return 1 / inflight\n    except:\n        return 0\n"
    with before_the_gates(ledger, "load_balancer", source) as case:
        assert "'Try' is not allowed" in language(case).summary


def test_forging_the_verdict(ledger: Ledger, tmp_path: Path) -> None:
    """A file that says something else than the gates said is not the ledger's."""
    kind = load_balancer
    target = Target("h", kind, baseline_policy("round_robin", kind), kind.invariants)
    verdict = verify(balanced(), "nonsense", target, ledger=ledger)
    path = tmp_path / "verdict.json"
    path.write_bytes(verdict.to_bytes().replace(b"refused", b"accepted", 1))
    with pytest.raises(TrustError, match="was edited, or another ledger holds it"):
        load_verdict(path, ledger)
