"""What others ask of a call: OpenTelemetry, OpenFeature, wrapt and a plain closure, each at its best.

Every peer is a function with the bare one's signature that returns the first item and does one thing
beside. Its exporter does nothing and its queue has room, so that the caller's own part is what is timed.
Nothing of OpenTelemetry is loaded before :func:`peers` is called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version
from typing import Any

ROOM = 2**16
SELDOM_MS = 1e9


@dataclass(frozen=True, slots=True)
class Other:
    """One peer.

    Attributes:
        name: of the library and what is done with it.
        version: of the library.
        function: as the bare one, with the peer's work.
        settle: empties what waits.
    """

    name: str
    version: str
    function: Callable[..., Any]
    settle: Callable[[], object] = lambda: None


def otel_version() -> str:
    """Return the version of the OpenTelemetry SDK."""
    return version("opentelemetry-sdk")


def peers(bare: Callable[..., Any]) -> dict[str, Other]:
    """Return the peers by a short name."""
    otel, feature = otel_version(), version("openfeature-sdk")
    emit, flush_logs = _logger()
    sampled, flush_spans = _tracer(sampled=True)
    unsampled, _ = _tracer(sampled=False)
    evaluate = _flag()
    both, both_version = "OpenFeature in memory + OpenTelemetry log", f"{feature}, {otel}"
    one, many = _logs(emit, _attributes), _logs(emit, _arrays)
    noop = _logs(_noop_logger(), _attributes)
    return {
        "wraps": Other("functools.wraps closure", python_version(), _wraps(bare)),
        "wrapt": Other("wrapt.decorator", version("wrapt"), _wrapt(bare)),
        "no-op log": Other("OpenTelemetry no-op log", otel, noop),
        "log": Other("OpenTelemetry log", otel, one, flush_logs),
        "log of many": Other("OpenTelemetry log", otel, many, flush_logs),
        "unsampled": Other("OpenTelemetry unsampled span", otel, _spans(unsampled)),
        "span": Other("OpenTelemetry sampled span", otel, _spans(sampled), flush_spans),
        "flag": Other("OpenFeature in memory", feature, _flags(evaluate, bare)),
        "flag and log": Other(both, both_version, _flags(evaluate, one), flush_logs),
        "flag and log of many": Other(both, both_version, _flags(evaluate, many), flush_logs),
    }


@contextmanager
def exported(endpoint: str) -> Iterator[Other]:
    """Have OpenTelemetry's logger export to a receiver, in its default settings."""
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(shutdown_on_exit=False)
    batches: Any = BatchLogRecordProcessor(OTLPLogExporter(endpoint, insecure=True))
    provider.add_log_record_processor(batches)
    emit = provider.get_logger("bench").emit
    pick = _logs(emit, _attributes)
    try:
        yield Other("OpenTelemetry log", otel_version(), pick, batches.force_flush)
    finally:
        batches.shutdown()


# --- the functions ----------------------------------------------------------------------------------


def _wraps(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def closure(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return closure


def _wrapt(function: Callable[..., Any]) -> Callable[..., Any]:
    import wrapt

    @wrapt.decorator  # type: ignore[untyped-decorator,unused-ignore]
    def passed_on(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    made: Callable[..., Any] = passed_on(function)
    return made


def _attributes(items: Sequence[Any]) -> dict[str, Any]:
    """Return five attributes: the only item's features, the action and the policy."""
    item = items[0]
    return {
        "inflight": item.inflight,
        "ewma_ms": item.ewma_ms,
        "weight": item.weight,
        "action": 0,
        "policy": "incumbent",
    }


def _arrays(items: Sequence[Any]) -> dict[str, Any]:
    """Return five attributes: every feature of all items as an array, the action and the policy."""
    return {
        "inflight": [item.inflight for item in items],
        "ewma_ms": [item.ewma_ms for item in items],
        "weight": [item.weight for item in items],
        "action": 0,
        "policy": "incumbent",
    }


def _logs(
    emit: Callable[..., None], attributes: Callable[[Sequence[Any]], dict[str, Any]]
) -> Callable[..., Any]:
    def pick(request: str, items: Sequence[Any], spare: Any) -> Any:
        emit(event_name="decision", attributes=attributes(items))
        return items[0]

    return pick


def _spans(tracer: Any) -> Callable[..., Any]:
    start = tracer.start_as_current_span

    def pick(request: str, items: Sequence[Any], spare: Any) -> Any:
        with start("decision", attributes=_attributes(items)):
            return items[0]

    return pick


def _flags(evaluate: Callable[[str, bool], bool], then: Callable[..., Any]) -> Callable[..., Any]:
    def pick(request: str, items: Sequence[Any], spare: Any) -> Any:
        return then(request, items, spare) if evaluate("candidate", False) else None

    return pick


# --- what they call ---------------------------------------------------------------------------------


def _noop_logger() -> Callable[..., None]:
    from opentelemetry import _logs

    return _logs.NoOpLogger("bench").emit


def _logger() -> tuple[Callable[..., None], Callable[[], object]]:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs import export as logs

    class Nowhere(logs.LogRecordExporter):
        """Exports nothing."""

        def export(self, batch: Any) -> Any:
            return logs.LogRecordExportResult.SUCCESS

        def shutdown(self) -> None:
            return None

        def force_flush(self, timeout_millis: int = 0) -> bool:
            return True

    provider = LoggerProvider(shutdown_on_exit=False)
    batches = logs.BatchLogRecordProcessor(Nowhere(), SELDOM_MS, ROOM, max_queue_size=ROOM)
    provider.add_log_record_processor(batches)
    return provider.get_logger("bench").emit, batches.force_flush


def _tracer(*, sampled: bool) -> tuple[Any, Callable[[], object]]:
    from opentelemetry.sdk.trace import TracerProvider, export, sampling

    class Nowhere(export.SpanExporter):
        """Exports nothing."""

        def export(self, spans: Any) -> Any:
            return export.SpanExportResult.SUCCESS

    chosen = sampling.ALWAYS_ON if sampled else sampling.ALWAYS_OFF
    provider = TracerProvider(chosen, shutdown_on_exit=False)
    batches = export.BatchSpanProcessor(
        Nowhere(), max_queue_size=ROOM, max_export_batch_size=ROOM, schedule_delay_millis=SELDOM_MS
    )
    provider.add_span_processor(batches)
    return provider.get_tracer("bench"), batches.force_flush


def _flag() -> Callable[[str, bool], bool]:
    from openfeature import api
    from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

    flag = InMemoryFlag("on", {"on": True, "off": False})
    api.set_provider(InMemoryProvider({"candidate": flag}))
    return api.get_client().get_boolean_value
