"""The OTLP sink: takes records from the drainer, answers at once, and accounts for every one."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from ..batches import check_batch, events, pieces
from ..forking import grpc_usable, in_children
from ..records import Record, WorkloadBatch
from . import names
from .accounting import Account, Accounting
from .attributes import NOT_ENCODABLE as _NOT_ENCODABLE
from .delivery import Batch, Courier, Fate
from .encode import Encoder, HookLike, Value, request, resource
from .settings import Settings, read_settings

_LOG = logging.getLogger("gnomon")
#: For senders that were told to stop, once the deadline has passed.
_GRACE_S = 0.5
_SCALARS = (str, bytes, bool, int, float)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of an :class:`OtlpSink`.

    Attributes:
        backlog: log records that may wait; more are dropped and counted.
        backlog_bytes: bytes of requests that may wait.
        batch: log records in one request.
        batch_bytes: size in bytes after which a request is closed, and of the columns of one workload
            batch; receivers refuse above 4 MiB.
        senders: requests under way at once.
    """

    backlog: int = 65_536
    backlog_bytes: int = 64 << 20
    batch: int = 2048
    batch_bytes: int = 1 << 20
    senders: int = 2


class OtlpSink:
    """Sends records to an OTLP receiver over gRPC.

    Nothing is connected and no thread runs before the first write. A child that is forked before then
    starts anew; one that is forked later cannot use gRPC (see ``forking.py``), and its records are
    counted as dropped, reason ``forked``. What the parent has yet to send stays the parent's.

    Args:
        endpoint: instead of ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        attributes: of the OpenTelemetry Resource, beside those in the environment.
        settings: instead of ``endpoint`` and the environment.
        limits: bounds.
        rng: for the jitter of retries.

    Raises:
        ConfigurationError: endpoint or environment make no sense.
    """

    name = "otlp"

    def __init__(
        self,
        endpoint: str | None = None,
        attributes: Mapping[str, str] | None = None,
        *,
        settings: Settings | None = None,
        limits: Limits | None = None,
        rng: Random | None = None,
    ) -> None:
        self._settings = settings or read_settings(os.environ, endpoint)
        self._attributes = dict(attributes or {})
        # Now, because at exit, when a short-lived process first writes, it cannot be made any more.
        self._resource = _resource(self._attributes)
        self._resource_of = os.getpid()
        self._limits = limits or Limits()
        self._rng = rng or Random()
        self._closed = False
        self._reset()
        in_children(self._reset)

    def write(self, hook: HookLike, records: Sequence[Record]) -> None:
        """Encode records and queue them; what does not fit the backlog is dropped and counted.

        A workload batch of n events counts as n records.
        """
        count = events(records)
        self._accounting.record(count)
        if self._closed or not grpc_usable():
            why = "closed" if self._closed else "forked"
            self._accounting.settle(dropped=count, why=why)
            return
        for batch in self._batches(hook, records):
            self._enqueue(batch)

    def flush(self, timeout_s: float = 5.0) -> None:
        """Wait until every queued batch has met its fate, but not longer than ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        if not self._threads:
            self._send_here(deadline)
        with self._changed:
            self._changed.wait_for(self._idle, max(0.0, deadline - time.monotonic()))

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush for at most ``timeout_s``, then give up what is left and release the connection.

        Afterwards nothing is pending: what was still waiting is dropped, what was under way unknown.
        """
        self._closed = True
        self.flush(timeout_s)
        self._stopping.set()
        with self._changed:
            abandoned = sum(batch.count for batch in self._backlog)
            self._backlog.clear()
            self._changed.notify_all()
        self._accounting.settle(dropped=abandoned, why="closed")
        if self._courier is not None:
            self._courier.close()
        self._join(time.monotonic() + _GRACE_S)

    def _join(self, deadline: float) -> None:
        """Wait for the senders, which have nothing to wait for any more, and then for none of them."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            left = sum(batch.count for batch in self._unsettled)
            self._unsettled.clear()
        self._accounting.settle(unknown=left)

    def account(self) -> Account:
        """Return what became of the records of this process."""
        return self._accounting.account()

    def _reset(self) -> None:
        """Start without threads, connection or backlog, as a forked child must."""
        self._accounting = Accounting(self._settings.target)
        self._changed = threading.Condition()
        self._backlog: deque[Batch] = deque()
        self._waiting = 0
        self._waiting_bytes = 0
        self._under_way = 0
        self._unsettled: list[Batch] = []
        self._stopping = threading.Event()
        self._courier: Courier | None = None
        self._threads: list[threading.Thread] = []
        self._encoders: dict[str, tuple[str, bytes, Encoder]] = {}

    def _batches(self, hook: HookLike, records: Sequence[Record]) -> Iterator[Batch]:
        resource_field, encoder = self._encoder(hook)
        columns = [record for record in records if type(record) is WorkloadBatch]
        if columns:
            records = [record for record in records if type(record) is not WorkloadBatch]
        for at in range(0, len(records), self._limits.batch):
            encoded = self._encoded(encoder, _by_type(records[at : at + self._limits.batch]))
            for part in _cut(encoded, self._limits.batch_bytes):
                yield _batch(resource_field, part)
        for record in columns:
            yield from self._parts(resource_field, encoder, record)

    def _parts(
        self, resource_field: bytes, encoder: Encoder, record: WorkloadBatch
    ) -> Iterator[Batch]:
        """Yield a workload batch in requests of its own, so that a rejection is of known size."""
        try:
            check_batch(record)
        except _NOT_ENCODABLE:
            self._accounting.settle(dropped=events((record,)), why="not encodable")
            return
        for part in pieces(record, self._limits.batch_bytes):
            yield _batch(resource_field, self._encoded(encoder, (part,)), events((part,)))

    def _encoded(self, encoder: Encoder, records: Sequence[Record]) -> list[bytes]:
        """Return the records encoded; those of which that cannot be are counted and left out."""
        try:
            return encoder.encode_all(records)
        except _NOT_ENCODABLE:
            return [data for record in records if (data := self._one(encoder, record))]

    def _one(self, encoder: Encoder, record: Record) -> bytes:
        try:
            return encoder.encode(record)
        except _NOT_ENCODABLE:
            self._accounting.settle(dropped=events((record,)), why="not encodable")
            return b""

    def _encoder(self, hook: HookLike) -> tuple[bytes, Encoder]:
        process, resource_field, encoder = self._encoders.get(hook.name, ("", b"", None))
        if encoder is None or process != hook.process_id:
            own = {names.SERVICE_INSTANCE_ID: hook.process_id}
            resource_field = resource({**self._own_resource(), **own})
            encoder = Encoder(hook)
            self._encoders[hook.name] = (hook.process_id, resource_field, encoder)
        return resource_field, encoder

    def _own_resource(self) -> Mapping[str, Value]:
        """Return the Resource of this process; a forked child may have other attributes (its pid)."""
        if self._resource_of != os.getpid():
            self._resource_of = os.getpid()
            with contextlib.suppress(RuntimeError):  # at exit: the parent's is right but for those
                self._resource = _resource(self._attributes)
        return self._resource

    def _enqueue(self, batch: Batch) -> None:
        with self._changed:
            fits = self._fits(batch) and not self._closed
            if fits:
                self._waiting += batch.logs
                self._waiting_bytes += len(batch.payload)
                self._backlog.append(batch)
                self._start()
                self._changed.notify()
        if not fits:
            why = "closed" if self._closed else "backlog full"
            self._accounting.settle(dropped=batch.count, why=why)

    def _fits(self, batch: Batch) -> bool:
        limits = self._limits
        return (
            self._waiting + batch.logs <= limits.backlog
            and self._waiting_bytes + len(batch.payload) <= limits.backlog_bytes
        )

    def _start(self) -> None:
        if self._threads:
            return
        for number in range(self._limits.senders):
            thread = threading.Thread(target=self._send, name=f"gnomon-otlp-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends; flush() sends by itself
                return
            self._threads.append(thread)

    def _send(self) -> None:
        while (batch := self._next(wait=True)) is not None:
            self._meet(batch)

    def _send_here(self, deadline: float) -> None:
        """Send what waits from this thread, where no other can be started, until a moment."""
        while time.monotonic() < deadline and (batch := self._next(wait=False)) is not None:
            self._meet(batch, deadline - time.monotonic())

    def _meet(self, batch: Batch, within_s: float = math.inf) -> None:
        """Send a batch and settle its fate."""
        fate = self._fate(batch, within_s)
        if self._claim(batch):  # else it was given up when the sink was closed
            self._accounting.settle(fate.acknowledged, fate.unknown, fate.dropped, fate.why)
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def _claim(self, batch: Batch) -> bool:
        """Return whether a batch's fate is still to be settled; true at most once."""
        with self._changed:
            for at, other in enumerate(self._unsettled):
                if other is batch:
                    del self._unsettled[at]
                    return True
        return False

    def _fate(self, batch: Batch, within_s: float) -> Fate:
        try:
            return self._connected().deliver(batch, within_s)
        except Exception as error:  # noqa: BLE001 - a thread's boundary: one lost batch, not all to come
            _LOG.warning("sending to %s failed: %r", self._settings.target, error)
            return Fate(unknown=batch.count)

    def _next(self, *, wait: bool) -> Batch | None:
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._backlog or self._stopping.is_set())
            if not self._backlog:
                return None
            batch = self._backlog.popleft()
            self._waiting -= batch.logs
            self._waiting_bytes -= len(batch.payload)
            self._under_way += 1
            self._unsettled.append(batch)
            return batch

    def _connected(self) -> Courier:
        with self._changed:
            if self._courier is None:
                self._courier = Courier(self._settings, self._stopping, time.monotonic, self._rng)
            return self._courier

    def _idle(self) -> bool:
        return not self._backlog and not self._under_way


def _by_type(records: Sequence[Record]) -> Sequence[Record]:
    """Return records with those of one type side by side: such requests pack and read better."""
    types = dict.fromkeys(map(type, records))
    if len(types) < 2:
        return records
    return [record for kind in types for record in records if type(record) is kind]


def _cut(encoded: list[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    """Yield encoded records in parts that end as soon as they have ``most_bytes``."""
    ends = list(accumulate(map(len, encoded)))
    at = before = 0
    while at < len(encoded):
        end = min(bisect_left(ends, before + most_bytes) + 1, len(encoded))
        yield encoded[at:end]
        at, before = end, ends[end - 1]


def _batch(resource_field: bytes, encoded: list[bytes], each: int = 1) -> Batch:
    return Batch(request(resource_field, encoded, os.urandom(16)), len(encoded), each)


def _resource(attributes: Mapping[str, str]) -> Mapping[str, Value]:
    """Return the user's Resource, as their own OpenTelemetry SDK would make it."""
    from opentelemetry.sdk.resources import Resource

    made = Resource.create(dict(attributes)).attributes
    return {key: _plain(value) for key, value in made.items()}


def _plain(value: object) -> Value:
    """Return an attribute as something that the encoder knows; maps, which are rare, as text."""
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(each if isinstance(each, _SCALARS) else str(each) for each in value)
    return str(value)
