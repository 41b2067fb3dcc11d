"""Manifests: what a state wants to run, signed with the rollout key, once while it is fresh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gnomon.v1 import policy_pb2

from ...sdk import dsse
from .desk import Desk
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


class Manifests:
    """The manifests in force, each signed once for all processes while it is fresh."""

    def __init__(self) -> None:
        #: By hook: epoch, when it was issued, and the envelope.
        self._signed: dict[str, tuple[int, int, policy_pb2.Envelope]] = {}

    def current(
        self, desk: Desk, now: int, signers: Mapping[str, Ed25519PrivateKey]
    ) -> policy_pb2.Envelope:
        """Return a hook's manifest; its desk has a rollout.

        Args:
            desk: of the hook.
            now: Unix nanoseconds.
            signers: the rollout keys by keyid; the plan names one of them.
        """
        assert desk.state is not None
        epoch, issued, envelope = self._signed.get(desk.hook, (0, 0, None))
        if envelope is None or epoch != desk.epoch or now - issued >= _fresh_ns(desk.state):
            key = signers[desk.state.plan.rollout_keyid]
            envelope = sign_manifest(desk.state, desk.plan, desk.epoch, now, key)
            self._signed[desk.hook] = (desk.epoch, now, envelope)
        return envelope

    def renewed(self, desk: Desk, now: int) -> bool:
        """Let go of a manifest whose lease is to be renewed; return whether it is."""
        assert desk.state is not None
        _, issued, _ = self._signed.get(desk.hook, (0, 0, None))
        if now - issued < _fresh_ns(desk.state):
            return False
        self._signed.pop(desk.hook, None)
        return True


def _fresh_ns(state: State) -> int:
    """Return for how long a manifest is given out as it was signed."""
    return state.plan.lease_ns // 3
