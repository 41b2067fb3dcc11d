"""OTLP log requests to records; whatever is not Gnomon's, or not whole, is counted and named."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from ..sdk.batches import MOST_EVENTS, events
from ..sdk.errors import TraceError
from ..sdk.records import Decision, Outcome, Record, Workload, WorkloadBatch
from ..sdk.telemetry import names
from .blocks import Block, Known, blocks
from .columns import Array, Columns, Decisions, Outcomes, concat, take
from .frames import ResourceFrame, frames, without
from .rows import Source

_INT32 = 2**31
_INT64 = 2**63
#: Bytes of a name; a hook's counts as the store's folder quotes it, which file systems end at 255.
_NAME_BYTES = 250
#: Of one workload batch: what its columns' names may hold, and how far its times may lie apart. Each
#: event repeats the names in its row, and each hour is a file.
_FIELDS = 32
_BATCH_NAME_BYTES = 256
_FIELD_BYTES = 64
_SPAN_NS = 24 * 3600 * 10**9
#: Characters of a reason for refusing a record, and different reasons that are kept apart.
_REASON, _REASONS = 200, 64
Attributes = Mapping[str, Any]


class Malformed(ValueError):
    """A record of Gnomon's that lacks an attribute or has one of the wrong type; says which."""


@dataclass(slots=True)
class Batch:
    """The records of one instrumentation scope.

    Attributes:
        key: digest of the content, the sender's batch id included: the same when a sender or a
            Collector repeats itself, another when a Collector has cut a batch in two.
        blocks: records that came in the encoder's own layout, as columns.
        singles: the others, as (position in the scope, source, record).
        rejected: records of Gnomon's that were malformed.
    """

    key: bytes
    blocks: list[Block] = field(default_factory=list)
    singles: list[tuple[int, Source, Record]] = field(default_factory=list)
    rejected: int = 0

    @property
    def count(self) -> int:
        """How many records were understood; a workload batch of n events counts as n."""
        whole = sum(len(block.rows) for block in self.blocks)
        return whole + events(record for _, _, record in self.singles)

    @property
    def records(self) -> dict[Source, list[Record]]:
        """Every record, by source, in the order in which they came."""
        rows = list(self.singles)
        for block in self.blocks:
            made: Sequence[Record] = block.records()
            rows += ((row, block.source, each) for row, each in zip(block.rows, made, strict=True))
        rows.sort(key=itemgetter(0))
        found: dict[Source, list[Record]] = {}
        for _, source, record in rows:
            found.setdefault(source, []).append(record)
        return found

    def columns(self) -> Iterator[tuple[Source, Columns]]:
        """Yield every record once, in columns; the outcomes of a source in the order in which they came."""
        outcomes: dict[Source, list[tuple[Array, Outcomes]]] = {}
        for block in [*self.blocks, *self._blocks_of_singles()]:
            if isinstance(block.columns, Outcomes):
                outcomes.setdefault(block.source, []).append((block.rows, block.columns))
            else:
                yield block.source, block.columns
        for source, parts in outcomes.items():
            rows = [row for row, _ in parts]
            joined: Outcomes = concat([part for _, part in parts])
            yield source, take(joined, np.argsort(np.concatenate(rows), kind="stable"))

    def _blocks_of_singles(self) -> Iterator[Block]:
        found: dict[tuple[Source, Any], list[tuple[int, Any]]] = {}
        for row, source, record in self.singles:
            kind = _COLUMNS.get(type(record), list)
            found.setdefault((source, kind), []).append((row, record))
        for (source, kind), pairs in found.items():
            records = [record for _, record in pairs]
            made = records if kind is list else kind.of(records)
            yield Block(source, np.array([row for row, _ in pairs]), made)


_COLUMNS: dict[type, Any] = {Decision: Decisions, Outcome: Outcomes}


@dataclass(slots=True)
class Decoded:
    """What a request held.

    Attributes:
        batches: with Gnomon's records.
        foreign: log records of other instrumentations, which are not stored.
        malformed: how many records were refused, by reason.
    """

    batches: list[Batch] = field(default_factory=list)
    foreign: int = 0
    malformed: Counter[str] = field(default_factory=Counter)


def decode(data: bytes) -> Decoded:
    """Return the records of a serialised ``ExportLogsServiceRequest``.

    Raises:
        TraceError: the bytes are no such message.
    """
    framed = frames(data)
    if framed is None:
        return one_by_one(data)
    decoded = Decoded()
    try:
        for frame in framed:
            _resource(decoded, data, frame)
    except TraceError:
        return one_by_one(data)  # which says what is wrong with the whole
    return decoded


def one_by_one(data: bytes) -> Decoded:
    """Decode a request one record at a time: the reference for everything that is faster."""
    decoded = Decoded()
    for resource_logs in _parsed(data).resource_logs:
        service = _service(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            batch = Batch(_digest(service, scope_logs.SerializeToString()))
            _logs(decoded, batch, service, enumerate(scope_logs.log_records))
            _keep(decoded, batch)
    return decoded


def _resource(decoded: Decoded, data: bytes, frame: ResourceFrame) -> None:
    """Decode what one resource sent: as blocks what can be, the others one at a time."""
    service, instance = _origin(frame.resource)
    known = _known(service, instance) if len(service) + len(instance) <= 2 * _NAME_BYTES else {}
    read = [blocks(data, scope, partial(_example, service), known) for scope in frame.scopes]
    # What is left is a request of its own: everything in it is checked as if nothing were missing.
    (rest,) = _parsed(without(data, frame, [others for _, others in read])).resource_logs
    service = _service(rest.resource.attributes)
    for scope, (found, others), logs in zip(frame.scopes, read, rest.scope_logs, strict=True):
        batch = Batch(_digest(service, memoryview(data)[scope.start : scope.end]), found)
        _logs(decoded, batch, service, zip(others, logs.log_records, strict=True))
        _keep(decoded, batch)


def _parsed(data: bytes) -> ExportLogsServiceRequest:
    try:
        return ExportLogsServiceRequest.FromString(data)
    except DecodeError as error:
        raise TraceError(f"not an OTLP logs request ({error}); send OTLP logs here") from error


def _digest(service: str, content: bytes | memoryview) -> bytes:
    """Return what tells batches apart; the service is in it because records are its."""
    made = hashlib.sha256(service.encode("utf-8", "replace") + b"\0")
    made.update(content)
    return made.digest()[:16]


def _origin(resource: bytes) -> tuple[str, str]:
    """Return service and instance; empty where the request will be refused in a moment."""
    try:
        found = _attributes(Resource.FromString(resource).attributes)
    except DecodeError:
        return "", ""
    service, instance = (found.get(key) for key in (names.SERVICE_NAME, names.SERVICE_INSTANCE_ID))
    return (
        service if isinstance(service, str) else "",
        instance if isinstance(instance, str) else "",
    )


@lru_cache(maxsize=256)
def _known(service: str, instance: str) -> Known:
    """Return the heads that a process used lately, empty at first."""
    return {}


def _example(service: str, body: bytes) -> tuple[Source, Record] | None:
    """Return one record, or None when it cannot be used; it will be named when its turn comes."""
    try:
        log = LogRecord.FromString(body)
        read = _READERS.get(log.event_name)
        return read and _record(log, service, read)
    except (DecodeError, Malformed):
        return None


def _logs(
    decoded: Decoded, batch: Batch, service: str, logs: Iterable[tuple[int, LogRecord]]
) -> None:
    for position, log in logs:
        read = _READERS.get(log.event_name)
        if read is None:
            decoded.foreign += 1
            continue
        try:
            batch.singles.append((position, *_record(log, service, read)))
        except Malformed as error:
            count_reasons(decoded.malformed, {f"{log.event_name}: {error}": 1})
            batch.rejected += 1


def count_reasons(into: Counter[str], reasons: Mapping[str, int]) -> None:
    """Add counts by reason: of each as much as fits a line, and of different ones no more than a page has."""
    for reason, count in reasons.items():
        said = "".join(c if c.isprintable() else "?" for c in reason[:_REASON])
        into[said if said in into or len(into) < _REASONS else "other reasons"] += count


def _keep(decoded: Decoded, batch: Batch) -> None:
    if batch.blocks or batch.singles or batch.rejected:
        decoded.batches.append(batch)


def _record(
    log: LogRecord, service: str, read: Callable[[LogRecord, Attributes, bytes], Record]
) -> tuple[Source, Record]:
    attributes = _attributes(log.attributes)
    key = names.WORKLOAD_ID if log.event_name == names.WORKLOAD else names.DECISION_ID
    identifier = _take(attributes, key, bytes)
    if len(identifier) != 16:
        raise Malformed(f"{key} has {len(identifier)} bytes, not 16")
    if log.time_unix_nano >= _INT64:
        raise Malformed("time lies beyond the year 2262")
    kind, version = _kind(_take(attributes, names.SCHEMA, str))
    hook = _take(attributes, names.FLAG_KEY, str)
    _bounded(names.FLAG_KEY, hook, len(quote(hook, safe="")))
    _bounded(names.SCHEMA, kind, len(kind.encode()))
    _bounded(names.SERVICE_NAME, service, len(service.encode()))
    source = Source(identifier[:8].hex(), service, hook, kind, version)
    return source, read(log, attributes, identifier)


def _decision(log: LogRecord, attributes: Attributes, identifier: bytes) -> Decision:
    n_items = _int32(attributes, names.DECISION_ITEMS)
    action = _int32(attributes, names.DECISION_ACTION)
    if not -1 <= action < max(n_items, 0):
        raise Malformed(f"{names.DECISION_ACTION} {action} is none of {n_items} items")
    return Decision(
        seq=int.from_bytes(identifier[8:], "big"),
        time_ns=log.time_unix_nano,
        duration_ns=_take(attributes, names.DECISION_DURATION, int, -1),
        unit=_take(attributes, names.DECISION_UNIT, str, ""),
        arm=_take(attributes, names.FLAG_VARIANT, str),
        reason=_take(attributes, names.DECISION_REASON, str),
        detail=_take(attributes, names.DECISION_DETAIL, str, ""),
        policy=_take(attributes, names.FLAG_VERSION, str),
        epoch=_take(attributes, names.DECISION_EPOCH, int, 0),
        block=_take(attributes, names.DECISION_BLOCK, int, -1),
        action=action,
        n_items=n_items,
        features=_features(_take(attributes, names.DECISION_FEATURES, bytes), n_items),
        propensity=_take(attributes, names.DECISION_PROPENSITY, float, 1.0),
        inclusion=_take(attributes, names.DECISION_INCLUSION, str, "sampled"),
        trace_id=_identifier(log.trace_id, 16),
        span_id=_identifier(log.span_id, 8),
    )


def _outcome(log: LogRecord, attributes: Attributes, identifier: bytes) -> Outcome:
    decision_ns = log.time_unix_nano - _take(attributes, names.OUTCOME_DELAY, int)
    if not -_INT64 <= decision_ns < _INT64:
        raise Malformed(f"{names.OUTCOME_DELAY} leads out of range")
    values = _values(attributes, names.OUTCOME_VALUE, float)
    return Outcome(
        seq=int.from_bytes(identifier[8:], "big"),
        time_ns=log.time_unix_nano,
        ok=_take(attributes, names.OUTCOME_OK, bool),
        status=_take(attributes, names.OUTCOME_STATUS, str),
        values=values,
        arm=_take(attributes, names.FLAG_VARIANT, str),
        block=_take(attributes, names.DECISION_BLOCK, int, -1),
        decision_ns=decision_ns,
    )


def _workload(
    log: LogRecord, attributes: Attributes, identifier: bytes
) -> Workload | WorkloadBatch:
    if names.WORKLOAD_COUNT in attributes or names.WORKLOAD_TIMES in attributes:
        return _batch(attributes, int.from_bytes(identifier[8:], "big"))
    return Workload(
        seq=int.from_bytes(identifier[8:], "big"),
        time_ns=log.time_unix_nano,
        event=_take(attributes, names.WORKLOAD_EVENT, str),
        values=_values(attributes, names.WORKLOAD_VALUE, (float, str)),
    )


def _batch(attributes: Attributes, seq: int) -> WorkloadBatch:
    count: int = _take(attributes, names.WORKLOAD_COUNT, int)
    if not 1 <= count <= MOST_EVENTS:
        raise Malformed(f"{names.WORKLOAD_COUNT} {count} is not 1 to {MOST_EVENTS}")
    if seq + count > 2**64:
        raise Malformed(f"{names.WORKLOAD_ID} leads out of range")
    event: str = _take(attributes, names.WORKLOAD_EVENT, str)
    _bounded(names.WORKLOAD_EVENT, event, len(event.encode()))
    # Each event of a batch repeats the names: of the longest only single events are taken.
    every = (event, attributes[names.FLAG_KEY], attributes[names.SCHEMA])
    if sum(len(name.encode()) for name in every) > _BATCH_NAME_BYTES:
        raise Malformed(f"names of a batch have more than {_BATCH_NAME_BYTES} bytes together")
    values = _values(attributes, names.WORKLOAD_COLUMN, bytes)
    if len(values) > _FIELDS or any(len(name.encode()) > _FIELD_BYTES for name, _ in values):
        raise Malformed(f"more than {_FIELDS} fields, or one of more than {_FIELD_BYTES} bytes")
    times: bytes = _take(attributes, names.WORKLOAD_TIMES, bytes)
    for name, column in ((names.WORKLOAD_TIMES, times), *values):
        if len(column) != 8 * count:
            raise Malformed(f"{name[:64]} has {len(column)} bytes, not {8 * count}")
    _check_times(times)
    return WorkloadBatch(seq, event, times, values)


def _check_times(packed: bytes) -> None:
    times = np.frombuffer(packed, "<i8")
    first, last = int(times.min()), int(times.max())
    if first < 0:
        raise Malformed(f"{names.WORKLOAD_TIMES} begin before 1970 or end beyond 2262")
    if last - first > _SPAN_NS:
        raise Malformed(f"{names.WORKLOAD_TIMES} span more than a day")


_READERS: dict[str, Callable[[LogRecord, Attributes, bytes], Record]] = {
    names.DECISION: _decision,
    names.OUTCOME: _outcome,
    names.WORKLOAD: _workload,
}

_REQUIRED = object()
_SCALARS = {"string_value", "bool_value", "int_value", "double_value", "bytes_value"}


def _take(attributes: Attributes, key: str, kind: type, default: Any = _REQUIRED) -> Any:
    value = attributes.get(key, default)
    if value is _REQUIRED:
        raise Malformed(f"no {key}")
    if type(value) is not kind:
        raise Malformed(f"{key} is of type {type(value).__name__}, not {kind.__name__}")
    return value


def _int32(attributes: Attributes, key: str) -> int:
    value: int = _take(attributes, key, int)
    if not -_INT32 <= value < _INT32:
        raise Malformed(f"{key} {value} is beyond 32 bits")
    return value


def _features(packed: bytes, n_items: int) -> tuple[float, ...]:
    if len(packed) % 8:
        raise Malformed(f"{names.DECISION_FEATURES} has {len(packed)} bytes, no multiple of 8")
    if n_items and len(packed) // 8 % n_items:
        raise Malformed(f"{names.DECISION_FEATURES} does not divide into {n_items} items")
    return struct.unpack(f"<{len(packed) // 8}d", packed)


def _values(attributes: Attributes, prefix: str, kind: Any) -> tuple[tuple[str, Any], ...]:
    pairs = [(key, value) for key, value in attributes.items() if key.startswith(prefix)]
    for key, value in pairs:
        if not isinstance(value, kind):
            raise Malformed(f"{key} is of type {type(value).__name__}")
    return tuple((key[len(prefix) :], value) for key, value in pairs)


def _kind(schema: str) -> tuple[str, int]:
    kind, _, version = schema.rpartition("/")
    if not kind or not version.isascii() or not version.isdigit() or len(version) > 9:
        raise Malformed(f"{names.SCHEMA} {schema[:64]!r} is not KIND/VERSION")
    return kind, int(version)


def _bounded(key: str, name: str, size: int) -> None:
    if size > _NAME_BYTES:
        raise Malformed(f"{key} {name[:32]!r}... has {size} bytes, more than {_NAME_BYTES}")


def _identifier(data: bytes, size: int) -> int:
    if len(data) not in (0, size):
        raise Malformed(f"trace or span id has {len(data)} bytes, not {size}")
    return int.from_bytes(data, "big")


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    """Return attributes by name; arrays and maps, which Gnomon does not send, as None."""
    found: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        which = value.WhichOneof("value")
        found[pair.key] = getattr(value, which) if which in _SCALARS else None
    return found


def _service(pairs: Iterable[Any]) -> str:
    service = _attributes(pairs).get(names.SERVICE_NAME)
    return service if isinstance(service, str) else ""
