"""Records to OTLP ``ExportLogsServiceRequest`` messages, written byte by byte.

Building these messages from protobuf objects costs about four times as much. Whatever does not change
from call to call (attribute keys, the hook's name, arm, reason, policy, …) is encoded once and looked
up; a record costs one struct and one join of byte strings. ``tests/recorder/test_encode.py`` parses
everything with opentelemetry-proto and compares every field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..batches import check_batch
from ..records import Decision, Outcome, Record, Workload, WorkloadBatch
from . import names
from .wire import FIXED64, LENGTH, VARINT, field, tag, text, varint

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
    records = list(records)
    scope = field(1, field(1, names.SCOPE.encode()) + attribute(names.BATCH_ID, batch_id, 3))
    size = len(scope) + sum(map(len, records))
    inner = resource_field + tag(2, LENGTH) + varint(size) + scope
    outer = tag(1, LENGTH) + varint(len(inner) + size - len(scope))
    return b"".join((outer, inner, *records))  # a megabyte is copied once


class Encoder:
    """Encodes the records of one hook of one process.

    The fields of a log record come in ascending order, and what changes least comes first among the
    attributes: so a Collector that adds nothing hands on the same bytes, gzip finds long matches, and
    the recorder reads whole batches by their common head (``recorder/blocks.py``).

    Args:
        hook: its name, kind and process id are read once.
    """

    def __init__(self, hook: HookLike) -> None:
        schema = attribute(names.SCHEMA, f"{hook.kind.name}/{hook.kind.version}")
        self._common = _SEVERITY_INFO + attribute(names.FLAG_KEY, hook.name) + schema
        process = bytes.fromhex(hook.process_id)
        self._decision_id = bytes_prefix(names.DECISION_ID, 16) + process
        self._workload_id = bytes_prefix(names.WORKLOAD_ID, 16) + process
        self._shapes: dict[tuple[object, ...], _Shape] = {}
        self._odd_shapes: dict[tuple[object, ...], _Shape] = {}
        self._heads: dict[tuple[object, ...], _OutcomeShape] = {}
        self._by_type: dict[type, Callable[[Any], bytes]] = {
            Decision: self._encode_decision,
            Outcome: self._encode_outcome,
            Workload: self._encode_workload,
            WorkloadBatch: self._encode_batch,
        }

    def encode(self, record: Record) -> bytes:
        """Return one record as a ``log_records`` field of ``ScopeLogs``.

        Raises:
            AttributeError, KeyError, OverflowError, TypeError, ValueError, struct.error: the record
                or its fields do not have their types.
        """
        return self._by_type[type(record)](record)

    def encode_all(self, records: Sequence[Record]) -> list[bytes]:
        """Return the records encoded, in order; raises as :meth:`encode` does for any of them."""
        types = set(map(type, records))
        if len(types) == 1:
            return list(map(self._by_type[types.pop()], records))
        by_type = self._by_type
        return [by_type[type(record)](record) for record in records]

    def decision_head(self, record: Any) -> bytes:
        """Return the attributes of a decision that change slowly, as they follow its time.

        Args:
            record: a Decision, or whatever has those of its fields.
        """
        return self._common + b"".join(
            (
                attribute(names.FLAG_PROVIDER, names.SCOPE),
                attribute(names.FLAG_VARIANT, record.arm),
                attribute(names.FLAG_REASON, names.FLAG_REASONS.get(record.reason, "unknown")),
                attribute(names.FLAG_VERSION, record.policy),
                attribute(names.DECISION_REASON, record.reason),
                attribute(names.DECISION_DETAIL, record.detail) if record.detail else b"",
                attribute(names.DECISION_EPOCH, record.epoch) if record.epoch else b"",
                attribute(names.DECISION_BLOCK, record.block) if record.block != -1 else b"",
                attribute(names.DECISION_INCLUSION, record.inclusion)
                if record.inclusion != "sampled"
                else b"",
            )
        )

    def outcome_head(self, record: Any) -> bytes:
        """Return the attributes of an outcome that change slowly, as they follow its time.

        Args:
            record: an Outcome, or whatever has those of its fields.
        """
        return self._common + b"".join(
            (
                attribute(names.OUTCOME_OK, bool(record.ok)),
                attribute(names.OUTCOME_STATUS, record.status),
                attribute(names.FLAG_VARIANT, record.arm),
                attribute(names.DECISION_BLOCK, record.block) if record.block != -1 else b"",
            )
        )

    def _encode_decision(self, record: Decision) -> bytes:
        (
            seq,
            time_ns,
            duration,
            unit,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            features,
            propensity,
            inclusion,
            trace_id,
            _,
        ) = record
        # arm, reason, detail, policy, epoch, block, action, n_items: few combinations, so looked up.
        shape = self._shapes.get(record[4:12])
        if shape is None or shape[0] != len(features) or inclusion != "sampled":
            shape = self._shape(record)
        _, size, pack, head, prefix = shape
        fixed = pack(9, time_ns & _MASK64, head, _be64(seq), prefix, *features)
        tail = b""
        if duration != -1:
            number = varint(duration)
            tail = _DURATION[len(number)] + number
        if unit:
            try:
                content = unit.encode()
            except UnicodeEncodeError:
                content = text(unit)
            width = len(content)
            tail += (_UNITS[width] if width < _SHORT else text_prefix(_UNIT, width)) + content
        if propensity != 1.0:
            tail += _PROPENSITY + _f64(propensity)
        if trace_id:
            tail += _span(trace_id, record.span_id)
        size += len(tail)
        start = _STARTS[size] if size < _FEW else b"\x12" + varint(size)
        return b"".join((start, fixed, tail, _DECISION))

    def _encode_outcome(self, record: Outcome) -> bytes:
        seq, time_ns, ok, status, values, arm, block, decision_ns = record
        shape = self._heads.get((ok, status, arm, block))
        if shape is None:
            shape = self._outcome_shape(record)
        size, pack, head = shape
        delay = varint(time_ns - decision_ns)
        tail = _DELAY[len(delay)] + delay
        for name, value in values:
            tail += (_value_prefixes.get(name) or _value_prefix(name)) + _f64(value)
        size += len(tail)
        start = _STARTS[size] if size < _FEW else b"\x12" + varint(size)
        return b"".join((start, pack(9, time_ns & _MASK64, head, _be64(seq)), tail, _OUTCOME))

    def _encode_workload(self, record: Workload) -> bytes:
        parts = [
            b"",
            _TIME + _u64(record.time_ns & _MASK64),
            self._common,
            self._workload_id,
            _be64(record.seq),
            attribute(names.WORKLOAD_EVENT, record.event),
        ]
        for name, value in record.values:
            plain = value if isinstance(value, str) else float(value)
            parts.append(attribute(names.WORKLOAD_VALUE + name, plain))
        parts.append(_WORKLOAD)
        return _whole(parts)

    def _encode_batch(self, record: WorkloadBatch) -> bytes:
        check_batch(record)
        parts = [
            b"",
            _TIME + record.times[:8],
            self._common,
            self._workload_id,
            _be64(record.seq),
            attribute(names.WORKLOAD_EVENT, record.event),
            attribute(names.WORKLOAD_COUNT, len(record.times) // 8),
            attribute(names.WORKLOAD_TIMES, record.times),
        ]
        for name, column in record.values:
            parts.append(attribute(names.WORKLOAD_COLUMN + name, column))
        parts.append(_WORKLOAD)
        return _whole(parts)

    def _shape(self, record: Decision) -> _Shape:
        """Return how decisions of this combination, number of features and inclusion are packed."""
        width = len(record.features)
        key = (record[4:12], width, record.inclusion)
        shape = self._odd_shapes.get(key)
        if shape is None:
            head = self.decision_head(record) + b"".join(
                (
                    attribute(names.DECISION_ACTION, record.action),
                    attribute(names.DECISION_ITEMS, record.n_items),
                    self._decision_id,
                )
            )
            prefix = bytes_prefix(names.DECISION_FEATURES, 8 * width)
            packer = struct.Struct(f"<BQ{len(head)}s8s{len(prefix)}s{width}d")
            shape = (width, packer.size + len(_DECISION), packer.pack, head, prefix)
            _remember(self._odd_shapes, key, shape)
        if record.inclusion == "sampled":
            _remember(self._shapes, key[0], shape)
        return shape

    def _outcome_shape(self, record: Outcome) -> _OutcomeShape:
        head = self.outcome_head(record) + self._decision_id
        packer = struct.Struct(f"<BQ{len(head)}s8s")
        shape = (packer.size + len(_OUTCOME), packer.pack, head)
        _remember(self._heads, (record.ok, record.status, record.arm, record.block), shape)
        return shape


#: Number of features, size of the fixed part and the event's name, packer, head, prefix of the features.
_Shape = tuple[int, int, Callable[..., bytes], bytes, bytes]
#: The same of an outcome.
_OutcomeShape = tuple[int, Callable[..., bytes], bytes]


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


def event(name: str) -> bytes:
    """Return the event's name, with which a log record ends."""
    return field(_EVENT_NAME, name.encode())


def bytes_prefix(key: str, size: int) -> bytes:
    """Return an attribute of exactly ``size`` bytes without those bytes."""
    whole = attribute(key, b"\0" * size)
    return whole[: len(whole) - size]


def int_prefixes(key: str) -> tuple[bytes, ...]:
    """Return, by the size of its varint, an attribute with an integer without that varint."""
    parts = [b""]
    for size in range(1, 11):
        value = field(2, tag(_INT, VARINT) + b"\0" * size)
        whole = field(_ATTRIBUTE, field(1, text(key)) + value)
        parts.append(whole[: len(whole) - size])
    return tuple(parts)


def text_prefix(key: str, size: int) -> bytes:
    """Return an attribute with a text of so many bytes without that text."""
    whole = attribute(key, "x" * size)
    return whole[: len(whole) - size]


def double_prefix(key: str) -> bytes:
    """Return an attribute with a double without its eight bytes."""
    return attribute(key, 0.0)[:-8]


def _value_prefix(name: str) -> bytes:
    prefix = double_prefix(names.OUTCOME_VALUE + name)
    _remember(_value_prefixes, name, prefix)
    return prefix


def _span(trace_id: int, span_id: int) -> bytes:
    trace, span = trace_id.to_bytes(16, "big"), span_id.to_bytes(8, "big")
    return TRACE_PREFIX + trace + SPAN_PREFIX + span


def _whole(parts: list[bytes]) -> bytes:
    """Return the parts as a ``log_records`` field; the first of them is empty."""
    parts[0] = b"\x12" + varint(sum(map(len, parts)))
    return b"".join(parts)


def _remember(cache: dict[Any, Any], key: object, value: object) -> None:
    """Keep a value; a cache that is full begins anew."""
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
    cache[key] = value


_FEW = 2048
_STARTS = tuple(b"\x12" + varint(size) for size in range(_FEW))
_UNIT = names.DECISION_UNIT
_SHORT = 128
_UNITS = tuple(text_prefix(_UNIT, size) for size in range(_SHORT))
_DURATION = int_prefixes(names.DECISION_DURATION)
_DELAY = int_prefixes(names.OUTCOME_DELAY)
_PROPENSITY = double_prefix(names.DECISION_PROPENSITY)
#: Trace and span id without their 16 and 8 bytes.
TRACE_PREFIX = tag(_TRACE_ID, LENGTH) + varint(16)
SPAN_PREFIX = tag(_SPAN_ID, LENGTH) + varint(8)
_DECISION = event(names.DECISION)
_OUTCOME = event(names.OUTCOME)
_WORKLOAD = event(names.WORKLOAD)
_value_prefixes: dict[str, bytes] = {}
