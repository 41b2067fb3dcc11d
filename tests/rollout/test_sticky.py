"""Sticky arms on the control plane: sums by slice are pooled, looked at, stored, and decided on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gnomon.policies.rollout import codec, units_codec
from gnomon.policies.rollout.blocks import Exclusion
from gnomon.policies.rollout.plan import read_plan
from gnomon.policies.rollout.shipping import Ramp, build_plan
from gnomon.policies.rollout.states import LookSummary
from gnomon.policies.rollout.views import rollout as viewed
from gnomon.sdk.assignment import Sticky
from gnomon.sdk.errors import RolloutError
from gnomon.v1 import policy_pb2

RAMP = Ramp(
    weights=(0.5, 1.0),
    shadow_decisions=100,
    soak_s=5.0,
    lease_s=15.0,
    min_pairs=4,
    slices=200,
    max_looks=40,
)


def better(arm: str, unit: int) -> float:
    return 14.0 if arm == "candidate" else 20.0


def worse(arm: str, unit: int) -> float:
    return 26.0 if arm == "candidate" else 20.0


def equal(arm: str, unit: int) -> float:
    return 20.0


def names(state: Any) -> list[str]:
    return [made.after.value for made in state.transitions]


def test_a_better_policy_goes_from_draft_to_stable(sticky: Any) -> None:
    sticky.ship(RAMP)
    assert sticky.run(60.0, better, "STABLE") == "STABLE", sticky.control.get().transitions
    state = sticky.control.get()
    assert names(state) == ["SHADOW", "CANARY", "FULL", "STABLE"]
    assert "objective better by" in state.transitions[2].cause
    assert "outcomes, guardrails kept" in state.transitions[2].cause
    assert state.evidence.effect().high < 0.0
    assert state.served.outcomes > 0
    shown = viewed(state, 1, []).evidence
    assert shown.pairs == state.evidence.looks > 0
    assert len(shown.points) == len(state.looks)
    assert shown.candidate_decisions == state.evidence.candidate.count > 0
    (created,) = [e for e in sticky.ledger.list() if e.kind == "rollout.created"]
    assert (created.body["arms"], created.body["slices"]) == ("sticky", 200)


def test_a_worse_policy_is_aborted(sticky: Any) -> None:
    sticky.ship(RAMP)
    assert sticky.run(60.0, worse, "ABORTED") == "ABORTED"
    state = sticky.control.get()
    assert names(state) == ["SHADOW", "CANARY", "ABORTED"]
    assert "objective worse by" in state.transitions[-1].cause
    assert state.calibration == "recalibration required"


def test_failures_of_the_candidate_abort_it_though_it_is_faster(sticky: Any) -> None:
    sticky.ship(RAMP)
    for process in sticky.processes:
        decide = process._decide

        def failing(index: int, arm: str, *rest: Any, decide: Any = decide) -> None:
            *most, failed = rest
            decide(index, arm, *most, failed or (arm == "candidate" and index % 5 == 0))

        process._decide = failing
    assert sticky.run(60.0, better, "ABORTED") == "ABORTED", sticky.control.get().transitions
    assert "guardrail failures exceeded" in sticky.control.get().transitions[-1].cause


def test_equal_policies_and_silence_are_held(sticky: Any) -> None:
    sticky.ship(replace(RAMP, max_looks=15))
    assert sticky.run(60.0, equal, "HOLD") == "HOLD"
    cause = sticky.control.get().transitions[-1].cause
    assert cause == "inconclusive: no decision after 15 looks; the incumbent stays"
    assert len(sticky.control.get().looks) == 15


def test_no_units_are_no_data_and_never_success(sticky: Any) -> None:
    sticky.ship(replace(RAMP, valid_s=40.0))
    for process in sticky.processes:
        process._decide = lambda *given: None
    assert sticky.run(60.0, better, "HOLD") == "HOLD"
    state = sticky.control.get()
    assert state.looks == ()
    assert state.transitions[-1].cause == "the plan has expired; ship again with a later one"


def test_one_unit_alone_decides_nothing(sticky: Any) -> None:
    """All outcomes in one slice: the arm without any gives no comparison, however clear the other is."""
    for process in sticky.processes:
        process.units = ["the same"]
    sticky.ship(replace(RAMP, max_looks=15))
    assert sticky.run(40.0, better, "HOLD") == "HOLD"
    assert "inconclusive" in sticky.control.get().transitions[-1].cause


@pytest.mark.parametrize("candidate", [better, worse])
def test_few_units_may_abort_and_never_promote(sticky: Any, candidate: Any) -> None:
    """200 units leave hardly 100 slices to an arm that saw any."""
    for process in sticky.processes:
        process.units = process.units[:120]
    sticky.ship(replace(RAMP, max_looks=25))
    ended = "ABORTED" if candidate is worse else "HOLD"
    assert sticky.run(60.0, candidate, ended) == ended


def test_a_raise_keeps_units_and_judges_the_new_step_by_itself(sticky: Any) -> None:
    sticky.ship(replace(RAMP, weights=(0.1, 0.5, 1.0)))
    assert sticky.run(60.0, better, "RAMP") == "RAMP", sticky.control.get().transitions
    state = sticky.control.get()
    low, high = (Sticky(state.salt, 200, weight) for weight in (0.1, 0.5))
    units = sticky.processes[0].units
    assert all(high.candidate(unit) for unit in units if low.candidate(unit))
    assert sticky.run(60.0, better, "STABLE") == "STABLE", sticky.control.get().transitions
    after = sticky.control.get()
    assert {look.step for look in after.looks} == {0, 1}
    first = next(look for look in after.looks if look.step == 1)
    last = [look for look in after.looks if look.step == 0][-1]
    assert first.candidate + first.stable < last.candidate + last.stable, "sums began anew"


def test_a_restart_in_mid_canary_goes_on_where_it_was(sticky: Any) -> None:
    sticky.ship(replace(RAMP, min_pairs=20))
    sticky.run(6.0, better)
    before = sticky.control.get()
    assert (before.status, len(before.looks) > 5) == ("CANARY", True)
    sticky.restart()
    after = sticky.control.get()
    assert after == before
    pool = sticky.control._desks["router.pick"].pool
    assert pool.looked == before.looks[-1].stable + before.looks[-1].candidate
    assert sticky.run(60.0, better, "STABLE") == "STABLE"
    assert sticky.ledger.verify().ok


def test_sums_of_a_process_that_left_survive_a_restart(sticky: Any) -> None:
    sticky.ship(replace(RAMP, min_pairs=40))
    sticky.run(5.0, equal)
    gone = sticky.processes.pop()
    sticky.control.gone(gone.instance)
    sticky.control.tick()
    counted = sum(gone.measure.slices().count)
    assert counted > 100
    sticky.close()
    sticky.control = sticky.open()
    assert sticky.control._desks["router.pick"].pool.decisions >= counted


def test_a_retry_draws_a_fresh_salt_and_halves_its_level(sticky: Any) -> None:
    rollout = sticky.ship(RAMP)
    sticky.run(60.0, worse, "ABORTED")
    before = sticky.control.get()
    sticky.control.act(rollout, "recalibrated", "me", "", "")
    sticky.control.act(rollout, "retry", "me", "", "")
    after = sticky.control.get()
    assert (after.attempt, after.looks) == (2, ())
    assert after.salt != before.salt
    assert after.evidence.better.level == before.evidence.better.level / 2
    assert sticky.run(60.0, better, "STABLE") == "STABLE"


def test_a_hold_and_a_resume_lose_nothing(sticky: Any) -> None:
    rollout = sticky.ship(replace(RAMP, min_pairs=30))
    sticky.run(5.0, equal)
    seen = sticky.control._desks["router.pick"].pool.decisions
    sticky.control.act(rollout, "hold", "me", "", "")
    sticky.run(2.0, equal)
    sticky.control.act(rollout, "resume", "me", "", "")
    sticky.run(1.0, equal)
    assert sticky.control._desks["router.pick"].pool.decisions > seen
    assert sticky.control.get().status == "CANARY"


def test_time_cannot_be_excluded(sticky: Any) -> None:
    sticky.ship(RAMP)
    now = sticky.clock.now
    with pytest.raises(RolloutError, match="sticky arms: a stretch of time is in both arms alike"):
        sticky.control.exclude("router.pick", Exclusion(now, now + 1, "deploy"), "me")


def test_state_survives_json_at_every_look(sticky: Any) -> None:
    sticky.ship(replace(RAMP, weights=(0.1, 0.5, 1.0)))
    sticky.run(60.0, better, "RAMP")
    sticky.run(1.0, better)
    state = sticky.control.get()
    assert state.evidence.base.count, "the second step has a base"
    kept = json.loads(json.dumps(codec.to_json(state)))
    assert codec.from_json(state.plan, kept) == state
    fresh = state.plan.evidence(0.01)
    assert units_codec.from_json(fresh, units_codec.to_json(fresh)) == fresh


def test_looks_before_twice_the_deadline_do_not_count(sticky: Any) -> None:
    sticky.ship(RAMP)
    sticky.run(4.0, equal)
    state = sticky.control.get()
    begun = state.windows[-1].from_ns
    early = LookSummary(0, begun + 2 * state.plan.deadline_ns - 1, 9, 9, 1.0, 1.0)
    late = replace(early, time_ns=early.time_ns + 1)
    assert replace(state, looks=(early, late, replace(late, step=1))).step_pairs == 1


def test_a_plan_of_a_sticky_kind_says_so(sticky: Any) -> None:
    bundle = sticky.publisher.bundle().payload
    kind, key = sticky.publisher.kind, sticky.publisher.rollout.public_key()
    payload = build_plan(RAMP, bundle, kind, key, 0)
    message = policy_pb2.RampPlan.FromString(payload)
    assert (message.arms, message.slices, message.max_pairs) == (policy_pb2.ARMS_STICKY, 200, 40)
    plan = read_plan(payload)
    assert (plan.arms, plan.candidates(0.25), plan.counted) == ("sticky", 50, "looks")
    with pytest.raises(RolloutError, match="weight 0.001 of 200 slices is no whole number"):
        build_plan(replace(RAMP, weights=(0.001, 1.0)), bundle, kind, key, 0)


def test_a_process_of_another_kind_refuses_the_plan(sticky: Any) -> None:
    for process in sticky.processes:
        process.policy.kind = replace(process.policy.kind, arms="switchback")
    sticky.ship(RAMP)
    state = sticky.control.get()
    assert state.status == "HOLD"
    assert "ramp plan's arms are sticky, kind 'chooser' here has switchback" in (
        state.transitions[-1].cause
    )
