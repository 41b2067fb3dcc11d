"""Whose signatures stand under what is in force: do they still count, and adding those of another key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gnomon.v1 import policy_pb2

from ...sdk import dsse
from ...sdk.bundle import bundle_digest
from ...sdk.errors import RolloutError, TrustError
from ...sdk.records import INCUMBENT

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from .states import State


class Lapse(NamedTuple):
    """Something runs that no pinned key signed.

    Attributes:
        what: runs.
        keyids: that did sign it.
    """

    what: str
    keyids: tuple[str, ...]

    def __str__(self) -> str:
        """Return what it is and who signed it."""
        return f"{self.what} signed by {', '.join(keyid[:16] for keyid in self.keyids)}"


def running(state: State) -> tuple[str, ...]:
    """Return the digests of the policies that a rollout lets run now."""
    target = state.target
    return tuple(d for d in (target.stable, target.candidate) if d not in ("", INCUMBENT))


def within_reach(state: State) -> tuple[str, ...]:
    """Return the digests of the policies that a rollout runs or may bring back."""
    found = (*running(state), state.plan.candidate, state.plan.stable)
    return tuple(dict.fromkeys(digest for digest in found if digest != INCUMBENT))


def lapsed(
    state: State,
    plan: bytes,
    bundles: Mapping[str, bytes],
    publishers: Sequence[Ed25519PublicKey],
) -> Lapse | None:
    """Return what of a rollout runs without a pinned key's signature; None where all have one.

    Args:
        state: of the rollout; one that lets nothing run needs no signature.
        plan: its signed envelope, serialised.
        bundles: signed envelopes, serialised, by digest.
        publishers: the pinned keys.
    """
    digests = running(state)
    if not digests:
        return None
    signed = [("plan", dsse.PLAN_TYPE, plan)]
    signed += [(f"bundle {d[:16]}", dsse.BUNDLE_TYPE, bundles[d]) for d in digests]
    for what, kind, data in signed:
        envelope = policy_pb2.Envelope.FromString(data)
        try:
            dsse.verify(envelope, kind, publishers)
        except TrustError:
            return Lapse(what, tuple(signature.keyid for signature in envelope.signatures))
    return None


def resigned_bundle(
    known: Mapping[str, bytes],
    more: policy_pb2.Envelope,
    publishers: Sequence[Ed25519PublicKey],
) -> tuple[str, bytes]:
    """Return the digest of a bundle and its envelope with the further signatures of another one.

    Raises:
        TrustError: no pinned key made them.
        RolloutError: there is no such bundle.
    """
    payload = dsse.verify(more, dsse.BUNDLE_TYPE, publishers)
    digest = bundle_digest(payload)
    if digest not in known:
        raise RolloutError(f"no bundle {digest[:16]!r} here; sign what gnomon keys resign shows")
    return digest, merged(known[digest], more)


def resigned_plan(
    known: bytes,
    more: policy_pb2.Envelope,
    publishers: Sequence[Ed25519PublicKey],
    rollout_keyids: Collection[str],
) -> bytes:
    """Return a plan's envelope with the further signatures of another one.

    The other may differ in the key that signs manifests under the plan, and in nothing else.

    Raises:
        TrustError: no pinned key made them.
        RolloutError: it is another plan, or for the rollout key of another control plane.
    """
    new = policy_pb2.RampPlan.FromString(dsse.verify(more, dsse.PLAN_TYPE, publishers))
    before = policy_pb2.Envelope.FromString(known)
    if more.payload == before.payload:
        return merged(known, more)
    if new.rollout_keyid not in rollout_keyids:
        raise RolloutError(
            f"plan {new.id}: it names rollout key {new.rollout_keyid[:16]!r}, which this control plane "
            "does not have; start it with --rollout-key"
        )
    plan = policy_pb2.RampPlan.FromString(before.payload)
    plan.rollout_keyid, plan.rollout_public_key = new.rollout_keyid, new.rollout_public_key
    if plan != new:
        raise RolloutError(
            f"plan {new.id}: it is not the one in force; sign what gnomon keys resign shows"
        )
    return more.SerializeToString()


def merged(known: bytes, more: policy_pb2.Envelope) -> bytes:
    """Return an envelope with the signatures of both; the newer ones first, as many as may be."""
    envelope = policy_pb2.Envelope.FromString(known)
    found = {s.keyid: s for s in (*more.signatures, *envelope.signatures)}
    if set(found) == {s.keyid for s in envelope.signatures}:
        return known
    del envelope.signatures[:]
    envelope.signatures.extend(list(found.values())[: dsse.MAX_SIGNATURES])
    return envelope.SerializeToString()
