"""A publisher, a control plane's key and what they sign, for the tests of delivery."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon.sdk import dsse, keys
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.bundle import build_bundle
from gnomon.sdk.kind import Feature, Kind, Metric
from gnomon.sdk.language import check
from gnomon.sdk.manifest import Anchors, Now
from gnomon.v1 import policy_pb2

SECOND = 1_000_000_000
HOOK = "router.pick"


class World:
    """Keys of everybody, clocks that stand still, and makers of plans and manifests.

    Attributes:
        now: both clocks; ``later`` moves them.
        anchors: what the service pins: the publisher's key only.
    """

    def __init__(self) -> None:
        self.publisher = keys.generate()
        self.rollout = keys.generate()
        self.stranger = keys.generate()
        self.now = Now(1_700_000_000 * SECOND, 50 * SECOND)
        self.anchors = Anchors((self.publisher.public_key(),))
        self.kind = Kind(
            name="pick",
            version=3,
            description="Pick one.",
            features=(
                Feature("inflight", "{request}", "Requests in flight.", 0.0, 1000.0, integer=True),
                Feature("ewma_ms", "ms", "Mean latency.", 0.0, 10_000.0),
            ),
            objective=Metric("latency_ms", "ms", 2000.0),
        )

    def later(self, seconds: float) -> Now:
        """Move both clocks on and return them."""
        step = int(seconds * SECOND)
        self.now = Now(self.now.unix_ns + step, self.now.monotonic_ns + step)
        return self.now

    def bundle(self, source: str, signer: Any = None, hook: str = HOOK) -> policy_pb2.Envelope:
        """Return a signed bundle of a source; :func:`digest` names it."""
        program = check(source, self.kind.input_names)
        payload = build_bundle(program, hook, self.kind, "e" * 64, {})
        return dsse.sign(dsse.BUNDLE_TYPE, payload, signer or self.publisher)

    def plan_message(self, **changes: Any) -> policy_pb2.RampPlan:
        """Return a plan for a canary of ``b`` over the incumbent."""
        public = self.rollout.public_key()
        fields: dict[str, Any] = {
            "id": "plan-1",
            "hook": HOOK,
            "candidate": "b" * 64,
            "stable": "incumbent",
            "arms": policy_pb2.ARMS_SWITCHBACK,
            "weights": [0.25, 0.5, 1.0],
            "block_ns": 2 * SECOND,
            "burn_in_ns": SECOND // 5,
            "skew_ns": SECOND // 20,
            "objective": "latency_ms",
            "objective_clip": 2000.0,
            "lease_ns": 10 * SECOND,
            "shadow_rate": 0.5,
            "not_after_unix_ns": self.now.unix_ns + 3600 * SECOND,
            "rollout_keyid": keys.keyid(public),
            "rollout_public_key": keys.raw(public),
        }
        return policy_pb2.RampPlan(**(fields | changes))

    def plan(self, signer: Any = None, **changes: Any) -> policy_pb2.Envelope:
        """Return a signed plan."""
        payload = self.plan_message(**changes).SerializeToString()
        return dsse.sign(dsse.PLAN_TYPE, payload, signer or self.publisher)

    def manifest(
        self, epoch: int, signer: Any = None, plan: Any = True, **changes: Any
    ) -> policy_pb2.Envelope:
        """Return a signed manifest: a canary at a quarter, unless told otherwise.

        ``plan`` is an envelope, True for the usual one or None for none.
        """
        fields: dict[str, Any] = {
            "hook": HOOK,
            "epoch": epoch,
            "stable": "incumbent",
            "candidate": "b" * 64,
            "phase": policy_pb2.PHASE_CANARY,
            "weight": 0.25,
            "salt": b"0123456789abcdef",
            "issued_unix_ns": self.now.unix_ns,
            "lease_ns": 10 * SECOND,
        }
        fields |= changes
        if plan is not None:
            fields["plan"] = self.plan() if plan is True else plan
        payload = policy_pb2.Manifest(**fields).SerializeToString()
        return dsse.sign(dsse.MANIFEST_TYPE, payload, signer or self.rollout)

    def stable(self, epoch: int, **changes: Any) -> policy_pb2.Envelope:
        """Return a signed manifest that only names a stable policy."""
        fields = {"candidate": "", "weight": 0.0, "phase": policy_pb2.PHASE_STABLE, "salt": b""}
        return self.manifest(epoch, **(fields | changes))


class FakeHook:
    """A hook that only remembers what was installed."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self.kind = kind
        self.process_id = "0123456789abcdef"
        self.counters = {"decisions": 5, "shadow_decisions": 4, "shadow_faults": 1}
        self.breaker = ""
        self.measure: Any = None
        self.installed: list[Assignment] = []

    def install(self, assignment: Assignment) -> None:
        """Remember an assignment."""
        self.installed.append(assignment)


@pytest.fixture
def hook(world: World) -> FakeHook:
    """Return a fake hook of the world's kind."""
    return FakeHook(HOOK, world.kind)


@pytest.fixture(scope="session")
def make_hook() -> type[FakeHook]:
    """Return the class itself, for tests that need several hooks."""
    return FakeHook


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """Return the class itself, for tests that need a world per example."""
    return World


@pytest.fixture
def world() -> World:
    """Return fresh keys and clocks."""
    return World()
