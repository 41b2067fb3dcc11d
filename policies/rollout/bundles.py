"""The bundles that a control plane has ever taken, and the plans that speak of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gnomon.v1 import delivery_pb2, policy_pb2

from ...sdk.bundle import read_bundle
from . import signatures
from .plan import Plan, read_plan
from .store import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Bundles:
    """The stored bundles, in memory too.

    Args:
        store: that keeps them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._envelopes = store.bundles()

    @property
    def envelopes(self) -> Mapping[str, bytes]:
        """Signed envelopes, serialised, by digest."""
        return self._envelopes

    def read(self, digest: str) -> policy_pb2.Bundle:
        """Return a bundle's content."""
        return read_bundle(policy_pb2.Envelope.FromString(self._envelopes[digest]).payload)

    def keep(self, digest: str, bundle: policy_pb2.Envelope) -> None:
        """Store a verified bundle; the signatures of one that is known are added to it."""
        envelope = bundle.SerializeToString()
        if digest in self._envelopes:
            envelope = signatures.merged(self._envelopes[digest], bundle)
        self.put(digest, envelope)

    def put(self, digest: str, envelope: bytes) -> None:
        """Store an envelope in place of what is known of its digest."""
        self._store.put_bundle(digest, envelope)
        self._envelopes[digest] = envelope

    def signed_again(
        self, bundles: Iterable[policy_pb2.Envelope], publishers: Sequence[Ed25519PublicKey]
    ) -> dict[str, bytes]:
        """Return the envelopes to which others have further signatures, with these; nothing is stored.

        Raises:
            TrustError: no pinned key made them.
            RolloutError: there is no such bundle.
        """
        made = dict(signatures.resigned_bundle(self._envelopes, b, publishers) for b in bundles)
        return {digest: data for digest, data in made.items() if data != self._envelopes[digest]}

    def push(self, digest: str) -> delivery_pb2.ServerMessage:
        """Return the message that brings a process a bundle."""
        envelope = policy_pb2.Envelope.FromString(self._envelopes[digest])
        push = delivery_pb2.BundlePush(digest=digest, envelope=envelope)
        return delivery_pb2.ServerMessage(bundle=push)

    def plan(self, envelope: policy_pb2.Envelope) -> Plan:
        """Read a plan; predictions may name the stable policy by its source alone."""
        plan = read_plan(envelope.payload)
        if plan.stable in plan.predicted or plan.stable not in self._envelopes:
            return plan
        source = hashlib.sha256(self.read(plan.stable).source.encode()).hexdigest()
        if source not in plan.predicted:
            return plan
        return replace(plan, predicted={**plan.predicted, plan.stable: plan.predicted[source]})
