"""Bundles of programs: the same bytes twice, opened in a process of their own, refused for every reason."""

from __future__ import annotations

import math
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gnomon.policies.expert_placement import expert_placement
from gnomon.sdk import bundle as bundles
from gnomon.sdk import dsse
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.errors import ConfigurationError, LanguageError, TrustError
from gnomon.sdk.kind import Kind
from gnomon.sdk.language import check, check_program
from gnomon.sdk.manifest import Anchors
from gnomon.sdk.programs import golden
from gnomon.sdk.session import HookPolicy
from gnomon.v1 import policy_pb2

from .jobs import BEYOND, LONGEST, SLOW, jobs, kind_of, measured

HOOK = "jobs.assign"
PUBLISHER = Ed25519PrivateKey.generate()


def built(source: str = LONGEST, kind: Kind = jobs, seed: int = 0) -> bytes:
    assert kind.program is not None
    program = check_program(source, kind.program)
    return bundles.build_bundle(program, HOOK, kind, "e" * 64, {"tool": "test"}, seed=seed)


def opened(payload: bytes, kind: Kind = jobs, **changes: Any) -> Any:
    message = bundles.read_bundle(payload)
    for name, value in changes.items():
        if isinstance(value, list):
            del getattr(message, name)[:]
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    envelope = dsse.sign(dsse.BUNDLE_TYPE, message.SerializeToString(), PUBLISHER)
    return bundles.open_bundle(envelope, (PUBLISHER.public_key(),), HOOK, kind)


def test_what_was_built_opens_to_the_same_program() -> None:
    message, program = opened(built())
    assert (message.form, program.source) == ("program", LONGEST)
    assert list(message.inputs) == ["work", "machines", "machine"]
    assert program.bind()([3.0, 1.0, 2.0], 2, [0, 0, 0]).outputs == {"machine": [0, 1, 1]}


def test_equal_arguments_give_equal_bytes_of_a_modest_size() -> None:
    assert built() == built()
    assert built(seed=1) != built()
    assert len(built()) < 4_000


def test_faults_and_host_operations_are_golden_too() -> None:
    source = "def decide(work, machine):\n    machine[0] = round(spread(work) / (work[0] - 1.0))\n"
    payload = built(source, measured)
    outputs = bundles.read_bundle(payload).vector_outputs
    assert any(math.isnan(fuel) for fuel in outputs)
    assert opened(payload, measured)[1].source == source


@pytest.mark.parametrize("name", ["eplb", "static"])
def test_published_placements_can_be_bundled(name: str) -> None:
    source = expert_placement.baselines[name].source
    assert source is not None
    assert opened(built(source, expert_placement), expert_placement)[1].source == source


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"form": "score"}, "for form 'score', not 'program'"),
        ({"inputs": ["work"]}, "for inputs"),
        ({"kind_version": 2}, "for kind 'jobs v2'"),
        ({"source": "import os\n"}, "language check"),
        ({"source": LONGEST.replace("argmin", "argmax")}, "golden cases differ here: case"),
        ({"vector_inputs": [1.0]}, "golden cases differ here"),
        ({"vector_inputs": []}, "which seed"),
        ({"vector_inputs": [0.5]}, "which seed"),
        ({"vector_outputs": [0.0, 0.0]}, "1 golden cases; 48 are required"),
    ],
)
def test_each_promise_is_checked_even_when_signed(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TrustError, match=reason):
        opened(built(), **changes)


def test_a_program_too_slow_for_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "_LEAST_CASE_S", 0.001)
    kind = kind_of(max_fuel=2_000_000_000, deadline_s=0.004)
    shorter = SLOW.replace("range(1500)", "range(14)")
    with pytest.raises(TrustError, match="no answer within the deadline"):
        opened(built(shorter, kind), kind)


def test_opening_ends_however_many_cases_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each case is in time here; all of them would keep a kill waiting."""
    kind = kind_of(deadline_s=3.0)
    payload = built(SLOW.replace("range(1500)", "range(14)"), kind)
    monkeypatch.setattr(golden, "_OPENING", 0.04)
    monkeypatch.setattr(golden, "_LEAST_OPENING_S", 0.04)
    with pytest.raises(TrustError, match="no answer within the deadline"):
        opened(payload, kind)


def test_a_score_is_no_program() -> None:
    with pytest.raises(ConfigurationError, match="check it against kind 'jobs'"):
        bundles.build_bundle(check("def score(a):\n    return a\n", ("a",)), HOOK, jobs, "", {})


def test_a_session_holds_it_and_refuses_what_does_not_hold() -> None:
    anchors = Anchors((PUBLISHER.public_key(),))
    policy = HookPolicy(HOOK, jobs, "cell", anchors)
    payload = built(BEYOND)  # breaks an invariant, which is the guard's to judge
    envelope = dsse.sign(dsse.BUNDLE_TYPE, payload, PUBLISHER)
    policy.add_bundle(bundles.bundle_digest(payload), envelope)
    assert policy.resumed() == Assignment()
    assert [program.source for program in policy.programs.values()] == [BEYOND]
    with pytest.raises(TrustError, match="digest"):
        policy.add_bundle("0" * 64, policy_pb2.Envelope(payload=payload))


def test_the_control_plane_refuses_what_every_service_would() -> None:
    from gnomon.policies.rollout.admission import check_language

    message = policy_pb2.Bundle(form="program", kind="expert_placement", source="import os\n")
    with pytest.raises(LanguageError, match="line 1"):
        check_language(message)
    message.kind = "somebody_elses"  # its contract is known to the services alone
    check_language(message)


def test_a_plan_holds_the_guardrails_that_services_measure() -> None:
    from gnomon.policies.rollout.shipping import Ramp, build_plan

    source = str(expert_placement.baselines["eplb"].source)
    payload = built(source, expert_placement)
    plan = build_plan(Ramp(), payload, expert_placement, PUBLISHER.public_key(), 1)
    rails = policy_pb2.RampPlan.FromString(plan).guardrails
    assert [rail.name for rail in rails] == ["failures", "tail"]
