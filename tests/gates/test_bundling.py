"""Only a verdict that rests on every gate becomes a bundle, and only for its own hook and kind."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies import registry
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import (
    build_bundle,
    golden_in,
    golden_of,
    open_bundle,
    read_bundle,
    save_bundle,
)
from gnomon.sdk.errors import RolloutError, TrustError
from gnomon.sdk.invariant import Invariant
from gnomon.sdk.language import check
from gnomon.shadow.bundling import bundle_for
from gnomon.shadow.gates import behaviour
from gnomon.shadow.gates.verdict import GATES, Answer, GateResult, Verdict

from .conftest import INPUTS, PEAK, ROUND_ROBIN

KEY = keys.generate()


def gates(**answers: Answer) -> tuple[GateResult, ...]:
    return tuple(GateResult(name, answers.get(name, "passed"), "") for name in GATES)


VERDICT = Verdict(
    decision="accepted",
    reason="",
    summary="8 % better.",
    hook="router.pick",
    kind="load_balancer",
    kind_version=load_balancer.version,
    source=PEAK,
    source_digest=hashlib.sha256(PEAK.encode()).hexdigest(),
    form="score",
    gates=gates(),
    fidelity={},
    trace="t" * 64,
    splits={},
    calibration="c" * 64,
    predicted={"incumbent": {"estimate": -0.08, "low": -0.1, "high": -0.06}},
    layers=(),
    isolation="strict",
    seed=0,
    tool="test",
    created_ns=1,
    golden=golden_of(check(PEAK, INPUTS), load_balancer).digest,
)


def test_a_verdict_with_every_gate_passed_becomes_a_bundle() -> None:
    about = read_bundle(bundle_for(VERDICT, KEY).payload)
    assert (about.hook, about.source) == (VERDICT.hook, PEAK)


CAP = Invariant("cap", lambda items, picked: bool(items))


@pytest.fixture
def full_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the kind both an invariant and a bound, so that no gate has nothing to ask."""
    monkeypatch.setattr(
        registry, "kind", lambda _: replace(load_balancer, invariants=(CAP,), has_bound=True)
    )


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("answer", ["failed", "inconclusive", "skipped"])
@pytest.mark.usefixtures("full_kind")
def test_every_gate_must_have_passed(name: str, answer: Answer) -> None:
    with pytest.raises(RolloutError, match=f"its gate {name} is {answer}"):
        bundle_for(replace(VERDICT, gates=gates(**{name: answer})), KEY)


@pytest.mark.parametrize("missing", range(len(GATES)))
def test_no_gate_may_be_missing(missing: int) -> None:
    left = tuple(gate for i, gate in enumerate(VERDICT.gates) if i != missing)
    with pytest.raises(RolloutError, match=f"missing: {GATES[missing]}"):
        bundle_for(replace(VERDICT, gates=left), KEY)


@pytest.mark.parametrize("wrong", [(), VERDICT.gates[::-1], (*VERDICT.gates, VERDICT.gates[0])])
def test_the_list_of_gates_is_exactly_that(wrong: Any) -> None:
    with pytest.raises(RolloutError, match="full list of gates"):
        bundle_for(replace(VERDICT, gates=wrong), KEY)


def test_a_kind_without_invariants_or_bound_may_skip_them(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(load_balancer, has_bound=False, invariants=())
    monkeypatch.setattr(registry, "kind", lambda _: bare)
    skipped = gates(bound="skipped", invariants="skipped")
    assert bundle_for(replace(VERDICT, gates=skipped), KEY).payload
    with pytest.raises(RolloutError, match="budget is skipped"):
        bundle_for(replace(VERDICT, gates=gates(budget="skipped")), KEY)


def test_an_override_goes_past_the_gates_and_is_kept() -> None:
    refused = replace(VERDICT, decision="refused", gates=gates(budget="failed"))
    about = read_bundle(bundle_for(refused, KEY, override="known slow").payload)
    assert about.provenance["override"] == "known slow"


@pytest.mark.parametrize("change", [{"hook": "other.pick"}, {"kind": "another"}, {"version": 99}])
def test_a_bundle_of_another_hook_or_kind_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    hook = change.pop("hook", VERDICT.hook)
    kind = replace(load_balancer, **({"name": change.pop("kind")} if "kind" in change else change))
    program = check(PEAK, INPUTS)
    payload = build_bundle(program, hook, kind, VERDICT.digest, {})
    save_bundle(tmp_path / "p.bundle", dsse.sign(dsse.BUNDLE_TYPE, payload, KEY))
    with pytest.raises(RolloutError, match="the verdict for 'router.pick' of load_balancer"):
        bundle_for(VERDICT, KEY, tmp_path / "p.bundle")


def test_a_verdict_whose_source_is_not_the_one_it_names_is_refused() -> None:
    with pytest.raises(RolloutError, match="the verdict is on"):
        bundle_for(replace(VERDICT, source=ROUND_ROBIN), KEY)


def test_a_bundle_holds_the_golden_vectors_of_its_verdict() -> None:
    payload = bundle_for(VERDICT, KEY).payload
    assert golden_in(read_bundle(payload)).digest == VERDICT.golden


def test_an_acceptance_without_golden_vectors_is_refused() -> None:
    with pytest.raises(RolloutError, match="without golden vectors"):
        bundle_for(replace(VERDICT, golden=""), KEY)


def test_other_golden_vectors_than_those_of_the_verdict_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the publisher's machine computes otherwise than the one that verified."""
    curved = "import math\ndef score(inflight):\n    return math.exp(-inflight)\n"
    digest = hashlib.sha256(curved.encode()).hexdigest()
    here = golden_of(load_balancer.checked(curved), load_balancer).digest
    verdict = replace(VERDICT, source=curved, source_digest=digest, golden=here)
    bundle = bundle_for(verdict, KEY)
    honest = math.exp
    monkeypatch.setattr(math, "exp", lambda x: math.nextafter(honest(x), math.inf))
    with pytest.raises(RolloutError, match="arithmetic or version differ"):
        bundle_for(verdict, KEY)
    # and a service that computes so refuses the honest bundle, before it could run it
    with pytest.raises(TrustError, match="golden vectors differ here"):
        open_bundle(bundle, [KEY.public_key()], verdict.hook, load_balancer)
    # a bundle file that was built there is refused as well
    payload = build_bundle(
        load_balancer.checked(curved), verdict.hook, load_balancer, verdict.digest, {}
    )
    save_bundle(tmp_path / "p.bundle", dsse.sign(dsse.BUNDLE_TYPE, payload, KEY))
    with pytest.raises(RolloutError, match=r"the golden vectors of .*p\.bundle"):
        bundle_for(verdict, KEY, tmp_path / "p.bundle")


def test_golden_vectors_are_those_of_the_candidates_own_process(make: Any) -> None:
    result = behaviour.determinism(make(PEAK))
    assert result.evidence["golden"] == VERDICT.golden


def test_a_process_that_computes_otherwise_does_not_pass(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = behaviour.golden_of

    def differing(program: Any, kind: Any) -> Any:
        golden = honest(program, kind)
        answered = [*golden.answered]
        answered[7] = math.nextafter(answered[7], math.inf)
        return golden._replace(answered=answered)

    monkeypatch.setattr(behaviour, "golden_of", differing)
    result = behaviour.determinism(make(PEAK))
    assert result.answer == "failed" and result.evidence["tier"] == "golden vectors"


@pytest.mark.parametrize("decision", ["refused", "inconclusive"])
def test_nothing_but_an_acceptance_is_shipped_whatever_its_gates_say(decision: Any) -> None:
    with pytest.raises(RolloutError, match="Only an accepted policy is shipped"):
        bundle_for(replace(VERDICT, decision=decision), KEY)
