"""What a control plane checks of its own files before it takes up where an earlier life stopped.

SQLite finds pages that do not fit together, and nothing else: a lost bit in a value, an older file put
in the place of a newer one, or one that was emptied look whole to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from gnomon.v1 import policy_pb2

from ...sdk.bundle import bundle_digest
from ...sdk.errors import TrustError

if TYPE_CHECKING:
    from .ledger import Ledger

_REMEDY = "restore the state folder as a whole from its backup"


def check_bundles(bundles: Mapping[str, bytes]) -> None:
    """Raise TrustError for a stored bundle that is not what its digest names.

    Args:
        bundles: serialised envelopes by digest.
    """
    for digest, data in bundles.items():
        try:
            payload = policy_pb2.Envelope.FromString(data).payload
        except DecodeError:
            payload = b""
        if bundle_digest(payload) != digest:
            raise TrustError(f"bundle {digest[:16]} in the store is damaged; {_REMEDY}")


def check_complete(ledger: Ledger, told: int, stored: int) -> None:
    """Raise TrustError where one of the two files has forgotten what the other one tells of.

    A store that is behind would give later events the numbers of those in the ledger, which would
    then be taken for accounted. A ledger that is merely absent is begun anew on purpose.

    Args:
        ledger: as opened.
        told: highest number of an event in it.
        stored: number of the store's last event.
    """
    if told > stored:
        raise TrustError(
            f"ledger {ledger.path} tells of event {told}, the store ends at {stored}: it is older than "
            f"its ledger, or was emptied; {_REMEDY}, or move the ledger away as evidence"
        )
    if ledger.emptied and stored:
        raise TrustError(
            f"ledger {ledger.path} was emptied, the store has {stored} events; {_REMEDY}, or move the "
            "empty file away to begin another ledger"
        )
