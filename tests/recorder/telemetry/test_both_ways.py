"""From the OpenTelemetry SDK's own exporter to our recorder, in one stream with the logs of others."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.sdk.records import Record
from gnomon.sdk.telemetry import LoggerProviderSink

from ..fakes import FakeHook, accesses, decision, outcome
from ..test_process import recording


def exporting(target: str, compression: grpc.Compression) -> LoggerProvider:
    """Return a provider as a service sets it up, with room for a burst."""
    provider = LoggerProvider(Resource({"service.name": "router"}), shutdown_on_exit=False)
    exporter = OTLPLogExporter(endpoint=target, insecure=True, compression=compression)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=100_000))
    return provider


def rows(store: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = TraceStore(store).read(table).table.to_pylist()
    return sorted(found, key=lambda row: row[f"{table.removesuffix('s')}_id"])


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_what_the_sdk_sends_is_stored_as_if_we_had(
    tmp_path: Path, compression: grpc.Compression
) -> None:
    made = [decision(i, trace_id=i + 1, span_id=i + 1, unit=f"u{i % 7}") for i in range(1_000)]
    items: list[Record] = [*made, *map(outcome, made), accesses(0, 30_000)]
    with recording(tmp_path / "store", "--json") as (recorder, target):
        provider = exporting(target, compression)
        other = provider.get_logger("somebody.else")
        sink = LoggerProviderSink(provider)
        for start in range(0, len(items), 250):
            sink.write(FakeHook(), items[start : start + 250])
            other.emit(LogRecord(timestamp=1, body="a line", severity_number=SeverityNumber.WARN))
        sink.close(20)
        provider.shutdown()
        recorder.send_signal(signal.SIGTERM)
        out, _ = recorder.communicate(timeout=30)
    assert sink.account().acknowledged == 2_000 + 30_000
    totals = json.loads(out)
    assert (totals["decisions"], totals["workload"], totals["foreign"]) == (1_000, 30_000, 9)
    local = StoreSink(TraceStore(tmp_path / "local"), "router")
    local.write(FakeHook(), items)
    local.close()
    for table in ("decisions", "workload"):
        assert rows(tmp_path / "store", table) == rows(tmp_path / "local", table)


def test_a_queue_that_is_too_short_loses_what_the_account_cannot_see() -> None:
    """The provider took everything; its processor's queue did not. This is what the docs warn of."""
    release = threading.Event()
    exported: list[Any] = []

    class Waits:
        def export(self, batch: Any) -> Any:
            release.wait(20)
            exported.extend(batch)

        def shutdown(self) -> None: ...

    provider = LoggerProvider(shutdown_on_exit=False)
    processor = BatchLogRecordProcessor(Waits(), max_queue_size=100, max_export_batch_size=100)  # type: ignore[arg-type]
    provider.add_log_record_processor(processor)
    sink = LoggerProviderSink(provider)
    sink.write(FakeHook(), [decision(i) for i in range(1_000)])
    release.set()
    sink.close(20)
    provider.shutdown()
    assert sink.account().acknowledged == 1_000
    assert len(exported) <= 200  # one batch under way, one waiting
