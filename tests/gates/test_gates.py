"""Every gate refuses what it is there for, and lets a good candidate pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.invariant import Invariant, violated
from gnomon.sdk.isolation.zygote import CandidateStopped
from gnomon.sdk.language import check, chooser
from gnomon.shadow.evaluation import Status
from gnomon.shadow.gates import behaviour as gate_behaviour
from gnomon.shadow.gates import invariants as gate_invariants
from gnomon.shadow.gates import replay as gate_replay
from gnomon.shadow.gates.case import Case, Target, VerifyOptions
from gnomon.shadow.gates.holdout import OPENED
from gnomon.shadow.isolation.lockstep import LockstepCandidate
from gnomon.shadow.policy import Policy
from gnomon.shadow.simulators.base import Replay

from ..isolation import attacks
from .conftest import INPUTS, PEAK, ROUND_ROBIN, target

Make = Callable[..., Case]
# the fastest backend of the recorded system, told by its weight in no way: ruin by the slowest queue
GREEDY = "def score(inflight):\n    return -inflight\n"
EMPTY_FIRST = Invariant(
    "not_the_fullest",
    lambda items, picked: picked.inflight <= min(item.inflight for item in items) + 10,
    description="The pick has at most 10 more outstanding requests than the least loaded item.",
)


@pytest.mark.parametrize("name", attacks.STOPPED_BY_LANGUAGE)
def test_the_language_gate_refuses_with_line_and_reason(make: Make, name: str) -> None:
    result = gate_behaviour.language(make(attacks.STOPPED_BY_LANGUAGE[name]))
    assert result.answer == "failed" and result.evidence["reason"]


def test_a_good_candidate_passes_language_determinism_and_budget(make: Make) -> None:
    case = make(PEAK)
    assert gate_behaviour.language(case).passed
    assert gate_behaviour.determinism(case).passed
    budget = gate_behaviour.budget(case)
    assert budget.evidence["us_per_decision"] > 0.0
    assert budget.evidence["times_a_bare_call"] > 1.0


def test_a_tier_that_differs_is_found_with_its_row(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off_by_a_bit(case: Case, rows: np.ndarray) -> np.ndarray:
        score = check(PEAK, INPUTS).bind()
        scores = np.array([score(*row) for row in rows])
        scores[300] = np.nextafter(scores[300], np.inf)
        return scores

    monkeypatch.setattr(gate_behaviour, "_compiled", off_by_a_bit)
    result = gate_behaviour.determinism(make(PEAK))
    assert result.answer == "failed" and result.evidence["tier"] == "compiled"
    assert len(result.evidence["row"]) == 5
    assert len(set(result.evidence["scores"])) == 2


def test_a_second_run_that_differs_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter(range(100))
    honest = LockstepCandidate.scores

    def moody(self: LockstepCandidate, rows: np.ndarray, **kind: bool) -> np.ndarray:
        return honest(self, rows, **kind) + (next(runs) == 1)

    monkeypatch.setattr(LockstepCandidate, "scores", moody)
    result = gate_behaviour.determinism(make(PEAK))
    assert result.answer == "failed" and result.evidence["tier"] == "second run"


def test_a_broken_invariant_comes_with_a_small_case_that_replays(make: Make) -> None:
    result = gate_invariants.invariants(make(GREEDY, target(EMPTY_FIRST)))
    assert result.answer == "failed" and "not_the_fullest" in result.summary
    case = json.loads(json.dumps(result.evidence["counterexample"]))
    # from the file alone: the same source picks the same item and breaks the same invariant
    program = check(case["source"], case["inputs"])
    pick = chooser(program, load_balancer)(case["items"])
    assert pick == case["action"]
    items = [load_balancer.item_type(*row) for row in case["items"]]
    assert violated((EMPTY_FIRST,), items, pick) is EMPTY_FIRST
    # and small: two items, eleven requests apart
    assert len(items) == 2
    assert sorted(item.inflight for item in items) == [0.0, 11.0]


def test_an_invariant_that_raises_is_broken(make: Make) -> None:
    raising = Invariant("raises", lambda items, picked: picked.nothing, description="Raises.")
    assert gate_invariants.invariants(make(PEAK, target(raising))).answer == "failed"


def test_a_kept_invariant_passes_and_none_is_said_to_be_none(make: Make) -> None:
    least = "def score(inflight):\n    return inflight\n"
    options = VerifyOptions(examples=50)
    assert gate_invariants.invariants(make(least, target(EMPTY_FIRST), None, options)).passed
    assert gate_invariants.invariants(make(PEAK)).answer == "skipped"


def test_a_warning_invariant_refuses_nobody(make: Make) -> None:
    warning = replace(EMPTY_FIRST, severity="warn")
    assert gate_invariants.invariants(make(GREEDY, target(warning))).passed


def test_the_same_seed_finds_the_same_counterexample(make: Make) -> None:
    one, two = (gate_invariants.invariants(make(GREEDY, target(EMPTY_FIRST))) for _ in range(2))
    assert one.evidence == two.evidence


def test_gross_damage_is_refused_on_the_first_part(make: Make) -> None:
    result = gate_replay.sampled(make(GREEDY))
    assert result.answer == "failed" and result.evidence["ratio"] > 2.0
    assert result.evidence["decisions"] == 500
    assert gate_replay.sampled(make(PEAK)).passed


def test_a_violation_on_recorded_traffic_is_refused_with_the_decision(make: Make) -> None:
    never_first = Invariant(
        "never_a_busy_item", lambda items, picked: picked.inflight < 2, description="Idle enough."
    )
    result = gate_replay.sampled(make(ROUND_ROBIN, target(never_first)))
    assert result.answer == "failed"
    assert result.evidence["counterexample"]["invariant"] == "never_a_busy_item"


def test_no_better_than_the_incumbent_is_refused_on_validation(make: Make) -> None:
    assert gate_replay.validation(make(ROUND_ROBIN)).answer == "failed"
    better = gate_replay.validation(make(PEAK))
    assert better.passed and len(better.evidence["changes"]) == 3


def test_a_replay_level_invariant_is_checked(make: Make) -> None:
    fair = Invariant("fair", lambda summary: max(summary.longest_unpicked) < 40, scope="replay")
    probing = (
        "def score(inflight, since_picked):\n    return -inflight if since_picked < 90 else -1e9\n"
    )
    result = gate_replay.validation(make(probing, target(fair)))
    assert result.answer == "failed" and "fair does not hold" in result.summary


def test_an_invariant_that_only_train_is_long_enough_for_is_checked(make: Make) -> None:
    case = make(PEAK, target(LONG))
    assert len(case.splits["validation"]) < 1500 < len(case.splits["train"])
    result = gate_replay.validation(case)
    assert result.answer == "failed" and "long does not hold over the replay: It" in result.summary


LONG = Invariant(
    "long", lambda summary: summary.decisions < 1500, scope="replay", description="It is short."
)


def test_a_fault_during_a_replay_is_a_refusal_that_names_it(make: Make) -> None:
    with pytest.raises(CandidateStopped) as error:
        gate_replay.sampled(make("def score(inflight):\n    return 1.0 / inflight\n"))
    result = gate_behaviour.stopped("sampled replay", error.value)
    assert result.answer == "failed" and result.evidence["status"] == "fault"


def test_our_own_fault_decides_nothing() -> None:
    ours = CandidateStopped(Status.EVALUATOR_ERROR, "the worker ended")
    assert gate_behaviour.stopped("determinism", ours).answer == "inconclusive"


def test_a_real_win_passes_the_holdout_with_an_interval(make: Make) -> None:
    case = make(PEAK, None, {"least": "def score(inflight):\n    return inflight\n"})
    result, predicted = gate_replay.holdout(case)
    assert result.passed, result.summary
    effect = predicted["incumbent"]
    assert effect["low"] <= effect["estimate"] <= effect["high"] < 0.0
    assert predicted["least"]["estimate"] > effect["estimate"]
    assert result.evidence["alpha"] == 0.025
    assert set(result.evidence["guardrails"]) == {"failures", "tail"}
    bound = gate_replay.bound(case)
    assert bound.passed and min(bound.evidence["means"]) >= max(bound.evidence["bounds"])


def test_an_equal_policy_does_not_pass_the_holdout(make: Make) -> None:
    result, predicted = gate_replay.holdout(make(ROUND_ROBIN))
    assert not result.passed
    assert predicted["incumbent"]["estimate"] == 0.0


def test_a_spent_holdout_asks_for_a_newer_trace(make: Make) -> None:
    for digit in range(5):
        gate_replay.holdout(make(PEAK.replace("1.0", f"1.{digit}")))
    result, predicted = gate_replay.holdout(make(PEAK.replace("1.0", "2.0")))
    assert result.answer == "inconclusive" and "newer trace" in result.summary
    assert not predicted


def test_asking_the_holdout_again_costs_nothing(make: Make) -> None:
    case = make(PEAK)
    first, _ = gate_replay.holdout(case)
    again, _ = gate_replay.holdout(make(PEAK))
    assert first.evidence["alpha"] == again.evidence["alpha"]
    assert len(case.ledger.list(kind=OPENED)) == 1


class _Failing(Policy):
    """The usual incumbent, but with failures or a tail of its own."""

    name = "failing"

    def __init__(self, change: Callable[[Replay], Replay]) -> None:
        self._base = target().incumbent
        self._change = change

    def replay(self, simulator: Any, trace: Any, calibration: Any, seed: int) -> Replay:
        return self._change(self._base.replay(simulator, trace, calibration, seed))


def _with(change: Callable[[Replay], Replay]) -> Target:
    return replace(target(), incumbent=_Failing(change))


def test_a_better_mean_does_not_buy_a_worse_tail(make: Make) -> None:
    def no_tail(base: Replay) -> Replay:
        slow = np.full(len(base.outcome), 44.0)
        return replace(base, outcome=slow)

    result, _ = gate_replay.holdout(make(PEAK, _with(no_tail)))
    assert not result.passed and "guardrail tail" in result.summary


def test_a_better_mean_does_not_buy_failures(make: Make) -> None:
    case = make(PEAK)
    honest = case.replays

    def failing(*args: Any, **kwargs: Any) -> Any:
        replays, broken = honest(*args, **kwargs)
        return [replace(r, ok=np.arange(len(r.ok)) % 50 != 0) for r in replays], broken

    case.replays = failing  # type: ignore[method-assign]
    result, _ = gate_replay.holdout(case)
    assert result.answer == "failed" and "guardrail failures" in result.summary


def test_too_short_a_holdout_is_inconclusive(make: Make) -> None:
    case = make(PEAK)
    case.splits = {**case.splits, "holdout": case.splits["holdout"].rows(slice(0, 30))}
    result, _ = gate_replay.holdout(case)
    assert result.answer == "inconclusive" and "Too little data" in result.summary


def test_a_score_beyond_the_bound_quarantines_the_evaluator(make: Make) -> None:
    case = make(PEAK)
    gate_replay.holdout(case)
    replays, broken = case.window("holdout")
    case._windows["holdout"] = ([replace(r, outcome=r.outcome * 0.01) for r in replays], broken)
    result = gate_replay.bound(case)
    assert result.answer == "failed" and result.evidence["blame"] == "evaluator"


@pytest.mark.parametrize(("nearer", "answer"), [(1e-12, "passed"), (1e-3, "failed")])
def test_a_tight_bound_may_be_reached_but_not_passed(
    make: Make, monkeypatch: pytest.MonkeyPatch, nearer: float, answer: str
) -> None:
    case = make(PEAK)
    gate_replay.holdout(case)
    reached = min(replay.mean for replay in case.window("holdout")[0])
    monkeypatch.setattr(type(case.simulator), "bound", lambda *_: reached * (1.0 + nearer))
    assert gate_replay.bound(case).answer == answer


def test_a_kind_without_a_bound_says_so(make: Make) -> None:
    kind = replace(load_balancer, has_bound=False)
    result = gate_replay.bound(make(PEAK, replace(target(), kind=kind)))
    assert result.answer == "skipped" and "No bound is proven" in result.summary


def test_a_slow_decision_is_over_budget(make: Make) -> None:
    ticks = iter(range(10_000))
    options = VerifyOptions(timer=lambda: float(next(ticks)))  # a second between any two looks
    result = gate_behaviour.budget(make(PEAK, None, None, options))
    assert result.answer == "failed" and result.evidence["us_per_decision"] > 20.0


def test_generated_items_reach_beyond_what_was_recorded_on_either_side_of_0(make: Make) -> None:
    """A third of -30 is above -30: that would leave out what the service sees every day."""
    case = make(PEAK)
    case.__dict__["_observed"] = np.array(
        [[[6.0, 9.0, -30.0, -3.0, 0.5], [9.0, 3.0, -6.0, 30.0, 0.9]]]
    )
    free = tuple(replace(each, low=-1e6, high=1e6) for each in load_balancer.inputs)
    case.target = replace(case.target, kind=SimpleNamespace(inputs=free))
    ranges = [(each.low, each.high) for each in gate_invariants._envelope(case)]
    assert ranges[:4] == [(2.0, 27.0), (1.0, 27.0), (-90.0, -2.0), (-9.0, 90.0)]


def test_another_policy_that_faults_is_not_the_candidate_s_fault(make: Make) -> None:
    """It is only compared with: the holdout was opened for the candidate, which is judged."""
    faulty = "def score(inflight):\n    return 1.0 / (inflight - inflight)\n"
    result, predicted = gate_replay.holdout(make(PEAK, against={"prod": faulty, "rr": ROUND_ROBIN}))
    alone, _ = gate_replay.holdout(make(PEAK))
    assert result.answer == alone.answer
    assert predicted.keys() == {"incumbent", "rr"}
    assert (
        "fault" in result.evidence["not_compared"]["prod"]
        and "Not compared with prod" in result.summary
    )
