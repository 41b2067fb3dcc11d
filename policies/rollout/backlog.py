"""What the ledger must still be told: events wait in the store, in order, until it holds them."""

from __future__ import annotations

import logging

from .anchors import Witnesses
from .ledger import Ledger, LedgerFullError
from .restoring import check_complete
from .store import Happened, Store

_log = logging.getLogger("gnomon.rollout")


class Backlog:
    """The events of a store on their way to a ledger.

    Args:
        store: that has them first.
        ledger: that they are for.

    Attributes:
        witnesses: processes that remember the ledger's heads.
    """

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self.witnesses = Witnesses(ledger)
        self._store = store
        self._ledger = ledger
        #: Number of the last event up to which the ledger holds all, and later ones that it holds.
        self._accounted = 0
        self._ahead: set[int] = set()

    @property
    def waiting(self) -> bool:
        """Whether the store has events that the ledger does not hold."""
        return bool(self._store.events(self._accounted))

    def resume(self) -> None:
        """Write what an earlier life could not write any more.

        Raises:
            TrustError: store and ledger do not belong together.
        """
        self._ahead = {entry.body.get("event", 0) for entry in self._ledger.list()}
        check_complete(self._ledger, max(self._ahead, default=0), self._store.last_event())
        self.account()

    def note(self, happened: Happened) -> None:
        """Store an event that changed no rollout; the ledger has it with the next call."""
        self._store.note(happened)

    def tell(self) -> None:
        """Account for what is stored; it stands also where the ledger takes nothing at present."""
        try:
            self.account()
        except LedgerFullError as error:  # every tick tries again, and fails as long as it does
            _log.error("%s; it is made good later", error)

    def account(self) -> None:
        """Write to the ledger, in order, what it does not hold yet; stop where it takes no more.

        What is left stays the store's backlog, which every later call begins with.
        """
        for event in self._store.events(self._accounted):
            if event.number not in self._ahead:
                body = {**event.body, "event": event.number}
                entry = self._ledger.append(event.kind, event.actor, event.subject, body)
                self.witnesses.head = entry.anchor
                said = (event.kind, event.subject, event.actor, entry.anchor)
                _log.info("%s %s %s ledger %s", *said)
            self._accounted = event.number
            self._ahead.discard(event.number)
