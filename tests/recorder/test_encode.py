"""What the hand-written encoder writes, opentelemetry-proto reads: every field of every record."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest as Request,
)

from gnomon.recorder.decode import decode
from gnomon.sdk.records import Decision, Record, WorkloadBatch
from gnomon.sdk.telemetry import names, wire
from gnomon.sdk.telemetry.encode import Encoder, request, resource

from .fakes import FakeHook, decision, outcome, records, texts

_RESOURCE = resource({"service.name": "router", "service.instance.id": "00c0ffee00c0ffee"})


def encoded(
    items: list[Record], hook: FakeHook | None = None, batch_id: bytes = b"b" * 16
) -> bytes:
    encoder = Encoder(hook or FakeHook())
    return request(_RESOURCE, [encoder.encode(item) for item in items], batch_id)


def exact(value: Any) -> Any:
    """Make NaN and signed zeros comparable: floats by their bits."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, tuple):
        return (type(value).__name__, *(exact(item) for item in value))
    return value


@given(st.lists(records, max_size=8), texts, st.integers(0, 10**9 - 1))
def test_every_record_comes_back_bit_for_bit(items: list[Record], name: str, version: int) -> None:
    hook = FakeHook(name=name)
    hook.kind.version = version
    decoded = decode(encoded(items, hook))
    assert not decoded.malformed
    assert decoded.foreign == 0
    back = [
        record for batch in decoded.batches for found in batch.records.values() for record in found
    ]
    assert [exact(record) for record in back] == [exact(item) for item in items]
    for batch in decoded.batches:
        for source in batch.records:
            assert (source.hook, source.kind, source.kind_version) == (
                name,
                "load_balancer",
                version,
            )
            assert (source.service, source.process) == ("router", "00c0ffee00c0ffee")


def later(item: Record) -> Record:
    if isinstance(item, WorkloadBatch):
        return item._replace(times=b"\1" + item.times[1:])
    return item._replace(time_ns=max(item.time_ns, 1))


@given(st.lists(records, min_size=1, max_size=5))
def test_the_message_is_canonical(items: list[Record]) -> None:
    """A Collector that adds nothing hands on the same bytes, so that the recorder knows the layout."""
    items = [later(item) for item in items]  # a time of 0 is left out
    data = encoded(items)
    assert Request.FromString(data).SerializeToString() == data


@given(st.lists(records, max_size=8))
def test_all_at_once_is_one_by_one(items: list[Record]) -> None:
    encoder = Encoder(FakeHook())
    assert encoder.encode_all(items) == [Encoder(FakeHook()).encode(item) for item in items]


@given(st.integers(-(2**63), 2**63 - 1) | st.sampled_from([4095, 4096, 2**19 - 1, 2**19, 2**33]))
def test_a_varint_is_what_protobuf_writes(value: int) -> None:
    message = Request()
    message.resource_logs.add().resource.attributes.add().value.int_value = value
    assert message.SerializeToString().endswith(b"\x18" + wire.varint(value))


@pytest.mark.parametrize("size", [0, 1, 94, 95, 96, 127, 128, 129, 5000])
def test_texts_of_every_length_are_framed_right(size: int) -> None:
    made: list[Record] = [decision(0, unit="u" * size), decision(1, detail="d" * size)]
    (batch,) = decode(encoded(made)).batches
    (back,) = batch.records.values()
    assert back == made


def test_a_decision_carries_the_feature_flag_conventions() -> None:
    made = decision(7, arm="candidate", reason="split", policy="ab" * 32, trace_id=5, span_id=6)
    message = Request.FromString(encoded([made]))
    (resource_logs,) = message.resource_logs
    (scope_logs,) = resource_logs.scope_logs
    (log,) = scope_logs.log_records
    attributes = {pair.key: pair.value for pair in log.attributes}
    assert log.event_name == "gnomon.decision"
    assert log.severity_number == 9
    assert (log.trace_id, log.span_id) == ((5).to_bytes(16, "big"), (6).to_bytes(8, "big"))
    assert attributes["feature_flag.key"].string_value == "router.pick"
    assert attributes["feature_flag.result.variant"].string_value == "candidate"
    assert attributes["feature_flag.result.reason"].string_value == "split"
    assert attributes["feature_flag.version"].string_value == "ab" * 32
    assert attributes["feature_flag.provider.name"].string_value == "gnomon"
    assert attributes["gnomon.schema"].string_value == "load_balancer/1"
    assert attributes["gnomon.decision.features"].bytes_value == struct.pack("<10d", *made.features)
    assert len(attributes) == len(log.attributes)
    assert {a.key: a.value.bytes_value for a in scope_logs.scope.attributes} == {
        names.BATCH_ID: b"b" * 16
    }


def test_a_resource_may_hold_every_kind_of_value() -> None:
    values = {"s": "x", "b": True, "i": -3, "d": 0.5, "raw": b"\0", "list": ("a", "b"), "none": ()}
    message = Request.FromString(request(resource(values), [], b""))
    found = {pair.key: pair.value for pair in message.resource_logs[0].resource.attributes}
    assert found["s"].string_value == "x"
    assert found["b"].WhichOneof("value") == "bool_value"
    assert found["i"].int_value == -3
    assert found["d"].double_value == 0.5
    assert found["raw"].bytes_value == b"\0"
    assert [each.string_value for each in found["list"].array_value.values] == ["a", "b"]
    assert found["none"].WhichOneof("value") == "array_value"


def test_flag_reasons_are_in_the_conventions_closed_list() -> None:
    allowed = {"static", "default", "targeting_match", "split", "cached", "disabled", "unknown"}
    assert set(names.FLAG_REASONS.values()) <= allowed | {"stale", "error"}


def test_text_that_is_no_unicode_does_not_spoil_the_batch() -> None:
    decoded = decode(encoded([decision(0, unit="a\ud800b"), decision(1)]))
    (records_of_source,) = decoded.batches[0].records.values()
    assert [r.unit for r in records_of_source if isinstance(r, Decision)] == ["a?b", ""]


def test_slowly_changing_fields_are_not_confused() -> None:
    """The cache of encoded heads never answers for another combination, also once it is full."""
    made: list[Record] = [
        decision(i, epoch=i % 3, block=i, arm=("stable", "candidate")[i % 2], action=i % 2)
        for i in range(5000)
    ]
    made += [outcome(decision(i, block=i), ok=i % 2 == 0) for i in range(50)]
    (batch,) = decode(encoded(made)).batches
    (back,) = batch.records.values()
    assert back == made


@pytest.mark.parametrize("bad", [{"features": ("x",)}, {"unit": 3}, {"time_ns": "now"}])
def test_a_record_of_wrong_types_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError, struct.error)):
        Encoder(FakeHook()).encode(decision(0, **bad))


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(LookupError):
        Encoder(FakeHook()).encode(("a", "tuple"))  # type: ignore[arg-type]


@given(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=300), st.integers(1, 2000))
def test_wire_reader_reads_what_the_writer_writes(value: int, content: bytes, number: int) -> None:
    data = wire.tag(number, wire.VARINT) + wire.varint(value) + wire.field(number + 1, content)
    (first, read), second = wire.fields(data)
    assert (first, wire.signed(read)) == (number, value)
    assert second == (number + 1, content)


@given(st.binary(max_size=60))
def test_wire_reader_only_ever_raises_value_error(data: bytes) -> None:
    try:
        list(wire.fields(data))
    except ValueError:
        pass
