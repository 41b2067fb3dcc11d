"""Programs in the shadow: every way to replay one agrees, the engine says how it ended, the gates decide."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon.policies.expert_placement import expert_placement as kind
from gnomon.policies.expert_placement import static_row
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.hook import hook
from gnomon.sdk.isolation.program import ProgramProcess, program_zygote
from gnomon.sdk.isolation.zygote import CandidateStopped
from gnomon.sdk.language import Answer
from gnomon.sdk.runtime import RUNTIME
from gnomon.shadow import programs
from gnomon.shadow.bundling import bundle_for
from gnomon.shadow.evaluation import Status, Trial
from gnomon.shadow.gates import program as gate_program
from gnomon.shadow.gates import verify as gates
from gnomon.shadow.gates.behaviour import language
from gnomon.shadow.gates.case import Target, VerifyOptions
from gnomon.shadow.gates.replay import validation
from gnomon.shadow.gates.verify import verify
from gnomon.shadow.isolation.compiled import CompiledOptions
from gnomon.shadow.isolation.programs import ProgramEngine
from gnomon.shadow.policy import Policy, baseline_policy, isolated_policy
from gnomon.shadow.program_policy import ProgramFunctionPolicy, ProgramPolicy
from gnomon.shadow.programs import Asking, drawn_questions
from gnomon.shadow.search.wiring import Arena
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.load_trace import LoadTrace

from .loads import EXPERTS, SLOTS, trace

SIMULATOR = simulator_for(kind)
SOURCES = {name: str(each.source) for name, each in kind.baselines.items()}
LATE = """
import math
def rebalance(weight, placement):
    x = 0.0
    for i in range(30000):
        for j in range(200):
            x = math.sin(x) + 1.0
    placement[0, 0] = x - x
"""


@pytest.fixture(scope="module")
def loads() -> LoadTrace:
    return trace(windows=240)


@pytest.fixture(scope="module")
def arena(loads: LoadTrace) -> Arena:
    return Arena.of(kind, loads)


@pytest.fixture(scope="module")
def engine(arena: Arena) -> Iterator[ProgramEngine]:
    options = CompiledOptions(deadline_s=30.0)
    with ProgramEngine(kind, arena.windows, arena.draws[:2], options) as found:
        yield found


@pytest.mark.parametrize("name", ["static", "eplb_sticky"])
def test_every_way_to_replay_a_policy_agrees(name: str, loads: LoadTrace) -> None:
    calibration = SIMULATOR.draws(loads, 1, 3)[0]
    short = loads.rows(slice(0, 40))
    with program_zygote(kind) as zygote:
        ways: list[Policy] = [
            ProgramPolicy(name, SOURCES[name], kind),
            baseline_policy(name, kind),
            isolated_policy(name, SOURCES[name], kind, zygote),
        ]
        replays = [each.replays(SIMULATOR, short, calibration, (0, 1)) for each in ways]
    built_in = SIMULATOR.replay_built_in(name, short, calibration, 0)
    assert [each.tier for each in ways] == ["plain Python", "built-in", "out of process"]
    for replay in (*replays[0], *replays[1], *replays[2]):
        assert replay.outcome.tobytes() == built_in.outcome.tobytes()


def test_answers_are_kept_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(question: Any) -> Answer:
        asked.append(1)
        return Answer(True, None, {"placement": question.asked.placement}, 1)

    arguments = ([[1.0, 2.0]], 2, 1, 1, 1, [[0, 1]], [[0, 1]])
    other = ([[3.0, 2.0]], 2, 1, 1, 1, [[0, 1]], [[0, 1]])
    for room, runs in ((1000, 2), (0, 4), (8, 3)):
        monkeypatch.setattr(programs, "_KEPT", room)
        answer, before = Asking(kind, ask), len(asked)
        for each in (arguments, other, arguments, other):
            assert answer(each) == {"placement": [[0, 1]]}
        assert len(asked) - before == runs


def test_the_engine_scores_as_the_arena_does(engine: ProgramEngine, arena: Arena) -> None:
    found = engine.submit(SOURCES["eplb"], "validation").result()
    assert found.status is Status.OK
    fewer = replace(arena, draws=arena.draws[:2])
    assert found.score == fewer.score(baseline_policy("eplb", kind), "validation")
    assert len(found.segments) == 20
    assert "seccomp" in found.layers


@pytest.mark.parametrize(
    ("source", "status", "detail"),
    [
        ("import os\n", Status.REJECTED, "line 1"),
        ("def rebalance(weight, placement):\n    placement[0, 0] = weight[0, 600]\n", Status.FAULT, "decision 0"),
        ("def rebalance(placement):\n    placement[0, 0] = 0.0\n", Status.VIOLATION, "in_range"),
        (SOURCES["greedy_global"], Status.VIOLATION, "groups_on_node"),
    ],
)  # fmt: skip
def test_the_engine_says_how_it_ended(
    source: str, status: Status, detail: str, engine: ProgramEngine
) -> None:
    found = engine.submit(source, "train").result()
    assert (found.status, np.isnan(found.score)) == (status, True)
    assert detail in found.detail


def test_a_slow_program_is_killed_at_the_kinds_deadline(arena: Arena) -> None:
    assert kind.program is not None
    hasty = replace(kind, deadline_s=0.2, program=replace(kind.program, max_fuel=10**9))
    with ProgramEngine(hasty, arena.windows, arena.draws[:1]) as engine:
        begin = time.monotonic()
        assert engine.submit(LATE, "train").result().status is Status.TIMEOUT
        assert time.monotonic() - begin < 5.0


def test_hanging_programs_take_no_worker_from_the_good_ones(arena: Arena) -> None:
    assert kind.program is not None
    hasty = replace(kind, deadline_s=2.0, program=replace(kind.program, max_fuel=10**12))
    never = LATE.replace("30000", "3000000")
    windows = {split: window.rows(slice(0, 20)) for split, window in arena.windows.items()}
    with ProgramEngine(hasty, windows, arena.draws[:1], CompiledOptions(workers=2)) as engine:
        slow = [engine.submit(never, "train") for _ in range(2)]
        good = [engine.submit(SOURCES[name], "train") for name in ("static", "eplb") * 2]
        assert {future.result().status for future in slow} == {Status.TIMEOUT}
        assert {future.result().status for future in good} == {Status.OK}
        assert not engine._running


def test_a_program_stops_once_its_score_is_certain_to_be_above_the_bar(
    engine: ProgramEngine, arena: Arena
) -> None:
    source = SOURCES["static"]
    whole = engine.submit(source, "validation").result()
    first = replace(arena, draws=arena.draws[:1]).score(
        baseline_policy("static", kind), "validation"
    )
    stopped = engine.submit(source, "validation", Trial(0.999 * first)).result()
    assert stopped.status is Status.STOPPED
    assert stopped.metrics == (("at_least", first), ("replays_left", 1.0))
    assert engine.submit(source, "validation", Trial(whole.score)).result() == whole
    leading = Trial(0.0, leaders=(1e9,))
    assert engine.submit(source, "validation", leading).result() == whole
    first_bar = Trial(first=(0,), first_bar=0.0)
    assert engine.submit(source, "validation", first_bar).result().status is Status.STOPPED


def test_a_broken_invariant_comes_with_question_and_answer(engine: ProgramEngine) -> None:
    source = "def rebalance(placement):\n    placement[0, 0] = 0.0\n"
    found = engine.submit(source, "train").result()
    assert "in_range did not hold at a decision" in found.feedback
    assert '"weight": ' in found.feedback and '"placement": ' in found.feedback
    assert len(found.feedback) <= 2000
    again = engine.submit(source, "validation").result()  # what is drawn is drawn alike
    assert again.feedback == found.feedback


def test_a_clean_process_that_ends_is_our_fault_and_is_replaced(arena: Arena) -> None:
    with ProgramEngine(kind, arena.windows, arena.draws[:1]) as engine:
        os.kill(engine._zygote.pid, signal.SIGKILL)
        assert engine._zygote.ended(5.0)
        assert engine.submit(SOURCES["static"], "train").result().status is Status.EVALUATOR_ERROR
        assert engine.submit(SOURCES["static"], "train").result().status is Status.OK


def test_what_is_not_open_is_refused(engine: ProgramEngine, arena: Arena) -> None:
    with pytest.raises(ConfigurationError, match="split 'holdout' is not open"):
        engine.submit(SOURCES["static"], "holdout")
    with pytest.raises(ConfigurationError, match="got none"):
        ProgramEngine(kind, arena.windows, ())
    closed = ProgramEngine(kind, arena.windows, arena.draws[:1])
    closed.close()
    closed.close()
    with pytest.raises(ConfigurationError, match="the engine is closed"):
        closed.submit(SOURCES["static"], "train")


def test_the_services_own_function_is_replayed(loads: LoadTrace) -> None:
    calibration = SIMULATOR.calibrate(loads)
    policy = ProgramFunctionPolicy(hooked("moe.own"))
    replay = policy.replay(SIMULATOR, loads, calibration, 0)
    assert replay.outcome.tobytes() == loads.outcome.tobytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"question": lambda weight: weight}, "its own question="), ({"answer": list}, "answer=")],
)
def test_a_function_that_needs_more_than_a_question_is_not(arguments: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ProgramFunctionPolicy(hooked("moe.more", **arguments))


def test_a_function_that_does_not_work_is_named(loads: LoadTrace) -> None:
    @hook("moe.broken", kind=kind, item_features=_features)
    def rebalance(weight, num_replicas, num_groups, num_nodes, num_ranks, current):  # type: ignore[no-untyped-def]
        return {"other": []}

    with pytest.raises(ConfigurationError, match="does not work on questions of a replay"):
        ProgramFunctionPolicy(rebalance).replay(SIMULATOR, loads, SIMULATOR.calibrate(loads), 0)


def _features(question: Any) -> tuple[float, ...]:
    return len(question.weight), question.num_replicas, question.num_ranks, 0.0


def hooked(name: str, **more: Any) -> Any:
    @hook(name, kind=kind, item_features=_features, **more)
    def rebalance(weight, num_replicas, num_groups, num_nodes, num_ranks, current):  # type: ignore[no-untyped-def]
        return [static_row(EXPERTS, SLOTS, 1, 1)] * len(weight)

    return rebalance


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the hooks of a test."""
    before = dict(RUNTIME.hooks)
    yield
    RUNTIME.hooks.clear()
    RUNTIME.hooks.update(before)


def judged(loads: LoadTrace, source: str, ledger: Ledger, **changes: Any) -> Any:
    chosen = replace(kind, **changes)
    target = Target("moe.rebalance", chosen, baseline_policy("static", kind), chosen.invariants)
    return verify(loads, source, target, ledger=ledger, options=VerifyOptions(examples=100))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    book = Ledger(tmp_path / "ledger.db")
    yield book
    book.close()


def test_a_better_placement_is_accepted_and_can_be_bundled(
    loads: LoadTrace, ledger: Ledger
) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gnomon.sdk.bundle import open_bundle

    verdict = judged(loads, SOURCES["eplb_sticky"], ledger)
    assert verdict.decision == "accepted", verdict.summary
    assert [gate.answer for gate in verdict.gates] == ["passed"] * 9
    assert (verdict.form, "seccomp" in verdict.layers) == ("program", True)
    key = Ed25519PrivateKey.generate()
    envelope = bundle_for(verdict, key)
    assert open_bundle(envelope, (key.public_key(),), "moe.rebalance", kind)[0].form == "program"


def test_a_broken_invariant_comes_with_a_call_that_can_be_made_again(
    loads: LoadTrace, ledger: Ledger
) -> None:
    verdict = judged(loads, SOURCES["greedy_global"], ledger)
    assert (verdict.decision, verdict.reason) == ("refused", "invariants")
    case = verdict.gates[-1].evidence["counterexample"]
    assert case["invariant"] == "groups_on_node"
    with program_zygote(kind) as zygote, ProgramProcess(zygote, case["source"], kind) as process:
        again = process.ask(tuple(case["question"].values()))
    assert again.outputs == case["answer"]
    assert "counterexample: groups_on_node" in str(verdict)


def before_the_gates(loads: LoadTrace, source: str, ledger: Ledger) -> Any:
    """Return a candidate before the gates, past the first of them."""
    target = Target("moe.rebalance", kind, baseline_policy("static", kind), kind.invariants)
    return gates._case(loads, source, target, ledger, {}, VerifyOptions())


def test_what_lies_outside_the_language_is_refused(loads: LoadTrace, ledger: Ledger) -> None:
    verdict = judged(loads, "def rebalance(weight):\n    return 1.0\n", ledger)
    assert (verdict.decision, verdict.reason) == ("refused", "language")


def test_what_is_no_better_is_refused(loads: LoadTrace, ledger: Ledger) -> None:
    with before_the_gates(loads, SOURCES["static"], ledger) as case:
        assert validation(case).answer == "failed"


@pytest.mark.parametrize(("share", "answer"), [(gate_program.SHARE, "passed"), (1e-9, "failed")])
def test_a_program_that_takes_most_of_its_deadline_is_refused(
    share: float, answer: str, loads: LoadTrace, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_program, "SHARE", share)
    with before_the_gates(loads, SOURCES["eplb"], ledger) as case:
        assert language(case).passed
        found = gate_program.budget(case)
    assert found.answer == answer
    assert found.evidence["fuel"] > 1000


def test_processes_that_disagree_are_told_apart(
    loads: LoadTrace, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = gate_program._other

    def changed(case: Any, stack: Any) -> Any:
        return other(replace(case, source=SOURCES["snake"]), stack)

    monkeypatch.setattr(gate_program, "_other", changed)
    verdict = judged(loads, SOURCES["eplb"], ledger)
    assert verdict.reason == "determinism"
    assert verdict.gates[-1].evidence["tier"] == "a second process"


def test_a_kind_that_contradicts_itself_is_refused() -> None:
    def bad(draw: Any) -> tuple[Any, ...]:
        return ([[-1.0]], 1, 1, 1, 1, [[0]], [[-1]])

    with pytest.raises(ConfigurationError, match="draws 'weight' outside of its declared range"):
        drawn_questions(replace(kind, questions=bad), 1, 0)


def test_a_candidate_outside_the_language_does_not_start() -> None:
    with program_zygote(kind) as zygote, pytest.raises(CandidateStopped, match="rejected"):
        ProgramProcess(zygote, "def rebalance(weight):\n    return weight\n", kind)
