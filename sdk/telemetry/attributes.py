"""Records as OpenTelemetry events: name, time, attributes, span; the encoder writes the same as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..batches import check_batch
from ..records import Decision, Outcome, Record, Workload, WorkloadBatch
from . import names
from .encode import HookLike, Scalar

#: What a record whose fields do not have their types makes an encoder raise.
NOT_ENCODABLE = (struct.error, TypeError, ValueError, AttributeError, LookupError, OverflowError)

_DOUBLE = struct.Struct("<d")
_UNSIGNED = struct.Struct(">Q")


class Event(NamedTuple):
    """One log record.

    Attributes:
        name: of the event.
        time_ns: Unix time at which the thing happened.
        attributes: by name; a value's Python type is its type on the wire.
        trace_id, span_id: of the caller's span; 0 when there was none.
    """

    name: str
    time_ns: int
    attributes: dict[str, Scalar]
    trace_id: int = 0
    span_id: int = 0


def event_of(hook: HookLike, record: Record) -> Event:
    """Return the event of one record; a workload batch is one event.

    Raises:
        TypeError, ValueError, struct.error, AttributeError: a field does not have its type.
    """
    common: dict[str, Scalar] = {
        names.FLAG_KEY: _text(hook.name),
        names.SCHEMA: _text(f"{hook.kind.name}/{hook.kind.version}"),
    }
    process = bytes.fromhex(hook.process_id)
    if isinstance(record, Decision):
        return _decision(common, process, record)
    if isinstance(record, Outcome):
        return _outcome(common, process, record)
    if isinstance(record, WorkloadBatch):
        return _batch(common, process, record)
    return _workload(common, process, record)


def _decision(common: dict[str, Scalar], process: bytes, record: Decision) -> Event:
    common |= {
        names.FLAG_PROVIDER: names.SCOPE,
        names.FLAG_VARIANT: _text(record.arm),
        names.FLAG_REASON: names.FLAG_REASONS.get(record.reason, "unknown"),
        names.FLAG_VERSION: _text(record.policy),
        names.DECISION_ID: process + _UNSIGNED.pack(record.seq),
        names.DECISION_REASON: _text(record.reason),
        names.DECISION_ACTION: _integer(record.action),
        names.DECISION_ITEMS: _integer(record.n_items),
        names.DECISION_FEATURES: struct.pack(f"<{len(record.features)}d", *record.features),
    }
    common.update(_unusual(record))
    return Event(names.DECISION, _integer(record.time_ns), common, record.trace_id, record.span_id)


def _unusual(record: Decision) -> Iterator[tuple[str, Scalar]]:
    """Yield the attributes whose value is not the default."""
    if record.detail:
        yield names.DECISION_DETAIL, _text(record.detail)
    if record.epoch:
        yield names.DECISION_EPOCH, _integer(record.epoch)
    if record.block != -1:
        yield names.DECISION_BLOCK, _integer(record.block)
    if record.duration_ns != -1:
        yield names.DECISION_DURATION, _integer(record.duration_ns)
    if record.unit:
        yield names.DECISION_UNIT, _text(record.unit)
    if record.propensity != 1.0:
        yield names.DECISION_PROPENSITY, _double(record.propensity)
    if record.inclusion != "sampled":
        yield names.DECISION_INCLUSION, _text(record.inclusion)


def _outcome(common: dict[str, Scalar], process: bytes, record: Outcome) -> Event:
    common |= {
        names.DECISION_ID: process + _UNSIGNED.pack(record.seq),
        names.OUTCOME_OK: bool(record.ok),
        names.OUTCOME_STATUS: _text(record.status),
        names.OUTCOME_DELAY: _integer(record.time_ns - record.decision_ns),
        names.FLAG_VARIANT: _text(record.arm),
    }
    if record.block != -1:
        common[names.DECISION_BLOCK] = _integer(record.block)
    for name, value in record.values:
        common[_text(names.OUTCOME_VALUE + name)] = _double(value)
    return Event(names.OUTCOME, _integer(record.time_ns), common)


def _workload(common: dict[str, Scalar], process: bytes, record: Workload) -> Event:
    common |= {
        names.WORKLOAD_ID: process + _UNSIGNED.pack(record.seq),
        names.WORKLOAD_EVENT: _text(record.event),
    }
    for name, value in record.values:
        plain = _text(value) if isinstance(value, str) else float(value)
        common[_text(names.WORKLOAD_VALUE + name)] = plain
    return Event(names.WORKLOAD, _integer(record.time_ns), common)


def _batch(common: dict[str, Scalar], process: bytes, record: WorkloadBatch) -> Event:
    check_batch(record)
    common |= {
        names.WORKLOAD_ID: process + _UNSIGNED.pack(record.seq),
        names.WORKLOAD_EVENT: _text(record.event),
        names.WORKLOAD_COUNT: len(record.times) // 8,
        names.WORKLOAD_TIMES: record.times,
    }
    for name, column in record.values:
        common[_text(names.WORKLOAD_COLUMN + name)] = column
    return Event(names.WORKLOAD, int.from_bytes(record.times[:8], "little"), common)


def _text(value: str) -> str:
    """Return text that UTF-8 can hold, as the encoder writes it."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _integer(value: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no integer")
    return value


def _double(value: float) -> float:
    """Return what the encoder's eight bytes hold; raises struct.error for what is no number."""
    read: float = _DOUBLE.unpack(_DOUBLE.pack(value))[0]
    return read
