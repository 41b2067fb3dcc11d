"""Whom a control plane trusts, as whom it signs, and whether what runs still has a pinned key's signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gnomon.v1 import policy_pb2

from ...sdk import dsse, keys
from ...sdk.errors import TrustError
from . import signatures
from .bundles import Bundles
from .desk import Desk
from .events import Act
from .states import MACHINE, State
from .store import Happened

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


@dataclass(frozen=True)
class Identity:
    """Whom the control plane trusts, and as whom it signs.

    Attributes:
        rollout_key: signs manifests.
        publishers: keys that may sign bundles and plans.
        names: of their files by keyid, where they are known; for the ledger.
        older: rollout keys that plans made earlier may still name.
        revoked: keyids of keys that may sign nothing any more.
    """

    rollout_key: Ed25519PrivateKey
    publishers: Sequence[Ed25519PublicKey]
    names: Mapping[str, str] = field(default_factory=dict)
    older: Sequence[Ed25519PrivateKey] = ()
    revoked: frozenset[str] = frozenset()

    @property
    def keyid(self) -> str:
        """Of the rollout key that new plans name."""
        return keys.keyid(self.rollout_key.public_key())

    def signers(self) -> dict[str, Ed25519PrivateKey]:
        """Return the rollout keys by keyid, the one for new plans first."""
        found = (self.rollout_key, *self.older)
        return {keys.keyid(key.public_key()): key for key in found}

    def signed_by(self, envelope: policy_pb2.Envelope) -> dict[str, str]:
        """Return the publisher keys that signed an envelope, with the names of their files."""
        found = dsse.signers(envelope, self.publishers)
        return {keyid: self.names.get(keyid, "") for keyid in found}

    def told(self, kind: str) -> Happened:
        """Return the entry that says whom the control plane trusts."""
        known = (keys.keyid(key) for key in self.publishers)
        body: dict[str, Any] = {"publishers": {keyid: self.names.get(keyid, "") for keyid in known}}
        body["revoked"] = sorted(self.revoked)
        return Happened(kind, MACHINE, self.keyid, body)


class Trust:
    """The identity in force, held against what runs.

    Args:
        identity: to begin with.
        bundles: that may run.

    Attributes:
        identity: in force; :meth:`change` puts another one in its place.
    """

    def __init__(self, identity: Identity, bundles: Bundles) -> None:
        self.identity = identity
        self._bundles = bundles
        #: By hook the epoch of which all signatures were found good.
        self._vouched: dict[str, int] = {}

    def change(self, identity: Identity) -> None:
        """Trust other keys from now on."""
        self.identity, self._vouched = identity, {}

    def require(self, desk: Desk, identity: Identity) -> None:
        """Raise TrustError where something runs that no pinned key signed, and none of its keys is revoked."""
        lapse = self._lapse(desk, identity)
        if lapse is not None and not identity.revoked.intersection(lapse.keyids):
            raise TrustError(
                f"hook {desk.hook} runs a {lapse}, which is not pinned; pin it, and sign again with: "
                "gnomon keys resign, or take back what it signed with: gnomon keys revoke"
            )

    def require_vouched(self, desk: Desk, after: State) -> None:
        """Refuse an order that would put in force what no pinned key signed, as on hold nobody took it back."""
        known, publishers = self._bundles.envelopes, self.identity.publishers
        lapse = signatures.lapsed(after, desk.plan, known, publishers)
        if lapse is not None:
            raise TrustError(
                f"rollout {after.plan.id} would run a {lapse}, which is not pinned; sign it again with: "
                "gnomon keys resign, or ship it again"
            )

    def lapse(self, desk: Desk) -> signatures.Lapse | None:
        """Return what runs without a pinned key's signature; looked at once for every epoch and set of keys."""
        if self._vouched.get(desk.hook) == desk.epoch:
            return None
        lapse = self._lapse(desk, self.identity)
        if lapse is None:
            self._vouched[desk.hook] = desk.epoch
        return lapse

    def withdrawal(self, desk: Desk) -> Act | None:
        """Return the order that kills what runs without a pinned key's signature; None where all have one.

        It is returned again until it is carried out: a disk may be full at first.
        """
        lapse = self.lapse(desk)
        return Act("kill", "control plane", f"{lapse}, which is revoked") if lapse else None

    def _lapse(self, desk: Desk, identity: Identity) -> signatures.Lapse | None:
        if desk.state is None:
            return None
        known = self._bundles.envelopes
        return signatures.lapsed(desk.state, desk.plan, known, identity.publishers)
