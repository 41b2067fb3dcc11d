"""What plans, manifests and bundles hold unless a test says otherwise."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gnomon.sdk import bundle as bundles
from gnomon.sdk import keys
from gnomon.v1 import policy_pb2

SECOND = 1_000_000_000
HOOK = "router.pick"


def plan_of(rollout: Ed25519PublicKey, now_ns: int, **changes: Any) -> policy_pb2.RampPlan:
    """Return a plan for a canary of ``b`` over the incumbent, whose raises this key signs."""
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
        "not_after_unix_ns": now_ns + 3600 * SECOND,
        "rollout_keyid": keys.keyid(rollout),
        "rollout_public_key": keys.raw(rollout),
    }
    return policy_pb2.RampPlan(**(fields | changes))


def manifest_of(epoch: int, now_ns: int, **changes: Any) -> policy_pb2.Manifest:
    """Return a manifest of a canary at a quarter, without a plan."""
    fields: dict[str, Any] = {
        "hook": HOOK,
        "epoch": epoch,
        "stable": "incumbent",
        "candidate": "b" * 64,
        "phase": policy_pb2.PHASE_CANARY,
        "weight": 0.25,
        "salt": b"0123456789abcdef",
        "issued_unix_ns": now_ns,
        "lease_ns": 10 * SECOND,
    }
    return policy_pb2.Manifest(**(fields | changes))


def changed_bundle(payload: bytes, **changes: Any) -> bytes:
    """Return a bundle's payload with fields replaced; it is the same where nothing is."""
    if not changes:
        return payload
    message = bundles.read_bundle(payload)
    for name, value in changes.items():
        if isinstance(value, list):
            message.ClearField(name)
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message.SerializeToString()
