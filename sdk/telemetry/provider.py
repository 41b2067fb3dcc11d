"""The sink of a service that has a LoggerProvider: its own processors and exporters take the records."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..batches import check_batch, events, pieces
from ..errors import ConfigurationError
from ..forking import in_children
from ..records import Record, WorkloadBatch
from . import names
from .accounting import Account, Accounting
from .attributes import NOT_ENCODABLE, Event, event_of
from .encode import HookLike

if TYPE_CHECKING:
    from opentelemetry.context import Context

_LOG = logging.getLogger("gnomon")
#: Of one log record's columns; receivers take 4 MiB a request, and the provider packs several into one.
_COLUMN_BYTES = 1 << 18


class Provider(Protocol):
    """What the sink needs of an OpenTelemetry ``LoggerProvider``; a ``force_flush`` is used if it has one."""

    def get_logger(self, name: str) -> Any:
        """Return the logger of an instrumentation scope."""
        ...


class LoggerProviderSink:
    """Hands records to a service's own ``LoggerProvider``, as the same events that OTLP carries.

    What a provider took counts as acknowledged: it has them. Whether its processors and exporters
    lose some later, only they know; their queue is often smaller than a burst of decisions
    (``OTEL_BLRP_MAX_QUEUE_SIZE``, 2,048 by default). What a provider takes and lets fall, because it
    is switched off, counts as dropped; what made it raise, as unknown.

    The provider stays the service's: it is flushed, and never shut down.

    Args:
        provider: an ``opentelemetry.sdk._logs.LoggerProvider``, or another with its methods.

    Raises:
        ConfigurationError: it has no ``get_logger``.
    """

    name = "logger_provider"
    _flushing: threading.Thread | None

    def __init__(self, provider: Provider) -> None:
        if not callable(getattr(provider, "get_logger", None)):
            raise ConfigurationError(
                f"logger_provider={provider!r} has no get_logger; pass an OpenTelemetry LoggerProvider"
            )
        self._provider = provider
        self._closed = False
        self._reset()
        in_children(self._reset)

    def write(self, hook: HookLike, records: Sequence[Record]) -> None:
        """Emit records one by one; a workload batch of n events counts as n records."""
        count = events(records)
        self._accounting.record(count)
        logger = self._provider.get_logger(names.SCOPE)
        why = "closed" if self._closed else "" if _listens(logger) else "provider off"
        if why:
            self._accounting.settle(dropped=count, why=why)
            return
        self._dirty = True
        for record in records:
            for part in self._parts(record):
                self._emit(logger, hook, part)

    def flush(self, timeout_s: float = 5.0) -> None:
        """Have the provider flush, but wait no longer than ``timeout_s``.

        The SDK's own ``force_flush`` may ignore its time-out, so it runs in a thread of its own. One that
        has not come back is waited for again, and no second one is started beside it.
        """
        if not self._dirty or not hasattr(self._provider, "force_flush"):
            return
        if self._flushing is None or not self._flushing.is_alive():
            self._dirty = False
            self._flushing = self._flusher(timeout_s)
        if self._flushing is not None:
            self._flushing.join(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush, and take no more."""
        self._closed = True
        self.flush(timeout_s)

    def account(self) -> Account:
        """Return what became of the records of this process, as far as the provider tells."""
        return self._accounting.account()

    def _reset(self) -> None:
        self._accounting = Accounting("the LoggerProvider")
        self._flushing = None
        self._dirty = False

    def _parts(self, record: Record) -> Iterator[Record]:
        """Yield a record, or a workload batch in parts of the size that receivers take."""
        if not isinstance(record, WorkloadBatch):
            yield record
            return
        try:
            check_batch(record)
        except NOT_ENCODABLE:
            self._accounting.settle(dropped=events((record,)), why="not encodable")
            return
        yield from pieces(record, _COLUMN_BYTES)

    def _emit(self, logger: Any, hook: HookLike, record: Record) -> None:
        count = events((record,))
        try:
            made = _log_record(event_of(hook, record))
        except NOT_ENCODABLE:
            self._accounting.settle(dropped=count, why="not encodable")
            return
        try:
            logger.emit(made)
        except Exception as error:  # noqa: BLE001 - the service's own processors may raise anything
            _LOG.debug("the LoggerProvider raised: %r", error)
            self._accounting.settle(unknown=count)
        else:
            self._accounting.settle(acknowledged=count)

    def _flusher(self, timeout_s: float) -> threading.Thread | None:
        thread = threading.Thread(
            target=self._force_flush, args=(timeout_s,), name="gnomon-flush", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends: the provider flushes at exit by itself
            return None
        return thread

    def _force_flush(self, timeout_s: float) -> None:
        try:
            self._provider.force_flush(int(timeout_s * 1000))  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001 - a thread's boundary, and the service's own code
            _LOG.warning("flushing the LoggerProvider failed: %r", error)


def _listens(logger: Any) -> bool:
    """Return whether a logger hands on what it is given, as far as it says."""
    from opentelemetry._logs import NoOpLogger
    from opentelemetry._logs._internal import ProxyLogger

    if isinstance(logger, (NoOpLogger, ProxyLogger)):  # a proxy: nobody has set a provider yet
        return False
    enabled = getattr(logger, "enabled", None)  # since 1.45
    return True if enabled is None else bool(enabled())


def _log_record(event: Event) -> Any:
    from opentelemetry._logs import LogRecord, SeverityNumber

    return LogRecord(
        timestamp=event.time_ns,
        # As conventions have it for records that an OpenTelemetry library makes itself.
        observed_timestamp=event.time_ns,
        context=_context(event.trace_id, event.span_id),
        severity_number=SeverityNumber.INFO,
        attributes=event.attributes,
        event_name=event.name,
    )


def _context(trace_id: int, span_id: int) -> Context:
    """Return a context with this span and no other, whatever runs on the thread that drains."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

    return set_span_in_context(
        NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False)), Context()
    )
