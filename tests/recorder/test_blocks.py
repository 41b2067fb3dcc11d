"""Batches are read many records at a time, and nothing of it shows: the result is that of the slow way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest as Request,
)

from gnomon.recorder import blocks as reading
from gnomon.recorder.decode import Decoded, decode, one_by_one
from gnomon.recorder.frames import frames
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Decision, Outcome, Record
from gnomon.sdk.telemetry import names, wire

from .fakes import decision, decisions, outcome, outcomes, records
from .test_encode import encoded, exact


@pytest.fixture(autouse=True, scope="module")
def _small_batches_too() -> Iterator[None]:
    with mock.patch.multiple(reading, _FEW=1, _LEFT=1):
        yield


def content(decoded: Decoded) -> Any:
    """Return everything in it, so that it can be compared; floats by their bits."""
    batches = [
        (
            {source: [exact(each) for each in found] for source, found in batch.records.items()},
            batch.rejected,
        )
        for batch in decoded.batches
    ]
    return batches, decoded.foreign, decoded.malformed


def same(data: bytes) -> Decoded | None:
    """Decode both ways, require the same answer, and return it; None for a refusal."""
    try:
        slow = one_by_one(data)
    except TraceError as error:
        with pytest.raises(TraceError) as raised:
            decode(data)
        assert str(raised.value) == str(error)
        return None
    fast = decode(data)
    assert content(fast) == content(slow)
    assert [batch.count for batch in fast.batches] == [batch.count for batch in slow.batches]
    return fast


def in_blocks(decoded: Decoded | None) -> int:
    assert decoded is not None
    return sum(len(block.rows) for batch in decoded.batches for block in batch.blocks)


@given(st.lists(records, max_size=12))
def test_whatever_the_encoder_writes_is_read_alike(items: list[Record]) -> None:
    same(encoded(items))


def like(base: Decision) -> st.SearchStrategy[Decision]:
    """Decisions that share their head, as most of a batch do."""
    fields = ("arm", "reason", "detail", "policy", "epoch", "block", "inclusion")
    return decisions().map(lambda d: d._replace(**{name: getattr(base, name) for name in fields}))


@given(decisions().flatmap(lambda base: st.lists(like(base), min_size=2, max_size=12)))
def test_decisions_with_one_head_differ_in_everything_else(items: list[Decision]) -> None:
    same(encoded(list(items)))


def of_one_kind(base: Outcome) -> st.SearchStrategy[Outcome]:
    """Outcomes that share head and metrics."""
    floats = st.floats(width=64)

    def alike(found: Outcome, numbers: list[float]) -> Outcome:
        values = tuple((name, x) for (name, _), x in zip(base.values, numbers, strict=True))
        return found._replace(
            ok=base.ok, status=base.status, arm=base.arm, block=base.block, values=values
        )

    n = len(base.values)
    return st.builds(alike, outcomes(), st.lists(floats, min_size=n, max_size=n))


@given(outcomes().flatmap(lambda base: st.lists(of_one_kind(base), min_size=2, max_size=12)))
def test_outcomes_with_one_head_differ_in_everything_else(items: list[Outcome]) -> None:
    found = same(encoded(list(items)))
    assert in_blocks(found) == len(items)


@given(st.lists(decisions() | outcomes(), min_size=1, max_size=6), st.data())
def test_a_damaged_batch_is_never_taken_for_another(
    items: list[Record], data: st.DataObject
) -> None:
    items = [each for each in items for _ in range(2)]
    message = bytearray(encoded(items))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    same(bytes(message))


@given(st.lists(decisions() | outcomes(), min_size=2, max_size=6), st.data())
def test_what_others_reorder_or_add_is_read_one_by_one(
    items: list[Record], data: st.DataObject
) -> None:
    message = Request.FromString(encoded(items))
    for log in message.resource_logs[0].scope_logs[0].log_records:
        pairs = data.draw(st.permutations(list(log.attributes)))
        del log.attributes[:]
        log.attributes.extend(pairs)
        if data.draw(st.booleans()):
            log.attributes.add(key="k8s.pod.name").value.string_value = "p"
    same(message.SerializeToString())


@given(st.lists(decisions() | outcomes(), min_size=1, max_size=6), st.data())
def test_a_batch_cut_short_is_refused_alike(items: list[Record], data: st.DataObject) -> None:
    message = encoded(items)
    same(message[: data.draw(st.integers(0, len(message)))])


@given(st.binary(max_size=80))
def test_bytes_from_anybody_are_answered_alike(data: bytes) -> None:
    same(data)


def test_an_ordinary_batch_is_read_in_blocks() -> None:
    """Mixed heads, item counts, optional attributes and lengths of text, negative numbers."""
    made: list[Record] = []
    for i in range(200):
        n = 1 + i % 3
        made.append(
            decision(
                i,
                unit="x" * (i % 90),
                arm=("stable", "candidate")[i % 7 == 0],
                action=i % n,
                n_items=n,
                features=tuple(float(j) for j in range(2 * n)),
                duration_ns=(-1, 300, 70_000, -5, 2**40)[i % 5],
                propensity=(1.0, 0.25)[i % 2],
                trace_id=i % 4,
                span_id=7 * (i % 4),
            )
        )
        made.append(outcome(made[-1], delay_ns=10 ** (i % 10)))  # type: ignore[arg-type]
    found = same(encoded(made))
    assert in_blocks(found) == len(made)


@pytest.mark.parametrize(
    "odd",
    [
        {"unit": "x" * 4000},
        {"unit": "☃" * 60},
        {"n_items": 0, "features": (), "action": -1},
        {"n_items": 0, "features": (), "action": 0},
        {"n_items": 2**30},
        {"n_items": -1},
        {"action": 2},
        {"features": (1.0,) * 9},
        {"features": (1.0,) * 4000},
        {"time_ns": 2**63},
        {"time_ns": -1},
        {"duration_ns": -(2**63)},
        {"features": (float("nan"), float("inf"), -float("inf"), -0.0)},
        {"propensity": float("nan")},
        {"trace_id": 1, "span_id": 0},
    ],
)
def test_an_odd_record_among_ordinary_ones(odd: dict[str, Any]) -> None:
    made: list[Record] = [decision(i) for i in range(6)]
    made[3] = decision(3, **odd)
    found = same(encoded(made))
    assert in_blocks(found) >= 5


def test_unicode_units_are_read_in_blocks_and_broken_ones_refuse_the_request() -> None:
    made: list[Record] = [decision(i, unit=("snow ☃", "plain")[i % 2]) for i in range(6)]
    data = encoded(made)
    assert in_blocks(same(data)) == 6
    assert same(data.replace("☃".encode(), b"\xed\xa0\x80", 1)) is None


def test_a_number_that_is_longer_than_need_be_is_read_one_by_one() -> None:
    """``0x81 0x00`` is the number 1 too; the encoder never writes it so."""
    data = encoded([decision(i, duration_ns=1) for i in range(4)])
    first = wire.field(1, names.DECISION_DURATION.encode())
    short = wire.field(6, first + wire.field(2, b"\x18\x01"))
    long = wire.field(6, first + wire.field(2, b"\x18\x81\x00"))
    message = Request.FromString(data)
    logs = [log.SerializeToString() for log in message.resource_logs[0].scope_logs[0].log_records]
    assert short in logs[1]
    logs[1] = logs[1].replace(short, long)
    scope = b"".join(wire.field(2, log) for log in logs)
    resource = message.resource_logs[0].resource.SerializeToString()
    found = same(wire.field(1, wire.field(1, resource) + wire.field(2, scope)))
    assert in_blocks(found) == 3


def test_a_batch_where_no_two_heads_agree_ends() -> None:
    made: list[Record] = [decision(i, block=i) for i in range(300)]
    found = same(encoded(made))
    assert found is not None
    assert found.batches[0].count == 300


def test_several_resources_and_scopes_keep_their_own() -> None:
    parts = [
        Request.FromString(encoded([decision(i) for i in range(n)], batch_id=bytes((n,)) * 16))
        for n in (3, 1, 4)
    ]
    message = Request()
    for part in parts:
        message.resource_logs.extend(part.resource_logs)
    message.resource_logs[1].resource.attributes[0].value.string_value = "other"
    message.resource_logs[2].scope_logs.extend(parts[0].resource_logs[0].scope_logs)
    message.resource_logs[2].scope_logs[1].schema_url = "https://example.org"
    found = same(message.SerializeToString())
    assert found is not None
    assert [batch.count for batch in found.batches] == [3, 1, 4, 3]
    assert len({source for batch in found.batches for source in batch.records}) == 2


def test_a_repetition_has_the_same_key_and_another_content_another() -> None:
    def key(data: bytes) -> bytes:
        return decode(data).batches[0].key

    one, again = (encoded([decision(i) for i in range(9)]) for _ in range(2))
    assert key(one) == key(again)
    assert key(one) != key(encoded([decision(i) for i in range(8)]))
    assert key(one) != key(encoded([decision(i) for i in range(9)], batch_id=b"c" * 16))


@given(st.lists(records, max_size=5))
def test_frames_cover_the_request(items: list[Record]) -> None:
    data = encoded(items)
    found = frames(data)
    assert found is not None
    (scope,) = found[0].scopes
    message = Request.FromString(data)
    logs = message.resource_logs[0].scope_logs[0].log_records
    cut = [data[a:b] for a, b in zip(scope.starts, scope.ends, strict=True)]
    again = [type(log).FromString(each) for log, each in zip(logs, cut, strict=True)]
    assert [log.SerializeToString() for log in again] == [log.SerializeToString() for log in logs]
