"""Records to OTLP ``ExportLogsServiceRequest`` messages, written byte by byte.

Building these messages from protobuf objects costs about four times as much. Whatever does not change
from call to call (attribute keys, the hook's name, arm, reason, policy, …) is encoded once and looked
up; a record costs one join of byte strings. ``tests/telemetry`` parses everything with
opentelemetry-proto and compares every field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from ..batches import check_batch
from ..records import Decision, Outcome, Record, Workload, WorkloadBatch
from . import names
from .wire import FIXED64, VARINT, field, tag, text, varint

# Field numbers of opentelemetry.proto.logs.v1.LogRecord.
_TIME = tag(1, FIXED64)
_SEVERITY_INFO = tag(2, VARINT) + varint(9)
_ATTRIBUTE = 6
_TRACE_ID = 9
_SPAN_ID = 10
_EVENT_NAME = 12
# Fields of opentelemetry.proto.common.v1.AnyValue.
_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _BYTES = 1, 2, 3, 4, 5, 7

_MASK64 = 2**64 - 1
#: Distinct combinations of slowly changing fields that are kept encoded.
_CACHE_LIMIT = 4096

_u64 = struct.Struct("<Q").pack
_be64 = struct.Struct(">Q").pack
_f64 = struct.Struct("<d").pack


Scalar = str | bytes | bool | int | float
Value = Scalar | Sequence[Scalar]


class KindLike(Protocol):
    """What the encoder needs of a kind."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> int:
        """Version of its contract."""
        ...


class HookLike(Protocol):
    """What a sink needs of a hook."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def kind(self) -> KindLike:
        """Its kind."""
        ...

    @property
    def process_id(self) -> str:
        """The process's id as 16 hex digits."""
        ...


def attribute(key: str, value: Value, number: int = _ATTRIBUTE) -> bytes:
    """Return one ``KeyValue`` as field ``number``; the value's Python type is its type on the wire."""
    return field(number, field(1, text(key)) + field(2, _any_value(value)))


def resource(attributes: Mapping[str, Value]) -> bytes:
    """Return the ``resource`` field of a ``ResourceLogs``."""
    return field(1, b"".join(attribute(key, value, 1) for key, value in attributes.items()))


def request(resource_field: bytes, records: Iterable[bytes], batch_id: bytes) -> bytes:
    """Return a whole ``ExportLogsServiceRequest`` of one batch.

    Args:
        resource_field: from :func:`resource`.
        records: encoded by :class:`Encoder`.
        batch_id: the same whenever the batch is sent again, so that the recorder can tell; it lies on
            the instrumentation scope, which Collectors hand on.
    """
    scope = field(1, field(1, names.SCOPE.encode()) + attribute(names.BATCH_ID, batch_id, 3))
    return field(1, resource_field + field(2, scope + b"".join(records)))


class Encoder:
    """Encodes the records of one hook of one process.

    Args:
        hook: its name, kind and process id are read once.
    """

    def __init__(self, hook: HookLike) -> None:
        schema = attribute(names.SCHEMA, f"{hook.kind.name}/{hook.kind.version}")
        common = _SEVERITY_INFO + attribute(names.FLAG_KEY, hook.name) + schema
        self._decision = _event(names.DECISION) + common
        self._decision += attribute(names.FLAG_PROVIDER, names.SCOPE)
        self._outcome = _event(names.OUTCOME) + common
        self._workload = _event(names.WORKLOAD) + common
        process = bytes.fromhex(hook.process_id)
        self._decision_id = _bytes_prefix(names.DECISION_ID, 16) + process
        self._workload_id = _bytes_prefix(names.WORKLOAD_ID, 16) + process
        self._heads: dict[tuple[object, ...], bytes] = {}
        self._features: dict[int, tuple[bytes, Callable[..., bytes]]] = {}

    def encode(self, record: Record) -> bytes:
        """Return one record as a ``log_records`` field of ``ScopeLogs``.

        Raises:
            TypeError, ValueError, struct.error: the record's fields do not have their types.
        """
        if isinstance(record, Decision):
            body = self._encode_decision(record)
        elif isinstance(record, Outcome):
            body = self._encode_outcome(record)
        elif isinstance(record, WorkloadBatch):
            body = self._encode_batch(record)
        else:
            body = self._encode_workload(record)
        return b"\x12" + varint(len(body)) + body

    def _encode_decision(self, record: Decision) -> bytes:
        # arm, reason, detail, policy, epoch, block, action, n_items: few combinations, so looked up.
        head = self._heads.get(record[4:12]) or self._head(record)
        size = len(record.features)
        prefix, pack = self._features.get(size) or self._feature_packer(size)
        parts = [
            _TIME,
            _u64(record.time_ns & _MASK64),
            head,
            self._decision_id,
            _be64(record.seq & _MASK64),
            prefix,
            pack(*record.features),
        ]
        if record.duration_ns != -1:
            parts += _DURATION.int(record.duration_ns)
        if record.unit:
            parts += _UNIT.text(record.unit)
        if record.propensity != 1.0:
            parts += (_PROPENSITY, _f64(record.propensity))
        if record.inclusion != "sampled":
            parts += _INCLUSION.text(record.inclusion)
        if record.trace_id:
            parts += _span(record.trace_id, record.span_id)
        return b"".join(parts)

    def _encode_outcome(self, record: Outcome) -> bytes:
        key = (record.ok, record.status, record.arm, record.block)
        head = self._heads.get(key) or self._outcome_head(record)
        parts = [
            _TIME,
            _u64(record.time_ns & _MASK64),
            head,
            self._decision_id,
            _be64(record.seq & _MASK64),
            *_DELAY.int(record.time_ns - record.decision_ns),
        ]
        for name, value in record.values:
            parts += (_value_prefix(names.OUTCOME_VALUE + name), _f64(value))
        return b"".join(parts)

    def _encode_workload(self, record: Workload) -> bytes:
        parts = [
            _TIME,
            _u64(record.time_ns & _MASK64),
            self._workload,
            self._workload_id,
            _be64(record.seq & _MASK64),
            attribute(names.WORKLOAD_EVENT, record.event),
        ]
        for name, value in record.values:
            plain = value if isinstance(value, str) else float(value)
            parts.append(attribute(names.WORKLOAD_VALUE + name, plain))
        return b"".join(parts)

    def _encode_batch(self, record: WorkloadBatch) -> bytes:
        check_batch(record)
        parts = [
            _TIME,
            record.times[:8],
            self._workload,
            self._workload_id,
            _be64(record.seq & _MASK64),
            attribute(names.WORKLOAD_EVENT, record.event),
            attribute(names.WORKLOAD_COUNT, len(record.times) // 8),
            attribute(names.WORKLOAD_TIMES, record.times),
        ]
        for name, column in record.values:
            parts.append(attribute(names.WORKLOAD_COLUMN + name, column))
        return b"".join(parts)

    def _head(self, record: Decision) -> bytes:
        flag_reason = names.FLAG_REASONS.get(record.reason, "unknown")
        head = self._decision + b"".join(
            (
                attribute(names.FLAG_VARIANT, record.arm),
                attribute(names.FLAG_REASON, flag_reason),
                attribute(names.FLAG_VERSION, record.policy),
                attribute(names.DECISION_REASON, record.reason),
                attribute(names.DECISION_DETAIL, record.detail) if record.detail else b"",
                attribute(names.DECISION_EPOCH, record.epoch) if record.epoch else b"",
                attribute(names.DECISION_BLOCK, record.block) if record.block != -1 else b"",
                attribute(names.DECISION_ACTION, record.action),
                attribute(names.DECISION_ITEMS, record.n_items),
            )
        )
        return self._keep(record[4:12], head)

    def _outcome_head(self, record: Outcome) -> bytes:
        head = self._outcome + b"".join(
            (
                attribute(names.OUTCOME_OK, bool(record.ok)),
                attribute(names.OUTCOME_STATUS, record.status),
                attribute(names.FLAG_VARIANT, record.arm),
                attribute(names.DECISION_BLOCK, record.block) if record.block != -1 else b"",
            )
        )
        return self._keep((record.ok, record.status, record.arm, record.block), head)

    def _keep(self, key: tuple[object, ...], head: bytes) -> bytes:
        if len(self._heads) >= _CACHE_LIMIT:
            self._heads.clear()
        self._heads[key] = head
        return head

    def _feature_packer(self, size: int) -> tuple[bytes, Callable[..., bytes]]:
        made = (_bytes_prefix(names.DECISION_FEATURES, 8 * size), struct.Struct(f"<{size}d").pack)
        if len(self._features) < _CACHE_LIMIT:
            self._features[size] = made
        return made


class _Attribute:
    """An attribute whose key is encoded once."""

    def __init__(self, key: str) -> None:
        self._key = field(1, text(key))

    def int(self, value: int) -> tuple[bytes, ...]:
        """Return the parts of this attribute with an integer."""
        number = varint(value)
        size = len(number) + 1
        return (
            b"\x32" + varint(len(self._key) + size + 2) + self._key,
            b"\x12" + varint(size) + b"\x18",
            number,
        )

    def text(self, value: str) -> tuple[bytes, ...]:
        """Return the parts of this attribute with a string."""
        content = text(value)
        size = varint(len(content))
        inner = varint(len(content) + len(size) + 1)
        total = len(self._key) + 1 + len(inner) + 1 + len(size) + len(content)
        return (
            b"\x32" + varint(total) + self._key + b"\x12" + inner + b"\x0a" + size,
            content,
        )


def _any_value(value: Value) -> bytes:
    if isinstance(value, str):
        return field(_STRING, text(value))
    if isinstance(value, bytes):
        return field(_BYTES, value)
    if isinstance(value, bool):
        return tag(_BOOL, VARINT) + varint(value)
    if isinstance(value, int):
        return tag(_INT, VARINT) + varint(value)
    if isinstance(value, float):
        return tag(_DOUBLE, FIXED64) + _f64(value)
    return field(_ARRAY, b"".join(field(1, _any_value(item)) for item in value))


def _event(name: str) -> bytes:
    return field(_EVENT_NAME, name.encode())


def _bytes_prefix(key: str, size: int) -> bytes:
    """Return an attribute of exactly ``size`` bytes without those bytes."""
    whole = attribute(key, b"\0" * size)
    return whole[: len(whole) - size]


def _value_prefix(key: str) -> bytes:
    """Return an attribute with a double without its eight bytes."""
    prefix = _value_prefixes.get(key)
    if prefix is None:
        prefix = attribute(key, 0.0)[:-8]
        if len(_value_prefixes) < _CACHE_LIMIT:
            _value_prefixes[key] = prefix
    return prefix


def _span(trace_id: int, span_id: int) -> tuple[bytes, bytes]:
    return (
        field(_TRACE_ID, trace_id.to_bytes(16, "big")),
        field(_SPAN_ID, span_id.to_bytes(8, "big")),
    )


_value_prefixes: dict[str, bytes] = {}
_DURATION = _Attribute(names.DECISION_DURATION)
_UNIT = _Attribute(names.DECISION_UNIT)
_INCLUSION = _Attribute(names.DECISION_INCLUSION)
_DELAY = _Attribute(names.OUTCOME_DELAY)
_PROPENSITY = _value_prefix(names.DECISION_PROPENSITY)
