"""The local sink: a service's records straight into a trace store, without a recorder."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from ..sdk.batches import check_batch, events
from ..sdk.errors import TraceError
from ..sdk.records import Record, WorkloadBatch
from ..sdk.telemetry.accounting import Account, Accounting
from ..sdk.telemetry.encode import HookLike
from .join import Joiner
from .rows import Joined, Source, tables
from .store import TraceStore

_log = logging.getLogger("gnomon.recorder")

_WINDOW_NS = 10 * 10**9
_WAITING = 100_000


class StoreSink:
    """Writes the records of this process's hooks into a trace store.

    Decisions wait up to ten seconds for their outcomes, and everything reaches the store every
    ``roll_s`` seconds, at :meth:`flush` and at :meth:`close`. A forked child starts anew.

    Args:
        store: where to.
        service: name of the service, as ``service.name`` would be.
        roll_s: seconds between two files.
        clock: monotonic seconds.
    """

    name = "store"

    def __init__(
        self,
        store: TraceStore,
        service: str = "",
        *,
        roll_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._service = service
        self._roll_s = roll_s
        self._clock = clock
        self._closed = False
        self._reset()

    def write(self, hook: HookLike, records: Sequence[Record]) -> None:
        """Take records; every ``roll_s`` seconds one call writes files."""
        if os.getpid() != self._process:
            self._reset()
        count = events(records)
        self._accounting.record(count)
        if self._closed:
            self._accounting.settle(dropped=count, why="closed")
            return
        records = [record for record in records if self._whole(record)]
        source = Source(
            hook.process_id, self._service, hook.name, hook.kind.name, hook.kind.version
        )
        with self._lock:
            self._joiners.setdefault(source, Joiner(_WINDOW_NS, _WAITING)).add(records)
            if self._clock() - self._rolled >= self._roll_s:
                self._roll(Joiner.take)

    def flush(self, timeout_s: float = 5.0) -> None:
        """Write everything, decisions without an outcome included.

        Args:
            timeout_s: as sinks have it; writing to a store cannot be cut short.
        """
        if os.getpid() != self._process:
            self._reset()
        with self._lock:
            self._roll(Joiner.drain)

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush and take no more."""
        self._closed = True
        self.flush(timeout_s)

    def account(self) -> Account:
        """Return what became of the records of this process."""
        return self._accounting.account()

    def _whole(self, record: Record) -> bool:
        """Return whether a record can be stored; a batch whose columns differ is dropped."""
        try:
            if isinstance(record, WorkloadBatch):
                check_batch(record)
        except (TypeError, ValueError):
            self._accounting.settle(dropped=events((record,)), why="not encodable")
            return False
        return True

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._accounting = Accounting()
        self._joiners: dict[Source, Joiner] = {}
        self._rolled = self._clock()

    def _roll(self, take: Callable[[Joiner], Joined]) -> None:
        for source, joiner in self._joiners.items():
            joined = take(joiner)
            written = _records(joined)
            try:
                self._store.write(tables(source, joined))
            except TraceError as error:
                # A service never fails for want of its trace: counted, and said in the log.
                _log.warning("%s", error)
                self._accounting.settle(dropped=written, why="not written")
            else:
                self._accounting.settle(acknowledged=written)
        self._rolled = self._clock()


def _records(joined: Joined) -> int:
    matched = sum(outcome is not None for _, outcome in joined.decisions)
    return len(joined.decisions) + matched + len(joined.outcomes) + events(joined.workload)
