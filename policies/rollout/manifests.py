"""Manifests: what a state wants to run, signed with the rollout key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnomon.v1 import policy_pb2

from ...sdk import dsse
from .states import State

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PHASES = {
    "stable": policy_pb2.PHASE_STABLE,
    "shadow": policy_pb2.PHASE_SHADOW,
    "canary": policy_pb2.PHASE_CANARY,
    "full": policy_pb2.PHASE_FULL,
}


def sign_manifest(
    state: State, plan: bytes, epoch: int, issued_ns: int, key: Ed25519PrivateKey
) -> policy_pb2.Envelope:
    """Return the signed manifest of a state.

    Args:
        state: of the rollout.
        plan: the publisher's signed envelope, serialised.
        epoch: of the manifest.
        issued_ns: Unix time; a later one with all else equal renews the lease.
        key: the rollout key.
    """
    target = state.target
    manifest = policy_pb2.Manifest(
        hook=state.plan.hook,
        epoch=epoch,
        stable=target.stable,
        candidate=target.candidate,
        phase=_PHASES[target.phase],
        weight=target.weight,
        salt=target.salt,
        kill=target.kill,
        issued_unix_ns=issued_ns,
        lease_ns=state.plan.lease_ns,
        plan=policy_pb2.Envelope.FromString(plan),
    )
    return dsse.sign(dsse.MANIFEST_TYPE, manifest.SerializeToString(deterministic=True), key)
