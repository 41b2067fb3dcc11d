"""What a publisher signs in a simulated world: bundles are made once for all worlds."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gnomon.policies.rollout.outcomes import Effect
from gnomon.policies.rollout.shipping import Ramp, build_plan, sign_plan
from gnomon.sdk import bundle, dsse
from gnomon.sdk.kind import Feature, Guardrail, Kind, Metric
from gnomon.sdk.language import check
from gnomon.v1 import policy_pb2, rollouts_pb2


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


#: Keys that follow one another, and one that nobody trusts.
PUBLISHERS = tuple(_key(f"publisher {i}") for i in range(4))
ROLLOUTS = tuple(_key(f"rollout {i}") for i in range(4))
STRANGER = _key("stranger")
KIND = Kind(
    "toy",
    1,
    "Picks the shorter queue.",
    (Feature("inflight", "{request}", "Outstanding requests.", 0.0, 100.0, integer=True),),
    Metric("latency_ms", "ms", 1000.0),
    (Guardrail("failures", "latency_ms", "failure_rate", 0.02),),
    outcome_deadline_s=1.0,
)
#: By what a hook's name begins with: how its arms share the traffic.
KINDS = {
    "hook": KIND,
    "sticky": replace(KIND, name="toy_units", arms="sticky"),
    "paired": replace(KIND, name="toy_ghost", arms="paired"),
}
#: Share of decisions whose feature is high, in the traces and as long as nothing has drifted.
USUAL, DRIFTED = 0.1, 0.9
#: Different policies per hook.
POLICIES = 12
_WEIGHTS = ((0.5, 1.0), (0.25, 0.5, 1.0), (0.2, 0.35, 0.5, 1.0))


@cache
def shipped(hook: str, number: int, key: int = 0) -> policy_pb2.Envelope:
    """Return the bundle of a hook's policy, signed by a key; every second one has a new calibration."""
    kind = kind_of(hook)
    names = kind.input_names
    program = check(f"def score({', '.join(names)}):\n    return {names[0]} + {number}\n", names)
    calibration = {"calibration": f"c{number // 2}"}
    given = (program, hook, kind, "e" * 64, calibration)
    payload = bundle.build_bundle(*given, profile=_profile(1))
    return dsse.sign(dsse.BUNDLE_TYPE, payload, PUBLISHERS[key])


def kind_of(hook: str) -> Kind:
    """Return what a hook decides; its name begins with how its arms share the traffic."""
    return KINDS[hook.partition(".")[0]]


def _profile(until_ns: int) -> policy_pb2.Profile:
    """Return the profile of a trace that ends at a time."""
    feature = policy_pb2.FeatureProfile(
        name=KIND.features[0].name, edges=(5.0,), shares=(1.0 - USUAL, USUAL)
    )
    return policy_pb2.Profile(
        trace="t" * 64, features=(feature,), decisions=1000, until_unix_ns=until_ns
    )


def reverification(
    hook: str, policy: str, number: int, until_ns: int, key: int = 0
) -> policy_pb2.Envelope:
    """Return a fresh verdict on a shipped policy, by a trace that ends at a time."""
    found = next(p for p in (shipped(hook, n).payload for n in range(POLICIES)) if _is(p, policy))
    said = rollouts_pb2.Reverification(
        hook=hook,
        policy=policy,
        source_digest=hashlib.sha256(bundle.read_bundle(found).source.encode()).hexdigest(),
        evidence_digest=f"{number:064x}",
        profile=_profile(until_ns),
    )
    payload = said.SerializeToString(deterministic=True)
    return dsse.sign(dsse.REVERIFICATION_TYPE, payload, PUBLISHERS[key])


@cache
def _is(payload: bytes, policy: str) -> bool:
    return bundle.bundle_digest(payload) == policy


def ramp(rng: random.Random, *, patient: bool = False) -> Ramp:
    """Draw a ramp of some twenty seconds, and an upkeep that is as short; the patient wait for drift."""
    return Ramp(
        weights=rng.choice(_WEIGHTS),
        block_s=rng.choice((1.0, 1.5)),
        burn_in_s=0.0,
        skew_s=0.05,
        min_pairs=rng.choice((1, 2)),
        max_pairs=rng.choice((8, 16)),
        slices=100,
        max_looks=rng.choice((20, 30)),
        alpha_promote=0.3,
        alpha_abort=0.2,
        shadow_decisions=rng.choice((0, 8)),
        shadow_rate=0.5,
        soak_s=rng.choice((1.0, 3.0)),
        lease_s=rng.choice((3.0, 6.0)),
        valid_s=rng.choice((20.0, 600.0, 600.0, 600.0)),
        expires_s=rng.choice((0.0, 0.0, 20.0) if patient else (0.0, 8.0, 20.0)),
        drift=0.25 if patient else rng.choice((0.0, 0.25, 0.25)),
        drift_window_s=2.0,
        drift_windows=rng.choice((1, 2)),
        grace_s=rng.choice((2.0, 8.0)),
        then=rng.choice(("incumbent", "incumbent", "keep")),
    )


def plan(
    hook: str,
    number: int,
    stable: str,
    plan_id: str,
    now: int,
    how: Ramp,
    by: tuple[int, int] = (0, 0),
) -> Any:
    """Return a plan for a shipped policy, signed ``by`` a publisher's key, for a rollout key."""
    publisher, rollout = by
    predicted = {"incumbent": Effect(-0.35, -0.45, -0.1)}
    payload = build_plan(
        how,
        shipped(hook, number).payload,
        kind_of(hook),
        ROLLOUTS[rollout].public_key(),
        now,
        stable=stable,
        predicted=predicted,
        plan_id=plan_id,
    )
    return sign_plan(payload, PUBLISHERS[publisher])
