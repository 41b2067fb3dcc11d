"""A verdict's evidence says what ran, and its summary says to a person what came out and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.invariant import Invariant
from gnomon.shadow.gates import told as told_module
from gnomon.shadow.gates.case import Case, VerifyOptions
from gnomon.shadow.gates.told import told
from gnomon.shadow.gates.verdict import GATES, GateResult
from gnomon.shadow.gates.verify import verify
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.splits import split
from gnomon.shadow.traces.trace import DecisionTrace

from .conftest import PEAK, PROBING, ROUND_ROBIN, target

Make = Callable[..., Case]


def test_an_acceptance_says_what_ran_and_what_it_means(
    trace: DecisionTrace, ledger: Ledger
) -> None:
    low = Invariant("low", lambda items, picked: picked.inflight < 1000, description="Low.")
    options = VerifyOptions(examples=20, seed=3)
    verdict = verify(trace, PROBING, target(low), ledger=ledger, options=options)
    windows, simulator = split(trace).windows(), simulator_for(load_balancer)
    ran = {gate.name: json.loads(json.dumps(gate.evidence))["ran"] for gate in verdict.gates}
    assert all(each["seed"] == 3 for each in ran.values())
    assert ran["language"] == {"seed": 3}
    for name in GATES[1:]:
        assert ran[name]["evaluator"] == verdict.evaluator
    holdout = ran["holdout"]
    about = {each["window"]: each for each in holdout["windows"]}
    assert about["holdout"]["decisions"] == len(windows["holdout"])
    assert {each["digest"] for each in about.values()} <= {*verdict.splits.values()}
    assert holdout["calibrations"] == [each.digest for each in simulator.draws(trace, 8, 3)]
    # every replay of the candidate asks it every decision of a window
    assert holdout["replays"]["candidate"] >= 8 <= holdout["replays"]["incumbent"]
    assert holdout["asked"] >= 8 * len(windows["holdout"])
    assert "seccomp" in holdout["layers"]
    assert ran["sampled replay"]["windows"][0]["window"] == "part of validation"
    assert ran["sampled replay"]["asked"] == 500
    assert ran["fidelity"]["windows"][0]["digest"] == trace.digest
    full = ran["full replay"]
    assert full["replays"]["candidate"] > 8 <= full["replays"]["incumbent"]
    assert {each["window"] for each in full["windows"]} == {"validation", "train"}
    assert ran["bound"]["calibrations"] == holdout["calibrations"]
    assert ran["invariants"]["asked"] >= 20 and ran["budget"]["asked"] > 0

    sentences = verdict.summary
    effect = verdict.predicted["incumbent"]
    assert sentences.startswith("Accepted: on traffic that no search has seen")
    assert f"{effect['estimate']:+.1%} ({effect['low']:+.1%} to {effect['high']:+.1%})" in sentences
    assert f"{len(windows['holdout'])} decisions of router.pick, from 2023-11-14" in sentences
    assert "failures" in sentences and "tail" in sentences and "gnomon ship" in sentences
    assert "the simulator is off by up to" in sentences
    beyond = verdict.gates[2].evidence["guarded_beyond"]
    assert f"guard would answer {beyond:.1%} of the time" in sentences
    assert ledger.explain(verdict.digest)[-1].body["summary"] == sentences


def gates_until(name: str, answer: Any, **evidence: Any) -> list[GateResult]:
    before = [GateResult(gate, "passed", "") for gate in GATES[: GATES.index(name)]]
    return [*before, GateResult(name, answer, "This is why", evidence)]


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize(("decision", "answer"), [("refused", "failed"), ("inconclusive", "inconclusive")])  # fmt: skip
def test_every_refusal_says_where_why_and_what_next(
    make: Make, name: str, decision: Any, answer: Any
) -> None:
    gates = gates_until(name, answer)
    said = told(decision, name, gates, {}, make(ROUND_ROBIN))
    assert said.startswith(f"{decision.capitalize()} at gate {name}: This is why.")
    assert ("passed language" in said) == (name != "language")
    ending = said.rpartition("This is why.")[2]
    assert len(ending) > 20 and said.endswith(".") and ".." not in said


@pytest.mark.parametrize("reason", ["simulator", "evaluator"])
def test_where_the_candidate_is_not_to_blame_it_is_said(make: Make, reason: str) -> None:
    said = told("refused", reason, gates_until("fidelity", "failed"), {}, make(PEAK))
    assert "The candidate is not to blame" in said


def test_no_reason_is_without_a_next_step() -> None:
    known = {*GATES, "simulator", "evaluator"} - {"fidelity", "bound"}  # these blame another
    assert set(told_module._REFUSED) == known


@pytest.mark.parametrize("own", [True, False])
def test_an_acceptance_says_when_only_the_kind_s_invariants_were_asked(
    make: Make, own: bool
) -> None:
    """A hook that is only named gives none of its own, and nothing else would say so."""
    extra = (Invariant("low", lambda items, picked: True),) if own else ()
    said = told_module._doubts({"fidelity": {}, "invariants": {}}, make(PEAK, target(*extra)))
    assert ("only the kind's invariants were asked" in said) == (not own)
