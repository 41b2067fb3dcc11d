"""How a control plane takes up where an earlier life stopped, and what it checks of its own files before.

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
from . import codec
from .desk import Seat

if TYPE_CHECKING:
    from .bundles import Bundles
    from .desks import Desks
    from .ledger import Ledger
    from .store import Row, Store

_REMEDY = "restore the state folder as a whole from its backup"


def check_ledger(ledger: Ledger) -> None:
    """Raise TrustError for a ledger whose chain does not hold."""
    check = ledger.verify()
    if not check.ok:
        raise TrustError(f"ledger {ledger.path}: {check.problem}; keep it and start a new one")


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


def restore(store: Store, desks: Desks, bundles: Bundles, now: int) -> None:
    """Fill the desks with what is stored: rollouts, epochs and processes.

    Args:
        store: to read.
        desks: without a hook.
        bundles: of the store, checked.
        now: Unix nanoseconds; since then the processes are gone until they come back.

    Raises:
        TrustError: what is stored makes no sense.
    """
    for row in store.rollouts():
        try:
            _restore_rollout(row, store, desks, bundles, now)
        except (ArithmeticError, DecodeError, LookupError, TypeError, ValueError) as error:
            raise TrustError(
                f"rollout {row.id} in the store is damaged ({error}); restore the state folder"
            ) from error
    for hook, epoch in store.epochs().items():
        desks[hook].epoch = epoch
    for client in store.clients():
        seat = Seat(client.service, client.instance, client.cell)
        seat.epoch, seat.error, seat.gone_ns = client.epoch, client.error, now
        desks[client.hook].seats[client.instance] = seat


def _restore_rollout(row: Row, store: Store, desks: Desks, bundles: Bundles, now: int) -> None:
    envelope = policy_pb2.Envelope.FromString(row.plan)
    state = codec.from_json(bundles.plan(envelope), row.state)
    desk = desks[row.hook]
    desk.entered(None, state)
    desk.plan, desk.first_epoch, desk.marks = row.plan, row.first_epoch, row.marks
    desks.note(state)
    desk.blocks.resumed(now)
    for report in store.reports(row.id, state.attempt):
        desk.blocks.put(report)
    if desk.pool is not None:
        sums = store.sums(row.id, state.attempt)
        desk.restore_pool(row.state["weight_epoch"], sums)
