"""ManifestGuard against a model that only knows the promises, under drawn attacks and restarts."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gnomon.sdk.errors import TrustError
from gnomon.sdk.manifest import ManifestGuard
from gnomon.v1 import policy_pb2

SECOND = 1_000_000_000
HOOK = "router.pick"
PHASE = policy_pb2.Phase
PLANS: dict[str, dict[str, Any]] = {
    "wide": {},
    "narrow": {"weights": [0.1, 0.2], "id": "plan-2"},
    "other": {"candidate": "c" * 64, "id": "plan-3"},
    "brief": {"not_after_unix_ns": 1_700_000_020 * SECOND, "id": "plan-4"},
}


class Guarded(RuleBasedStateMachine):
    """Sends manifests, good and bad; whatever is accepted must keep every promise."""

    make_world: Any = None

    @initialize()
    def begin(self) -> None:
        self.world = self.make_world()
        self.guard = ManifestGuard(HOOK, self.world.anchors)
        self.plans = {name: self.world.plan(**change) for name, change in PLANS.items()}
        self.limits = {
            name: max(self.world.plan_message(**change).weights) for name, change in PLANS.items()
        }
        self.sent: list[tuple[policy_pb2.Envelope, dict[str, Any]]] = []
        self.highest = 0
        self.running: dict[str, Any] = {}
        self.plan: str | None = (
            None  # of the last manifest that brought one; in force where none comes
        )
        self.newest_issue: dict[int, int] = {}

    def offer(self, envelope: policy_pb2.Envelope, facts: dict[str, Any]) -> bool:
        """Show a manifest to the guard and hold an acceptance against the promises."""
        before = self.guard.current
        try:
            admitted = self.guard.check(envelope, self.world.now)
        except TrustError:
            assert self.guard.current is before
            return False
        self.guard.commit(admitted)
        assert facts["signer"] == "rollout"
        assert facts["epoch"] >= self.highest
        if not facts["kill"]:
            self.promises(facts, admitted)
        self.highest = facts["epoch"]
        self.running = facts
        self.plan = facts["plan"] or self.plan
        return True

    def promises(self, facts: dict[str, Any], admitted: Any) -> None:
        """Hold an accepted manifest that is no kill against the plan and the clocks."""
        age = self.world.now.unix_ns - facts["issued"]
        assert admitted.lease_until_ns <= self.world.now.monotonic_ns + 10 * SECOND
        if age > 70 * SECOND:
            assert self.is_lower(facts), "stale, and no step back"
        if not facts["candidate"]:
            assert self.may_be_stable(facts), "promoted after the plan, without a past"
            return
        plan = facts["plan"] or self.plan
        assert plan is not None or self.is_lower(facts)
        limit = self.limits[plan]
        assert facts["weight"] <= (1.0 if facts["phase"] == PHASE.PHASE_FULL else limit)
        assert facts["phase"] != PHASE.PHASE_FULL or limit > 0.5
        assert facts["phase"] != PHASE.PHASE_CANARY or facts["weight"] <= 0.5
        assert facts["candidate"] == self.world.plan_message(**PLANS[plan]).candidate
        expiry = self.world.plan_message(**PLANS[plan]).not_after_unix_ns
        assert self.world.now.unix_ns <= expiry or self.is_lower(facts)

    def may_be_stable(self, facts: dict[str, Any]) -> bool:
        """Return whether a promotion is within its plan's time, or of what runs here in full."""
        stable, now = facts["stable"], self.running
        if stable == "incumbent":
            return True
        running = bool(now) and not now["kill"]
        if running and now["stable"] == stable:
            return True
        plan = self.world.plan_message(**PLANS[facts["plan"] or self.plan])
        if plan.candidate != stable or max(plan.weights) <= 0.5:
            return False
        in_full = running and now["phase"] == PHASE.PHASE_FULL and now["candidate"] == stable
        return bool(in_full) or self.world.now.unix_ns <= plan.not_after_unix_ns

    def is_lower(self, facts: dict[str, Any]) -> bool:
        """Return whether a manifest gives the candidate no more than the one in force."""
        if not facts["candidate"]:
            return True
        now = self.running
        if not now or now["kill"] or now["candidate"] != facts["candidate"]:
            return False
        return facts["phase"] <= now["phase"] and facts["weight"] <= now["weight"]

    @rule(
        step=st.integers(-2, 3),
        weight=st.sampled_from([0.0, 0.05, 0.2, 0.25, 0.5, 0.7, 1.0]),
        phase=st.sampled_from(
            [PHASE.PHASE_STABLE, PHASE.PHASE_SHADOW, PHASE.PHASE_CANARY, PHASE.PHASE_FULL]
        ),
        plan=st.sampled_from(["wide", "wide", "narrow", "other", "brief", None]),
        candidate=st.sampled_from(["b" * 64, "b" * 64, "c" * 64, ""]),
        signer=st.sampled_from(["rollout", "rollout", "rollout", "stranger"]),
        age=st.sampled_from([0, 0, 0, 5, 100]),
        kill=st.sampled_from([False, False, False, False, True]),
    )
    def manifest(self, step, weight, phase, plan, candidate, signer, age, kill) -> None:
        facts = {
            "epoch": max(0, self.highest + step),
            "weight": weight,
            "phase": phase,
            "plan": plan,
            "candidate": candidate,
            "stable": "incumbent",
            "signer": signer,
            "issued": self.world.now.unix_ns - age * SECOND,
            "kill": kill,
        }
        envelope = self.world.manifest(
            facts["epoch"],
            signer=getattr(self.world, signer),
            plan=self.plans[plan] if plan else None,
            weight=weight,
            phase=phase,
            candidate=candidate,
            issued_unix_ns=facts["issued"],
            kill=kill,
        )
        self.sent.append((envelope, facts))
        self.offer(envelope, facts)

    @rule(plan=st.sampled_from(list(PLANS)), weight=st.sampled_from([0.05, 0.2]))
    def a_valid_canary_is_never_refused(self, plan, weight) -> None:
        facts = {
            "epoch": self.highest + 1,
            "weight": weight,
            "phase": PHASE.PHASE_CANARY,
            "plan": plan,
            "candidate": self.world.plan_message(**PLANS[plan]).candidate,
            "stable": "incumbent",
            "signer": "rollout",
            "issued": self.world.now.unix_ns,
            "kill": False,
        }
        envelope = self.world.manifest(
            facts["epoch"], plan=self.plans[plan], weight=weight, candidate=facts["candidate"]
        )
        self.sent.append((envelope, facts))
        expiry = self.world.plan_message(**PLANS[plan]).not_after_unix_ns
        expected = self.world.now.unix_ns <= expiry or self.is_lower(facts)
        assert self.offer(envelope, facts) == expected

    @rule(plan=st.sampled_from([*PLANS, None]), stable=st.sampled_from(["b" * 64, "c" * 64]))
    def promote(self, plan, stable) -> None:
        facts = {
            "epoch": self.highest + 1,
            "weight": 0.0,
            "phase": PHASE.PHASE_STABLE,
            "plan": plan,
            "candidate": "",
            "stable": stable,
            "signer": "rollout",
            "issued": self.world.now.unix_ns,
            "kill": False,
        }
        envelope = self.world.stable(
            facts["epoch"], plan=self.plans[plan] if plan else None, stable=stable
        )
        self.sent.append((envelope, facts))
        self.offer(envelope, facts)

    @rule()
    def a_signed_kill_of_a_higher_epoch_is_never_refused(self) -> None:
        facts = {
            "epoch": self.highest + 1,
            "kill": True,
            "signer": "rollout",
            "candidate": "",
            "plan": "wide",
        }
        kill = self.world.manifest(
            facts["epoch"], plan=self.plans["wide"], kill=True, issued_unix_ns=0, lease_ns=0
        )
        assert self.offer(kill, facts)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def replay(self, data) -> None:
        envelope, facts = data.draw(st.sampled_from(self.sent))
        lease = self.guard.current.lease_until_ns if self.guard.current else 0
        was = self.running
        accepted = self.offer(envelope, facts)
        if accepted and facts["epoch"] == was.get("epoch") and facts is was and lease:
            assert self.guard.current.lease_until_ns == lease, "a replay extends no lease"

    @precondition(lambda self: self.running)
    @rule()
    def restart(self) -> None:
        saved = self.guard.current.saved
        self.guard = ManifestGuard(HOOK, self.world.anchors, saved)
        assert self.guard.epoch == self.highest
        assert self.guard.current is not None
        assert self.guard.current.lease_until_ns == 0

    @rule(seconds=st.sampled_from([1, 3, 11]))
    def time_passes(self, seconds) -> None:
        self.world.later(seconds)

    @invariant()
    def what_runs_is_what_was_last_accepted(self) -> None:
        if getattr(self, "running", None):
            current = self.guard.current.manifest
            assert current.epoch == self.highest == self.running["epoch"]
            assert current.kill == self.running["kill"]


def test_no_sequence_of_manifests_breaks_a_promise(make_world) -> None:
    Guarded.make_world = staticmethod(make_world)
    run_state_machine_as_test(
        Guarded, settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
    )
