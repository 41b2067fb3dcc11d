"""What became of every record that was handed to a sink."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_LOG = logging.getLogger("gnomon")


@dataclass(frozen=True, slots=True)
class Account:
    """The fate of a sink's records; ``recorded == acknowledged + dropped + unknown + pending``, always.

    Attributes:
        recorded: handed to the sink.
        acknowledged: the receiver said that it has them.
        dropped: certainly not delivered.
        unknown: sent, but no answer came; nobody can tell.
        pending: still waiting or under way; 0 once the sink is closed.
        reasons: of the dropped ones, how many for which reason.
    """

    recorded: int
    acknowledged: int
    dropped: int
    unknown: int
    pending: int
    reasons: Mapping[str, int]


class Accounting:
    """Counts records; every change keeps the sum right. Every cause of a loss is logged once.

    Args:
        where: where records go, for the log.
    """

    def __init__(self, where: str = "") -> None:
        self._where = where
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._recorded = self._acknowledged = self._unknown = 0
        self._reasons: Counter[str] = Counter()

    def record(self, n: int) -> None:
        """``n`` records were handed over."""
        with self._lock:
            self._recorded += n

    def settle(
        self, acknowledged: int = 0, unknown: int = 0, dropped: int = 0, why: str = ""
    ) -> None:
        """The fate of some pending records is known."""
        with self._lock:
            self._acknowledged += acknowledged
            self._unknown += unknown
            if dropped:
                self._reasons[why] += dropped
        if dropped:
            self._tell(why, "dropped")
        if unknown:
            self._tell("no answer", "sent, but nobody can tell whether they arrived")

    def _tell(self, why: str, fate: str) -> None:
        if why not in self._told:
            self._told.add(why)
            _LOG.warning("records for %s are %s (%s)", self._where or "OTLP", fate, why)

    def account(self) -> Account:
        """Return the present state."""
        with self._lock:
            dropped = self._reasons.total()
            settled = self._acknowledged + dropped + self._unknown
            return Account(
                self._recorded,
                self._acknowledged,
                dropped,
                self._unknown,
                self._recorded - settled,
                MappingProxyType(dict(self._reasons)),
            )
