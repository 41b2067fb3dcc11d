"""Signed checkpoints: the head of a ledger at some moment, vouched for by a key and kept elsewhere.

An anchor with a signature: whoever holds the ledger's file cannot make one for another past. DSSE over
canonical JSON, as bundles and plans are signed (:mod:`gnomon.sdk.dsse`); any ed25519 key will do, best one
that the control plane's machine does not have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from gnomon.v1 import policy_pb2

from ...sdk import dsse
from ...sdk.errors import ConfigurationError, TrustError
from ...sdk.files import read_regular
from ...sdk.state import write_atomically
from .chain import canonical, parse_anchor

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

CHECKPOINT_TYPE = "application/vnd.gnomon.checkpoint.v1+json"
_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a ledger at some moment.

    Attributes:
        anchor: ``SEQ:HASH``.
        time_ns: Unix time of the signature.
        signed_by: keyids of the trusted keys that signed it.
    """

    anchor: str
    time_ns: int
    signed_by: tuple[str, ...] = ()


def save_checkpoint(path: Path, anchor: str, time_ns: int, key: Ed25519PrivateKey) -> None:
    """Sign a head and write it, whole or not at all.

    Raises:
        ConfigurationError: the anchor is not ``SEQ:HASH``.
    """
    parse_anchor(anchor)
    payload = canonical({"anchor": anchor, "time_ns": time_ns})
    envelope = dsse.sign(CHECKPOINT_TYPE, payload, key)
    write_atomically(path, envelope.SerializeToString(deterministic=True), 0o644)


def load_checkpoint(path: Path, keys: Sequence[Ed25519PublicKey]) -> Checkpoint:
    """Read and verify a checkpoint.

    Args:
        path: of the file.
        keys: of which one at least must have signed it.

    Raises:
        ConfigurationError: the file cannot be read, or is no checkpoint.
        TrustError: none of the keys signed it, or it was changed.
    """
    try:
        envelope = policy_pb2.Envelope.FromString(read_regular(path, _MOST_BYTES))
    except (OSError, ValueError, DecodeError) as error:
        why = getattr(error, "strerror", None) or "it is none"
        raise ConfigurationError(f"cannot read checkpoint {path}: {why}; name another") from error
    payload = dsse.verify(envelope, CHECKPOINT_TYPE, keys)
    try:
        fields: Any = json.loads(payload)
        parse_anchor(fields["anchor"])
        made = Checkpoint(fields["anchor"], int(fields["time_ns"]), dsse.signers(envelope, keys))
    except (
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
        ConfigurationError,
    ) as error:
        raise TrustError(f"checkpoint {path} is signed but says no head; make it anew") from error
    return made
