"""The publisher's side of a key rotation: sign again, with another key, what a control plane has in force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gnomon.v1 import keys_pb2, policy_pb2

from ...sdk import dsse, keys
from ...sdk.bundle import bundle_digest
from ...sdk.errors import RolloutError, TrustError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    from .client import RolloutClient


class Resigned(NamedTuple):
    """What was signed again for one hook.

    Attributes:
        hook, rollout: whose plan it was.
        bundles: digests.
        rollout_keyid: of the key that the plan names now.
    """

    hook: str
    rollout: str
    bundles: tuple[str, ...]
    rollout_keyid: str


def resign(
    client: RolloutClient,
    key: Ed25519PrivateKey,
    trusted: Sequence[Ed25519PublicKey],
    actor: str,
    *,
    hook: str = "",
    rollout_key: Ed25519PublicKey | None = None,
) -> list[Resigned]:
    """Sign again the plans and bundles in force that a trusted key signed before; return what was signed.

    Args:
        client: of the control plane.
        key: the new publisher's.
        trusted: keys whose signature is reason enough to sign; what none of them signed is refused, because a
            control plane's word is none.
        actor: who does it, for the ledger.
        hook: only this one; all when empty.
        rollout_key: that plans shall name from now on; None leaves the one that they name.

    Raises:
        RolloutError: nothing is in force on the hook that was named.
        TrustError: something in force was signed by none of ``trusted``, or the control plane does not trust the
            new key yet; nothing of that hook is signed.
    """
    found = client.signed(hook)
    if hook and not found.hooks:
        raise RolloutError(
            f"hook {hook!r} has nothing in force to sign again; see gnomon rollout status"
        )
    return [_resigned(client, key, trusted, actor, one, rollout_key) for one in found.hooks]


def _resigned(
    client: RolloutClient,
    key: Ed25519PrivateKey,
    trusted: Sequence[Ed25519PublicKey],
    actor: str,
    found: keys_pb2.InForce,
    rollout_key: Ed25519PublicKey | None,
) -> Resigned:
    try:
        payload = dsse.verify(found.plan, dsse.PLAN_TYPE, trusted)
        bundles = [dsse.verify(bundle, dsse.BUNDLE_TYPE, trusted) for bundle in found.bundles]
    except TrustError as error:
        raise TrustError(
            f"hook {found.hook}: {error}; nothing of it was signed again, name the key with --old if you trust it"
        ) from error
    plan = policy_pb2.RampPlan.FromString(payload)
    if rollout_key is not None:
        plan.rollout_keyid = keys.keyid(rollout_key)
        plan.rollout_public_key = keys.raw(rollout_key)
        payload = plan.SerializeToString(deterministic=True)
    request = keys_pb2.ResignRequest(
        hook=found.hook,
        plan=dsse.sign(dsse.PLAN_TYPE, payload, key),
        bundles=[dsse.sign(dsse.BUNDLE_TYPE, bundle, key) for bundle in bundles],
        actor=actor,
    )
    try:
        client.resign(request)
    except TrustError as error:
        if "not a trusted key" not in str(error):
            raise
        new = keys.keyid(key.public_key())[:16]
        raise TrustError(
            f"control plane {client.peer.address} does not trust the new key {new} yet; pin its .pub there first "
            "(gnomon serve --publisher-key)"
        ) from error
    return Resigned(
        found.hook, found.rollout, tuple(map(bundle_digest, bundles)), plan.rollout_keyid
    )
