"""The recorder takes what Collectors and other SDKs send, and counts what it cannot use."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest as Request,
)

from gnomon.recorder.decode import decode
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Record
from gnomon.sdk.telemetry import names

from .fakes import decision, outcome, records
from .test_encode import encoded


def one(record: Record) -> tuple[Request, Any]:
    """Return a request with one record, and that record, to be spoilt."""
    message = Request.FromString(encoded([record]))
    return message, message.resource_logs[0].scope_logs[0].log_records[0]


def attribute(log: Any, key: str) -> Any:
    return next(pair.value for pair in log.attributes if pair.key == key)


def reason(message: Request) -> str:
    """Return the one reason for which the one record was refused."""
    decoded = decode(message.SerializeToString())
    (found,) = decoded.malformed
    assert decoded.malformed[found] == 1
    assert sum(batch.count for batch in decoded.batches) == 0
    assert sum(batch.rejected for batch in decoded.batches) == 1
    return found


_REQUIRED = [
    *(names.FLAG_KEY, names.SCHEMA, names.DECISION_ID, names.FLAG_VARIANT, names.FLAG_VERSION),
    *(names.DECISION_REASON, names.DECISION_ACTION, names.DECISION_ITEMS, names.DECISION_FEATURES),
]


@pytest.mark.parametrize("key", _REQUIRED)
def test_what_is_missing_or_of_a_wrong_type_is_named(key: str) -> None:
    message, log = one(decision(0))
    attribute(log, key).double_value = 1.5
    assert reason(message) in (
        f"gnomon.decision: {key} is of type float, not {kind}" for kind in ("str", "int", "bytes")
    )
    kept = [pair for pair in log.attributes if pair.key != key]
    del log.attributes[:]
    log.attributes.extend(kept)
    assert reason(message) == f"gnomon.decision: no {key}"


@pytest.mark.parametrize(
    ("key", "field", "value", "words"),
    [
        (names.DECISION_ID, "bytes_value", b"x", "has 1 bytes, not 16"),
        (names.DECISION_FEATURES, "bytes_value", b"x" * 12, "no multiple of 8"),
        (names.DECISION_FEATURES, "bytes_value", b"x" * 24, "does not divide into 2 items"),
        (names.DECISION_ACTION, "int_value", 2, "2 is none of 2 items"),
        (names.DECISION_ACTION, "int_value", -2, "-2 is none of 2 items"),
        (names.DECISION_ITEMS, "int_value", 2**40, "beyond 32 bits"),
        (names.SCHEMA, "string_value", "load_balancer", "is not KIND/VERSION"),
        (names.SCHEMA, "string_value", "load_balancer/x", "is not KIND/VERSION"),
        (names.SCHEMA, "string_value", "load_balancer/99999999999", "is not KIND/VERSION"),
    ],
)
def test_what_makes_no_sense_is_named(key: str, field: str, value: Any, words: str) -> None:
    message, log = one(decision(0))
    setattr(attribute(log, key), field, value)
    assert words in reason(message)


def test_impossible_times_and_ids_are_named() -> None:
    message, log = one(decision(0))
    log.time_unix_nano = 2**63
    assert "beyond the year 2262" in reason(message)
    message, log = one(decision(0))
    log.trace_id = b"short"
    assert "trace or span id has 5 bytes" in reason(message)
    message, log = one(outcome(decision(0)))
    attribute(log, names.OUTCOME_DELAY).int_value = -(2**63)
    assert "leads out of range" in reason(message)


def test_a_bad_record_does_not_spoil_its_neighbours() -> None:
    message = Request.FromString(encoded([decision(0), decision(1), outcome(decision(0))]))
    attribute(message.resource_logs[0].scope_logs[0].log_records[1], names.SCHEMA).int_value = 1
    decoded = decode(message.SerializeToString())
    assert [batch.count for batch in decoded.batches] == [2]
    assert decoded.malformed.total() == 1


@pytest.mark.parametrize(
    ("longest", "key"),
    [("h" * 250, names.FLAG_KEY), ("☃" * 27 + "x" * 7, names.FLAG_KEY), ("k" * 250, names.SCHEMA)],
)
def test_a_name_that_is_too_long_is_named_and_its_neighbours_stay(longest: str, key: str) -> None:
    """A hook's name counts as its folder quotes it: nine bytes for a snowman."""
    version = "/1" * (key == names.SCHEMA)
    message = Request.FromString(encoded([decision(0), decision(1), outcome(decision(0))]))
    logs = message.resource_logs[0].scope_logs[0].log_records
    attribute(logs[1], key).string_value = longest + version
    assert not decode(message.SerializeToString()).malformed
    attribute(logs[1], key).string_value = longest + "x" + version
    decoded = decode(message.SerializeToString())
    assert [batch.count for batch in decoded.batches] == [2]
    (reason,) = decoded.malformed
    assert f"{key} {longest[:32]!r}... has 251 bytes, more than 250" in reason


def test_a_service_name_that_is_too_long_is_named() -> None:
    message, _ = one(decision(0))
    service = attribute(message.resource_logs[0].resource, names.SERVICE_NAME)
    service.string_value = "é" * 125
    assert not decode(message.SerializeToString()).malformed
    service.string_value = "é" * 126
    assert "service.name" in reason(message)


def test_a_batch_cut_in_two_is_not_a_repetition() -> None:
    """A Collector may split a batch; the parts keep its id but are different batches."""
    whole = Request.FromString(encoded([decision(i) for i in range(4)]))
    parts = []
    for kept in (slice(0, 2), slice(2, 4)):
        part = Request()
        part.CopyFrom(whole)
        scope_logs = part.resource_logs[0].scope_logs[0]
        logs = list(scope_logs.log_records)[kept]
        del scope_logs.log_records[:]
        scope_logs.log_records.extend(logs)
        parts.append(decode(part.SerializeToString()).batches[0])
    assert len({batch.key for batch in parts}) == 2
    again = Request()
    again.CopyFrom(whole)
    again.resource_logs[0].resource.attributes.add(key="k8s.pod.name").value.string_value = "p"
    first, second = (decode(m.SerializeToString()).batches[0] for m in (whole, again))
    assert first.key == second.key


def test_foreign_records_are_counted() -> None:
    message = Request.FromString(encoded([decision(0)]))
    logs = message.resource_logs[0].scope_logs[0].log_records
    logs.add(event_name="feature_flag.evaluation")
    logs.add().body.string_value = "an ordinary line of a log"
    decoded = decode(message.SerializeToString())
    assert decoded.foreign == 2
    assert sum(batch.count for batch in decoded.batches) == 1


@given(st.binary(max_size=200))
def test_bytes_from_anybody_end_in_an_answer(data: bytes) -> None:
    try:
        decode(data)
    except TraceError as error:
        assert "\n" not in str(error)


@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_a_spoilt_message_ends_in_an_answer(items: list[Record], data: st.DataObject) -> None:
    message = bytearray(encoded(items))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(message))
    except TraceError:
        pass
