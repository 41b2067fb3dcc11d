"""What a decision weighs: on the wire, compressed as gRPC does it, and in the store."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from results import Peer, Row

from gnomon.recorder.decode import Batch, decode
from gnomon.recorder.publish import Seen, publish
from gnomon.recorder.store import TraceStore
from gnomon.sdk.records import Decision, Record
from gnomon.sdk.telemetry.encode import Encoder, request, resource
from recording import capture
from recording.client import attributes
from recording.data import HOOK, SERVICE, decisions, mixed

DECISIONS = 100_000
BATCH = 1460
WIRE = 110.0
STORE = 0.8
Group = tuple[Any, Sequence[Record]]


def rows() -> list[Row]:
    """Measure, and return the rows."""
    records = mixed(decisions(DECISIONS))
    pinned: list[Group] = [(HOOK, records[at : at + BATCH]) for at in range(0, len(records), BATCH)]
    sent = capture.requests()
    captured = [group for payload in sent for group in _groups(decode(payload).batches)]
    return [
        *_of("the pinned generator", pinned, [_payload(*group) for group in pinned]),
        *_of("the demo's capture", captured, sent),
    ]


def _groups(batches: Iterable[Batch]) -> Iterable[Group]:
    for batch in batches:
        for source, records in batch.records.items():
            kind = SimpleNamespace(name=source.kind, version=source.kind_version)
            yield SimpleNamespace(name=source.hook, kind=kind, process_id=source.process), records


def _of(what: str, groups: Sequence[Group], payloads: Sequence[bytes]) -> list[Row]:
    alone = [(hook, [r for r in records if isinstance(r, Decision)]) for hook, records in groups]
    alone = [group for group in alone if group[1]]
    n = sum(len(records) for _, records in alone)
    size = sum(len(records) for _, records in groups) / len(groups)
    beside = Peer(
        "one attribute per feature, as the SDK of OpenTelemetry sends them, gzip",
        version("opentelemetry-sdk"),
        sum(_gzip(_attributes(records)) for _, records in alone) / n,
    )
    with_outcomes = sum(map(_gzip, payloads)) / n
    note = f"requests of {size:.0f} records in the mean, decisions and outcomes"
    return [
        _row(f"OTLP gzip, {what}: a decision", _wire(alone) / n, WIRE, beside, note),
        _row(f"OTLP gzip, {what}: a decision and its outcome", with_outcomes, WIRE, None, note),
        _stored(what, payloads, n),
    ]


def _wire(groups: Iterable[Group]) -> int:
    return sum(_gzip(_payload(*group)) for group in groups)


def _payload(hook: Any, records: Sequence[Record]) -> bytes:
    encoded = Encoder(hook).encode_all(records)
    where = resource({"service.name": SERVICE, "service.instance.id": hook.process_id})
    return request(where, encoded, os.urandom(16))


def _attributes(records: Sequence[Record]) -> bytes:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    message = ExportLogsServiceRequest()
    logs = message.resource_logs.add().scope_logs.add().log_records
    for each in records:
        assert isinstance(each, Decision)
        log = logs.add(time_unix_nano=each.time_ns, severity_number=9, event_name="decision")
        log.observed_time_unix_nano = each.time_ns + 1000
        given = attributes(each)
        for i, value in enumerate(each.features):
            given[f"gnomon.feature.{i}"] = value
        for key, value in given.items():
            holder = log.attributes.add(key=key).value
            if key != "gnomon.decision.features":
                kind = {str: "string", int: "int", float: "double", bytes: "bytes"}[type(value)]
                setattr(holder, f"{kind}_value", value)
    return message.SerializeToString()


def _gzip(payload: bytes) -> int:
    """Return the size that gRPC sends: zlib at its default level."""
    packer = zlib.compressobj(wbits=31)
    return len(packer.compress(payload) + packer.flush())


def _stored(what: str, payloads: Sequence[bytes], n: int) -> Row:
    batches = [batch for payload in payloads for batch in decode(payload).batches]
    with tempfile.TemporaryDirectory() as folder:
        store = TraceStore(folder)
        publish(store, "bench", batches, Seen())
        found = {table: store.files.parquet(table) for table in ("decisions", "outcomes")}
        ours = sum(size for files in found.values() for _, size in files)
        theirs = sum(_defaults(store.read(table).table) for table in found)
    default = Peer("the same rows, pyarrow's defaults", pa.__version__, theirs / n)
    note = f"with outcomes; {ours / theirs:.3f} x the peer, target {STORE} x"
    return _row(f"Parquet, {what}: a decision", ours / n, STORE * theirs / n, default, note)


def _defaults(table: pa.Table) -> int:
    if not table.num_rows:
        return 0
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return int(out.getvalue().size)


def _row(name: str, value: float, target: float, beside: Peer | None, note: str) -> Row:
    return Row(name, value, "bytes", "lower", target, (value, value), beside, note)
