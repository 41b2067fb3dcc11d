"""DSSE envelopes: a typed payload with ed25519 signatures over its pre-authentication encoding."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from gnomon.v1 import policy_pb2

from . import keys as _keys
from .errors import TrustError

BUNDLE_TYPE = "application/vnd.gnomon.bundle.v1"
PLAN_TYPE = "application/vnd.gnomon.rampplan.v1"
MANIFEST_TYPE = "application/vnd.gnomon.manifest.v1"
REVERIFICATION_TYPE = "application/vnd.gnomon.reverification.v1"

#: Signatures of one envelope that are looked at; more is refused, so that nobody can make us work.
MAX_SIGNATURES = 16
#: Bytes of one payload.
MAX_PAYLOAD = 1 << 20


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding that a signature is made over.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, private: Ed25519PrivateKey) -> policy_pb2.Envelope:
    """Return an envelope with one signature."""
    signature = policy_pb2.Signature(
        keyid=_keys.keyid(private.public_key()),
        sig=private.sign(pae(payload_type, payload)),
    )
    return policy_pb2.Envelope(payload_type=payload_type, payload=payload, signatures=[signature])


def verify(
    envelope: policy_pb2.Envelope, payload_type: str, keys: Sequence[Ed25519PublicKey]
) -> bytes:
    """Return the payload of an envelope that at least one of ``keys`` signed.

    Args:
        envelope: as received.
        payload_type: that it must have.
        keys: that are trusted for this type. A signature's keyid only says which of them to try.

    Raises:
        TrustError: another type, too large, unsigned, signed by none of the keys, or altered.
    """
    if envelope.payload_type != payload_type:
        raise TrustError(f"payload type {envelope.payload_type!r} instead of {payload_type!r}")
    if len(envelope.payload) > MAX_PAYLOAD:
        raise TrustError(f"payload of {len(envelope.payload)} bytes exceeds {MAX_PAYLOAD}")
    if not 0 < len(envelope.signatures) <= MAX_SIGNATURES:
        count = len(envelope.signatures)
        raise TrustError(f"{count} signatures on {payload_type}; 1 to {MAX_SIGNATURES} are allowed")
    _verify_any(envelope, keys)
    return envelope.payload


def signers(envelope: policy_pb2.Envelope, keys: Sequence[Ed25519PublicKey]) -> tuple[str, ...]:
    """Return the keyids of those of ``keys`` that signed a verified envelope, in order."""
    message = pae(envelope.payload_type, envelope.payload)
    made = {found.keyid: found.sig for found in envelope.signatures}
    known = {_keys.keyid(key): key for key in keys}
    return tuple(k for k, key in known.items() if k in made and _keys.valid(key, made[k], message))


def _verify_any(envelope: policy_pb2.Envelope, keys: Sequence[Ed25519PublicKey]) -> None:
    trusted = {_keys.keyid(key): key for key in keys}
    known = [found for found in envelope.signatures if found.keyid in trusted]
    if not known:
        named = (
            ascii(found.keyid[:16])[1:-1] for found in envelope.signatures
        )  # a stranger's text
        signers = ", ".join(name or "no keyid" for name in named)
        raise TrustError(f"{envelope.payload_type} signed by {signers}, which is not a trusted key")
    message = pae(envelope.payload_type, envelope.payload)
    if not any(_keys.valid(trusted[found.keyid], found.sig, message) for found in known):
        raise TrustError(f"signature of key {known[0].keyid[:16]} does not match the payload")
